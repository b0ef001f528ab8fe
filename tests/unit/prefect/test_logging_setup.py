"""How a line of the log looks, and what never stands in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from flows.logging_setup import configure_logging, mirrored_to, plain_line
from infrastructure.config_models import LogSettings
from infrastructure.redaction import Redactor

SECRET = "correct-horse-battery"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def configure(level: str = "info", form: str = "json") -> None:
    settings = LogSettings.model_validate({"level": level, "format": form})
    configure_logging(settings, Redactor((), [SECRET]))


def test_lines_are_json_with_the_event_in_front(capsys: pytest.CaptureFixture[str]) -> None:
    configure()

    structlog.get_logger("uici").info("drift_found", target="a/b", since=None)

    out, err = capsys.readouterr()
    assert out == ""
    assert list(json.loads(err)) == ["timestamp", "level", "event", "target", "since"]


def test_secrets_are_cut_out_however_deep(capsys: pytest.CaptureFixture[str]) -> None:
    configure()

    structlog.get_logger("uici").info("plan_made", steps=[{"parameters": {"x": [SECRET]}}])
    logging.getLogger("prefect.worker").warning("token %s", SECRET)

    err = capsys.readouterr().err
    assert SECRET not in err
    assert err.count("[redacted]") == 2


def test_other_libraries_speak_in_the_same_form_from_warning_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("debug")

    logging.getLogger("httpx").info("not this")
    logging.getLogger("httpx").error("but %s", "this")

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["logger"]) == ("but this", "error", "httpx")


def test_the_level_is_the_configured_one(capsys: pytest.CaptureFixture[str]) -> None:
    configure("warning")

    structlog.get_logger("uici").info("not_this")

    assert capsys.readouterr().err == ""


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure(form="text")

    structlog.get_logger("uici").info("serving", ui="http://127.0.0.1:4200")

    err = capsys.readouterr().err
    assert "serving" in err
    assert "ui=http://127.0.0.1:4200" in err


def test_lines_are_mirrored_redacted_while_a_run_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()
    lines: list[tuple[int, str]] = []
    log = structlog.get_logger("uici")

    with mirrored_to(lambda level, event: lines.append((level, plain_line(event)))):
        log.warning("verdict", reason=SECRET, rule="", error=None, seconds=0)
    log.info("afterwards")

    assert lines == [(logging.WARNING, "verdict reason=[redacted] seconds=0")]
    assert len(capsys.readouterr().err.splitlines()) == 2
