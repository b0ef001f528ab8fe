"""The command line's promises: exit codes, one JSON document, one line for a mistake."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from flows.cli import main
from infrastructure.config_loader import DEFAULT_DIRECTORY
from tests.fakes.loop import git, service_yaml, write_config

NO_ENGINE: Mapping[str, Any] = {
    "environments": {"local-docker": {"connection": {"host": "unix:///nowhere/docker.sock"}}}
}


COMMANDS = ("validate", "plan", "reconcile", "status", "report", "operations", "run", "doctor")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def uici(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script in this process."""

    def run(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["uici", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        code = ended.value.code
        return Answer(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state repository with one service."""
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    (work / "market-predictor.yml").write_text(service_yaml("market-predictor"))
    git(work, "add", "-A")
    git(work, "commit", "-qm", "start")
    git(tmp_path, "clone", "-q", "--bare", str(work), str(tmp_path / "state.git"))
    return tmp_path / "state.git"


@pytest.fixture
def config(tmp_path: Path, state: Path) -> str:
    """Configuration over that state, with an engine that does not answer."""
    platform = {"git": {"remote": str(state)}}
    return str(write_config(tmp_path / "config", platform=platform, environments=NO_ENGINE))


def test_help_names_every_command(uici: Run) -> None:
    answer = uici("--help")
    assert answer.code == 0
    for command in (*COMMANDS, "serve", "demo"):
        assert f"\n  {command} " in answer.out


def test_the_version_is_told(uici: Run) -> None:
    answer = uici("--version")
    assert answer.code == 0
    assert re.fullmatch(r"uici \d+\.\d+\.\d+\S*\n", answer.out)


def test_validate_says_valid_or_every_mistake_with_its_place(
    uici: Run, config: str, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "a.yml").write_text(service_yaml("a"))
    assert uici("validate", str(folder), "--config", config).code == 0
    (folder / "b.yml").write_text(service_yaml("b", replicsa=2))
    (folder / "c.yml").write_text("kind: [")
    answer = uici("validate", str(folder), "--config", config)
    assert answer.code == 1
    lines = answer.err.splitlines()
    assert any(
        line.startswith("error: b.yml:") and "did you mean replicas" in line for line in lines
    )
    assert any(line.startswith("error: c.yml:") for line in lines)
    data = uici("validate", str(folder), "--config", config, "--json").data
    assert data["valid"] is False
    assert {problem["file"] for problem in data["problems"]} == {"b.yml", "c.yml"}


def test_a_pull_request_is_told_at_the_files_and_lines_of_its_clone(
    uici: Run, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clone" / "desired"
    folder.mkdir(parents=True)
    (folder / "b.yml").write_text(service_yaml("b", replicsa=2))
    monkeypatch.chdir(tmp_path / "clone")
    answer = uici("validate", "desired", "--config", config, "--annotate", "github")
    assert answer.code == 1
    assert answer.out.startswith("::error file=desired/b.yml,line=")
    issues = uici("validate", "desired", "--config", config, "--annotate", "gitlab").data
    assert {issue["location"]["path"] for issue in issues} == {"desired/b.yml"}
    wrong = uici("validate", "desired", "--config", config, "--annotate", "svn")
    assert wrong.code == 1
    assert "github, gitlab, not svn" in wrong.err


def test_plan_shows_a_branch_as_if_it_were_in_force(uici: Run, config: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    git(work, "checkout", "-q", "-b", "second")
    (work / "second.yml").write_text(service_yaml("second"))
    git(work, "add", "-A")
    git(work, "commit", "-qm", "a second one")
    git(work, "push", "-q", str(tmp_path / "state.git"), "second")
    main_only = uici("plan", "--config", config, "--json").data
    assert set(main_only["states"]) == {"local-docker/market-predictor"}
    proposed = uici("plan", "--config", config, "--branch", "second", "--json").data
    assert set(proposed["states"]) == {"local-docker/market-predictor", "local-docker/second"}
    comment = uici("plan", "--config", config, "--branch", "second", "--markdown").out
    assert "Desired state: `second@sha1:" in comment
    assert set(uici("plan", "--config", config, "--json").data["states"]) == set(
        main_only["states"]
    )


def test_validate_finds_a_wrong_connection_with_its_place(
    uici: Run, tmp_path: Path, state: Path
) -> None:
    broken = {"environments": {"local-docker": {"connection": {"hots": "unix:///x"}}}}
    platform = {"git": {"remote": str(state)}}
    folder = write_config(tmp_path / "config", platform=platform, environments=broken)
    answer = uici("validate", str(tmp_path / "work"), "--config", str(folder))
    assert answer.code == 1
    assert "environments.yml:" in answer.err
    assert "did you mean host" in answer.err


def test_plan_tells_an_unreachable_engine_as_unknown_and_not_as_drift(
    uici: Run, config: str
) -> None:
    answer = uici("plan", "--config", config, "--json")
    assert answer.code == 1
    data = answer.data
    assert data["inSync"] is None
    assert data["drifts"] == []
    (state,) = data["states"].values()
    assert state["health"] == "Unknown"
    assert [failure["source"] for failure in data["failures"]] == ["engine"]
    told = uici("plan", "--config", config).out
    assert "UNKNOWN  1 of 1 targets could not be looked at: local-docker/market-predictor" in told
    assert "in sync" not in told


def test_reconcile_fails_as_plan_does_while_nothing_can_be_seen(uici: Run, config: str) -> None:
    answer = uici("reconcile", "--config", config, "--json")
    assert answer.code == uici("plan", "--config", config).code == 1, "it is no drift"
    assert answer.data["result"] == "drift_remains"  # and it has not converged
    assert answer.data["kind"] == "RunReport"


@pytest.mark.parametrize("command", ["plan", "reconcile"])
def test_an_unknown_target_is_one_line_with_the_known_ones(
    uici: Run, config: str, command: str
) -> None:
    answer = uici(command, "--config", config, "--target", "market-preditcor")
    assert (answer.code, answer.out) == (1, "")
    errors = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "local-docker/market-predictor" in errors[0]


def test_status_and_report_come_from_git(uici: Run, config: str) -> None:
    uici("reconcile", "--config", config)
    data = uici("status", "--config", config, "--json").data
    assert [item["target"] for item in data["items"]] == ["local-docker/market-predictor"]
    assert data["items"][0]["health"] == "Unknown"
    answer = uici("report", "--config", config)
    assert answer.code == 1
    assert "no report yet" in answer.err


def test_status_knows_whom_it_is_asked_about(uici: Run, config: str) -> None:
    known = uici("status", "--config", config, "-t", "market-predictor")
    assert (known.code, "not seen yet" in known.out) == (0, True)
    for words in (["-t", "nosuch"], ["-e", "nosuch"]):
        answer = uici("status", "--config", config, *words)
        assert (answer.code, answer.out) == (1, "")
        (line,) = [line for line in answer.err.splitlines() if line.startswith("error: ")]
        assert "named nosuch (known: local-docker" in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["start", "shop"], "start is an operation, not a command: uici run start shop"),
        (["plan", "nosuch"], "plan takes no nosuch: write -t nosuch"),
        (["status", "a", "b"], "write -t a -t b"),
    ],
)
def test_a_word_in_the_wrong_place_gets_the_right_one(
    uici: Run, words: list[str], told: str
) -> None:
    answer = uici(*words)
    assert answer.code == 1
    assert told in answer.err


def test_validate_takes_a_folder_with_services(uici: Run, config: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    file = tmp_path / "a.yml"
    file.write_text(service_yaml("a"))
    for path, told in (
        (empty, "holds no .yml"),
        (file, "not a folder"),
        (tmp_path / "x", "no such"),
    ):
        answer = uici("validate", str(path), "--config", config)
        assert (answer.code, len(answer.err.splitlines())) == (1, 1)
        assert told in answer.err


def test_validate_reads_what_a_commit_would_hold(uici: Run, config: str, tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside.yml"
    folder.mkdir()
    (folder / "a.yml").write_text(service_yaml("a"))
    outside.write_text("kind: secret of somebody else")
    (folder / "link.yml").symlink_to(outside)
    (folder / ".git").mkdir()
    (folder / ".git" / "b.yml").write_text("nonsense")
    answer = uici("validate", str(folder), "--config", config, "--json")
    assert answer.code == 0, answer
    links = [r for r in answer.data["remarks"] if r["file"] == "link.yml"]
    assert [r["message"] for r in links] == ["a symbolic link is not followed"]
    assert "somebody else" not in answer.out + answer.err
    with (folder / "huge.yml").open("wb") as huge:
        huge.truncate(3 * 1024**3)  # no byte of it is on the disk
    os.mkfifo(folder / "pipe.yml")
    answer = uici("validate", str(folder), "--config", config, "--json")
    assert answer.code == 1
    told = {p["file"]: p["message"] for p in answer.data["problems"]}
    assert "more than the" in told["huge.yml"]
    assert told["pipe.yml"] == "it is no regular file"


def test_reports_are_found_by_every_name_a_person_has(
    uici: Run, config: str, state: Path, tmp_path: Path
) -> None:
    assert "no report yet" in uici("report", "--list", "--config", config).err
    names = (
        "2026/11/21/111105-01a202f3",
        "2026/11/22/111105-0b1b2c3d",
        "2026/11/22/120000-4d5e6f70",
    )
    work = tmp_path / "work"
    git(work, "checkout", "-q", "--orphan", "uici/reports")
    for name in names:
        path = work / "reports" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name[-8:]}: a\\_b\n")
        path.with_suffix(".json").write_text(json.dumps({"name": name}))
    git(work, "add", "reports")
    git(work, "commit", "-qm", "reports")
    git(work, "push", "-q", str(state), "uici/reports")

    def found(*words: str) -> Answer:
        return uici("report", "--config", config, *words)

    for asked in ("01a202f3", "111105-01a202f3", "3f2a9c1e-0000-4000-8000-111101a202f3", names[0]):
        assert found(asked, "--json").data == {"name": names[0]}
    assert found("120000", "--json").data == found("--json").data == {"name": names[2]}
    several = found("111105")
    assert several.code == 1
    assert f"write one of {names[0]}, {names[1]}" in several.err
    assert "the newest is 120000-4d5e6f70" in found("nosuch").err
    lines = found("--list").out.splitlines()[1:]
    assert [line.split() for line in lines] == [
        [name, f"{name[-8:]}:", "a_b"] for name in reversed(names)
    ]


def test_operations_are_listed_with_what_the_model_is_offered(uici: Run, config: str) -> None:
    everything = uici("operations", "--config", config, "--json").data
    names = {entry["name"] for entry in everything["operations"]}
    assert {"restart", "get_logs", "escalate_to_human"} <= names
    one = uici("operations", "--config", config, "-e", "local-docker", "--json").data
    step = json.dumps(one["modelSchema"]["$defs"]["step"])
    assert '"restart"' in step
    assert "get_logs" not in step  # it is looked with
    assert '"get_logs"' in json.dumps(one["modelSchema"]["$defs"]["read"])
    assert "get_logs" in {tool["function"]["name"] for tool in one["modelTools"]["functions"]}
    answer = uici("operations", "--config", config, "-e", "nowhere")
    assert answer.code == 1
    assert "nowhere" in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["explode", "market-predictor"], "explode"),
        (["scale", "market-predictor", "--param", "replicas=many"], "replicas"),
        (["scale", "market-predictor", "--param", "replicas"], "name=value"),
        (["scale", "market-predictor"], "scale needs replicas: add -p replicas=2"),
        (["start", "nobody"], "nobody"),
    ],
)
def test_run_refuses_what_it_does_not_know(
    uici: Run, config: str, words: list[str], told: str
) -> None:
    answer = uici("run", *words, "--config", config)
    assert answer.code == 1
    assert told in answer.err


def test_run_of_a_change_on_an_unknown_world_is_told_and_changes_nothing(
    uici: Run, config: str
) -> None:
    answer = uici("run", "start", "market-predictor", "--config", config, "--json")
    assert answer.code == 2
    (incident,) = answer.data["incidents"]
    assert incident["result"] != "recovered"


def test_doctor_names_what_is_broken_and_how_to_mend_it(uici: Run, config: str) -> None:
    answer = uici("doctor", "--config", config, "--json")
    assert answer.code == 1
    findings = {f["name"]: f for f in answer.data["findings"]}
    assert findings["local-docker: engine"]["level"] == "error"
    assert findings["state repository"]["level"] == "ok"
    assert "llm.apiKey" in findings["LLM"]["detail"]
    assert "local-docker: engine" in uici("doctor", "--config", config).out


def test_doctor_warns_where_nobody_is_sent_what_a_person_has_to_know(
    uici: Run, tmp_path: Path, state: Path
) -> None:
    platform = {"git": {"remote": str(state)}}
    place = {**NO_ENGINE["environments"]["local-docker"], "alertmanager": []}
    silent = write_config(
        tmp_path / "silent",
        platform=platform,
        environments={"environments": {"local-docker": place}},
    )
    findings = uici("doctor", "--config", str(silent), "--json").data["findings"]
    (found,) = [f for f in findings if f["name"] == "local-docker: Alertmanager"]
    assert found["level"] == "warning"
    assert "environments.local-docker.alertmanager" in found["detail"]


def test_doctor_changes_nothing(uici: Run, config: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    findings = {f["name"]: f for f in uici("doctor", "--config", config, "--json").data["findings"]}
    assert findings["state repository"]["level"] == "ok"
    assert "is made by the first run" in findings["data directory"]["detail"]
    assert sorted(tmp_path.rglob("*")) == before


def test_doctor_looks_into_the_embedded_repository_that_is_there(uici: Run, config: str) -> None:
    platform = Path(config) / "platform.yml"
    data = yaml.safe_load(platform.read_text())
    data["git"]["remote"] = None
    data["git"]["seed"] = str(DEFAULT_DIRECTORY / "../../desired-state")
    platform.write_text(yaml.safe_dump(data))

    def told() -> str:
        found = uici("doctor", "--config", config, "--json").data["findings"]
        return str(next(f for f in found if f["name"] == "state repository")["detail"])

    assert told().startswith("embedded: main@sha1:")
    uici("plan", "--config", config)
    embedded = Path(data["dataDirectory"]) / "state.git"
    sha = git(embedded, "rev-parse", "main")
    assert told() == f"embedded: main@sha1:{sha}, 2 services"


def test_doctor_goes_on_where_the_seed_is_missing(uici: Run, config: str) -> None:
    platform = Path(config) / "platform.yml"
    data = yaml.safe_load(platform.read_text())
    data["git"] |= {"remote": None, "seed": "not/there"}
    platform.write_text(yaml.safe_dump(data))
    answer = uici("doctor", "--config", config, "--json")
    findings = {f["name"]: f for f in answer.data["findings"]}
    assert answer.code == 1
    assert findings["state repository"]["level"] == "error"
    assert "git.seed is not/there" in findings["state repository"]["detail"]
    assert "local-docker: engine" in findings


def test_doctor_names_a_data_directory_that_can_not_be_used(
    uici: Run, config: str, tmp_path: Path
) -> None:
    platform = Path(config) / "platform.yml"
    data = yaml.safe_load(platform.read_text())
    (tmp_path / "file").write_text("not a folder")
    data["dataDirectory"] = str(tmp_path / "file" / "data")
    platform.write_text(yaml.safe_dump(data))
    answer = uici("doctor", "--config", config, "--json")
    findings = {f["name"]: f for f in answer.data["findings"]}
    assert answer.code == 1
    assert "is no folder: correct dataDirectory" in findings["data directory"]["detail"]
    for words in (["serve"], ["plan"], ["reconcile"]):
        refused = uici(*words, "--config", config)
        assert refused.code == 1
        assert "data directory" in refused.err
        assert "Traceback" not in refused.err


def test_a_config_folder_that_is_not_there_is_one_clear_line(uici: Run) -> None:
    answer = uici("plan", "--config", "/nowhere")
    assert answer.code == 1
    (line,) = answer.err.splitlines()
    assert line.startswith("error: /nowhere: there is no such folder (name a configuration folder")


def test_state_is_taken_from_the_command_line(uici: Run, tmp_path: Path, state: Path) -> None:
    folder = write_config(tmp_path / "config", environments=NO_ENGINE)
    answer = uici("status", "--config", str(folder), "--state", str(state), "--json")
    assert answer.data["desired"]["services"] == 1


def test_a_mistyped_word_is_an_error_and_not_drift(uici: Run, config: str) -> None:
    assert uici("reconcile", "--config", config, "--mode", "foo").code == 1
    assert uici("plan", "--config", config, "--nonsense").code == 1


def test_an_error_is_one_json_document_too(uici: Run, config: str) -> None:
    answer = uici("plan", "--config", config, "--target", "nobody", "--json")
    assert answer.code == 1
    assert answer.data["kind"] == "Error"
    assert "nobody" in answer.data["errors"][0]


def test_text_from_files_reaches_no_terminal_with_its_escapes(
    uici: Run, config: str, tmp_path: Path
) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "a.yml").write_text(service_yaml("a") + '"\\e[31mfoo\\nerror: fake": 1\n')
    answer = uici("validate", str(folder), "--config", config)
    assert answer.code == 1
    assert "\x1b" not in answer.err
    assert not any(line.startswith("error: fake") for line in answer.err.splitlines())


def test_plan_of_a_refused_commit_is_an_error_and_never_in_sync(
    uici: Run, config: str, tmp_path: Path
) -> None:
    def push(text: str) -> None:
        (tmp_path / "work" / "market-predictor.yml").write_text(text)
        git(tmp_path / "work", "commit", "-qam", "change")
        git(tmp_path / "work", "push", "-q", str(tmp_path / "state.git"), "main")

    assert uici("plan", "--config", config).code == 1  # remembers the good commit
    push("kind: [")
    told = uici("plan", "--config", config)
    assert (told.code, "refused  commit " in told.out) == (1, True)
    data = uici("plan", "--config", config, "--json").data
    assert data["inSync"] is None
    doctor = uici("doctor", "--config", config, "--json").data["findings"]
    [found] = [f for f in doctor if f["name"] == "state repository"]
    assert found["level"] == "warning"
    assert "is refused: market-predictor.yml:2:" in found["detail"]
    comment = uici("plan", "--config", config, "--markdown")
    assert (comment.code, "## uici plan: refused:" in comment.out) == (1, True)


@pytest.mark.parametrize("text", ["kind: [", None])
def test_plan_without_any_service_does_not_say_in_sync(
    uici: Run, config: str, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "work" / "market-predictor.yml"
    file.write_text(text) if text else file.rename(file.with_suffix(".txt"))
    git(tmp_path / "work", "add", "-A")
    git(tmp_path / "work", "commit", "-qm", "none")
    git(tmp_path / "work", "push", "-q", str(tmp_path / "state.git"), "main")
    told = uici("plan", "--config", config)
    assert told.code == 1
    assert "in sync" not in told.out
    assert "nothing  is in force, so nothing was compared" in told.out
    assert uici("plan", "--config", config, "--json").data["inSync"] is None
    assert "as declared" not in uici("plan", "--config", config, "--markdown").out


class Terminal(io.StringIO):
    """A stderr that somebody watches."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("words", "log", "lines"),
    [
        ((), {}, False),
        (("--verbose",), {}, True),
        ((), {"format": "text"}, True),
        ((), {"level": "debug"}, True),
    ],
)
@pytest.mark.parametrize("watched", [True, False])
def test_the_log_is_for_who_asks(
    monkeypatch: pytest.MonkeyPatch,
    state: Path,
    tmp_path: Path,
    *,
    words: tuple[str, ...],
    log: dict[str, str],
    lines: bool,
    watched: bool,
) -> None:
    platform = {"git": {"remote": str(state)}, **({"log": log} if log else {})}
    config = write_config(tmp_path / "config", platform=platform, environments=NO_ENGINE)
    terminal = Terminal() if watched else io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "argv", ["uici", "reconcile", "--config", str(config), *words])
    with pytest.raises(SystemExit):
        main()
    assert ("run_finished" in terminal.getvalue()) is lines
    # What is under way is seen, where somebody looks.
    assert ("writing the report" in terminal.getvalue()) is watched


def test_in_a_pipe_the_log_that_was_asked_for_is_json(uici: Run, config: str) -> None:
    answer = uici("reconcile", "--config", config, "--verbose")
    events = [json.loads(line)["event"] for line in answer.err.splitlines()]
    assert "run_finished" in events
