"""The edited file of a proposal, proved before anything is pushed.

Finds where a service is declared, splices the value in, and reads the whole desired state
again with the parser that the loop uses: it must validate, and differ in this one field of
this one service. Neighbours: `flows.proposals.edit`, `flows.proposals.value`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from flows.proposals.cause import IMAGE, MEMORY, REPLICAS, Cause
from flows.proposals.edit import UneditableError, declares, edit
from flows.proposals.value import Seen
from flows.reporting.status import TargetStatus, status_path
from flows.reporting.values import IncidentResult
from flows.repository.contract import DesiredState
from flows.repository.proposal_store import ProposalStore
from infrastructure.desired_state import DesiredStateParser
from infrastructure.quantities import parse_memory
from infrastructure.service import Service, ServiceSpec
from infrastructure.sources.tree import FilesTree, Tree
from infrastructure.yaml_source import parse_yaml

_FILE_VERSIONS = 20  # of a file's history that are searched for an image
_STATUS_VERSIONS = 100  # of a target's status that are searched for a healthy one
_HEALTHY = "Healthy"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file before and after."""

    path: str
    old: bytes
    new: bytes


class Candidates:
    """Makes and proves edits on the commit in force. Parses only when it is asked."""

    def __init__(self, store: ProposalStore, make_parser: Callable[[], DesiredStateParser]) -> None:
        self._store = store
        self._make_parser = make_parser

    def make(self, desired: DesiredState, service: Service, pointer: str, value: str) -> Candidate:
        """The service's own file with this value.

        Raises:
            UneditableError: it can't be edited safely, or would not mean what it should.
        """
        sha = commit_of(desired)
        files = self._store.files(sha)
        path = self._path(files, service)
        new = edit(files[path], service, pointer, value, file=path)
        tree = _Edited(self._store.tree(sha), path, new)
        read = self._make_parser().read({**files, path: new}, tree)
        if read.problems:
            raise UneditableError(f"the edited file would not validate: {read.problems[0]}")
        changed = {
            target
            for target in {*read.services, *desired.services}
            if read.services.get(target) != desired.services.get(target)
        }
        wanted = _with(service.spec, pointer, value)
        if changed != {service.target} or read.services[service.target].spec != wanted:
            others = ", ".join(sorted(changed - {service.target}))
            what = f"would change {others}, too" if others else "would not say what it should"
            raise UneditableError(f"{path}: an edit of this value {what}")
        return Candidate(path, files[path], new)

    def look_up(
        self, cause: Cause, desired: DesiredState, statuses: Mapping[str, TargetStatus]
    ) -> Seen:
        """What the rule needs to know beyond the history; costs Git calls for an image only."""
        if cause.pointer != IMAGE:
            return Seen()
        service = desired.services[cause.target]
        sha = commit_of(desired)
        ran = self._digests_that_ran(cause.target, statuses)
        path = self._path(self._store.files(sha), service)
        for earlier in self._earlier(sha, path, cause.target):
            differs = earlier.spec.image != service.spec.image
            if differs and earlier.spec_digest in ran:
                return Seen(earlier_image=earlier.spec.image)
        return Seen()

    def _path(self, files: Mapping[str, bytes], service: Service) -> str:
        name = service.metadata.name.encode()
        for path, content in sorted(files.items()):
            if name in content and any(
                declares(document, service)
                for document in parse_yaml(content, file=path, max_bytes=self._store.max_bytes)
            ):
                return path
        raise UneditableError(
            "its declaration comes from a Source: change the compose file or manifest by hand"
        )

    def _earlier(self, sha: str, path: str, target: str) -> Iterator[Service]:
        """The service as older commits declared it, newest first."""
        for content in self._store.versions(sha, path, _FILE_VERSIONS):
            files = {path: content}
            found = self._make_parser().read(files, FilesTree(files)).services.get(target)
            if found is not None:
                yield found

    def _digests_that_ran(
        self, target: str, statuses: Mapping[str, TargetStatus]
    ) -> frozenset[str]:
        """Digests of specs on which the target was seen well."""
        found = set()
        status = statuses.get(target)
        for incident in status.history if status is not None else ():
            if incident.result == IncidentResult.RECOVERED:
                found.add(incident.spec_digest)
        for content in self._store.status_versions(status_path(target), _STATUS_VERSIONS):
            try:
                old = TargetStatus.model_validate_json(content)
            except ValidationError:
                continue  # a person or another version wrote it; it tells nothing then
            if old.health == _HEALTHY:
                found.add(old.spec_digest)
        return frozenset(found)


class _Edited:
    """A commit's tree with one file in another's place."""

    def __init__(self, tree: Tree, path: str, content: bytes) -> None:
        self._tree = tree
        self._path = path
        self._content = content

    def read(self, path: str) -> bytes | None:
        """A file's content."""
        return self._content if path == self._path else self._tree.read(path)

    def below(self, folder: str) -> Sequence[str]:
        """Paths below a folder."""
        return self._tree.below(folder)


def commit_of(desired: DesiredState) -> str:
    """The commit in force."""
    return desired.revision.rpartition(":")[2]


def _with(spec: ServiceSpec, pointer: str, value: str) -> ServiceSpec:
    """The spec with this one field changed."""
    if pointer == MEMORY:
        resources = spec.resources.model_copy(update={"memory": parse_memory(value)})
        return spec.model_copy(update={"resources": resources})
    if pointer == REPLICAS:
        return spec.model_copy(update={"replicas": int(value)})
    assert pointer == IMAGE  # noqa: S101  # the only other field that is ever proposed
    return spec.model_copy(update={"image": value})
