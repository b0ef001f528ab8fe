"""What a pull request is told: mistakes at their lines, and what would change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.command_line.annotations import Style, annotated, placed
from flows.command_line.plan_view import print_preview
from flows.command_line.preview import preview
from flows.command_line.pull_request import MARKER, comment
from flows.listener import RunRequest
from infrastructure.errors import Problem
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

TITLE = "title=uici validate"
WRONG_TOLD = "imge is not known (did you mean image?)"
CHECK: dict[str, Any] = {"compare": {"grace": {"confirmAfter": "0s"}}}
ASKED = RunRequest(None, None, None, "a-preview")
WRONG = Problem("desired/shop.yml", 7, 3, "imge is not known", "did you mean image?")
WHOLE = Problem("desired/a,b:c.yml", 0, 0, "100% wrong\nin two lines")
REMARK = Problem("desired/shop.yml", 2, 1, "no health check")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path, platform=CHECK) as made:
        made.commit(shop=service_yaml("shop"))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        made.run()
        yield made


def told(world: LoopWorld) -> str:
    seen = preview(ASKED, world.runtime, unasked="a test")
    return comment(seen, world.runtime.registry, world.runtime.redactor.text)


def test_github_is_told_by_workflow_commands() -> None:
    assert annotated(Style.GITHUB, [WRONG, WHOLE], [REMARK]).splitlines() == [
        f"::error file=desired/shop.yml,line=7,col=3,{TITLE}::{WRONG_TOLD}",
        f"::error file=desired/a%2Cb%3Ac.yml,{TITLE}::100%25 wrong%0Ain two lines",
        f"::warning file=desired/shop.yml,line=2,col=1,{TITLE}::no health check",
    ]


@given(st.text(), st.text())
def test_no_text_of_others_begins_a_command_of_its_own(file: str, message: str) -> None:
    told = annotated(Style.GITHUB, [Problem(file, 1, 1, message)], [])
    assert "\n" not in told
    assert "\r" not in told
    assert told.count(",title=") >= 1
    assert told.startswith("::error file=")


def test_gitlab_is_told_by_a_code_quality_report() -> None:
    issues = json.loads(annotated(Style.GITLAB, [WRONG, WHOLE], [REMARK]))
    assert [issue["severity"] for issue in issues] == ["major", "major", "info"]
    assert issues[0]["location"] == {"path": "desired/shop.yml", "lines": {"begin": 7}}
    assert issues[1]["location"]["lines"]["begin"] == 1
    assert len({issue["fingerprint"] for issue in issues}) == 3
    assert json.loads(annotated(Style.GITLAB, [], [])) == []


def test_nothing_to_change_is_said_in_the_headline(world: LoopWorld) -> None:
    assert told(world).splitlines()[:2] == [
        MARKER,
        "## uici plan: nothing to change: 1 of 1 target as declared",
    ]


def test_what_would_change_has_its_risk_and_who_has_to_approve(tmp_path: Path) -> None:
    asking = {**CHECK, "guard": {"policy": {"allowUpTo": "read", "approveUpTo": "high"}}}
    with loop_world(tmp_path, platform=asking) as world:
        world.commit(shop=service_yaml("shop"))
        for service in world.runtime.git.desired().services.values():
            world.engine.run(service)
        world.run()
        world.commit(shop=service_yaml("shop", image="shop:2.0.0"))
        text = told(world)
    head, *rest = text.splitlines()[1:]
    assert head.startswith("## uici plan: 1 target would change, ")
    assert head.endswith("only with a person's word")
    row = next(line for line in rest if "ImageDrift" in line or "/image" in line)
    assert row.index("shop:1.0.0") < row.index("shop:2.0.0")
    step = next(line for line in rest if line.startswith("| ") and "a person has to" in line)
    assert "| high |" in step


def test_a_text_of_others_is_no_markup_in_the_comment(world: LoopWorld) -> None:
    hostile = "x | y <script>alert(1)</script> @everyone ![](http://evil.example/x.png)"
    world.commit(shop=service_yaml("shop", env={"LEVEL": hostile}))
    text = told(world)
    assert "<script>" not in text
    inert = text.replace("`@everyone`", "").replace("`http://evil.example/x.png`", "")
    assert "@everyone" not in inert
    assert "evil.example" not in inert


def test_a_refused_state_is_told_with_its_mistakes(world: LoopWorld) -> None:
    world.commit(shop=service_yaml("shop").replace("image:", "imge:"))
    text = told(world)
    assert "**Refused**" in text
    assert "imge" in text


def test_where_nothing_was_ever_valid_nothing_is_called_superfluous(tmp_path: Path) -> None:
    with loop_world(tmp_path, platform=CHECK) as world:
        world.commit(shop=service_yaml("shop").replace("image:", "imge:"))
        world.engine.add("somebody", labels={"uici.target": "local-docker/gone"})
        text = told(world)
    assert "the desired state is not valid, nothing is in force" in text
    assert "Orphan" not in text
    assert "@none" not in text
    assert "**Refused**: commit " in text
    assert "by ann" in text


def test_in_a_terminal_nothing_is_called_superfluous_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with loop_world(tmp_path, platform=CHECK) as world:
        world.commit(shop=service_yaml("shop").replace("image:", "imge:"))
        world.engine.add("somebody", labels={"uici.target": "local-docker/gone"})
        seen = preview(ASKED, world.runtime, unasked="a test")
        print_preview(seen, world.runtime.redactor.text)
    shown = capsys.readouterr().out
    assert "nothing  is in force" in shown
    assert "Orphan" not in shown


def test_a_branch_s_name_ends_no_code_in_the_comment(world: LoopWorld) -> None:
    seen = preview(ASKED, world.runtime, unasked="a test")
    named = replace(seen.desired, revision="a`<img>@everyone`@sha1:1")
    text = comment(replace(seen, desired=named), world.runtime.registry, str)
    assert "Desired state: `a'<img>@everyone'@sha1:1`" in text


def test_a_secret_is_cut_out_before_a_reason_is_cut_short(world: LoopWorld) -> None:
    world.commit(shop=service_yaml("shop", image="shop:2"))
    seen = preview(ASKED, world.runtime, unasked="a test")
    [case] = seen.cases
    long = tuple(replace(v, reason="a" * 190 + "hunter2-and-more") for v in case.verdicts)
    asked = replace(seen, cases=(replace(case, verdicts=long),))
    text = comment(asked, world.runtime.registry, lambda t: t.replace("hunter2-and-more", "?"))
    assert "aaa?" in text
    assert "hunter2" not in text


def test_a_change_at_the_end_of_a_long_value_is_shown(world: LoopWorld) -> None:
    long = f"echo {'a' * 230}"
    world.commit(shop=service_yaml("shop", command=["sh", "-c", long]))
    for container in world.engine.containers.values():
        container.command = ("sh", "-c", long)
    world.run()
    world.commit(shop=service_yaml("shop", command=["sh", "-c", f"{long} ; wget evil"]))
    row = next(line for line in told(world).splitlines() if "/command" in line)
    cells = [each.strip() for each in row.split("|")]
    assert cells[4] != cells[5]
    assert "; wget evil" in cells[5]


def test_a_link_is_named_and_not_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "desired").mkdir()
    (tmp_path / "desired" / "link.yml").symlink_to("/etc/passwd")
    [found] = placed([Problem("link.yml", 0, 0, "is a link")], tmp_path / "desired")
    assert found.file == "desired/link.yml"
