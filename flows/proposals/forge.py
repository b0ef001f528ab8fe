"""Pull requests at a forge: found, opened, closed. GitHub, GitLab, Gitea and Forgejo.

Each kind is a table of paths and names; what they have in common stands once. Bounded in
time and size by `monitoring.http_transport`; no redirect is followed, so that the token goes
to the configured host alone. Neighbour: `flows.proposals.propose`.

Sources: docs.github.com/rest/pulls, docs.gitlab.com/api/merge_requests, and the Swagger
description that every Gitea and Forgejo serves below /api/swagger.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from infrastructure.config_models import Forge
from infrastructure.errors import PermanentError, TemporaryError
from monitoring.http_exchange import Answer, Request

_MAX_ANSWER = 8 * 1024 * 1024  # a page of pull requests with long texts; not a setting
_PAGE = 50
_PAGES = 20  # of open pull requests that Gitea is asked for: it has no filter by head
_MAX_DETAIL = 200
_WORTH_RETRYING = frozenset({408, 425, 429})
_EXISTS = frozenset({409, 422})  # Gitea and GitLab say 409, GitHub 422
# All requests of a client together: a forge that drips takes so many time-outs, not one a page.
_ALTOGETHER = 6


class OutOfTimeError(TemporaryError):
    """The time for a run's requests was used up before this one: the next run asks."""


class PullState(StrEnum):
    """How a pull request stands."""

    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"
    UNKNOWN = "unknown"  # a word that is none of these, such as GitLab's `locked`: no decision


@dataclass(frozen=True, slots=True)
class PullRequest:
    """One pull request; `number` is what its forge calls it by."""

    number: int
    url: str
    state: PullState


