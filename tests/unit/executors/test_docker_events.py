"""What the engine recorded, where health checks have filled all that it keeps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from executors.docker import evidence

Json = dict[str, Any]
WEB = "a" * 64


def recorded(action: str, age: float, kind: str = "container") -> Json:
    actor = {"ID": WEB, "Attributes": {"name": "web"}}
    return {"Type": kind, "Action": action, "time": int(time.time() - age), "Actor": actor}


class Engine:
    """Answers with what it kept."""

    def __init__(self, kept: list[Json]) -> None:
        self._kept = kept

    def events(self, since: float, until: float, filters: Mapping[str, Any]) -> list[Json]:
        kinds = filters.get("type") or ["container", "network"]
        return [e for e in self._kept if since <= e["time"] <= until and e["Type"] in kinds]


def told(kept: list[Json]) -> Json:
    @contextlib.contextmanager
    def session() -> Iterator[Engine]:
        yield Engine(kept)

    job: Any = SimpleNamespace(
        argument=lambda _name, default: default,
        containers=[SimpleNamespace(id=WEB)],
        session=session,
        call=SimpleNamespace(primitive="events"),
        owns=lambda _: False,
    )
    output: Json = evidence.events(job).output
    return output


def test_events_of_health_checks_are_left_out() -> None:
    output = told([recorded("exec_start: check", 60), recorded("die", 30)])
    assert [event["action"] for event in output["events"]] == ["die"]
    assert "note" not in output


def test_where_the_engine_s_memory_is_full_it_is_told_what_may_be_gone() -> None:
    """The kill of some minutes ago may be among it: nobody should take that for "no kill"."""
    kept = [recorded("connect", 100, "network")]
    kept += [recorded("exec_die", 90 - n / 10) for n in range(255)]
    output = told(kept)
    assert output["events"] == []
    assert output["note"].startswith("the engine keeps its last 256 events only")
