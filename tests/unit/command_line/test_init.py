"""`uici init`: a folder that works at once, and nothing where something is already."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import pytest

from flows.command_line.init import Around, init, look_around, sentences
from flows.command_line.preview import preview
from flows.command_line.validation import validate
from flows.listener import RunRequest
from flows.runtime import open_runtime
from infrastructure.config_loader import DEFAULT_DIRECTORY, UniversalConfigLoader
from infrastructure.errors import PermanentError
from infrastructure.service import Mode
from tests.fakes.loop import git

NOTHING = Around("", "", "")


def _unset(_: str) -> None:
    """No variable is set."""


def test_the_folder_is_valid_and_plans_at_once(tmp_path: Path) -> None:
    made = init(tmp_path / "new", mode=Mode.OBSERVE, around=NOTHING)
    assert validate(made.clone, made.config).problems == ()
    config = UniversalConfigLoader(made.config).load()
    assert config.platform.guard.policy.mode is Mode.OBSERVE
    assert config.data_directory == tmp_path / "new" / "data"
    with open_runtime(config) as runtime:
        seen = preview(RunRequest(None, None, None, "a-preview"), runtime, unasked="a test")
    assert seen.desired.refused_revision is None
    assert set(seen.comparison.states) == {"local-docker/example"}
    assert seen.cases == ()


def test_only_what_has_to_differs_from_the_shipped_configuration(tmp_path: Path) -> None:
    around = Around("", "", "http://127.0.0.1:9093")
    made = init(tmp_path / "new", mode=Mode.PROPOSE, around=around)
    changed: set[str] = set()
    for file in sorted(DEFAULT_DIRECTORY.glob("*.yml")):
        lines = (f.read_text().splitlines() for f in (file, made.config / file.name))
        # Only how far a comment stands from its value may change beside them.
        before, after = ([" ".join(line.split()) for line in each] for each in lines)
        changed |= {
            line[1:]
            for line in difflib.unified_diff(before, after, n=0, lineterm="")
            if line.startswith("+") and not line.startswith("+++")
        }
    words = {line.partition("#")[0].strip() for line in changed}
    assert words == {
        f"dataDirectory: {tmp_path}/new/data",
        f"remote: {tmp_path}/new/desired-state.git",
        "seed: ../desired-state",
        "mode: propose",
        "prometheus: []",
    }


def test_the_clone_pushes_to_the_state_repository(tmp_path: Path) -> None:
    made = init(tmp_path / "new", mode=Mode.OBSERVE, around=NOTHING)
    (made.clone / "more.md").write_text("more\n")
    git(made.clone, "add", "-A")
    git(made.clone, "commit", "-qm", "more")
    git(made.clone, "push", "-q")
    assert git(made.folder / "desired-state.git", "log", "-1", "--format=%s", "main") == "more"


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(PermanentError, match="is not empty: name a new folder"):
        init(tmp_path / "mine", mode=Mode.OBSERVE, around=NOTHING)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError):
        init(tmp_path / "file", mode=Mode.OBSERVE, around=NOTHING)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    gone = Around(f"unix://{tmp_path}/no.sock", "", "")
    with pytest.raises(Exception, match=r"no\.sock"):
        init(tmp_path / "new", mode=Mode.OBSERVE, around=gone)
    assert list(tmp_path.iterdir()) == []


def test_what_answers_is_found_in_the_order_of_preference() -> None:
    asked: list[str] = []

    def answers(address: str) -> bool:
        asked.append(address)
        return address.endswith((":9093", "/var/run/docker.sock"))

    around = look_around(_unset, answers)
    assert around == Around("unix:///var/run/docker.sock", "", "http://127.0.0.1:9093")
    assert around.no_engine == ""
    assert asked[0] == "unix:///var/run/docker.sock"


def test_no_other_engine_takes_the_place_of_the_one_that_is_named(tmp_path: Path) -> None:
    """Another one's containers would be desired state of what the person did not mean."""
    named = f"unix://{tmp_path}/no.sock"
    around = look_around({"DOCKER_HOST": named}.get, lambda address: "docker.sock" in address)
    assert (around.docker, around.named) == ("", named)
    made = init(tmp_path / "new", mode=Mode.OBSERVE, around=around)
    told = "\n".join(sentences(made, Path("new"), Mode.OBSERVE))
    assert "DOCKER_HOST names it, so no other was asked" in told
    place = UniversalConfigLoader(made.config).load().environments.environments["local-docker"]
    assert place.connection["host"] == named
    assert [rule.file for rule in place.detect] == [f"{tmp_path}/no.sock"]


