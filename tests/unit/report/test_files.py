"""What a run leaves in Git, and when it leaves nothing."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from flows.compare import Comparison
from flows.comparison.drift import Drift, HealthStatus, Sync, TargetState
from flows.execute import Execution
from flows.guard import Decision
from flows.observe import SourceFailure
from flows.plan import EngineDeed, Evidence, LlmUsage, PlannerKind, RootCause
from flows.report import (
    IncidentReport,
    IncidentResult,
    commit_message,
    intent_files,
    intent_message,
    news,
    render_markdown,
    report_files,
    report_path,
    report_to_dict,
    same_news,
)
from flows.reporting.proposal_note import ProposalNote, ProposalState
from flows.reporting.run_summary import quiet_name, run_name
from flows.reporting.sentences import came_of_it, planner, waits
from flows.reporting.status import Attempts, OpenIntent, Reported
from flows.reporting.text import fault_seconds, unmarked
from flows.reporting.values import AskedPeople
from flows.repository.contract import DesiredChange, DesiredState
from flows.verify import Check, CheckState
from infrastructure.cause_kinds import CauseKind
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import Problem
from infrastructure.operations import OutcomeStatus
from infrastructure.redaction import Redactor
from tests.unit.report.made import (
    DESIRED,
    NOW,
    TARGET,
    case,
    drift,
    healed,
    incident,
    incident_report,
    outcome,
    plan,
    run_report,
    status,
    step,
)

REDACTOR = Redactor([])
GATEWAY = "local-docker/market-gateway"
NOTHING = Reported()
ASKED = f"http://127.0.0.1:8000/{'deep/' * 12}healthz"
REFUSED = DesiredState(
    "main@sha1:" + "a" * 40,
    {},
    (Problem("shop.yml", 3, 1, "unknown field imge", "did you mean image?"),),
    refused_revision="main@sha1:" + "b" * 40,
)


def escalated(summary: str) -> IncidentReport:
    """Nothing was done but to tell people."""
    made = plan(step("escalate_to_human", parameters={"summary": summary}))
    return incident_report(IncidentResult.ESCALATED, made=made, rule="read-only")


def config_drift(
    field: str = "/resources/memory", desired: str = "64Mi", observed: str = "32Mi"
) -> Drift:
    return drift(
        kind=DriftKind.CONFIG_DRIFT, field=field, desired=desired, observed=observed, since=None
    )


def test_a_healed_incident_in_one_line() -> None:
    page = render_markdown(healed("run-0001"))
    assert page.splitlines()[0] == (
        "# market-predictor: exited (137) → start → recovered in 1.7 s → nothing waits for a person"
    )
    assert "0123456789ab" in page
    assert "0123456789abc" not in page
    assert "exited (137)" in page


def test_what_waits_for_a_person_stands_first() -> None:
    told = incident_report(
        IncidentResult.WAITING,
        acted=False,
        decision=Decision.NEEDS_APPROVAL,
        summary="risk is destructive",
    )
    page = render_markdown(run_report("run-0001", incidents=[told]))
    assert page.splitlines()[0].endswith("→ nothing done → not allowed alone → a person is needed")
    assert (
        "**Waits for you:** market-predictor: UICI may not start it alone (risk low): uici"
        " approve shows and allows it\n" in page
    )


def test_what_waits_for_approval_is_a_command_to_copy() -> None:
    told = incident_report(
        IncidentResult.WAITING,
        acted=False,
        decision=Decision.NEEDS_APPROVAL,
        summary="risk is destructive: uici approve 0123456789ab, until 2026-11-22T16:00+00:00",
    )
    told = replace(told, asked=AskedPeople("0123456789ab", NOW))
    page = render_markdown(run_report("run-0001", incidents=[told]))
    after = page.partition("## Next")[2]
    assert "- `uici approve 0123456789ab` allows start of local-docker/market-predictor" in after
    assert "uici approve 0123456789ab allows it\n" in page


def test_several_incidents_are_named_and_counted() -> None:
    other = incident(drift(target=GATEWAY), targets=[GATEWAY])
    told = [incident_report(), incident_report(IncidentResult.ESCALATED, of=other)]
    report = run_report("run-0001", incidents=told)
    title = "market-gateway: escalated; market-predictor: recovered"
    page = render_markdown(report)
    assert page.startswith(f"# {title} → a person is needed\n")
    heads = [line for line in page.splitlines() if line.startswith("## market-")]
    assert [head.split(":")[0] for head in heads] == ["## market-gateway", "## market-predictor"]
    message = commit_message(report, NOTHING, redactor=REDACTOR)
    assert message.startswith(f"{title}\n\nmarket-predictor: exited (137) → ")


@pytest.mark.parametrize(
    ("result", "summary", "tail"),
    [
        (
            IncidentResult.FAILED,
            "did not help",
            "still broken; after its back-off UICI tries what is left to try, else tells a person",
        ),
        (IncidentResult.HELD, "suspended: moving", "still broken, left alone: suspended: moving"),
        (IncidentResult.UNKNOWN, "", "a person is needed"),
        (IncidentResult.WAITING, "backing off", "still broken: backing off"),
        (IncidentResult.RECOVERED, "", "nothing waits for a person"),
    ],
)
def test_the_title_ends_with_what_is_left(result: IncidentResult, summary: str, tail: str) -> None:
    told = incident_report(result, summary=summary)
    page = render_markdown(run_report("r", incidents=[told]))
    assert page.splitlines()[0].endswith(f" → {tail}")
    worse = render_markdown(run_report("r", incidents=[incident_report(), told]))
    assert worse.splitlines()[0].endswith(f" → {tail}")


def test_what_was_not_seen_is_not_called_settled() -> None:
    away = SourceFailure("local-docker", "prometheus", "connection refused")
    report = replace(healed("r"), failures=(away,))
    end = "→ not known: prometheus of local-docker unreachable"
    assert render_markdown(report).splitlines()[0].endswith(end)
    quiet = replace(run_report("r"), failures=(away,))
    assert render_markdown(quiet).splitlines()[0].endswith(end)


def test_a_dependent_that_is_not_well_yet_is_told() -> None:
    told = incident_report(of=incident(targets=[TARGET, GATEWAY]))
    assert told.verification is not None
    for state, tail in (
        (CheckState.PENDING, "the next run looks at market-gateway again"),
        (CheckState.PASSED, "nothing waits for a person"),
    ):
        check = Check(GATEWAY, "dependent", state, "it needs market-predictor")
        checked = replace(told.verification, checks=(*told.verification.checks, check))
        page = render_markdown(run_report("r", incidents=[replace(told, verification=checked)]))
        assert "market-predictor (also hit: market-gateway): " in page.splitlines()[0]
        assert page.splitlines()[0].endswith(f"→ {tail}")
        sick = state is CheckState.PENDING
        assert ("recovered in 1.7 s; market-gateway not well yet" in page) is sick
        name = run_name(run_report("r", incidents=[replace(told, verification=checked)]))
        assert name == "healed market-predictor: start" + (
            " (market-gateway not well yet)" if sick else ""
        )
        assert ("**Not well yet:** market-gateway: it needs market-predictor" in page) is sick
        assert (" (market-predictor was repaired first) → " in page.splitlines()[0]) is sick
        assert (f"- `uici explain {GATEWAY}`" in page.partition("## Next")[2]) is sick
        assert "no part of this fault" not in page


def test_people_told_is_said_once_and_with_what_they_were_told() -> None:
    told = escalated("local-docker/market-predictor can't work: it refuses its configuration")
    page = render_markdown(run_report("r", incidents=[told]))
    title, _, rest = page.partition("\n")
    assert title == (
        "# market-predictor: exited (137) → people told: The process has ended and its engine did"
        " not start it again"
    )
    assert "**Waits for you:** market-predictor: can't work: it refuses its configuration\n" in rest
    both = render_markdown(run_report("r", incidents=[incident_report(), told]))
    assert both.splitlines()[0].endswith(" → a person is needed")
    assert "escalated to" not in page + both
    assert run_name(run_report("r", incidents=[told])) == "people told of market-predictor"
    assert "uici run OPERATION" not in page


def test_what_was_sent_to_nobody_is_not_called_told() -> None:
    told = replace(escalated("it is full"), not_sent="no Alertmanager in local-docker")
    report = run_report("r", incidents=[told])
    page = render_markdown(report)
    unsent = "; nobody was alerted (no Alertmanager in local-docker)"
    assert run_name(report) == f"a person is needed for market-predictor{unsent}"
    assert page.splitlines()[0] == (
        "# market-predictor: exited (137) → a person is needed:"
        f" The process has ended and its engine did not start it again{unsent}"
    )
    assert "people told" not in page
    assert "| not sent: no Alertmanager in local-docker |" in page
    assert f"**Waits for you:** market-predictor: it is full{unsent}\n" in page
    both = replace(report, incidents=(told, told))
    assert run_name(both) == "a person is needed for 2: market-predictor, market-predictor"
    assert report_to_dict(report)["incidents"][0]["notSent"] == "no Alertmanager in local-docker"


def test_a_fault_that_stays_is_not_called_broken_twice() -> None:
    attempts = Attempts(spec_digest="0" * 16, count=1, last_at=NOW, not_before=NOW)
    known = {TARGET: status().model_copy(update={"attempts": attempts})}
    told = incident_report(IncidentResult.FAILED, summary="start: did not help")
    page = render_markdown(run_report("r", incidents=[told], statuses=known))
    assert (
        "**Still broken:** market-predictor: after its back-off UICI tries what is left to try,"
        " else tells a person (back-off until 2026-11-22 12:00:00Z)\n" in page
    )
    assert "Still broken:** market-predictor: still" not in page


def test_a_quiet_run_says_what_is_left_alone_and_until_when() -> None:
    state = TargetState(TARGET, "0" * 16, Sync.SYNCED, HealthStatus.DEGRADED, "Stopped", "ended")
    seen = Comparison({TARGET: state}, (drift(),), (), (incident(),))
    why = "backing off until 2026-11-22T12:05:00+00:00"
    report = replace(run_report("r"), comparison=seen, left_alone={TARGET: why})
    assert render_markdown(report).splitlines()[0] == (
        f"# drift on 1 of 1 target → market-predictor (Stopped) still differs, left alone: {why}"
    )
    assert report_to_dict(report)["leftAlone"] == {TARGET: why}


def test_all_that_is_left_alone_is_named_and_an_orphan_is_no_target() -> None:
    states = {
        target: TargetState(target, "0", Sync.DRIFTED, HealthStatus.HEALTHY, "Drift", "differs")
        for target in (TARGET, GATEWAY)
    }
    drifts = (
        drift(kind=DriftKind.CONFIG_DRIFT),
        drift(target=GATEWAY),
        drift(target="local-docker/stray", kind=DriftKind.ORPHAN),
    )
    seen = Comparison(states, drifts, (), ())
    why = "the target is only observed"
    quiet = run_report("r")
    report = replace(quiet, comparison=seen, left_alone=dict.fromkeys((TARGET, GATEWAY), why))
    page = render_markdown(report)
    assert page.splitlines()[0] == (
        "# drift on 2 of 2 targets · 1 orphan → market-predictor (ConfigDrift), market-gateway"
        " (Stopped) still differ, left alone: the target is only observed"
    )
    after = page.partition("## Next")[2]
    assert f"- `uici explain {GATEWAY}`\n- `uici plan`\n" in after
    alone = replace(quiet, comparison=replace(seen, drifts=drifts[2:]))
    assert quiet_name(alone) == "in sync · 2 targets · 1 orphan"


def test_a_silence_is_offered_only_where_there_is_an_alertmanager() -> None:
    told = incident_report(of=incident(drift(kind=DriftKind.CONFIG_DRIFT)))
    page = render_markdown(run_report("r", incidents=[told]))
    assert "set spec.suspend in Git or silence it in Alertmanager." in page
    nobody = replace(told, not_sent="no Alertmanager in local-docker")
    page = render_markdown(run_report("r", incidents=[nobody]))
    assert "set spec.suspend in Git.\n" in page
    assert "silence it" not in page


def test_an_open_proposal_waits_for_a_person() -> None:
    note = ProposalNote(
        target=TARGET,
        field="/resources/memory",
        old="256Mi",
        new="320Mi",
        spec_digest="0" * 16,
        branch="uici/propose/market-predictor-memory",
        commit="c" * 40,
        state=ProposalState.OPEN,
        at=NOW,
        run_id="r",
        pull_request="https://forge.example/pr/7",
    )
    report = replace(healed("r"), proposals=(note,))
    page = render_markdown(report)
    words = "market-predictor memory 256Mi → 320Mi (branch uici/propose/market-predictor-memory)"
    assert page.splitlines()[0].endswith(f" → a proposal waits: {words}")
    assert f"- A proposal waits: {words}: `https://forge.example/pr/7`" in page
    assert "nothing waits" not in page
    assert report_to_dict(report)["proposals"][0]["new"] == "320Mi"


def test_what_took_a_step_back_stands_among_the_operations() -> None:
    told = incident_report(IncidentResult.FAILED, summary="start: did not help")
    undone = outcome(step("scale"))
    page = render_markdown(run_report("r", incidents=[replace(told, undone=(undone,))]))
    assert f"| scale | {TARGET} | takes back | succeeded |" in page


def test_every_table_names_a_target_alike() -> None:
    several = incident(drift(), drift(instance="market-predictor-2"))
    page = render_markdown(run_report("r", incidents=[incident_report(of=several)]))
    rows = [line for line in page.splitlines() if "| Stopped |" in line or "| start |" in line]
    assert rows[0].startswith(f"| {TARGET} | Stopped |")
    assert rows[1].startswith(f"| {TARGET} (market-predictor-2) | Stopped |")
    assert f"| start | {TARGET} |" in rows[2]


def test_who_ended_it_stands_beside_the_cause_and_says_when_the_fault_began() -> None:
    deed = EngineDeed(
        "killed through the Docker API (signal 9)", NOW - timedelta(seconds=30), not_ours=True
    )
    made = replace(plan(), cause=RootCause(CauseKind.STOPPED, TARGET))
    of = incident(drift(since=None))
    found = incident_report(of=of, made=made)
    known = replace(found, evidence=replace(found.evidence, ended_by=deed))
    page = unmarked(render_markdown(run_report("r", incidents=[known])))
    assert f"Cause: Stopped at {TARGET}: {deed.told}" in page
    assert f"From the fault at {deed.at:%Y-%m-%d %H:%M:%SZ}" in page
    assert "Nothing tells when the fault began" not in page
    without = unmarked(render_markdown(run_report("r", incidents=[found])))
    assert "Nothing tells when the fault began" in without
    other = replace(known, plan=replace(made, cause=RootCause(CauseKind.CRASH, TARGET)))
    page = unmarked(render_markdown(run_report("r", incidents=[other])))
    assert f"Cause: Crash at {TARGET} Plan:" in page


def test_a_quiet_run_tells_of_drift_within_its_grace() -> None:
    report = run_report("r")
    settling = replace(report.comparison, pending=(drift(),))
    page = render_markdown(replace(report, comparison=settling))
    assert page.splitlines()[0].endswith("→ within grace: market-predictor Stopped")


@pytest.mark.parametrize(
    ("drifts", "words"),
    [
        ([drift(kind=DriftKind.MISSING, observed="none")], "no instance"),
        ([drift(), drift(kind=DriftKind.ALERT_FIRING, field="Down")], "exited (137)"),
        ([drift(kind=DriftKind.ALERT_FIRING, field="Down")], "alert Down fires"),
        (
            [drift(kind=DriftKind.UNHEALTHY, field="/health/http", observed="503 Unavailable")],
            "/health/http answers 503 Unavailable",
        ),
        (
            [
                drift(
                    kind=DriftKind.UNHEALTHY, field="/health/http", observed=f"{ASKED} answers 404"
                )
            ],
            f"`{ASKED}` answers 404",
        ),
        ([drift(kind=DriftKind.SCALE_DRIFT, desired="2", observed="1")], "1 of 2 instances"),
        (
            [
                config_drift("/resources/memory", "64Mi", "32Mi"),
                config_drift("/env/LOG_LEVEL", "info", "debug"),
                config_drift("/env/TOKEN", "(secret)", "(secret), another value"),
            ],
            "memory 32Mi, Git 64Mi; LOG_LEVEL debug, Git info; +1 more",
        ),
    ],
)
def test_what_was_wrong_in_values(drifts: list[Drift], words: str) -> None:
    page = render_markdown(run_report("r", incidents=[incident_report(of=incident(*drifts))]))
    assert html.unescape(page.splitlines()[0].replace("\\", "")).startswith(
        f"# market-predictor: {words} → start → "
    )


def test_a_long_title_is_whole_and_a_subject_ends_between_words() -> None:
    drifts = [config_drift(f"/env/{name * 10}", "declared " * 9, "observed " * 9) for name in "AB"]
    report = run_report("r", incidents=[incident_report(of=incident(*drifts))])
    assert render_markdown(report).splitlines()[0].endswith("→ nothing waits for a person")
    subject = commit_message(report, NOTHING, redactor=REDACTOR).splitlines()[0]
    assert len(subject) <= 122
    assert re.search(r"(observed|declared|Git|B) …$", subject)


def test_a_repair_s_time_is_not_called_the_fault_s() -> None:
    told = incident_report(of=incident(drift(since=None)))
    page = render_markdown(run_report("r", incidents=[told]))
    assert "→ recovered, the repair took 0.7 s →" in page
    assert "Nothing tells when the fault began." in page


def test_what_the_service_said_stands_on_top_and_its_log_is_folded() -> None:
    log = "2026-11-22T11:59:58Z ERROR no route\n" * 2 + "2026-11-22T11:59:59Z ready\n"
    told = incident_report(evidence=Evidence({TARGET: log}, (), ("exit code 137",)))
    lines = render_markdown(run_report("r", incidents=[told])).splitlines()
    assert lines[2] == "Cost: no model asked"
    assert lines[4] == "It said: 2026-11-22T11:59:58Z ERROR no route (2 times)"
    shown = lines[lines.index("<details><summary>Evidence</summary>") :]
    assert shown[2:5] == [
        "- exit code 137",
        f"- {TARGET} said: 2026-11-22T11:59:58Z ERROR no route (2 times)",
        f"- {TARGET} said: 2026-11-22T11:59:59Z ready",
    ]


def test_what_to_run_next() -> None:
    page = render_markdown(run_report("r", incidents=[incident_report()]))
    assert page.partition("## Next\n\n")[2].splitlines() == [
        "- `docker logs --since 15m market-predictor`",
        "- `docker inspect market-predictor`",
        f"- `uici status -t {TARGET}`",
    ]
    told = incident_report(IncidentResult.ESCALATED, acted=False, of=incident(config_drift()))
    page = render_markdown(run_report("r", incidents=[told]))
    assert "docker" not in page.partition("## Next\n\n")[2].replace("local-docker", "")
    assert "To keep a change that was made by hand, make it in Git" in page


def test_a_recreation_tells_old_and_new() -> None:
    made = plan(step("recreate"))
    ended = outcome(made.steps[0], native_ids=("a" * 64, "b" * 64))
    told = replace(incident_report(made=made), execution=Execution("f", (ended,)))
    page = render_markdown(run_report("r", incidents=[told]))
    assert f"{'a' * 12} → {'b' * 12} |" in page


def test_only_a_model_estimates_itself() -> None:
    page = render_markdown(run_report("r", incidents=[incident_report()]))
    assert "estimate" not in page
    made = plan(planner=PlannerKind.LLM, confidence=0.8)
    page = render_markdown(run_report("r", incidents=[incident_report(made=made)]))
    assert "(the model's own estimate: 80 %)" in page


def test_time_counts_from_the_earliest_known_fault() -> None:
    earlier = drift(kind=DriftKind.ALERT_FIRING, since=NOW - timedelta(seconds=61))
    told = incident_report(of=incident(drift(), earlier))
    assert fault_seconds(told) == pytest.approx(60.7)
    unknown = incident_report(of=incident(drift(since=None)))
    assert fault_seconds(unknown) == pytest.approx(0.7)
    assert fault_seconds(incident_report(IncidentResult.FAILED)) is None


def test_a_dependent_s_older_fault_is_not_the_root_s() -> None:
    older = drift(target=GATEWAY, since=NOW - timedelta(hours=3))
    told = incident_report(of=incident(drift(), older, targets=[TARGET, GATEWAY]))
    assert fault_seconds(told) == pytest.approx(1.7)
    page = render_markdown(run_report("r", incidents=[told]))
    assert "From the fault at 2026-11-22 11:59:58Z" in page


def test_files_of_an_incident() -> None:
    report = replace(healed("4e5f-0a1b2c3d"), intent_commit="c" * 40)
    files = report_files(report, NOTHING, redactor=REDACTOR)
    assert set(files) == {
        "reports/2026/11/22/12/00/120000-0a1b2c3d.md",
        "reports/2026/11/22/12/00/120000-0a1b2c3d.json",
        f"status/{TARGET}.json",
        "intents/4e5f-0a1b2c3d.json",
    }
    assert files["intents/4e5f-0a1b2c3d.json"] is None
    assert files == report_files(report, NOTHING, redactor=REDACTOR)


@pytest.mark.parametrize("run_id", ["../../etc", "/", "", "a b\n", "." * 200])
def test_a_run_id_stays_one_part_of_a_path(run_id: str) -> None:
    assert report_path(run_report(run_id)).count("/") == 6
    files = intent_files(run_id, NOW, "main@none", [case()], statuses={}, redactor=REDACTOR)
    [path] = files
    assert path.count("/") == 1
    assert ".." not in path


def test_a_run_without_news_has_no_files() -> None:
    before = Reported({TARGET: status()})
    after = status(at=NOW + timedelta(hours=1))
    assert report_files(run_report("r", statuses={TARGET: after}), before, redactor=REDACTOR) == {}


@pytest.mark.parametrize(
    ("message", "same"), [("87.3 % of 512Mi", True), ("another reason", False)]
)
def test_measured_values_are_no_news_but_words_are(message: str, same: bool) -> None:
    assert same_news(status(message="91 % of 512Mi"), status(message=message)) is same


def test_attempts_and_digests_are_news() -> None:
    attempts = Attempts(spec_digest="0" * 16, count=1, last_at=NOW, not_before=NOW)
    tried = status().model_copy(update={"attempts": attempts})
    assert not same_news(status(), tried)
    assert not same_news(tried, tried.model_copy(update={"spec_digest": "1" * 16}))
    files = report_files(
        run_report("r", statuses={TARGET: tried}), Reported({TARGET: status()}), redactor=REDACTOR
    )
    assert set(files) == {f"status/{TARGET}.json"}


def test_an_incident_that_stands_as_told_is_no_news() -> None:
    held = incident_report(IncidentResult.HELD, rule="read-only")
    report = run_report("r", incidents=[held])
    assert news(report, NOTHING) == (held,)
    assert news(report, Reported({TARGET: status(result="waiting")})) == (held,)
    assert news(report, Reported({TARGET: status(result="held")})) == ()


def test_a_change_of_the_world_is_always_news() -> None:
    report = healed("r")
    assert news(report, Reported({TARGET: status(result="recovered")})) == report.incidents


def test_a_refused_state_is_told_once_and_forgotten_when_repaired() -> None:
    report = run_report("r", desired=REFUSED)
    files = report_files(report, NOTHING, redactor=REDACTOR)
    told = json.loads(files["refused.json"] or b"")
    assert told["revision"] == REFUSED.refused_revision
    assert told["problems"][0]["remedy"] == "did you mean image?"
    page = files["reports/2026/11/22/12/00/120000-r.md"] or b""
    assert b"shop.yml:3:1: unknown field imge" in page
    known = Reported(refused_revision=REFUSED.refused_revision)
    assert report_files(report, known, redactor=REDACTOR) == {}
    repaired = run_report("r")
    assert report_files(repaired, known, redactor=REDACTOR) == {"refused.json": None}
    stale = replace(repaired, desired=replace(DESIRED, stale="away"))
    assert report_files(stale, known, redactor=REDACTOR) == {}


def test_settled_intents_of_dead_runs_go() -> None:
    left = OpenIntent("dead", "intents/dead.json")
    files = report_files(
        run_report("r"), Reported(intents=(left,)), redactor=REDACTOR, closes=[left]
    )
    assert files == {"intents/dead.json": None}


def test_an_error_is_told() -> None:
    report = run_report("r", errors=["the intent could not be committed"])
    assert len(report_files(report, NOTHING, redactor=REDACTOR)) == 2
    message = commit_message(report, NOTHING, redactor=REDACTOR)
    assert message == "error: the intent could not be committed\n"


def test_messages_of_commits_without_an_incident() -> None:
    known = run_report("r", statuses={TARGET: status()})
    assert commit_message(known, NOTHING, redactor=REDACTOR) == (
        "status: market-predictor Synced/Healthy\n"
    )
    many = run_report("r", statuses={f"local/s{n}": status(f"local/s{n}") for n in range(9)})
    assert commit_message(many, NOTHING, redactor=REDACTOR).endswith("(+7 more)\n")
    refused = run_report("r", desired=REFUSED)
    assert commit_message(refused, NOTHING, redactor=REDACTOR).startswith("desired state refused:")


def test_the_subject_of_an_intent() -> None:
    assert intent_message([case()]) == "intent: market-predictor: start\n"


def test_json_leaves_out_what_says_nothing_and_keeps_what_counts() -> None:
    data = report_to_dict(healed("run-0001"))
    assert (data["apiVersion"], data["kind"], data["runId"]) == ("uici/v1", "RunReport", "run-0001")
    [told] = data["incidents"]
    assert told["operations"][0]["nativeIds"] == ["0123456789abcdef" * 4]
    assert told["plan"]["steps"][0]["verdict"] == "allowed"
    assert told["faultToRecoverySeconds"] == pytest.approx(1.7)
    assert "usage" not in told["plan"]
    assert data["finishedAt"] == "2026-11-22T12:00:00.000Z"
    json.dumps(data)


def test_json_tells_no_time_from_a_fault_whose_beginning_nobody_knows() -> None:
    unknown = incident_report(of=incident(drift(since=None)))
    [told] = report_to_dict(run_report("r", incidents=[unknown]))["incidents"]
    assert "faultToRecoverySeconds" not in told


def test_a_status_reads_back_as_it_was() -> None:
    files = report_files(run_report("r", statuses={TARGET: status()}), NOTHING, redactor=REDACTOR)
    assert type(status()).model_validate_json(files[f"status/{TARGET}.json"] or b"") == status()


def test_every_planner_and_result_has_its_words() -> None:
    for who in PlannerKind:
        for result in IncidentResult:
            told = incident_report(result, made=plan(planner=who, runbook=None))
            page = render_markdown(run_report("r", incidents=[told]))
            nobody = who is PlannerKind.NONE
            assert ("Plan: none: " if nobody else f"Plan: {planner(told.plan)} (") in page
            assert came_of_it(told).rstrip(".") in page.splitlines()[0]
            assert told.plan.diagnosis in page


def test_what_an_unknown_outcome_asks_of_a_person() -> None:
    made = plan()
    ended = outcome(
        made.steps[0],
        status=OutcomeStatus.UNKNOWN,
        changed=False,
        error="no answer in 30 s",
        remedy="look at `docker ps`",
    )
    told = replace(
        incident_report(IncidentResult.UNKNOWN, made=made),
        execution=Execution("f", (ended,)),
        verification=None,
    )
    page = render_markdown(run_report("r", incidents=[told]))
    assert "**Waits for you:** market-predictor: look at &#96;docker ps&#96;" in page
    assert "unknown: no answer in 30 s" in page
    assert waits(replace(told, execution=None)).startswith("look whether")


def test_what_was_not_seen_and_what_it_cost_stand_in_the_report() -> None:
    usage = LlmUsage("gpt-x", "https://api", 2, 900, 80, None, 3.2, "v1")
    told = incident_report(made=plan(planner=PlannerKind.LLM, usage=usage))
    skipped = replace(outcome(step("restart")), status=OutcomeStatus.SKIPPED, changed=False)
    told = replace(told, execution=Execution("f", (*told.execution.outcomes, skipped)))  # type: ignore[union-attr]  # built with one
    report = replace(
        run_report("r", incidents=[told], desired=replace(DESIRED, stale="remote away")),
        failures=(SourceFailure("local-docker", "prometheus", "connection refused"),),
    )
    page = render_markdown(report)
    assert "Cost: 980 tokens in 2 requests, price unknown\n" in page
    assert "2 requests, 900 + 80 tokens, price unknown" in page
    assert "local-docker: prometheus: connection refused" in page
    assert "| Stale | remote away |" in page
    assert "| restart |" in page
    assert "restart" not in page.splitlines()[0]


def test_a_fleet_wide_fault_makes_no_endless_page() -> None:
    drifts = [drift(target=f"local/s{n}", instance=None) for n in range(500)]
    told = incident_report(of=incident(*drifts, targets=[f"local/s{n}" for n in range(500)]))
    page = render_markdown(run_report("r", incidents=[told]))
    assert len(page) < 20_000
    assert "and 450 more" in page
    assert "s0 (also hit: s1, s2, s3 +496 more)" in page.splitlines()[0]


def test_who_made_a_refused_commit_stands_on_the_page() -> None:
    change = DesiredChange("b" * 40, NOW, "Ann", "memory 64Xi | <b>")
    page = render_markdown(run_report("r", desired=replace(REFUSED, refused_change=change)))
    assert "- commit bbbbbbbbbb by Ann: memory 64Xi" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("now", "same"), [("1m20s", True), ("40.5s", True), ("1h2m3s", True), ("40 MB", False)]
)
def test_a_time_in_other_units_is_no_news(now: str, same: bool) -> None:
    before = status(message="back-off 40s restarting")
    assert same_news(before, status(message=f"back-off {now} restarting")) is same