class _Repository(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: int = 0


class _Ref(BaseModel):
    model_config = ConfigDict(extra="ignore")
    ref: str = ""
    label: str = ""  # of Gitea: the branch, also where it is gone; of GitHub: owner:branch
    repo_id: int = 0  # of Gitea
    repo: _Repository | None = None  # of GitHub; null: the fork is gone


class _Pull(BaseModel):
    """What the three kinds answer, read with the same model: each fills its own names."""

    model_config = ConfigDict(extra="ignore")
    number: int = 0
    iid: int = 0
    html_url: str = ""
    web_url: str = ""
    state: str = ""
    merged_at: str | None = None
    merged: bool = False
    head: _Ref = _Ref()
    base: _Ref = _Ref()
    source_branch: str = ""
    source_project_id: int = 0
    target_project_id: int = 0

    def is_of(self, branch: str) -> bool:
        """Whether it is for this branch of the project itself: a fork may use any name.

        What does not say where it comes from is not.
        """
        own = _same(self.source_project_id, self.target_project_id)
        own = own or _same(self.head.repo_id, self.base.repo_id)
        if self.head.repo is not None and self.base.repo is not None:
            own = own or _same(self.head.repo.id, self.base.repo.id)
        return own and branch in {self.head.ref, self.head.label, self.source_branch}

    def value(self) -> PullRequest:
        state = _STATES.get(self.state, PullState.UNKNOWN)
        if self.merged or self.merged_at:
            state = PullState.MERGED
        return PullRequest(self.iid or self.number, self.web_url or self.html_url, state)


_STATES: Mapping[str, PullState] = {
    "open": PullState.OPEN,
    "opened": PullState.OPEN,
    "closed": PullState.CLOSED,
    "merged": PullState.MERGED,
}


def _same(one: int, other: int) -> bool:
    return one != 0 and one == other


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How one kind of forge is spoken to."""

    pulls: str  # path of the list, below the API
    comments: str  # path of a pull request's comments
    change: str  # HTTP method of a change
    closing: Mapping[str, str]
    comment: str  # name of a comment's text
    authorization: Callable[[str], Mapping[str, str]]
    by_head: Callable[[str, str], Mapping[str, str]]  # owner, branch → query
    opening: Callable[[str, str, str, str], Mapping[str, str]]  # head, base, title, text


def _github_opening(head: str, base: str, title: str, text: str) -> Mapping[str, str]:
    return {"head": head, "base": base, "title": title, "body": text}


_DIALECTS: Mapping[str, _Dialect] = {
    "github": _Dialect(
        pulls="/repos/{project}/pulls",
        comments="/repos/{project}/issues/{number}/comments",
        change="PATCH",
        closing={"state": "closed"},
        comment="body",
        authorization=lambda token: {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
        by_head=lambda owner, branch: {"head": f"{owner}:{branch}"},
        opening=_github_opening,
    ),
    "gitlab": _Dialect(
        pulls="/projects/{project}/merge_requests",
        comments="/projects/{project}/merge_requests/{number}/notes",
        change="PUT",
        closing={"state_event": "close"},
        comment="body",
        authorization=lambda token: {"PRIVATE-TOKEN": token},
        by_head=lambda _owner, branch: {"source_branch": branch},
        opening=lambda head, base, title, text: {
            "source_branch": head,
            "target_branch": base,
            "title": title,
            "description": text,
        },
    ),
    "gitea": _Dialect(
        pulls="/repos/{project}/pulls",
        comments="/repos/{project}/issues/{number}/comments",
        change="PATCH",
        closing={"state": "closed"},
        comment="body",
        authorization=lambda token: {"Authorization": f"token {token}"},
        by_head=lambda _owner, _branch: {},
        opening=_github_opening,
    ),
}


class ForgeClient:
    """One project at a forge. Holds no connection between calls. Make one a run.

    All its requests together take no longer than a few time-outs from the first on. Every
    method raises TemporaryError when the forge can't answer now, PermanentError when
    it refuses; neither message holds the token.
    """

    def __init__(
        self, settings: Forge, *, redact: Callable[[str], str], until: float | None = None
    ) -> None:
        """Ask nothing yet.

        Args:
            settings: where, and with which token.
            redact: cuts secrets out of a text.
            until: on the clock of time.monotonic; no request lasts longer. None: no such end.
        """
        self._until = until
        self._share: float | None = None  # the same for all requests together
        self._settings = settings
        self._redact = redact
        self._dialect = _DIALECTS[settings.kind]
        self._project = (
            quote(settings.project, safe="")
            if settings.kind == "gitlab"
            else quote(settings.project, safe="/")
        )

    def __repr__(self) -> str:
        return f"ForgeClient({self._settings.kind} {self._settings.project})"

    def find_open(self, branch: str) -> PullRequest | None:
        """The open pull request of a branch."""
        dialect, owner = self._dialect, self._settings.project.partition("/")[0]
        filters = dialect.by_head(owner, branch)
        state = "opened" if self._settings.kind == "gitlab" else "open"
        size = "limit" if self._settings.kind == "gitea" else "per_page"
        for page in range(1, (2 if filters else _PAGES + 1)):
            query = {**filters, "state": state, size: str(_PAGE), "page": str(page)}
            answer = self._ask("GET", f"{self._path(dialect.pulls)}?{urlencode(query)}")
            pulls = self._pulls(answer)
            for pull in pulls:
                if pull.is_of(branch):
                    return pull.value()
            if not pulls:
                break
        return None

    def get(self, number: int, branch: str) -> PullRequest | None:
        """A pull request by its number; None: there is none, or it is not of this branch.

        What a number stands for is the forge's word alone: a note in Git may name any.
        """
        answer = self._ask("GET", f"{self._path(self._dialect.pulls)}/{number}", allow={404})
        if answer.status == 404:
            return None
        pull = self._pull(answer)
        return pull.value() if pull.is_of(branch) else None

    def open(self, branch: str, base: str, *, title: str, text: str) -> PullRequest:
        """The branch's pull request: the one that is open already, or a new one."""
        known = self.find_open(branch)
        if known is not None:
            return known
        body = self._dialect.opening(branch, base, title, text)
        answer = self._ask("POST", self._path(self._dialect.pulls), body, allow=_EXISTS)
        if answer.status in _EXISTS:
            known = self.find_open(branch)  # somebody was faster
            if known is None:
                raise self._refused(answer)
            return known
        return self._pull(answer).value()

    def close(self, number: int, branch: str, sentence: str) -> None:
        """Close this branch's pull request, then say why.

        In this order: who may comment and not close would say it again and again. One that
        is closed or merged already, or another's, is left as it is.

        Raises:
            TemporaryError: also while its state is none that is known.
        """
        known = self.get(number, branch)
        if known is None or known.state in {PullState.CLOSED, PullState.MERGED}:
            return
        if known.state is PullState.UNKNOWN:
            raise TemporaryError(f"{self._address} tells no known state of number {number}")
        path = f"{self._path(self._dialect.pulls)}/{number}"
        self._ask(self._dialect.change, path, self._dialect.closing)
        said = self._dialect.comments.format(project=self._project, number=number)
        self._ask("POST", said, {self._dialect.comment: sentence})

    def _path(self, template: str) -> str:
        return template.format(project=self._project)

    def _pull(self, answer: Answer) -> _Pull:
        try:
            pull = _Pull.model_validate_json(answer.body)
        except ValidationError as exc:
            raise self._no_forge() from exc
        if not (pull.number or pull.iid):
            raise self._no_forge()
        return pull

    def _pulls(self, answer: Answer) -> list[_Pull]:
        try:
            found = json.loads(answer.body)
            if isinstance(found, list):
                return [_Pull.model_validate(each) for each in found]
        except (ValueError, RecursionError) as exc:
            raise self._no_forge() from exc
        raise self._no_forge()

    def _no_forge(self) -> PermanentError:
        kind = self._settings.kind
        return PermanentError(
            f"{self._address} does not answer as {kind} does: correct proposals.forge"
        )

    @property
    def _address(self) -> str:
        return self._settings.api_url.rstrip("/")

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        allow: set[int] | frozenset[int] = frozenset(),
    ) -> Answer:
        """One exchange.

        Raises:
            OutOfTimeError: not asked at all.
            TemporaryError: no answer in time, or one of a server in trouble.
            PermanentError: refused, with the forge's own words.
        """
        from monitoring.http_transport import BoundedHttp  # noqa: PLC0415 - httpcore costs 90 ms

        deadline = self._deadline()
        secure = self._address.startswith("https")
        http = BoundedHttp(tls=ssl.create_default_context() if secure else None, keep_alive=False)
        try:
            answer = http.exchange(
                self._request(method, path, body),
                deadline=deadline,
                max_bytes=_MAX_ANSWER,
            )
        except TemporaryError as exc:
            raise TemporaryError(f"{self._address}: {exc}") from exc
        finally:
            http.close()
        if answer.status in allow or 200 <= answer.status < 300:
            return answer
        if answer.status >= 500 or answer.status in _WORTH_RETRYING:
            raise TemporaryError(f"{self._address} answers HTTP {answer.status}")
        raise self._refused(answer)

    def _deadline(self) -> float:
        """When the exchange that begins now has to end."""
        now, timeout = time.monotonic(), self._settings.timeout.total_seconds()
        if self._share is None:
            self._share = now + _ALTOGETHER * timeout
        end = self._share if self._until is None else min(self._share, self._until)
        if end <= now:
            raise OutOfTimeError(f"{self._address}: no time is left for it in this run")
        return min(now + timeout, end)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Request:
        url = urlsplit(self._address)
        host = url.hostname or ""
        port = url.port or (443 if url.scheme == "https" else 80)
        content = b"" if body is None else json.dumps(body).encode()
        headers = {
            "Host": url.netloc.rpartition("@")[2],
            "Accept": "application/json",
            "User-Agent": "uici",
            **self._dialect.authorization(self._settings.token),
        }
        if body is not None:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        try:
            raw = tuple((name.encode(), value.encode("ascii")) for name, value in headers.items())
        except UnicodeEncodeError as exc:
            raise PermanentError("proposals.forge.token is no text for an HTTP header") from exc
        return Request(
            method=method,
            scheme=url.scheme.encode(),
            host=host.encode("ascii"),
            port=port,
            target=(url.path + path).encode(),
            headers=raw,
            body=content,
        )

    def _refused(self, answer: Answer) -> PermanentError:
        words = answer.body[: _MAX_DETAIL * 4].decode(errors="replace")
        if self._settings.token:
            words = words.replace(self._settings.token, "[redacted]")
        plain = "".join(c if c.isprintable() else " " for c in self._redact(words))
        return PermanentError(
            f"{self._address} refuses with HTTP {answer.status}:"
            f" {' '.join(plain.split())[:_MAX_DETAIL]}"
        )
