"""Two values are told apart where they differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.report import render_markdown
from flows.reporting.text import plain, unmarked
from flows.reporting.wrong import apart
from infrastructure.drift_kinds import DriftKind
from tests.unit.report.made import drift, incident, incident_report, run_report

SERVE = "python -m http.server --directory /srv/www/market/predictor/assets --bind 0.0.0.0 8080"
SECRET = "sk-abcdefghijklmnopqrstuvwx"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("8080", "8081", ("8080", "8081")),
        (SERVE, SERVE[:-1] + "1", ("…--bind 0.0.0.0 8080", "…--bind 0.0.0.0 8081")),
        (SERVE, SERVE + " --cgi", ("…--bind 0.0.0.0 8080", "…--bind 0.0.0.0 8080 --cgi")),
        ("a" * 90 + "b", "a" * 90 + "c", ("…" + "a" * 38 + "b", "…" + "a" * 38 + "c")),
        ("x" + "b" * 90, "y" + "b" * 90, ("x" + "b" * 38 + "…", "y" + "b" * 38 + "…")),
        ("same " * 20, "same " * 20, ("same " * 7 + "same…", "same " * 7 + "same…")),
    ],
)
def test_the_part_that_differs_is_shown(first: str, second: str, told: tuple[str, str]) -> None:
    assert apart(first, second, 40) == told


@given(st.text(alphabet="ab /.", max_size=90), st.text(alphabet="ab /.", max_size=90))
def test_what_differs_is_told_apart_within_its_limit(first: str, second: str) -> None:
    told = apart(first, second, 40)
    assert all(len(text) <= 40 for text in told)
    assert (told[0] == told[1]) == (plain(first) == plain(second))


def test_two_commands_differ_in_the_headline_and_in_the_table() -> None:
    long = f"{SERVE} --log {'x' * 150}"
    found = drift(
        kind=DriftKind.CONFIG_DRIFT, field="/command", desired=f"{long} -v", observed=f"{long} -q"
    )
    page = render_markdown(run_report("r", incidents=[incident_report(of=incident(found))]))
    title = unmarked(page.splitlines()[0])
    assert "command …-q, Git …-v → start" in title
    row = next(line for line in page.splitlines() if "| ConfigDrift |" in line)
    assert "x -v | …" in row
    assert "x -q |" in row


def test_a_secret_is_cut_out_before_the_values_are() -> None:
    def redact(text: str) -> str:
        return text.replace(SECRET, "[redacted]")

    found = drift(
        kind=DriftKind.CONFIG_DRIFT,
        field="/command",
        desired=f"{SERVE} --key {SECRET} -v",
        observed=f"{SERVE} --key {SECRET} -q",
    )
    told = incident_report(of=incident(found))
    page = render_markdown(run_report("r", incidents=[told]), redact)
    assert not any(part in page for part in (SECRET, SECRET[:12], SECRET[12:]))
