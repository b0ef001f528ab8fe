"""`uici import compose FILE`: the services of a compose file as Service files."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from flows.command_line.disk_file import in_repository_data, read_regular
from flows.command_line.import_files import Imported
from infrastructure.errors import InvalidInputError, PermanentError, Problem
from infrastructure.sources.compose_file import load_compose, project_name
from infrastructure.sources.compose_service import Reading, Unset, made_elsewhere, read_services
from infrastructure.sources.draft import Draft, Findings
from infrastructure.sources.tree import FileWords

_REPOSITORY = ".git"


class _DiskTree:
    """Files of this machine by their path from its root.

    A person named the compose file here, so what it names may be read wherever it lies. A
    link, though, may not lead out of the repository, or without one out of the compose
    file's folder: nobody wrote down where it leads.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        above = (folder, *folder.parents)
        self._root = Path(folder.anchor)
        self._home = next((each for each in above if (each / _REPOSITORY).exists()), folder)
        self._max_bytes = max_bytes

    def read(self, path: str) -> bytes | None:
        """A file's content.

        Raises:
            InvalidInputError: it is there, and nothing that is read.
        """
        file = self._root / path
        try:
            real = file.resolve()
            if file.is_dir():
                return None
        except (OSError, ValueError, RuntimeError):  # RuntimeError: links that go in a circle
            real = file  # told by the reader
        if in_repository_data(file) or in_repository_data(real):
            _refuse(path, "what is in a .git folder is not read")
        if real != file and not real.is_relative_to(self._home):
            _refuse(path, f"a link leads out of {self._home}")
        return read_regular(real, shown=path, max_bytes=self._max_bytes)

    def below(self, folder: str) -> list[str]:
        """Not asked for by compose files."""
        del folder
        return []


def _refuse(path: str, why: str) -> NoReturn:
    raise InvalidInputError([Problem(path, 0, 0, why, "name another file")])


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
    place = _place(file)
    folder, root = place.parent, Path(place.anchor)
    findings = Findings()
    loaded = load_compose(
        place.relative_to(root).as_posix(),
        _DiskTree(folder, max_bytes=max_bytes),
        findings,
        max_bytes=max_bytes,
        project=project or project_name(folder.name),
        directory=str(folder),
        words=FileWords(
            shown=lambda path: _named(path, file),
            where="",
            remedy="make it, or write required: false beside its path",
        ),
    )
    if loaded is None or findings.errors:
        raise InvalidInputError(_shown(findings.errors, file))
    drafts = read_services(loaded, findings, Reading(unset=Unset.SECRET))
    if findings.broken:
        raise InvalidInputError(_shown(findings.broken, file))
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


def _place(file: Path) -> Path:
    """Where the compose file really lies.

    Raises:
        PermanentError: there is no such file, or there can be none.
    """
    try:
        place = file.resolve()
        if place.is_file():
            return place
    except (OSError, ValueError, RuntimeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "no file can have such a name"
        raise PermanentError(f"{file} can't be read: {why}: name a compose file") from exc
    raise PermanentError(f"{file} is no file: name a compose file")


def _named(path: str, file: Path) -> str:
    """A file below the compose file's folder as that one was named; others in full."""
    folder = file.resolve().parent
    full = Path(folder.anchor) / path
    below = full.is_relative_to(folder)
    return str(file.parent / full.relative_to(folder) if below else full)


def _shown(problems: list[Problem], file: Path) -> list[Problem]:
    """Problems with their files as a person here would name them."""
    return sorted(
        Problem(_named(p.file, file), p.line, p.column, p.message, p.remedy) for p in set(problems)
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