def test_of_an_engine_elsewhere_nothing_is_to_be_found_here(tmp_path: Path) -> None:
    around = replace(NOTHING, named="tcp://engine.example:2376")
    made = init(tmp_path / "new", mode=Mode.OBSERVE, around=around)
    place = UniversalConfigLoader(made.config).load().environments.environments["local-docker"]
    assert place.connection["host"] == "tcp://engine.example:2376"
    assert place.detect == ()


def test_the_next_steps_name_the_folder(tmp_path: Path) -> None:
    made = init(tmp_path / "new", mode=Mode.OBSERVE, around=NOTHING)
    told = "\n".join(sentences(made, Path("new"), Mode.OBSERVE))
    assert "uici plan --config new/config" in told
    assert f"export UICI_CONFIG={tmp_path}/new/config" in told
    assert "none answers, see below" in told
    assert "It only looks until" in told


def test_no_engine_is_told_otherwise_than_an_engine_on_which_nothing_runs(tmp_path: Path) -> None:
    around = look_around(_unset, lambda _: False)
    assert "unix:///var/run/docker.sock: " in around.no_engine
    around = replace(around, no_engine=f"unix://{tmp_path}/no.sock: no such socket")
    made = init(tmp_path / "my ops", mode=Mode.OBSERVE, around=around)
    told = "\n".join(sentences(made, Path("my ops"), Mode.OBSERVE))
    assert "an example: NO ENGINE could be asked what runs" in told
    assert f"{tmp_path}/no.sock: no such socket" in told
    assert "systemctl start docker" in told
    assert "uici import docker --config 'my ops/config' -o 'my ops/desired-state'" in told
    asked = replace(made, around=Around("unix:///some.sock", "", ""))
    told = "\n".join(sentences(asked, Path("my ops"), Mode.OBSERVE))
    assert "the engine was asked, and no container runs that is yours" in told
    assert "NO ENGINE" not in told
    assert "systemctl" not in told


def test_again_in_the_same_folder_gets_the_next_step(tmp_path: Path) -> None:
    made = init(tmp_path / "my ops", mode=Mode.OBSERVE, around=NOTHING)
    with pytest.raises(PermanentError) as refused:
        init(made.folder, mode=Mode.OBSERVE, around=NOTHING)
    told = str(refused.value)
    assert f"uici doctor --config '{made.config}'" in told
    assert f"mv '{made.folder}' '{made.folder}.old'" in told
    assert made.config.is_dir()


def test_a_folder_that_no_hint_can_name_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="take another name"):
        init(tmp_path / "my\nops", mode=Mode.OBSERVE, around=NOTHING)
    assert list(tmp_path.iterdir()) == []


def test_a_clone_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"COUNT": "1", "KEY_0": "protocol.file.allow", "VALUE_0": "never"}
    for name, value in settings.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    with pytest.raises(PermanentError, match="git clone failed"):
        init(tmp_path / "new", mode=Mode.OBSERVE, around=NOTHING)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["unix:///proc/1/root/no.sock", "http://a\x01b", "unix://\x00"])
def test_an_engine_that_can_not_be_asked_does_not_answer(host: str) -> None:
    def is_named(name: str) -> str | None:
        return host if name == "DOCKER_HOST" else None

    around = look_around(is_named)
    assert (around.docker, around.named) == ("", host)
    assert around.no_engine


def test_an_empty_desired_state_is_not_valid(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("# nothing yet\n")
    (problem,) = validate(tmp_path, None).problems
    assert "no Service is declared here" in problem.message
    (tmp_path / "uici.yml").write_text("apiVersion: uici/v1\nkind: Pause\nreason: a release\n")
    assert validate(tmp_path, None).problems == ()


def test_the_folder_that_holds_the_configuration_is_told_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = init(tmp_path / "new", mode=Mode.OBSERVE, around=NOTHING)
    (problem,) = validate(None, made.folder).problems
    assert problem.remedy == f"name {made.config}"
    monkeypatch.setenv("UICI_CONFIG", str(tmp_path / "none"))
    (problem,) = validate(None, tmp_path / "none").problems
    assert problem.remedy == "UICI_CONFIG names it: correct or unset it"
