"""`uici import compose FILE`: the services of a compose file as Service files."""

from __future__ import annotations

from pathlib import Path

from flows.command_line.import_files import Imported
from infrastructure.errors import InvalidInputError, PermanentError, Problem
from infrastructure.sources.compose_file import load_compose, project_name
from infrastructure.sources.compose_service import Reading, Unset, made_elsewhere, read_services
from infrastructure.sources.draft import Draft, Findings


class _DiskTree:
    """Files of this machine by their path from its root.

    A person named the compose file here, so what it names may be read wherever it lies.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes | None:
        """A file's content."""
        file = self._root / path
        return file.read_bytes() if file.is_file() else None

    def below(self, folder: str) -> list[str]:
        """Not asked for by compose files."""
        found = (self._root / folder).rglob("*")
        return sorted(p.relative_to(self._root).as_posix() for p in found if p.is_file())


def import_compose(
    file: Path, environment: str, *, max_bytes: int, project: str | None = None
) -> Imported:
    """Read a compose file.

    What compose would take from a shell becomes a reference to a secret of that name.

    Args:
        file: the compose file.
        environment: where its services run.
        max_bytes: larger files are refused.
        project: the project's name; None: what compose would take.

    Raises:
        InvalidInputError: the file can't be read.
        PermanentError: there is no such file, or it declares nothing that runs.
    """
    if not file.is_file():
        raise PermanentError(f"{file} is no file: name a compose file")
    place = file.resolve()
    folder, root = place.parent, Path(place.anchor)
    findings = Findings()
    loaded = load_compose(
        place.relative_to(root).as_posix(),
        _DiskTree(root),
        findings,
        max_bytes=max_bytes,
        project=project or project_name(folder.name),
        directory=str(folder),
    )
    if loaded is None or findings.errors:
        raise InvalidInputError(_shown(findings.errors, file))
    drafts = read_services(loaded, findings, Reading(unset=Unset.SECRET))
    made_elsewhere(loaded, findings)
    if not drafts and not findings.errors:
        raise PermanentError(f"{file} declares no service that runs")
    said = _shown([*findings.errors, *findings.warnings], file)
    for draft in drafts.values():
        draft.left_out += [_sentence(p) for p in said if _is_about(p, draft, drafts)]
    origins = [
        (draft, f"Imported from {file.name}:{draft.origin.line}.") for draft in drafts.values()
    ]
    return Imported(environment, origins, [str(problem) for problem in said])


def _shown(problems: list[Problem], file: Path) -> list[Problem]:
    """Problems with their files as a person here would name them."""
    folder = file.resolve().parent

    def named(path: str) -> str:
        """A file below the compose file's folder as that one was named; others in full."""
        full = Path(folder.anchor) / path
        below = full.is_relative_to(folder)
        return str(file.parent / full.relative_to(folder) if below else full)

    return sorted(
        Problem(named(p.file), p.line, p.column, p.message, p.remedy) for p in set(problems)
    )


def _sentence(problem: Problem) -> str:
    line = f"line {problem.line}: " if problem.line else ""
    return f"{line}{problem.message}"


def _is_about(problem: Problem, draft: Draft, drafts: dict[str, Draft]) -> bool:
    """Whether a problem stands in the lines of this service."""
    starts = sorted(each.origin.line for each in drafts.values())
    later = [line for line in starts if line > draft.origin.line]
    end = later[0] if later else problem.line + 1
    return draft.origin.line <= problem.line < end
