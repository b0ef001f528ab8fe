"""An attempt is counted by its intent until its outcome is told, and never twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from flows.report import intent_files, report_files
from flows.reporting.counted import counted
from flows.reporting.status import (
    Attempts,
    OpenIntent,
    PastIncident,
    Reported,
    TargetStatus,
    TriedPlan,
    intent_path,
    status_path,
)
from flows.repository.contract import Blob, Listing, Repository
from flows.repository.memory import read_memory
from flows.repository.plumbing import blob_id
from infrastructure.redaction import Redactor
from tests.unit.report.made import NOW, TARGET, case, healed, run_report, status

REDACTOR = Redactor(())
LIMIT = 1_000_000


class Files:
    """A branch as a mapping, as far as the memory reads it."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def read(self, shas: Iterable[str]) -> Mapping[str, bytes]:
        by_id = {blob_id(content): content for content in self.files.values()}
        return {sha: by_id[sha] for sha in shas}

    def listing(self) -> Listing:
        return Listing({p: Blob(blob_id(c), len(c)) for p, c in self.files.items()})


def memory(files: Mapping[str, bytes], limit: int = LIMIT) -> Reported:
    branch = Files(files)
    repository: Repository = branch  # type: ignore[assignment]  # only `read` is asked
    return read_memory(branch.listing(), repository, limit)


def past(run: str, at_minute: int = 0) -> PastIncident:
    return PastIncident(
        at=NOW + timedelta(minutes=at_minute),
        run_id=run,
        spec_digest="0" * 16,
        incident_class="docker-stopped",
        kinds=("Stopped",),
        planner="runbook",
        steps=(),
        result="interrupted",
    )


def attempted(before: TargetStatus, run: str, count: int = 1, keep: int = 9) -> TargetStatus:
    tried = before.attempts.tried if before.attempts else ()
    attempts = Attempts(spec_digest="0" * 16, count=count, last_at=NOW, not_before=NOW, tried=tried)
    history = (*before.history, past(run))[-keep:]
    return before.model_copy(update={"attempts": attempts, "history": history})


def written(files: Mapping[str, bytes | None], onto: Mapping[str, bytes]) -> dict[str, bytes]:
    merged = {**onto, **files}
    return {path: content for path, content in merged.items() if content is not None}


def branch_with(known: TargetStatus) -> dict[str, bytes]:
    report = run_report("run-0", statuses={known.target: known})
    return written(report_files(report, Reported(), redactor=REDACTOR), {})


def intent(branch: dict[str, bytes], after: TargetStatus, run: str = "run-1") -> dict[str, bytes]:
    files = intent_files(
        run,
        NOW,
        "main@sha1:" + "a" * 40,
        [case()],
        statuses={after.target: after},
        redactor=REDACTOR,
        before=memory(branch),
    )
    return written(files, branch)


def test_the_status_file_is_not_written_and_the_attempt_counts_all_the_same() -> None:
    branch = branch_with(status())
    after = attempted(status(), "run-1")
    begun = intent(branch, after)
    assert begun[status_path(TARGET)] == branch[status_path(TARGET)]
    found = memory(begun)
    assert found.statuses[TARGET] == after
    assert found.counted_by == {TARGET: intent_path("run-1")}


def test_what_can_not_be_read_of_an_intent_is_told_and_the_rest_counts() -> None:
    after = attempted(status(), "run-1")
    begun = dict(intent(branch_with(status()), after))
    path = intent_path("run-1")
    told = json.loads(begun[path])
    told["counted"] = [{"target": TARGET, "attempts": {"count": -1}}, *told["counted"]]
    begun[path] = json.dumps(told).encode()
    found = memory(begun)
    assert found.statuses[TARGET] == after
    (damage,) = found.damaged
    assert damage.startswith(f"{path}: counted[0]: ")
    begun[path] = json.dumps({**told, "counted": 5}).encode()
    assert memory(begun).damaged == (f"{path}: counted is no list",)


def test_an_intent_is_read_whatever_limit_people_s_files_have() -> None:
    after = attempted(status(), "run-1")
    begun = intent(branch_with(status()), after)
    limit = max(len(content) for path, content in begun.items() if path.startswith("status/"))
    assert len(begun[intent_path("run-1")]) > limit
    found = memory(begun, limit)
    assert found.damaged == ()
    assert found.statuses[TARGET] == after


def test_a_target_without_a_status_gets_one() -> None:
    begun = intent({}, attempted(status(), "run-1"))
    assert status_path(TARGET) in begun
    assert memory(begun).statuses[TARGET].attempts is not None


def test_a_status_file_that_a_person_writes_anew_loses_no_attempt() -> None:
    begun = intent(branch_with(status()), attempted(status(), "run-1"))
    path = status_path(TARGET)
    for text in (
        json.dumps(json.loads(begun[path])),
        json.dumps(json.loads(begun[path]), indent=7, sort_keys=True),
    ):
        found = memory({**begun, path: text.encode()})
        assert found.statuses[TARGET] == attempted(status(), "run-1")
        assert found.counted_by == {TARGET: intent_path("run-1")}


def test_another_writers_newer_status_stands_with_the_attempt() -> None:
    branch = branch_with(status())
    begun = intent(branch, attempted(status(), "run-1"))
    newer = status(message="another has told of it")
    found = memory(begun | branch_with(newer))
    assert found.statuses[TARGET] == attempted(newer, "run-1")
    assert found.counted_by == {TARGET: intent_path("run-1")}


