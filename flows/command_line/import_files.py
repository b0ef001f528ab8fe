"""Drafts of services → files of desired state that `uici validate` accepts.

Whatever was imported from where: secrets become references, what the rules for desired
state refuse is left out with its reason, and no file that exists is touched unasked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.open_executors import desired_state_parser
from infrastructure.config_loader import UniversalConfig, agent_identity
from infrastructure.errors import PermanentError, Problem
from infrastructure.json_schemas import service_schema
from infrastructure.redaction import Redactor, SecretKeys
from infrastructure.sources.draft import Draft
from infrastructure.sources.secrets import hide_secrets
from infrastructure.sources.service_file import SCHEMA_FILE, service_text
from infrastructure.state_rules import SecretRules


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import found.

    Attributes:
        environment: where the services run.
        drafts: each with a sentence about where it came from.
        left_out: what is not in any file, and why.
    """

    environment: str
    drafts: Sequence[tuple[Draft, str]]
    left_out: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """Files that were written, and everything that was left out.

    Attributes:
        files: without the schema.
        left_out: what is in no file, and why.
        comments: what the files' own comments say was left out of them, `name: sentence`.
    """

    files: tuple[Path, ...]
    left_out: tuple[str, ...]
    comments: tuple[str, ...] = ()


def the_environment(config: UniversalConfig, wanted: str | None, executor: str) -> str:
    """The environment to import from.

    Raises:
        PermanentError: it is not there, or there are several and none is named.
    """
    known = config.environments.environments
    fitting = [name for name, each in known.items() if each.executor == executor]
    if wanted is not None and wanted not in fitting:
        raise PermanentError(
            f"{wanted} is no {executor} environment of environments.yml;"
            f" {', '.join(fitting) or 'none'} is"
        )
    if wanted is None and len(fitting) != 1:
        raise PermanentError(
            f"environments.yml has {len(fitting)} {executor} environments: name one with -e"
        )
    return wanted or fitting[0]


def write(found: Imported, config: UniversalConfig, folder: Path, *, force: bool) -> Written:
    """Write a file for each draft.

    Args:
        found: what was imported; its drafts are changed.
        config: rules for secrets and for desired state.
        folder: made if it is not there.
        force: whether files that exist are replaced.

    Raises:
        PermanentError: files exist already (nothing is written then), or can't be written.
    """
    left_out = list(found.left_out)
    texts, comments = _texts(found, config, left_out)
    taken = [folder / name for name in texts if (folder / name).exists()]
    if taken and not force:
        names = ", ".join(str(path) for path in taken)
        raise PermanentError(f"{names} exists already: choose another --output, or --force")
    contents = dict(texts)
    if not (folder / SCHEMA_FILE).exists():
        contents[SCHEMA_FILE] = service_schema()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as exc:
        raise PermanentError(f"{folder} can't be written: {exc.strerror or exc}") from exc
    files = tuple(folder / name for name in texts)
    return Written(files, tuple(dict.fromkeys(left_out)), tuple(comments))


def _texts(
    found: Imported, config: UniversalConfig, left_out: list[str]
) -> tuple[dict[str, str], list[str]]:
    """File name → text, of all drafts that are right, and what these lack.

    The others' reasons join `left_out`.
    """
    secrets = config.platform.secrets
    redactor = Redactor(secrets.redact_patterns, key_patterns=secrets.key_patterns)
    rules = SecretRules(SecretKeys(secrets.key_patterns), redactor)
    for draft, _ in found.drafts:
        hide_secrets(draft, rules)
        draft.left_out = [redactor.text(sentence) for sentence in draft.left_out]
    parser = desired_state_parser(config, agent_identity(config))
    drafts = list(found.drafts)
    _refuse_namesakes(drafts)
    while True:
        _drop_lost_dependencies([draft for draft, _ in drafts])
        texts = {
            f"{draft.name}.yml": service_text(draft, found.environment, origin=origin)
            for draft, origin in drafts
        }
        _, problems = parser.parse({name: text.encode() for name, text in texts.items()})
        wrong = _by_file(problems)
        if not wrong:
            lacks = [f"{d.name}: {said}" for d, _ in drafts for said in dict.fromkeys(d.left_out)]
            return texts, lacks
        for name, reasons in wrong.items():
            left_out.append(f"{name.removesuffix('.yml')}: {'; '.join(reasons)}")
        drafts = [each for each in drafts if f"{each[0].name}.yml" not in wrong]


def _refuse_namesakes(drafts: Iterable[tuple[Draft, str]]) -> None:
    """Two services of one name would be one file.

    Raises:
        PermanentError: there are two.
    """
    seen: dict[str, str] = {}
    for draft, origin in drafts:
        if draft.name in seen:
            first, second = (text.rstrip(".") for text in (seen[draft.name], origin))
            raise PermanentError(
                f"two services would be called {draft.name} ({first}; {second}): rename one of them"
            )
        seen[draft.name] = origin


def _by_file(problems: Iterable[Problem]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for problem in problems:
        found.setdefault(problem.file, []).append(problem.message)
    return found


def _drop_lost_dependencies(drafts: Sequence[Draft]) -> None:
    """A service that was not imported can't be depended on."""
    names = {draft.name for draft in drafts}
    for draft in drafts:
        wanted = draft.spec.get("dependsOn", [])
        lost = [name for name in wanted if name not in names]
        if not lost:
            continue
        draft.left_out.append(f"the dependency on {', '.join(lost)}, which is not imported")
        kept = [name for name in wanted if name in names]
        if kept:
            draft.spec["dependsOn"] = kept
        else:
            del draft.spec["dependsOn"]
