"""What a run leaves on its page: report with timeline and links, drift, plan, progress."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from markdown_it import MarkdownIt

from flows.guard import Decision
from flows.listener import NullListener, RunRequest
from flows.prefect_edge.links import Places
from flows.prefect_edge.progress import Progress
from flows.prefect_edge.run_page import Artifact, RunPage
from flows.report import render_markdown
from flows.reporting.values import IncidentResult, RunReport
from infrastructure.redaction import Redactor
from tests.fakes import run_reports as fake

REQUEST = RunRequest(environments=None, targets=None, mode=None, run_id="r1")
REDACTOR = Redactor([r"sk-[a-z]{16,}"])
COMMIT = "https://git.example.com/o/n/commit/{sha}"


def artifacts(report: RunReport) -> dict[str, Artifact]:
    page = RunPage(
        lambda each: render_markdown(each, REDACTOR.text), Places(commit=COMMIT), REDACTOR.text
    )
    return {each.key: each for each in page.artifacts(report)}


def test_a_quiet_run_leaves_nothing() -> None:
    assert artifacts(fake.quiet_run(REQUEST, NullListener())) == {}


def test_a_healed_incident_is_told_with_timeline_and_links_once() -> None:
    made = artifacts(fake.healing_run(REQUEST, NullListener()))
    assert list(made) == ["uici-report", "uici-drift", "uici-plan"]
    text = made["uici-report"].data
    assert text.startswith("# market-predictor: ")
    assert text.count("| Timeline |") == 1
    assert text.count("## Links") == 1
    assert COMMIT.replace("{sha}", "a" * 40) in text
    (row,) = json.loads(made["uici-plan"].data)
    assert (row["operation"], row["result"]) == ("start", "succeeded")
    assert row["verdict"].startswith("allowed")
    assert row["why"] == "start the stopped instances"


def test_a_step_that_waits_says_so_in_the_plan() -> None:
    waiting = fake.unresolved_run(
        REQUEST,
        NullListener(),
        result=IncidentResult.WAITING,
        decision=Decision.NEEDS_APPROVAL,
    )
    (row,) = json.loads(artifacts(waiting)["uici-plan"].data)
    assert row["verdict"] == "needs approval (always-approve): a person decides"
    assert (row["result"], row["seconds"]) == ("not run", None)


def test_no_secret_and_no_markup_of_others_reaches_the_page() -> None:
    finished = fake.healing_run(REQUEST, NullListener())
    (incident,) = finished.incidents
    hostile = f"<img src=x onerror=alert(1)> [x](javascript:1) {fake.SECRET}\n# heading"
    step = replace(incident.plan.steps[0], why=hostile)
    verdict = replace(incident.verdicts[0], step=step, reason=hostile)
    drift = replace(incident.incident.drifts[0], observed=hostile)
    changed = replace(
        incident,
        incident=replace(incident.incident, drifts=(drift,)),
        plan=replace(incident.plan, steps=(step,), diagnosis=hostile),
        verdicts=(verdict,),
    )
    made = artifacts(replace(finished, incidents=(changed,)))
    everything = "\n".join(each.data + each.description for each in made.values())
    assert fake.SECRET not in everything
    html = MarkdownIt().enable("table").render(made["uici-report"].data)
    assert "<img" not in html
    assert re.findall(r'href="(?!https://git\.example\.com/o/n/commit/)', html) == []
    assert html.count("<h1>") == 1


def test_progress_grows_from_nothing_to_all() -> None:
    progress = Progress()
    assert progress.begun() is None
    progress.judged("a", 2)
    progress.judged("b", 0)
    shown = [progress.begun()]
    for _ in range(2):
        shown.append(progress.operation("a", "start …", ended=False))
        shown.append(progress.operation("a", "start: succeeded", ended=True))
    shown.append(progress.operation("b", "tell", ended=True))
    shown.append(progress.verified("a", "recovered"))
    percents = [each.percent for each in shown if each is not None]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0.0, 100.0)
    assert Progress.ended("healed").percent == 100.0
