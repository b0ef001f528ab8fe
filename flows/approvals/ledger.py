"""All that the reports branch tells of approvals: requests, decisions, uses. Pure.

Anyone with the right to push may have written these files. A request whose id is not the
digest of its content, a decision in another request's folder, a file that can't be read:
each is named and counts as absent, but for a use, which counts as one however it looks: what
may have been spent is spent. Neighbours: `flows.repository.memory` reads the files,
`flows.approvals.standing` judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from flows.approvals.decision import Decision, Way
from flows.approvals.request import APPROVAL_FOLDER, ApprovalRequest, RequestState
from infrastructure.observed import empty

_USED = "used-"
_DECISION = "decision-"


@dataclass(frozen=True, slots=True)
class Ledger:
    """See the module. By the request's id.

    `uses` are the paths of the files that say a request's approval was used; `paths` all
    that was read. `unread` are requests with a decision that can't be read: it may be a no.
    """

    requests: Mapping[str, ApprovalRequest] = field(default_factory=empty)
    decisions: Mapping[str, tuple[Decision, ...]] = field(default_factory=empty)
    uses: Mapping[str, tuple[str, ...]] = field(default_factory=empty)
    damaged: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()

    def of_target(self, target: str) -> tuple[ApprovalRequest, ...]:
        """A target's requests, the newest last."""
        found = [r for r in self.requests.values() if r.target == target]
        return tuple(sorted(found, key=lambda r: (r.requested_at, r.id)))

    def newest(self, target: str, fingerprint: str) -> ApprovalRequest | None:
        """The loop's newest request about an incident; of several that wait, the first asked.

        Two agents may ask at the same moment: all of them hold to the same one.
        """
        own = (r for r in self.of_target(target) if not r.by_hand)
        return _in_force([r for r in own if r.fingerprint == fingerprint])

    def for_plan(self, target: str, plan_digest: str) -> ApprovalRequest | None:
        """The same for exactly this plan, whoever asked."""
        return _in_force([r for r in self.of_target(target) if r.plan_digest == plan_digest])

    @property
    def waiting(self) -> tuple[ApprovalRequest, ...]:
        """Requests that nobody has ended yet, the oldest first."""
        found = [r for r in self.requests.values() if r.state is RequestState.WAITING]
        return tuple(sorted(found, key=lambda r: (r.requested_at, r.id)))

    def said(self, request: ApprovalRequest) -> tuple[Decision, ...]:
        """Decisions that are bound to exactly this request, the oldest first."""
        found = [d for d in self.decisions.get(request.id, ()) if d.is_about(request)]
        return tuple(sorted(found, key=lambda d: d.at))


def _in_force(found: Sequence[ApprovalRequest]) -> ApprovalRequest | None:
    waiting = [r for r in found if r.state is RequestState.WAITING]
    if not waiting:
        return found[-1] if found else None
    newest = waiting[-1]
    bound = (newest.plan_digest, newest.desired_content)
    return next(r for r in waiting if (r.plan_digest, r.desired_content) == bound)


def read_ledger(files: Mapping[str, bytes]) -> Ledger:
    """The files below `approvals/` as values, by path. Never an error."""
    requests: dict[str, ApprovalRequest] = {}
    decisions: dict[str, list[Decision]] = {}
    uses: dict[str, list[str]] = {}
    damaged: list[str] = []
    unread: set[str] = set()
    for path, content in sorted(files.items()):
        of, name = _parts(path)
        try:
            if not of:
                request = _request(name, content)
                requests[request.id] = request
            elif name.startswith(_USED):
                uses.setdefault(of, []).append(path)
            elif name.startswith(_DECISION):
                said = _decision(of, content)
                decisions.setdefault(of, []).append(said)
        except (ValueError, RecursionError) as exc:
            damaged.append(f"{path}: {_reason(exc)}")
            unread |= {of} - {""}
    return Ledger(
        requests,
        {of: tuple(found) for of, found in decisions.items()},
        {of: tuple(found) for of, found in uses.items()},
        tuple(damaged),
        tuple(sorted(files)),
        frozenset(unread),
    )


def uses_in(paths: Iterable[str], request: str) -> tuple[str, ...]:
    """The paths that say that a request's approval was used."""
    start = f"{APPROVAL_FOLDER}/{request}/{_USED}"
    return tuple(sorted(path for path in paths if path.startswith(start)))


def _parts(path: str) -> tuple[str, str]:
    """`approvals/<id>/<name>` → id and name; of `approvals/<id>.json` the id is empty."""
    rest = path.removeprefix(f"{APPROVAL_FOLDER}/")
    of, slash, name = rest.partition("/")
    return (of, name) if slash else ("", rest.removesuffix(".json"))


def _request(name: str, content: bytes) -> ApprovalRequest:
    request = ApprovalRequest.model_validate_json(content)
    if request.id != name:
        raise ValueError(f"it is about {request.id}")
    if request.bound_id != request.id:
        raise ValueError("its plan, revision or expiry was changed after it was written")
    return request


def _decision(of: str, content: bytes) -> Decision:
    decision = Decision.model_validate_json(content)
    if decision.request != of:
        raise ValueError(f"it is about {decision.request}")
    if decision.way is Way.MERGE:
        raise ValueError("a merge is read from desired state only")
    return decision


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])} {first['msg']}".strip()
    return str(error).partition("\n")[0]
