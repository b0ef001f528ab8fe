"""Streams for fast-import."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.repository.fast_import import Edit, authored, check_path, import_stream
from flows.repository.plumbing import blob_id
from infrastructure.config_models import Author
from infrastructure.errors import PermanentError
from tests.unit.report.made import NOW


def test_commits_stand_on_each_other() -> None:
    author = Author(name="U", email="u@x")
    one = authored("one", author, NOW, (Edit("a", content=b"1"),))
    two = authored("two", author, NOW, (Edit("b", blob="c" * 40), Edit("a")))
    stream = import_stream("refs/heads/r", "d" * 40, [one, two]).decode()
    assert stream.count("commit refs/heads/r\n") == 2
    assert f"from {'d' * 40}\n" in stream
    assert "from :1\n" in stream
    assert stream.index('D "a"') < stream.index(f'M 100644 {"c" * 40} "b"')
    assert stream.endswith("get-mark :2\ndone\n")


@pytest.mark.parametrize("text", ["A\nB <evil@x> 0 +0000", "A <b>", "\0"])
def test_an_author_cannot_break_the_stream(text: str) -> None:
    line = authored("m", Author(name=text, email="u@x" + text), NOW, ()).author.decode()
    assert line.count("<") == line.count(">") == 1
    assert "\n" not in line


@given(st.text(max_size=30))
def test_a_path_is_safe_or_refused(path: str) -> None:
    try:
        safe = check_path(path)
    except PermanentError:
        return
    parts = safe.split("/")
    assert not {"", ".", "..", ".git"} & {part.lower() for part in parts}
    assert "\n" not in safe
    assert "\\" not in safe
    safe.encode()


def test_blob_identity_is_git_s() -> None:
    assert blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