def test_a_status_that_tells_of_the_attempt_or_of_what_came_after_stands_as_it_is() -> None:
    before = status().model_copy(update={"history": (past("run-0", -5),)})
    begun = intent(branch_with(before), attempted(before, "run-1"))
    outcome = attempted(before, "run-1", count=3)
    recovered = past("run-2", 5).model_copy(update={"result": "recovered"})
    later = before.model_copy(update={"history": (*before.history, recovered)})
    driven_out = before.model_copy(update={"history": (past("run-2", 5), past("run-3", 6))})
    (healed_status,) = healed("run-1").statuses.values()
    assert healed_status.last_incident is not None
    last = healed_status.last_incident.model_copy(update={"run_id": "run-1"})
    healed_by_it = healed_status.model_copy(update={"last_incident": last})
    for told in (outcome, later, driven_out, healed_by_it):
        found = memory(begun | branch_with(told))
        assert found.statuses[TARGET] == told
        assert found.counted_by == {}


def test_an_attempt_upon_what_a_fast_clock_wrote_is_written_whole() -> None:
    ahead = past("run-0", 5).model_copy(update={"result": "recovered"})
    before = status().model_copy(update={"history": (ahead,)})
    after = attempted(before, "run-1")
    begun = intent(branch_with(before), after)
    assert memory(begun).statuses[TARGET] == after
    assert memory(begun).counted_by == {}


def test_the_higher_count_stands_and_what_was_tried() -> None:
    plan = TriedPlan(remedy="r", planner="llm", steps=(), at=NOW, result="failed")
    begun = intent(branch_with(status()), attempted(status(), "run-1"))
    attempts = Attempts(spec_digest="0" * 16, count=4, last_at=NOW, not_before=NOW, tried=(plan,))
    found = memory(begun | branch_with(status().model_copy(update={"attempts": attempts})))
    assert found.statuses[TARGET].attempts == attempts
    assert [p.run_id for p in found.statuses[TARGET].history] == ["run-1"]


def test_attempts_on_a_newer_spec_are_not_taken_back() -> None:
    begun = intent(branch_with(status()), attempted(status(), "run-1"))
    later = NOW + timedelta(minutes=5)
    attempts = Attempts(spec_digest="1" * 16, count=1, last_at=later, not_before=later)
    changes = {"attempts": attempts, "spec_digest": "1" * 16}
    found = memory(begun | branch_with(status().model_copy(update=changes))).statuses[TARGET]
    assert (found.attempts, found.spec_digest) == (attempts, "1" * 16)
    assert [p.run_id for p in found.history] == ["run-1"]


def test_two_intents_upon_the_same_status_count_once() -> None:
    branch = branch_with(status())
    begun = intent(branch, attempted(status(), "run-1"))
    other = intent(branch, attempted(status(), "run-2"), "run-2")
    found = memory(begun | {p: c for p, c in other.items() if p.startswith("intents/")})
    attempts = found.statuses[TARGET].attempts
    assert attempts is not None
    assert attempts.count == 1
    assert len(found.intents) == 2


def test_an_attempt_on_top_of_an_open_one_is_written_whole() -> None:
    begun = intent(branch_with(status()), attempted(status(), "run-1"))
    twice = attempted(memory(begun).statuses[TARGET], "run-2", count=2)
    again = intent(begun, twice, "run-2")
    assert again[status_path(TARGET)] != begun[status_path(TARGET)]
    assert memory(again).statuses[TARGET] == twice


def test_closing_a_dead_runs_intent_keeps_what_it_has_counted() -> None:
    after = attempted(status(), "run-1")
    begun = intent(branch_with(status()), after)
    before = memory(begun)
    files = report_files(run_report("run-2"), before, redactor=REDACTOR, closes=before.intents)
    closed = written(files, begun)
    assert intent_path("run-1") not in closed
    found = memory(closed)
    assert found.statuses[TARGET] == after
    assert found.counted_by == {}


def test_the_runs_own_outcome_replaces_it() -> None:
    begun = intent(branch_with(status()), attempted(status(), "run-1"))
    report = replace(healed("run-1"), intent_commit="c" * 40)
    closed = written(report_files(report, memory(begun), redactor=REDACTOR), begun)
    assert memory(closed).statuses[TARGET] == report.statuses[TARGET]


def test_a_forged_or_damaged_count_counts_nothing() -> None:
    branch = branch_with(status())
    for told in (b'{"counted": 1}', b'{"counted": [{"target": 1}]}', b"[", b'{"counted": [[]]}'):
        found = memory({**branch, "intents/run-9.json": told})
        assert found.statuses[TARGET] == status()
        assert [i.run_id for i in found.intents] == ["run-9"]
        assert isinstance(found.intents[0], OpenIntent)


@given(st.integers(0, 4), st.integers(1, 4), st.booleans())
def test_counting_upon_a_status_gives_what_was_meant(held: int, keep: int, tried: bool) -> None:
    plans = (TriedPlan(remedy="r", planner="llm", steps=(), at=NOW, result="failed"),)
    attempts = Attempts(
        spec_digest="0" * 16, count=1, last_at=NOW, not_before=NOW, tried=plans if tried else ()
    )
    history = tuple(past(f"run-{i}", i - 9) for i in range(held))
    before = status().model_copy(update={"attempts": attempts, "history": history})
    after = attempted(before, "run-9", count=2, keep=keep)
    made = counted(before, after, "f" * 40)
    assert made is None or made.on(before) == after
    assert made is not None or len(after.history) > len(before.history) + 1
