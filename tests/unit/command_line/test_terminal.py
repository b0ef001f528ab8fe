"""Nothing that a terminal would act upon comes out, whoever wrote what is shown."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime

import pytest

from flows.command_line import doctor, operations, output, report_view
from flows.command_line.finding import Finding, Level
from flows.command_line.output import escape, new_console, new_table
from flows.command_line.propose import show, show_notes
from flows.command_line.report_view import print_stored
from flows.command_line.status_table import print_status
from flows.command_line.terminal import print_json
from flows.proposals.result import Proposal, Result
from flows.reporting.proposal_note import ProposalNote, ProposalState
from flows.reporting.status import (
    Attempts,
    Condition,
    ConditionType,
    LastIncident,
    TargetStatus,
)
from flows.reporting.text import cell
from flows.repository.contract import DesiredState
from flows.repository.memory import StoredReport
from infrastructure.errors import PermanentError

EVIL = "x\x1b[2J\x1b]0;pwn\x07\u202e\x9b31m\u200b\x7f"
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def quiet(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr().out
    assert "x" in told
    assert all(line.isprintable() for line in told.split("\n"))
    return told


def test_json_means_the_same_and_is_spelled_without_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = {"a": [EVIL, "Zoë → 日本"], EVIL: None}
    print_json(data)
    told = quiet(capsys)
    assert json.loads(told) == data
    assert "Zoë → 日本" in told


@pytest.mark.parametrize("answer", [EVIL, [EVIL], {EVIL: EVIL}])
def test_an_operations_answer(capsys: pytest.CaptureFixture[str], answer: object) -> None:
    output.print_outcome({"error": "", "output": answer})
    quiet(capsys)


def test_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_markdown(f"# {EVIL}\n\n- {EVIL}\n")
    quiet(capsys)


def test_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    ready = Condition(
        type=ConditionType.READY,
        status="False",
        reason=EVIL,
        message=EVIL,
        last_transition_time=AT,
    )
    status = TargetStatus(
        target=EVIL,
        observed_revision=EVIL,
        spec_digest=EVIL,
        sync=EVIL,
        health=f"{EVIL}[bold]",
        conditions=(ready,),
    )
    desired = DesiredState("main@none", {})
    print_status(desired, {EVIL: status}, [EVIL], now=AT, noted={EVIL: EVIL})
    assert "[bold]" in quiet(capsys)


@pytest.mark.parametrize(
    ("diagnosis", "words"),
    [
        ("start: did not help: the disk is full", "; the last try: start: did not help"),
        ("the disk is full", "; diagnosis: the disk is full; the last try: start: did not help"),
    ],
)
def test_what_came_of_a_try_is_not_called_a_cause(
    capsys: pytest.CaptureFixture[str], diagnosis: str, words: str
) -> None:
    ready = Condition(
        type=ConditionType.READY,
        status="False",
        reason="Stopped",
        message="it ended",
        last_transition_time=AT,
    )
    status = TargetStatus(
        target="local/web",
        observed_revision="main@sha1:1",
        spec_digest="0",
        sync="Synced",
        health="Degraded",
        conditions=(ready,),
        attempts=Attempts(spec_digest="0", count=1, last_at=AT, not_before=AT),
        last_incident=LastIncident(
            fingerprint="f",
            run_id="r",
            plan_digest="d",
            planner="none",
            result="escalated",
            at=AT,
            diagnosis=diagnosis,
            summary="start: did not help: the disk is full",
        ),
    )
    print_status(DesiredState("main@none", {}), {"local/web": status}, ["local/web"], now=AT)
    told = " ".join(capsys.readouterr().out.split())
    assert words in told
    assert "cause:" not in told


def test_a_backtick_of_others_is_read_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    link = "[docker-stopped](../../../../../knowledge/docker-stopped.yml)"
    output.print_markdown(f"say &#96;x&#96;\n\nLearned: start helped against {link}\n")
    assert capsys.readouterr().out == (
        "say \\`x\\`\n\nLearned: start helped against `uici knowledge docker-stopped`\n"
    )


def test_proposals(capsys: pytest.CaptureFixture[str]) -> None:
    show([Proposal(EVIL, EVIL, Result.WOULD_OPEN, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL)])
    note = ProposalNote(
        target=EVIL,
        field=EVIL,
        old=EVIL,
        new=EVIL,
        spec_digest=EVIL,
        branch=EVIL,
        commit=EVIL,
        state=ProposalState.OPEN,
        at=AT,
        run_id=EVIL,
        pull_request=EVIL,
    )
    show_notes({EVIL: note}, [EVIL])
    quiet(capsys)


def test_what_was_learned_is_shown_by_a_command_and_not_by_a_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    link = "[docker-stopped](../../../../../knowledge/docker-stopped.yml)"
    output.print_markdown(f"Learned: start helped against {link}\n")
    plain = " ".join(terminal.getvalue().split())
    assert "uici knowledge docker-stopped" in plain
    assert "../" not in plain


def test_outside_text_makes_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    console = new_console()
    table = new_table("is")
    table.add_row(escape("sleep 1\n::error::forged\nlocal/web in sync"))
    console.print(table)
    lines = capsys.readouterr().out.splitlines()
    assert not any(line.lstrip().startswith(("::", "local/web")) for line in lines)


def test_a_stored_report_is_data_and_not_what_a_terminal_acts_upon(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_stored(StoredReport("", "", '{"title": "\\u001b[2J", "raw": "\u202e"}'))
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert json.loads(out) == {"title": "\x1b[2J", "raw": "\u202e"}
    for odd in ("{", "[" * 99_999 + "]" * 99_999):
        with pytest.raises(PermanentError, match="can't be read"):
            print_stored(StoredReport("", "", odd))


def test_a_report_that_can_be_read_and_is_too_deep_to_be_printed_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_deep(_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(report_view, "print_json", too_deep)
    with pytest.raises(PermanentError, match="can't be read"):
        print_stored(StoredReport("", "", "[]"))


def test_a_doctors_finding_is_one_line_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show([Finding("state repository", Level.WARNING, f"{EVIL}\n::error::forged [bold]")])
    told = quiet(capsys)
    assert len(told.splitlines()) == 1
    assert "[bold]" in told


def test_an_operation_of_a_configuration_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"name": EVIL, "risk": EVIL, "parameters": {}, "environments": {EVIL: [EVIL]}}
    operations.show(operations.Listing((EVIL,), {"operations": [entry]}))
    quiet(capsys)


def test_the_revision_of_an_odd_branch_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(DesiredState(f"{EVIL}[/bold]@none", {}), {}, [], now=AT)
    assert "[/bold]" in quiet(capsys)


def test_a_value_makes_no_line_of_a_proposals_diff(capsys: pytest.CaptureFixture[str]) -> None:
    diff = "-a: 1\n+a: x\u2028::error::forged\x85::error::too\n"
    show([Proposal("t", "b", Result.WOULD_OPEN, "x", "x", "x\x0c::error::body\n", diff, "", "")])
    assert not any(line.startswith("::") for line in quiet(capsys).split("\n"))


def test_a_status_that_can_not_be_read_is_not_called_unseen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    why = {"local/web": "status/local/web.yml can't be read: it is no mapping"}
    print_status(DesiredState("main@none", {}), {}, ["local/web"], now=AT, unread=why)
    told = " ".join(capsys.readouterr().out.split())
    assert "local/web unreadable status/local/web.yml can't be read: it is no mapping" in told
    assert "not seen yet" not in told


def test_a_piped_report_has_no_entities(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_markdown(cell("a 2>&1 | b <c> `d`") + "\n")
    out = capsys.readouterr().out
    assert "&" not in out.replace("\\&", "")
    assert "2\\>\\&1 \\| b" in out
    output.print_markdown(cell("C:\\data") + "\n")
    assert capsys.readouterr().out == "C:\\\\data\n"
