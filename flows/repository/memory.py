"""The loop's memory as files of the reports branch: statuses, intents, what was refused.

Anyone may have edited them: a file that can't be read is named and counts as absent.
Used by `flows.git_state`; the types are `flows.reporting.status`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from flows.reporting.status import (
    INTENT_FOLDER,
    REFUSED_PATH,
    STATUS_FOLDER,
    OpenIntent,
    Reported,
    TargetStatus,
    status_path,
)
from flows.repository.contract import Listing, Repository
from infrastructure.errors import NotFoundError


def read_memory(listing: Listing, repository: Repository, limit: int) -> Reported:
    """The files of a listing as values.

    Args:
        listing: what stands below `status/` and `intents/`, and `refused.json`.
        repository: reads the contents.
        limit: bytes; a larger file counts as damaged.
    """
    damaged = [f"{entry.path}: {entry.why}" for entry in listing.ignored]
    damaged += [
        f"{p}: larger than {limit} bytes" for p, b in listing.files.items() if b.size > limit
    ]
    shas = {path: blob.sha for path, blob in listing.files.items() if blob.size <= limit}
    contents = repository.read(shas.values())
    statuses: dict[str, TargetStatus] = {}
    intents: list[OpenIntent] = []
    refused: str | None = None
    for path, sha in sorted(shas.items()):
        folder = path.partition("/")[0]
        try:
            if folder == STATUS_FOLDER and path.endswith(".json"):
                status = _status(path, contents[sha])
                statuses[status.target] = status
            elif folder == INTENT_FOLDER and path.endswith(".json"):
                intents.append(_intent(path, contents[sha]))
            elif path == REFUSED_PATH:
                refused = _text(_json_object(contents[sha]).get("revision"))
        except (ValueError, RecursionError) as exc:
            damaged.append(f"{path}: {_reason(exc)}")
    return Reported(statuses, refused, tuple(intents), tuple(damaged))


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A run's report as it stands in Git: the same twice, for people and for programs."""

    path: str  # without its ending
    markdown: str
    json_text: str


def find_report(listing: Listing, repository: Repository, run: str) -> StoredReport:
    """The newest report of a run; without an id, of any run.

    Args:
        listing: what stands below `reports/`.
        repository: reads the contents.
        run: run id, or its last 8 characters as in the file's name.

    Raises:
        NotFoundError: there is none.
    """
    stems = sorted(path.removesuffix(".md") for path in listing.files if path.endswith(".md"))
    # File names carry the last characters of the run id after the time.
    wanted = [stem for stem in stems if run.endswith(stem.rpartition("-")[2]) or not run]
    if not wanted:
        what = f"no report of a run {run}" if run else "no report yet"
        raise NotFoundError(f"{what}: uici status shows what is known of each target")
    shas = {end: listing.files[wanted[-1] + end].sha for end in (".md", ".json")}
    contents = repository.read(shas.values())
    texts = {end: contents[sha].decode(errors="replace") for end, sha in shas.items()}
    return StoredReport(wanted[-1], texts[".md"], texts[".json"])


def _status(path: str, content: bytes) -> TargetStatus:
    status = TargetStatus.model_validate_json(content)
    if status_path(status.target) != path:
        raise ValueError(f"it is about {status.target}")
    return status


def _intent(path: str, content: bytes) -> OpenIntent:
    """Whatever can be read of it: that it is there is what matters most."""
    run_id = path.rpartition("/")[2].removesuffix(".json")
    try:
        data = _json_object(content)
    except (ValueError, RecursionError):
        return OpenIntent(run_id, path)
    at = data.get("at")
    incidents = data.get("incidents")
    targets: list[str] = []
    for incident in incidents if isinstance(incidents, list) else []:
        named = incident.get("targets") if isinstance(incident, Mapping) else None
        targets += [t for t in named if isinstance(t, str)] if isinstance(named, list) else []
    return OpenIntent(
        run_id=_text(data.get("runId")) or run_id,
        path=path,
        at=_moment(at) if isinstance(at, str) else None,
        desired_revision=_text(data.get("desired")) or "",
        targets=tuple(dict.fromkeys(targets)),
    )


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
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
