"""The loop's memory as files of the reports branch: statuses, intents, what was refused.

Anyone may have edited them: a file that can't be read is named and counts as absent.
Used by `flows.git_state`; the types are `flows.reporting.status`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from flows.approvals.ledger import Ledger, read_ledger
from flows.approvals.request import APPROVAL_FOLDER
from flows.learning.shelf import Shelf, class_of_path
from flows.reporting.counted import CountedAttempt
from flows.reporting.pages.index import DAY_DEPTH
from flows.reporting.pages.stored import StoredRun, stored_run, unread_run
from flows.reporting.proposal_note import PROPOSAL_FOLDER, ProposalNote, note_path
from flows.reporting.status import (
    INTENT_FOLDER,
    PAGES_PATH,
    REFUSED_PATH,
    REPORT_FOLDER,
    STATUS_FOLDER,
    OpenIntent,
    Reported,
    TargetStatus,
    file_name,
    status_path,
)
from flows.repository.contract import Listing, Repository
from infrastructure.errors import NotFoundError
from infrastructure.pause import PAUSE_PATH, PauseFile, damaged_pause, read_pauses
from infrastructure.service import Moment

_log = structlog.get_logger("uici")

_RUN_ID = 8  # characters of a run id's end in a report's name
_LISTED = 20
_NAMED = 10
# Of an intent, which grows with the targets that a run works on: what it counts must be read
# whatever limit people set to their own files. Some 18,000 targets.
_MAX_INTENT = 16 * 1024 * 1024
# Of the pages' index, which grows with the days that are listed: 366 of them are 100 kB.
_MAX_INDEX = 1024 * 1024
_LATEST = datetime.max.replace(tzinfo=UTC)
_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


def read_memory(listing: Listing, repository: Repository, limit: int) -> Reported:
    """The files of a listing as values.

    Args:
        listing: what stands below `status/`, `intents/`, `knowledge/` …, and `refused.json`.
        repository: reads the contents.
        limit: bytes; a larger file counts as damaged. Intents have a limit of their own.
    """
    damaged = [f"{entry.path}: {entry.why}" for entry in listing.ignored]
    limits = {path: _limit_of(path, limit) for path in listing.files}
    damaged += [
        f"{path}: larger than {limits[path]} bytes"
        for path, blob in listing.files.items()
        if blob.size > limits[path]
    ]
    shas = {path: b.sha for path, b in listing.files.items() if b.size <= limits[path]}
    contents = repository.read(shas.values())
    statuses: dict[str, TargetStatus] = {}
    intents: list[OpenIntent] = []
    attempts: dict[str, list[CountedAttempt]] = {}
    proposals: dict[str, ProposalNote] = {}
    learned: dict[str, bytes] = {}
    asked: dict[str, bytes] = {}
    refused: str | None = None
    pauses = _pauses_without_content(listing, limit)
    for path, sha in sorted(shas.items()):
        folder = path.partition("/")[0]
        try:
            if folder == STATUS_FOLDER and path.endswith(".json"):
                status = _status(path, contents[sha])
                statuses[status.target] = status
            elif folder == INTENT_FOLDER and path.endswith(".json"):
                intents.append(_intent(path, contents[sha]))
                attempts[path] = _attempts(path, contents[sha], damaged)
            elif folder == PROPOSAL_FOLDER and path.endswith(".json"):
                note = _note(path, contents[sha])
                proposals[note.branch] = note
            elif (name := class_of_path(path)) is not None:
                learned[name] = contents[sha]
            elif folder == APPROVAL_FOLDER:
                asked[path] = contents[sha]
            elif path == PAUSE_PATH:
                pauses = read_pauses(path, contents[sha], max_bytes=limit)
            elif path == REFUSED_PATH:
                refused = _text(_json_object(contents[sha]).get("revision"))
        except (ValueError, RecursionError) as exc:
            damaged.append(f"{path}: {_reason(exc)}")
    approvals = read_ledger(asked) if asked else Ledger()
    blobs = {target: shas[status_path(target)] for target in statuses}
    first_told = sorted(intents, key=lambda intent: (intent.at or _LATEST, intent.path))
    counted_by = _counted(statuses, {i.path: attempts[i.path] for i in first_told})
    return Reported(
        statuses,
        refused,
        tuple(intents),
        (*damaged, *approvals.damaged),
        approvals=approvals,
        proposals=proposals,
        knowledge=Shelf(learned),
        pauses=pauses,
        blobs={target: blob for target, blob in blobs.items() if target not in counted_by},
        counted_by=counted_by,
        pages=contents.get(shas.get(PAGES_PATH, "")),
    )


def _counted(
    statuses: dict[str, TargetStatus], attempts: Mapping[str, Sequence[CountedAttempt]]
) -> dict[str, str]:
    """Puts attempts on the statuses that lack them; the intent's path by target.

    A person may write a status file anew as they like: what counts is what it tells.
    """
    found: dict[str, str] = {}
    for path, counted in attempts.items():
        for each in counted:
            status = statuses.get(each.target)
            if status is None or each.target in found or each.told_by(status):
                continue
            statuses[each.target] = each.on(status)
            found[each.target] = path
    return found


def _limit_of(path: str, limit: int) -> int:
    if path == PAGES_PATH:
        return max(limit, _MAX_INDEX)
    return max(limit, _MAX_INTENT) if path.startswith(f"{INTENT_FOLDER}/") else limit


def _attempts(path: str, content: bytes, damaged: list[str]) -> list[CountedAttempt]:
    """What an intent counts; what can't be read of it is named in `damaged`."""
    try:
        told = _json_object(content).get("counted")
    except (ValueError, RecursionError) as exc:
        damaged.append(f"{path}: {_reason(exc)}")
        return []
    if told is not None and not isinstance(told, list):
        damaged.append(f"{path}: counted is no list")
        return []
    found = []
    for number, each in enumerate(told or ()):
        try:
            found.append(CountedAttempt.model_validate(each))
        except ValueError as exc:
            damaged.append(f"{path}: counted[{number}]: {_reason(exc)}")
    return found


