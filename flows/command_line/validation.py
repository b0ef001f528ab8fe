"""`uici validate`: every mistake in configuration and desired state, at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import flows.quick_structlog  # noqa: F401  # before what imports structlog
from executors.translator import CommandTranslator
from flows.command_line.disk_file import in_repository_data, read_regular
from flows.command_line.folder_tree import FolderTree
from flows.llm.prices import unpriced
from flows.open_executors import desired_state_parser, open_executors
from flows.platform_operations import PlatformOperations
from infrastructure.config_loader import (
    DEFAULT_DIRECTORY,
    UniversalConfig,
    UniversalConfigLoader,
    agent_identity,
)
from infrastructure.errors import InvalidInputError, Problem
from infrastructure.secret_references import SecretResolver


class Validated(NamedTuple):
    """What was found. `remarks` are what is no mistake, and what people should know."""

    problems: tuple[Problem, ...]
    services: int
    remarks: tuple[Problem, ...] = ()


def validate(path: Path | None, config: Path | None) -> Validated:
    """All problems, and the number of services.

    Args:
        path: folder of Service files; None: the seed of the embedded state repository.
        config: configuration folder; None: the shipped one.
    """
    try:
        require_folder(config)
        loaded = UniversalConfigLoader(config or DEFAULT_DIRECTORY).load()
    except InvalidInputError as exc:
        return Validated(exc.problems, 0)
    folder = path or loaded.directory / loaded.platform.git.seed
    limit = loaded.platform.git.max_file_bytes
    read_files = _service_files(folder, limit)
    if isinstance(read_files, Problem):
        return Validated((read_files,), 0)
    files, unread, links = read_files
    identity = agent_identity(loaded)
    tree = FolderTree(folder, max_bytes=limit)
    parser = desired_state_parser(loaded, identity)
    read = parser.read(tree.placed(files), tree)
    damaged = (pause.problem() for pause in read.pauses if pause.damaged)
    problems = (*unread, *(tree.shown(problem) for problem in (*read.problems, *damaged)))
    if not read.services and not problems and not read.pauses:
        problems = (Problem(str(folder), 0, 0, "no Service is declared here", _EMPTY_REMEDY),)
    remarks = (*_unpriced(loaded), *links, *(tree.shown(remark) for remark in read.remarks))
    return Validated((*_engine_problems(loaded), *problems), len(read.services), remarks)


def _unpriced(config: UniversalConfig) -> tuple[Problem, ...]:
    """Models without a price, each at the line that names it first."""
    file = config.directory / "agents.yml"
    lines = file.read_text().splitlines()
    prices, found = config.platform.llm.prices, []
    for model in dict.fromkeys(agent.llm.model for agent in config.agents.agents.values()):
        if (wrong := unpriced(model, prices)) is not None:
            told = (n for n, text in enumerate(lines, 1) if model in text)
            line = next(told, 0)
            found.append(Problem(str(file), line, 1 if line else 0, wrong, _PRICE_REMEDY))
    return tuple(found)


_SIGN = "platform.yml"  # each configuration folder has one
_EMPTY_REMEDY = "an empty desired state is refused: nothing would be kept alive"
_PRICE_REMEDY = "add it to llm.prices in platform.yml; of one that costs nothing, with 0"


class _Read(NamedTuple):
    """YAML files of a folder by their path in it, those that can't be read, and links."""

    files: dict[str, bytes]
    unread: tuple[Problem, ...]
    links: tuple[Problem, ...]


def _service_files(folder: Path, max_bytes: int) -> _Read | Problem:
    """What a commit of the folder would hold, by the same rules; or why there is nothing."""
    remedy = "name the folder that holds the Service files"
    if folder.is_file():
        return Problem(str(folder), 0, 0, "it is a file, not a folder", remedy)
    if not folder.is_dir():
        return Problem(str(folder), 0, 0, "there is no such folder", remedy)
    files: dict[str, bytes] = {}
    unread: list[Problem] = []
    links: list[Problem] = []
    for path in _yaml_paths(folder):
        file = folder / path
        if file.is_symlink():
            links.append(Problem(path, 0, 0, "a symbolic link is not followed"))
        elif not file.is_dir():
            try:
                content = read_regular(file, shown=path, max_bytes=max_bytes)
            except InvalidInputError as exc:
                unread += exc.problems
            else:
                files |= {} if content is None else {path: content}
    if not files and not unread:
        return Problem(str(folder), 0, 0, "it holds no .yml or .yaml file", remedy)
    return _Read(files, tuple(unread), tuple(links))


def _yaml_paths(folder: Path) -> list[str]:
    """What is called so below a folder, links and folders too, and nothing of `.git`; in order.

    Thousands of files: texts, because `Path` objects cost more than reading the files.
    """
    found: list[str] = []
    top = len(os.path.join(folder, ""))  # noqa: PTH118 - see above
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not in_repository_data(PurePath(name))]
        below = os.path.join(at, "")[top:]  # noqa: PTH118 - as above
        # A name that only begins with the dot, such as `.yml`, has no ending.
        found += [
            below + name
            for name in (*names, *folders)
            if name.endswith((".yml", ".yaml")) and name.rfind(".") > 0
        ]
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206 - as above


def require_folder(config: Path | None) -> None:
    """Say it once, and not for each file, when a configuration folder is not there.

    Raises:
        InvalidInputError: it is not there, or is no folder.
    """
    if config is not None and not config.is_dir():
        what = "it is no folder" if config.exists() else "there is no such folder"
        remedy = "name a configuration folder, or leave --config out for the shipped one"
        if str(config) == os.environ.get("UICI_CONFIG"):
            remedy = "UICI_CONFIG names it: correct or unset it"
        raise InvalidInputError([Problem(str(config), 0, 0, what, remedy)])
    within = config / "config" if config is not None else Path()
    if config is not None and not (config / _SIGN).exists() and (within / _SIGN).exists():
        what, remedy = "it holds a configuration folder, and is none", f"name {within}"
        raise InvalidInputError([Problem(str(config), 0, 0, what, remedy)])


def _engine_problems(config: UniversalConfig) -> tuple[Problem, ...]:
    """What only the executors know: connections, and primitives that translations name."""
    try:
        executors = open_executors(config, agent_identity(config), SecretResolver())
    except InvalidInputError as exc:
        return exc.problems
    translator = CommandTranslator(config.translations)
    file = str(config.directory / "command_translations.yml")
    known = {
        "platform": PlatformOperations.primitives(),
        **{
            config.environments.environments[name].executor: executor.primitives()
            for name, executor in executors.items()
        },
    }
    for executor in executors.values():
        executor.close()
    return tuple(
        Problem(file, 0, 0, message)
        for name, primitives in known.items()
        for message in translator.check(name, primitives)
    )


def as_data(
    problems: Sequence[Problem], count: int, remarks: Sequence[Problem] = ()
) -> dict[str, Any]:
    """The answer as JSON-able data."""
    return {
        "valid": not problems,
        "services": count,
        "problems": [_as_data(problem) for problem in problems],
        "remarks": [_as_data(remark) for remark in remarks],
    }


def _as_data(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "remedy": problem.remedy,
    }
