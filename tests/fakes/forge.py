"""A forge on loopback with pull requests that are really kept: GitHub, GitLab, Gitea.

It answers as the public descriptions of the three APIs say, as far as pull requests go:
authorization, paths, names of fields, status codes; anything else is 404, and a request that
does not fit is refused as there. Sources: docs.github.com/rest (version 2022-11-28),
docs.gitlab.com/api/merge_requests, the Swagger description of Gitea 1.24.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from infrastructure.config_models import Forge

TOKEN = "forge-token-0123456789"
PROJECT = "acme/state"
_PAGE_LIMIT = 50  # of Gitea, whatever was asked for
_BASES = {"github": "", "gitlab": "/api/v4", "gitea": "/api/v1"}


@dataclass
class Pull:
    """A pull request as it stands."""

    number: int
    head: str
    base: str
    title: str
    text: str
    state: str = "open"  # closed, merged, or what a test makes up
    comments: list[str] = field(default_factory=list)
    fork: bool = False


class FakeForge:
    """Kept state, and what was asked. `broken` answers every request with that status."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pulls: list[Pull] = []
        self.asked: list[tuple[str, str]] = []
        self.broken: int | None = None
        self.unchangeable = False  # the token may comment, and not close
        self.slow = 0.0  # seconds before each answer
        self.branches: Callable[[str], bool] = lambda _: True  # whether a head exists
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{_BASES[self.kind]}"

    def settings(self, **changes: Any) -> Forge:
        values = {
            "kind": self.kind,
            "apiUrl": self.url,
            "project": PROJECT,
            "token": TOKEN,
            "timeout": "2s",
        }
        return Forge.model_validate({**values, **changes})

    def add(self, head: str, *, state: str = "open") -> Pull:
        pull = Pull(len(self.pulls) + 1, head, "main", "by hand", "", state)
        self.pulls.append(pull)
        return pull

    # ── what the API does ───────────────────────────────────────────────────────

    def answer(
        self, method: str, target: str, headers: dict[str, str], body: dict[str, Any] | None
    ) -> tuple[int, Any]:
        self.asked.append((method, target))
        time.sleep(self.slow)
        if self.broken is not None:
            return self.broken, {"message": f"trouble with {TOKEN}"}
        if not self._authorized(headers):
            return 401, {"message": "Bad credentials"}
        url = urlsplit(target)
        root = {
            "github": f"/repos/{PROJECT}",
            "gitlab": "/api/v4/projects/acme%2Fstate",
            "gitea": f"/api/v1/repos/{PROJECT}",
        }[self.kind]
        if not url.path.startswith(root):
            return 404, {"message": "Not Found"}
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        return self._route(method, unquote(url.path[len(root) :]), query, body)

    def _authorized(self, headers: dict[str, str]) -> bool:
        match self.kind:
            case "github":
                given = headers.get("authorization") == f"Bearer {TOKEN}"
                return given and headers.get("user-agent", "") != ""
            case "gitlab":
                return headers.get("private-token") == TOKEN
            case _:
                return headers.get("authorization") == f"token {TOKEN}"

    def _route(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None
    ) -> tuple[int, Any]:
        pulls = "/merge_requests" if self.kind == "gitlab" else "/pulls"
        said = (
            r"/merge_requests/(\d+)/notes" if self.kind == "gitlab" else r"/issues/(\d+)/comments"
        )
        comment = re.fullmatch(said, path)
        one = re.fullmatch(rf"{pulls}/(\d+)", path)
        if method == "GET" and path == pulls:
            return 200, self._list(query)
        if method == "POST" and path == pulls and body is not None:
            return self._open(body)
        if comment and method == "POST" and body is not None and "body" in body:
            self.pulls[int(comment[1]) - 1].comments.append(body["body"])
            return 201, {"id": 1}
        if one and 0 < int(one[1]) <= len(self.pulls):
            pull = self.pulls[int(one[1]) - 1]
            if method == "GET":
                return 200, self._shown(pull)
            return self._change(method, pull, body or {})
        return 404, {"message": "Not Found"}

    def _list(self, query: dict[str, str]) -> list[Any]:
        found = [p for p in reversed(self.pulls) if self._in_state(p, query.get("state", "open"))]
        if self.kind == "github" and "head" in query:
            owner, _, branch = query["head"].partition(":")
            found = [p for p in found if p.head == branch and owner == "acme" and not p.fork]
        if self.kind == "gitlab" and "source_branch" in query:
            found = [p for p in found if p.head == query["source_branch"]]
        size = min(
            int(query.get("limit" if self.kind == "gitea" else "per_page", "30")), _PAGE_LIMIT
        )
        start = (int(query.get("page", "1")) - 1) * size
        return [self._shown(pull) for pull in found[start : start + size]]

    def _in_state(self, pull: Pull, wanted: str) -> bool:
        if self.kind == "gitlab":
            return wanted == "all" or {"opened": "open"}.get(wanted, wanted) == pull.state
        return wanted == "all" or (wanted == "open") == (pull.state == "open")

    def _open(self, body: dict[str, Any]) -> tuple[int, Any]:
        gitlab = self.kind == "gitlab"
        names = ("source_branch", "target_branch") if gitlab else ("head", "base")
        head, base = (body.get(name) for name in names)
        if not head or not base or not body.get("title"):
            return (400 if gitlab else 422), {"message": "a field is missing"}
        exists = 422 if self.kind == "github" else 409
        if any(p.head == head and p.base == base and p.state == "open" for p in self.pulls):
            return exists, {"message": "a pull request already exists"}
        if not self.branches(head):
            return (404 if self.kind == "gitea" else 422), {"message": "head does not exist"}
        text = body.get("description" if gitlab else "body", "")
        pull = Pull(len(self.pulls) + 1, head, base, body["title"], text)
        self.pulls.append(pull)
        return 201, self._shown(pull)

    def _change(self, method: str, pull: Pull, body: dict[str, Any]) -> tuple[int, Any]:
        gitlab = self.kind == "gitlab"
        if self.unchangeable:
            return 403, {"message": "Resource not accessible by this token"}
        if method != ("PUT" if gitlab else "PATCH"):
            return 405, {"message": "Method Not Allowed"}
        if body.get("state_event" if gitlab else "state") == ("close" if gitlab else "closed"):
            pull.state = "closed"
        return (201 if self.kind == "gitea" else 200), self._shown(pull)

    def _shown(self, pull: Pull) -> dict[str, Any]:
        if self.kind == "gitlab":
            return {
                "id": 9000 + pull.number,
                "iid": pull.number,
                "source_branch": pull.head,
                "target_branch": pull.base,
                "source_project_id": 2 if pull.fork else 1,
                "target_project_id": 1,
                "state": "opened" if pull.state == "open" else pull.state,  # `locked` while merging
                "web_url": f"https://gitlab.test/{PROJECT}/-/merge_requests/{pull.number}",
            }
        merged = pull.state == "merged"
        shown: dict[str, Any] = {
            "id": 9000 + pull.number,
            "number": pull.number,
            "head": self._ref(pull.head, 2 if pull.fork else 1),
            "base": self._ref(pull.base, 1),
            "state": {"merged": "closed"}.get(pull.state, pull.state),
            "merged_at": "2026-11-22T12:00:00Z" if merged else None,
            "html_url": f"https://{self.kind}.test/{PROJECT}/pulls/{pull.number}",
        }
        return {**shown, "merged": merged} if self.kind == "gitea" else shown

    def _ref(self, branch: str, repository: int) -> dict[str, Any]:
        if self.kind == "gitea":
            return {"ref": branch, "label": branch, "repo_id": repository}
        owner = "acme" if repository == 1 else "somebody"
        return {"ref": branch, "label": f"{owner}:{branch}", "repo": {"id": repository}}


@contextlib.contextmanager
def serving(kind: str) -> Iterator[FakeForge]:
    """A forge of that kind, listening."""
    forge = FakeForge(kind)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(raw) if raw else None
            status, data = forge.answer(self.command, self.path, headers, body)
            content = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            with contextlib.suppress(OSError):  # who asked may have given up
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Tests say what matters."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        forge.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield forge
        finally:
            server.shutdown()
            thread.join()