def _pauses_without_content(listing: Listing, limit: int) -> tuple[PauseFile, ...]:
    """A pause file that is not read: a link, a folder, too large. It pauses all the same."""
    why = [e.why for e in listing.ignored if e.path == PAUSE_PATH]
    blob = listing.files.get(PAUSE_PATH)
    if blob is not None and blob.size > limit:
        why.append(f"it has more than {limit} bytes")
    folder = f"{PAUSE_PATH}/"
    if any(p.startswith(folder) for p in (*listing.files, *(e.path for e in listing.ignored))):
        why.append("it is a folder")
    return tuple(damaged_pause(PAUSE_PATH, each) for each in why)


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A run's report as it stands in Git: the same twice, for people and for programs.

    `newest` are the paths of the newest reports of all runs, newest first.
    """

    path: str  # without its ending
    markdown: str
    json_text: str
    newest: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What happened, in a line of Markdown."""
        return self.markdown.partition("\n")[0].removeprefix("# ")


def find_report(listing: Listing, repository: Repository, run: str) -> StoredReport:
    """The report of a run; without a name, the newest.

    Args:
        listing: what stands below `reports/`.
        repository: reads the contents.
        run: run id, its last 8 characters, the file's path or name, or its time HHMMSS.

    Raises:
        NotFoundError: there is none, or there are several.
    """
    stems = report_stems(listing)
    if not stems:
        raise NotFoundError(
            "no report yet: a run keeps one when it plans, acts or tells people (in the mode"
            " observe it never does); uici status and uici plan show how all stands"
        )
    wanted = _matching(stems, run) if run else stems[-1:]
    if not wanted:
        newest = stems[-1].rpartition("/")[2]
        raise NotFoundError(
            f"no report of {run}: the newest is {newest}; uici report --list shows more"
        )
    if len(wanted) > 1:
        named = ", ".join(stem.removeprefix("reports/") for stem in wanted[-_NAMED:])
        raise NotFoundError(f"{len(wanted)} reports are called {run}: write one of {named}")
    shas = {end: listing.files[wanted[0] + end].sha for end in (".md", ".json")}
    contents = repository.read(shas.values())
    texts = {end: contents[sha].decode(errors="replace") for end, sha in shas.items()}
    newest_first = tuple(stems[: -_LISTED - 1 : -1])
    return StoredReport(wanted[0], texts[".md"], texts[".json"], newest_first)


def newest_runs(
    listing: Listing, repository: Repository, limit: int, *, max_bytes: int
) -> list[StoredRun]:
    """At most so many reports of a listing, the newest first, as far as indexes tell of them."""
    stems = report_stems(listing)[: -limit - 1 : -1]
    return read_runs(stems, listing, repository, max_bytes=max_bytes)


