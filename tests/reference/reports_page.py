"""Makes docs/images/reports.png again: `python -m tests.reference.reports_page`, by chromium.

The page is rendered by the code that publishes it, of a made-up month.
"""

from __future__ import annotations

import subprocess
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from markdown_it import MarkdownIt

from flows.reporting.pages.chart import recoveries_chart
from flows.reporting.pages.index import DayCount
from flows.reporting.pages.status_page import CHART, Standing, badges, render_status
from flows.reporting.status import (
    Attempts,
    Condition,
    ConditionType,
    LastIncident,
    TargetStatus,
)

PICTURE = Path(__file__).parents[2] / "docs/images/reports.png"
NOW = datetime(2026, 11, 22, 14, 5, 11, tzinfo=UTC)
DAYS = 30
# The look of a forge's page, roughly.
STYLE = """
body {font: 15px/1.5 sans-serif; max-width: 1080px; margin: 24px auto; color: #1f2328}
h1, h2 {border-bottom: 1px solid #d1d9e0; padding-bottom: 6px}
table {border-collapse: collapse} td, th {border: 1px solid #d1d9e0; padding: 5px 11px}
th {background: #f6f8fa} a {color: #0969da; text-decoration: none} code {background: #eff1f3}
"""


def target(name: str, *, health: str = "Healthy", why: str = "", minutes: int = 0) -> TargetStatus:
    """A status as a run writes it; with `why`, one that people have to look at."""
    at = NOW - timedelta(minutes=minutes)
    ready = Condition(
        type=ConditionType.READY,
        status="True" if not why else "False",
        reason="Healthy" if not why else "Unhealthy",
        message=why,
        last_transition_time=at,
    )
    stalled = Condition(
        type=ConditionType.STALLED,
        status="True",
        reason="AttemptsUsedUp",
        message=why,
        last_transition_time=at,
    )
    last = LastIncident(
        fingerprint="f",
        run_id="run-5d0812ac" if why else "run-77c01be4",
        plan_digest="d",
        planner="runbook",
        result="escalated" if why else "recovered",
        at=at,
    )
    return TargetStatus(
        target=f"local-docker/{name}",
        observed_revision="main@sha1:" + "a" * 40,
        spec_digest="0",
        sync="Synced",
        health=health,
        conditions=(ready, stalled) if why else (ready,),
        attempts=Attempts(spec_digest="0", count=3, last_at=at, not_before=at) if why else None,
        last_incident=last if minutes else None,
    )


def standing() -> Standing:
    """One service that waits for a person among those that are well."""
    probe = "/health answers 500 since 13:41:02Z"
    statuses = [
        target("market-gateway", health="Degraded", why=probe, minutes=24),
        target("market-predictor", minutes=190),
        *(target(name) for name in ("market-db", "market-feed", "news-reader", "trade-log")),
    ]
    days: dict[date, DayCount] = {}
    for back in range(DAYS):
        well, bad = (back * 7 + 3) % 6, int(back % 9 == 0)
        results = {"escalated": bad, "recovered": well} if bad else {"recovered": well}
        seconds = well * (1.4 + back % 3)
        days[NOW.date() - timedelta(days=back)] = DayCount(well + bad, "", results, seconds, well)
    folder = f"reports/{NOW:%Y/%m/%d}"
    reports = {
        "5d0812ac": f"{folder}/13/134455-5d0812ac",
        "77c01be4": f"{folder}/10/105511-77c01be4",
    }
    return Standing(
        {status.target: status for status in statuses},
        days,
        last_report=reports["5d0812ac"],
        last_at=NOW - timedelta(minutes=20),
        reports=reports,
    )


def main(picture: Path) -> None:
    """Write the picture."""
    shown = standing()
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        for path, content in {
            CHART: recoveries_chart(shown.days, count=DAYS),
            **badges(shown),
        }.items():
            (top / path).parent.mkdir(exist_ok=True)
            (top / path).write_bytes(content)
        text = render_status(shown, rows=20, redact=str)
        html = MarkdownIt("commonmark").enable("table").render(text)
        page = top / "page.html"
        page.write_text(f"<meta charset=utf-8><style>{STYLE}</style>{html}")
        command = (
            "chromium --headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars"
            " --disable-background-networking --window-size=1160,1180"
        )
        subprocess.run(
            [
                *command.split(),
                f"--user-data-dir={top}/user",
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


if __name__ == "__main__":
    main(PICTURE)
