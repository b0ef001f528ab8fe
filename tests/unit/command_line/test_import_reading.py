"""What `uici import compose` and `uici validate` read from disk, and what they refuse to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from executors.docker.membership import Listed
from flows.command_line.commands.importing import import_app
from flows.command_line.folder_tree import FolderTree
from flows.command_line.import_compose import import_compose
from flows.command_line.import_docker import _several
from flows.command_line.import_files import Imported, write
from flows.command_line.validation import validate
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.errors import InvalidInputError, PermanentError
from infrastructure.sources.draft import Draft, Point

LIMIT = 10_000
TOKEN = "ghp_" + "a1B2" * 9


def imported(file: Path, text: str) -> Imported:
    file.write_text(text)
    return import_compose(file, "local-docker", max_bytes=LIMIT, project="shop")


def refused(file: Path, text: str) -> str:
    with pytest.raises((InvalidInputError, PermanentError)) as told:
        imported(file, text)
    assert len(str(told.value).splitlines()) == 1
    return str(told.value)


def with_env_file(name: str) -> str:
    return f"services:\n  web:\n    image: shop:1\n    env_file: {name}\n"


# ── what is no file of ordinary size ────────────────────────────────────────────


def test_a_pipe_a_device_and_a_file_without_end_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.env")
    (tmp_path / "zero.env").symlink_to("/dev/zero")
    (tmp_path / "large.env").write_text("A=b\n" * LIMIT)
    compose = tmp_path / "compose.yml"
    assert "pipe.env: it is no regular file" in refused(compose, with_env_file("pipe.env"))
    assert "zero.env: a link leads out of" in refused(compose, with_env_file("zero.env"))
    said = refused(compose, with_env_file("large.env"))
    assert f"large.env: the file has more than the {LIMIT} bytes allowed" in said
    assert "more than the" in refused(compose, with_env_file("x") + "# \n" * LIMIT)


def test_a_source_reads_no_pipe_and_nothing_too_large(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "large.yml").write_text("#" * (LIMIT + 1))
    tree = FolderTree(tmp_path, max_bytes=LIMIT)
    for name, said in (("pipe.yml", "no regular file"), ("large.yml", "more than the")):
        with pytest.raises(InvalidInputError, match=f"{name}: .*{said}"):
            tree.read(name)


# ── names ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a" * 300, "b/" * 3000])
def test_a_name_that_no_file_can_have_is_one_clear_error(tmp_path: Path, name: str) -> None:
    assert "can't be read: " in refused(tmp_path / "compose.yml", with_env_file(name))
    source = (
        "apiVersion: uici/v1\nkind: Source\nmetadata: {name: shop}\n"
        f"spec:\n  environment: local-docker\n  compose: {name}\n"
    )
    (tmp_path / "state").mkdir()
    (tmp_path / "state/shop.yml").write_text(source)
    (problem,) = validate(tmp_path / "state", None).problems
    assert "can't be read: " in str(problem)
    (tmp_path / "state/shop.yml").write_text(source.replace("compose:", "kubernetes:"))
    assert validate(tmp_path / "state", None).problems


def run(*words: str) -> Result:
    return CliRunner().invoke(import_app, list(words))


@pytest.mark.parametrize("words", [("a" * 300,), ("compose.yml", "-o", "b" * 300)])
def test_a_name_on_the_command_line_that_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yml").write_text("name: shop\nservices: {web: {image: 'shop:1'}}\n")
    found = run("compose", *words)
    assert isinstance(found.exception, PermanentError), found.exception
    assert "File name too long" in str(found.exception)


def test_two_services_that_would_share_a_name_are_told_apart_by_nobody(tmp_path: Path) -> None:
    text = "services:\n  my_web: {image: 'a:1'}\n  My-Web: {image: 'b:1'}\n"
    said = refused(tmp_path / "compose.yml", text)
    assert "compose.yml:3:" in said
    assert "My-Web and my_web (line 2) are both called my-web here" in said


def test_containers_of_two_services_that_would_share_a_name_are_no_replicas() -> None:
    def entry(service: str) -> Listed:
        labels = {"com.docker.compose.service": service, "com.docker.compose.project": "shop"}
        name = f"shop-{service}-1"
        return Listed(name, name, labels)

    drafts = [Draft("my-web", Point("x", 0, 0)), Draft("my-web", Point("y", 0, 0))]
    assert _several("my-web", [entry("my_web"), entry("my_web")], drafts) == ""
    said = _several("my-web", [entry("my_web"), entry("My-Web")], drafts)
    assert "My-Web, my_web would all be called so" in said


def test_no_file_is_written_over_another_of_the_same_import(tmp_path: Path) -> None:
    config = UniversalConfigLoader().load()
    drafts = [(Draft("web", Point(file, 1, 1)), f"Imported from {file}.") for file in ("a", "b")]
    for draft, _ in drafts:
        draft.put(("image",), "shop:1", draft.origin)
    found = Imported("local-docker", drafts)
    with pytest.raises(PermanentError, match=r"web \(Imported from a; Imported from b\)"):
        write(found, config, tmp_path / "state", force=False)
    assert not (tmp_path / "state").exists()


# ── what is missing ─────────────────────────────────────────────────────────────


def test_an_environment_file_that_is_not_there_ends_the_import(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    said = refused(folder / "compose.yml", with_env_file("none.env"))
    assert said.startswith(f"{folder}/compose.yml:4:")
    assert f"there is no file {folder}/none.env (make it, or write required: false" in said
    assert f"no file {tmp_path}/none.env" in refused(
        folder / "compose.yml", with_env_file("../none.env")
    )


def test_an_environment_file_that_is_not_required_may_be_missing(tmp_path: Path) -> None:
    text = with_env_file("[{path: none.env, required: false}]")
    assert [draft.name for draft, _ in imported(tmp_path / "compose.yml", text).drafts] == ["web"]


# ── what is nobody's desired state ──────────────────────────────────────────────


def repository(folder: Path) -> None:
    (folder / ".git").mkdir(parents=True)
    (folder / ".git/config").write_text(f"TOKEN={TOKEN}\n[core] no variable {TOKEN}\n")


@pytest.mark.parametrize("name", ["../.git/config", "../.GIT/config", "inside"])
def test_what_is_in_a_git_folder_is_not_imported(tmp_path: Path, name: str) -> None:
    repository(tmp_path)
    (tmp_path / ".GIT").symlink_to(tmp_path / ".git")
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "inside").symlink_to(tmp_path / ".git/config")
    said = refused(shop / "compose.yml", with_env_file(name))
    assert "what is in a .git folder is not read" in said


def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.env").write_text("A=b\n")
    shop = tmp_path / "home/shop"
    repository(tmp_path / "home")
    shop.mkdir()
    (shop / "out.env").symlink_to(tmp_path / "secret.env")
    (tmp_path / "home/common.env").write_text("COLOUR=green\n")
    (shop / "in.env").symlink_to(tmp_path / "home/common.env")
    assert "a link leads out of" in refused(shop / "compose.yml", with_env_file("out.env"))
    ((draft, _),) = imported(shop / "compose.yml", with_env_file("in.env")).drafts
    assert draft.spec["env"] == {"COLOUR": "green"}


def test_a_source_does_not_read_what_is_in_a_git_folder(tmp_path: Path) -> None:
    repository(tmp_path)
    (tmp_path / "sub/.git").mkdir(parents=True)
    (tmp_path / "sub/.git/a.yml").write_text("a")
    tree = FolderTree(tmp_path, max_bytes=LIMIT)
    assert tree.read(".git/config") is None
    assert tree.read("sub/.Git/a.yml") is None
    assert tree.below("") == []
    state = tmp_path / "state"
    state.mkdir()
    (state / "compose.yml").write_text("name: shop\n" + with_env_file("../.git/config"))
    (state / "shop.yml").write_text(
        "apiVersion: uici/v1\nkind: Source\nmetadata: {name: shop}\n"
        "spec:\n  environment: local-docker\n  compose: compose.yml\n"
    )
    (problem,) = validate(state, None).problems
    assert "there is no file .git/config at this commit" in str(problem)


def test_what_an_import_says_of_a_mistake_holds_no_secret(tmp_path: Path) -> None:
    compose = tmp_path / "compose.yml"
    compose.write_text(f"name: shop\nservices: {{web: {{image: '${{TAG:?{TOKEN}}}'}}}}\n")
    found = run("compose", str(compose), "-o", str(tmp_path / "state"))
    assert isinstance(found.exception, InvalidInputError), found.exception
    assert TOKEN not in str(found.exception)
    assert "TAG has to be set: [redacted]" in str(found.exception)
    secret = tmp_path / f"{TOKEN}.yml"
    found = run("compose", str(secret), "-o", str(tmp_path / "state"))
    assert isinstance(found.exception, PermanentError)
    assert TOKEN not in str(found.exception)
