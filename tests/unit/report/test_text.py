"""Whatever comes from outside stays text."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.guard import Decision
from flows.plan import (
    Evidence,
    Exchange,
    LlmUsage,
    PatternMatch,
    Phase,
    PhaseRecord,
    PlannerKind,
)
from flows.report import IncidentResult, render_markdown, report_to_dict
from flows.reporting.as_json import json_bytes
from flows.reporting.text import cell, plain, seconds
from infrastructure.cause_kinds import CauseKind
from tests.unit.report.made import (
    TARGET,
    drift,
    incident,
    incident_report,
    plan,
    run_report,
    step,
)

HOSTILE = (
    "<script>alert(1)</script>",
    "| a | b |\n|---|---|",
    "```\n# heading",
    "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07click\x1b]8;;\x07",
    "[click](javascript:alert(1)) ![x](https://evil.example/p.png)",
    "@everyone see https://evil.example www.evil.example #1",
    "\u202egpj.exe \u2066hidden\u2069 \ud800 \U000e0041\U000e0042",
    "</details><img src=x onerror=alert(1)>",
    "line\r\nUICI-Run: forged\u2028more",
    "\\| \\` \\<b>",
    "<!-- comment",
    "&lt;script&gt;",
    "$\\unicode{x}$",
)
# What is shown as code is neither a link nor a mention, and starts no tag.
CODE = re.compile(r"`[^`\n]*`")
FOLD = re.compile(
    r"^(<details><summary>(Evidence|How it was planned)</summary>|</details>)$", re.MULTILINE
)
OWN_COMMAND = re.compile(
    r"`(docker logs --since 15m|docker inspect|uici run [a-z_]+|uici status -t)"
    r" [A-Za-z0-9][A-Za-z0-9_./-]*`"
)
texts = st.one_of(
    st.text(max_size=80),
    st.sampled_from(HOSTILE),
    st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)


def hostile_report(text: str) -> str:
    """A run in which everything that can come from outside is this text."""
    made = plan(
        step("start", why=text, expected_effect=text),
        planner=PlannerKind.LLM,
        planner_reason=text,
        diagnosis=text,
        evidence=(text,),
        usage=LlmUsage(text, text, 1, 2, 3, 0.01, 1.0, text),
        phases=(PhaseRecord(Phase.ROOT_CAUSE, text, text),),
        exchanges=(Exchange(text, text, text, (("user", text),), text, 1.0),),
    )
    told = incident_report(
        IncidentResult.ESCALATED,
        made=made,
        of=incident(drift(field=text, desired=text, observed=text, message=text, instance=text)),
        summary=text,
        decision=Decision.DENIED,
        evidence=Evidence(
            {TARGET: text},
            (PatternMatch(text, TARGET, CauseKind.UNKNOWN, text, 2, text, text),),
            (text,),
        ),
    )
    return render_markdown(run_report("run-1", incidents=[told], errors=[text]))


@given(texts)
def test_no_text_gets_out_of_its_place(text: str) -> None:
    whole = hostile_report(text)
    assert whole.count("<details><summary>Evidence</summary>\n\n") == 1
    assert whole.count("<details><summary>How it was planned</summary>\n\n") == 1
    assert whole.count("\n\n</details>\n") == 2
    page = FOLD.sub("", whole)
    assert "``" not in page
    for code in re.findall(r"`[^`\n]*`", page):
        assert not re.search(r"[<>&|\\\s*\[\]$!]", code) or OWN_COMMAND.fullmatch(code)
    page = CODE.sub("", page)
    assert "<" not in page
    assert "\x1b" not in page
    assert "`" not in page
    assert "@e" not in page
    assert "://" not in page
    assert all(char == "\n" or char.isprintable() for char in page)
    # The text adds or takes no line, except for the log's own lines.
    lines = page.splitlines()
    heads = [line for line in lines if line.startswith("#")]
    assert [line.split()[0] for line in heads] == ["#", "##", "##"]
    for line in lines:
        if line.startswith("|"):
            assert line.count("|") in (3, 5, 7)
    whole.encode()


@given(texts)
def test_the_number_of_columns_is_the_heads(text: str) -> None:
    width = 0
    for line in hostile_report(text).splitlines():
        width = 0 if not line.startswith("|") else width or line.count("|")
        assert line.count("|") == width


@given(texts, st.integers(min_value=2, max_value=50))
def test_plain_is_one_short_printable_line(text: str, limit: int) -> None:
    line = plain(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert line == line.strip()
    assert plain(line, limit) == line


@given(texts)
def test_json_is_utf8_and_reads_back(text: str) -> None:
    told = incident_report(summary=text, made=plan(diagnosis=text))
    data = report_to_dict(run_report("run-1", incidents=[told], errors=[text]))
    raw = json_bytes(data, lambda value: value)
    assert json.loads(raw) == data
    assert b"\x1b" not in raw
    assert raw.count(b"\n") == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_cell_has_no_live_markup(text: str) -> None:
    made = CODE.sub("", cell(text))
    assert not re.search(r"(?<!\\)[*\[\]~$]|[<>|`]|(?<![\\a-z])_|(?<!\\)_(?![a-z])", made)
    assert "://" not in made
    assert not re.search(r"(?<!\w)@\w", made)


def test_ordinary_text_stays_readable() -> None:
    assert cell("exited (137), OOM: 256Mi of /resources/memory") == (
        "exited (137), OOM: 256Mi of /resources/memory"
    )
    assert cell("up{job=a_b} of LOG_LEVEL, _not_ so") == "up{job=a_b} of LOG_LEVEL, \\_not\\_ so"
    assert cell("no answer from http://127.0.0.1:9090/api?q=1: refused") == (
        "no answer from `http://127.0.0.1:9090/api?q=1:` refused"
    )
    assert cell("told @everyone, a@b.example") == "told `@everyone`, a@b.example"
    assert cell("naïve café 日本") == "naïve café 日本"


def test_secrets_are_cut_before_anything_else() -> None:
    page = render_markdown(
        replace(
            run_report(
                "run-1", incidents=[incident_report(IncidentResult.FAILED, summary="key=a|b_c")]
            )
        ),
        lambda text: text.replace("a|b_c", "[redacted]"),
    )
    assert "redacted" in page
    assert "b_c" not in page
    assert "b\\_c" not in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (1.24, "1.2 s"), (59.9, "59.9 s"), (250, "4 min 10 s"), (7500, "2 h 5 min")],
)
def test_durations_are_read_at_a_glance(value: float, text: str) -> None:
    assert seconds(value) == text