def read_runs(
    stems: Sequence[str],
    listing: Listing,
    repository: Repository,
    ends: Sequence[str] = (".json", ".md"),
    *,
    max_bytes: int,
) -> list[StoredRun]:
    """These reports, by one reading of their files; a file that is missing tells nothing.

    A report with a file of more than `max_bytes` is not read: its title says so.
    """
    files = {
        path: listing.files[path] for s in stems for e in ends if (path := s + e) in listing.files
    }
    large = {path.rpartition(".")[0]: b.size for path, b in files.items() if b.size > max_bytes}
    for stem, size in large.items():
        _log.warning("report_not_read", path=stem, bytes=size, limit=max_bytes)
    shas = {p: blob.sha for p, blob in files.items() if p.rpartition(".")[0] not in large}
    contents = repository.read(shas.values())

    def content(path: str) -> bytes:
        return contents[shas[path]] if path in shas else b""

    return [
        unread_run(s, large[s], max_bytes)
        if s in large
        else stored_run(s, content(f"{s}.json"), content(f"{s}.md"))
        for s in stems
    ]


def report_stems(listing: Listing) -> list[str]:
    """Paths of reports without their endings, the oldest first.

    A report is two files: the days' pages are none, nor is what a person puts beside them.
    """
    stems = (path.removesuffix(".md") for path in listing.files if path.endswith(".md"))
    return sorted((s for s in stems if f"{s}.json" in listing.files), key=_written)


def _written(stem: str) -> tuple[str, str]:
    """By day and time: those that an older version wrote lie one folder higher."""
    day = "/".join(stem.split("/")[: 1 + DAY_DEPTH])
    return day, stem.rpartition("/")[2]


def _matching(stems: Sequence[str], run: str) -> list[str]:
    """Stems that a person may mean; a file's own path or name goes before all others."""
    asked = run.removesuffix(".md").removesuffix(".json").removeprefix(f"{REPORT_FOLDER}/")
    exact = [s for s in stems if f"/{s}".endswith(f"/{asked}")]
    if exact:
        return exact
    # A name is the time, then the end of the run id.
    end = file_name(run)[-_RUN_ID:].strip("-")
    found = []
    for stem in stems:
        time, _, of_run = stem.rpartition("/")[2].partition("-")
        if run == time or of_run == end:
            found.append(stem)
    return found


def _status(path: str, content: bytes) -> TargetStatus:
    status = TargetStatus.model_validate_json(content)
    if status_path(status.target) != path:
        raise ValueError(f"it is about {status.target}")
    return status


def _note(path: str, content: bytes) -> ProposalNote:
    note = ProposalNote.model_validate_json(content)
    if note_path(note.branch) != path:
        raise ValueError(f"it is about {note.branch}")
    return note


def _intent(path: str, content: bytes) -> OpenIntent:
    """Whatever can be read of it: that it is there is what matters most."""
    run_id = path.rpartition("/")[2].removesuffix(".json")
    try:
        data = _json_object(content)
    except (ValueError, RecursionError):
        return OpenIntent(run_id, path)
    at = data.get("at")
    incidents = data.get("incidents")
    until = data.get("until")
    targets: list[str] = []
    planned: list[str] = []
    for incident in incidents if isinstance(incidents, list) else []:
        named = incident.get("targets") if isinstance(incident, Mapping) else None
        targets += [t for t in named if isinstance(t, str)] if isinstance(named, list) else []
        planned += _planned(incident)
    return OpenIntent(
        run_id=_text(data.get("runId")) or run_id,
        path=path,
        at=_moment(at) if isinstance(at, str) else None,
        desired_revision=_text(data.get("desired")) or "",
        targets=tuple(dict.fromkeys(targets)),
        by=_text(data.get("by")) or "",
        until=_moment(until) if isinstance(until, str) else None,
        planned=tuple(planned),
    )


def _planned(incident: Any) -> list[str]:
    """`restart local/shop` for each step."""
    steps = incident.get("steps") if isinstance(incident, Mapping) else None
    found = [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []
    return [f"{step.get('operation')} {step.get('target')}" for step in found]


def _moment(text: str) -> datetime | None:
    """None: it is no moment that can be compared with others."""
    try:
        return _MOMENT.validate_python(datetime.fromisoformat(text))
    except ValueError:
        return None


def _json_object(content: bytes) -> dict[str, Any]:
    data = json.loads(content)
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])} {first['msg']}".strip()
    return str(error).partition("\n")[0]
