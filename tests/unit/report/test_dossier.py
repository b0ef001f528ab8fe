"""A dossier in a report: the whole in JSON, its telling lines on the page before any table."""

from __future__ import annotations

import json
from typing import Any

from flows.plan import Evidence, GitChange, News, PatternMatch
from flows.reporting.as_json import report_to_dict
from flows.reporting.dossier import folded_lines, top_lines
from flows.reporting.markdown import render_markdown
from flows.reporting.text import cell
from infrastructure.cause_kinds import CauseKind
from tests.unit.report.made import TARGET, incident_report, run_report

LINE = "config error: unknown key retries in /etc/api.yml"
MATCH = PatternMatch(
    "bad-configuration",
    TARGET,
    CauseKind.BAD_CONFIGURATION,
    "the process refuses its configuration",
    12,
    LINE,
    "retries",
)
EVIDENCE = Evidence(
    logs={TARGET: f"2026-11-22T11:59:58Z {LINE}"},
    matches=(MATCH,),
    facts=("exit code 1",),
    changes=(
        f"2026-11-22 11:58 {TARGET}: engine: die market-predictor exitCode=1 (12 times)",
        f"2026-11-22 11:50 {TARGET}: commit 898001c01b by ann: api 2.0.0",
        "2026-11-21 09:00 local-docker/db: commit 1111111111 by bob: tidy",
    ),
    dependencies=(
        f"{TARGET} needs local-docker/db: missing",
        f"the deepest broken one: local-docker/db (missing); {TARGET} → local-docker/db",
    ),
    past=(
        f"{TARGET}: tried on this desired state at 2026-11-22 11:55 and did not help: start()",
        f"{TARGET}: 2026-11-20 10:00 Stopped: start() worked (recovered in 3 s)",
    ),
    left_out=("for want of room: 3 facts",),
)


def page(evidence: Evidence) -> str:
    return render_markdown(run_report("r", incidents=[incident_report(evidence=evidence)]))


def test_what_tells_most_stands_before_the_first_table() -> None:
    top = page(EVIDENCE).partition("\n|")[0].split("\n\n")
    assert top[2:] == [
        f"Known error: bad-configuration (retries), 12 times: {MATCH.meaning}: {LINE}",
        "Changed lately: 898001c01b by ann: api 2.0.0 (2026-11-22 11:50 UTC)",
        "Changed lately: local-docker/db: 1111111111 by bob: tidy (2026-11-21 09:00 UTC)",
        f"Broken below: local-docker/db (missing); {TARGET} → local-docker/db",
        "Before: tried on this desired state at 2026-11-22 11:55 and did not help: start()",
        "Before: 2026-11-20 10:00 Stopped: start() worked (recovered in 3 s)",
        "Left out of the dossier: for want of room: 3 facts\n",
    ]


def test_the_rest_is_folded_and_not_repeated() -> None:
    folded = page(EVIDENCE).partition("<details><summary>Evidence</summary>")[2]
    assert "engine: die market-predictor exitCode=1 (12 times)" in folded
    assert "- exit code 1\n" in folded
    assert f"- {TARGET} needs local-docker/db: missing" in folded
    assert "Before" not in folded


def test_a_long_dossier_makes_no_long_page_and_says_so() -> None:
    many = Evidence(
        facts=tuple(f"fact {n}" for n in range(100)),
        past=tuple(f"past {n}" for n in range(100)),
        left_out=tuple(f"cut {n}" for n in range(100)),
    )
    text = page(many)
    assert len(text.splitlines()) < 80
    assert "- and 176 lines more in the JSON report beside this one" in text


def test_json_has_the_whole_dossier() -> None:
    report = run_report("r", incidents=[incident_report(evidence=EVIDENCE)])
    data: dict[str, Any] = json.loads(json.dumps(report_to_dict(report)))
    found = data["incidents"][0]["evidence"]
    assert found["matches"] == [
        {
            "name": "bad-configuration",
            "target": TARGET,
            "cause": "BadConfiguration",
            "meaning": "the process refuses its configuration",
            "count": 12,
            "line": LINE,
            "subject": "retries",
        }
    ]
    assert found["changes"] == list(EVIDENCE.changes)
    assert found["dependencies"] == list(EVIDENCE.dependencies)
    assert found["past"] == list(EVIDENCE.past)
    assert found["logs"] == {TARGET: EVIDENCE.logs[TARGET].splitlines()}
    assert found["leftOut"] == list(EVIDENCE.left_out)


def test_json_of_a_dossier_is_bounded() -> None:
    huge = Evidence(
        logs={TARGET: "x" * 10_000 + "\n" + "line\n" * 10_000},
        facts=tuple("y" * 9_000 for _ in range(1_000)),
    )
    report = run_report("r", incidents=[incident_report(evidence=huge)])
    assert len(json.dumps(report_to_dict(report))) < 250_000


def test_where_a_commit_is_known_to_be_behind_the_fault_the_others_are_folded() -> None:
    lines = (
        f"2026-11-22 11:50 {TARGET}: commit 9ab01cd311 by Bob: mend the typo",
        f"2026-11-22 11:45 {TARGET}: commit f8375ee444 by Ann: shop-web 9",
        f"2026-11-20 10:00 {TARGET}: commit 1111111111 by Eve: an older one",
    )
    change = GitChange("f8375ee444", "Ann", "shop-web 9", News.BROKE, ("9ab01cd311",))
    told = incident_report(evidence=Evidence(changes=lines, git_change=change))
    top = "\n".join(top_lines(told, cell))
    assert "mend the typo" in top
    assert "shop-web 9" in top
    assert "an older one" not in top
    assert "an older one" in "\n".join(folded_lines(told, cell))
    unknown = incident_report(evidence=Evidence(changes=lines[2:]))
    assert "an older one" in "\n".join(top_lines(unknown, cell))
