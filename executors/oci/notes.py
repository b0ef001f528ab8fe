"""Notes in tags: the time of the last start, which no API tells.

An update replaces all of a thing's tags. So they are read just before, and written only if
nobody changed the thing in between.
"""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from executors.oci.answers import Resource, parse
from executors.oci.job import Job
from executors.oci.membership import STARTED_TAG
from executors.oci.session import Request
from executors.oci.settings import Api
from infrastructure.errors import ConflictError, UiciError

log = structlog.get_logger("uici")

# Writers that change the same thing at the same moment are few; a lost note costs little.
_TRIES = 5


def note_start(job: Job, api: Api, kind: str, thing: Resource) -> None:
    """Note that `thing` was started now; other tags stay as they are.

    Without the note the start is done all the same; verification then can't tell it.

    Args:
        job: the call.
        api: the service that has the thing.
        kind: its name in that service's operations: "instance".
        thing: what was started.
    """
    started = datetime.now(UTC).isoformat()
    try:
        for left in reversed(range(_TRIES)):
            try:
                return _write(job, api, kind, thing, started)
            except ConflictError:  # somebody changed it since it was read
                if not left:
                    raise
    except UiciError as exc:
        log.warning("oci_start_not_noted", instance=thing.name, error=str(exc))


def _write(job: Job, api: Api, kind: str, thing: Resource, started: str) -> None:
    what = f"note the start of {thing.name}"
    now = job.cloud.ask(Request(api, f"get_{kind}", (thing.id,), what=what), job.deadline)
    tags = parse(Resource, now.data, what=what, keep_raw=False).freeform_tags or {}
    reply = job.cloud.ask(
        Request(
            api,
            f"update_{kind}",
            (thing.id, {"freeformTags": {**tags, STARTED_TAG: started}}),
            {"if_match": now.etag} if now.etag else {},
            what=what,
            mutates=True,
        ),
        job.deadline,
    )
    if reply.work_request:
        work = Api.CONTAINERS if api is Api.CONTAINERS else Api.WORK
        job.waiting.for_work(work, reply.work_request, what=what)
