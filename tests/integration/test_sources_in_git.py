"""Sources at a commit of a real repository: what they name may lie anywhere in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.repository.contract import DesiredState
from tests.fakes.loop import LoopWorld, git, loop_world

SOURCE = """\
apiVersion: uici/v1
kind: Source
metadata: {name: shop}
spec: {compose: ../shop/compose.yml, environment: local-docker}
"""
COMPOSE = "services: {web: {image: 'shop:${TAG}', env_file: web.env, ports: ['%s']}}\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path, platform={"git": {"path": "state"}}) as made:
        git(tmp_path, "clone", "-q", str(made.remote), "work")
        git(tmp_path / "work", "checkout", "-q", "-B", "main")
        yield made


def commit(world: LoopWorld, **files: str | None) -> DesiredState:
    work = world.root / "work"
    for name, text in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
    git(work, "add", "-A")
    git(work, "commit", "-qm", "change")
    git(work, "push", "-q", "origin", "main")
    return world.runtime.git.desired()


FILES = {
    "state/shop.yml": SOURCE,
    "shop/compose.yml": COMPOSE % "80:80",
    "shop/.env": "TAG=1\n",
    "shop/web.env": "A=b\n",
}


def test_a_compose_file_beside_the_state_folder_is_read_with_what_it_names(
    world: LoopWorld,
) -> None:
    desired = commit(world, **FILES)
    assert desired.refused_revision is None
    spec = desired.services["local-docker/web"].spec
    assert (spec.image, spec.env) == ("shop:1", {"A": "b"})
    assert any("shop_default" in str(remark) for remark in desired.problems)


def test_a_mistake_refuses_the_commit_and_the_last_good_one_stays(world: LoopWorld) -> None:
    commit(world, **FILES)
    desired = commit(world, **{"shop/compose.yml": COMPOSE % "80:x"})
    assert desired.refused_revision is not None
    assert str(desired.problems[0]).startswith("shop/compose.yml:1:")
    assert desired.services["local-docker/web"].spec.image == "shop:1"
    again = commit(world, **{"shop/compose.yml": COMPOSE % "81:80", "shop/.env": "TAG=2\n"})
    assert again.refused_revision is None
    assert again.services["local-docker/web"].spec.image == "shop:2"


def test_a_file_that_is_gone_too_large_or_a_link_is_told(world: LoopWorld) -> None:
    desired = commit(world, **{**FILES, "shop/web.env": "A=" + "b" * 2_000_000})
    assert "more than 1048576" in str(desired.problems)
    desired = commit(world, **{"shop/web.env": None})
    assert "there is no file shop/web.env at this commit" in str(desired.problems)
    (world.root / "work/shop/web.env").symlink_to("/etc/hostname")
    desired = commit(world)
    assert "there is no file shop/web.env at this commit" in str(desired.problems)
