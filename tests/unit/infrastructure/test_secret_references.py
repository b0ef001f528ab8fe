from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infrastructure.errors import PermanentError
from infrastructure.redaction import REDACTED, Redactor
from infrastructure.secret_references import SecretResolver


def test_an_environment_variable_is_resolved() -> None:
    assert SecretResolver({"X": "hunter22"}).resolve("env:X") == "hunter22"


def test_a_file_is_resolved_without_its_last_line_break(tmp_path: Path) -> None:
    file = tmp_path / "x"
    for text, value in [("a\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("a\r\n", "a")]:
        file.write_bytes(text.encode())
        assert SecretResolver({}).resolve(f"file:{file}") == value


def test_a_block_is_read_by_its_reader() -> None:
    resolver = SecretResolver({}, read_block={"db": "hunter22"}.__getitem__)
    assert resolver.resolve("prefect:db") == "hunter22"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("env:MISSING", "set the environment variable MISSING"),
        ("file:/does/not/exist", "file:/does/not/exist can't be read: No such file"),
        ("vault:x", "env:NAME, file:/path or prefect:block-name"),
        ("env:", "env:NAME"),
        ("plain-secret", "env:NAME"),
    ],
)
def test_what_can_not_be_resolved_names_the_next_step(reference: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message) as caught:
        SecretResolver({}).resolve(reference)
    assert "plain-secret" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(PermanentError, match="not UTF-8"):
        SecretResolver({}).resolve(f"file:{tmp_path / 'x'}")


def test_a_value_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("first-value")
    resolver = SecretResolver({})
    assert resolver.resolve(f"file:{file}") == "first-value"
    file.write_text("second-value")
    assert resolver.resolve(f"file:{file}") == "first-value"
    resolver.forget()
    assert resolver.resolve(f"file:{file}") == "second-value"
    assert resolver.values == {"first-value", "second-value"}


def test_that_there_is_none_is_kept_until_it_is_forgotten() -> None:
    asked: list[str] = []

    def read(name: str) -> str:
        asked.append(name)
        if len(asked) == 1:
            raise PermanentError("no such block")
        return "third-value"

    resolver = SecretResolver({}, read_block=read)
    for _ in range(2):
        with pytest.raises(PermanentError, match="no such block"):
            resolver.resolve("prefect:x")
    assert asked == ["x"]
    resolver.forget()
    assert resolver.resolve("prefect:x") == "third-value"


def test_redaction_knows_a_value_before_anybody_has_it() -> None:
    redactor = Redactor([])
    resolver = SecretResolver({"X": "hunter22"}, on_resolved=redactor.learn)
    assert redactor.text(resolver.resolve("env:X")) == REDACTED


def test_no_value_is_printed() -> None:
    resolver = SecretResolver({"X": "hunter22"})
    resolver("env:X")
    assert "hunter22" not in repr(resolver)


def test_threads_share_one_look_up() -> None:
    asked: list[str] = []

    def read(name: str) -> str:
        asked.append(name)
        return "hunter22"

    resolver = SecretResolver({}, read_block=read)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(resolver.resolve, ["prefect:db"] * 50)) == {"hunter22"}
    assert asked == ["db"]


def test_without_a_reader_a_block_is_an_error_of_one_line() -> None:
    with pytest.raises(PermanentError, match="prefect:db can't be read here") as caught:
        SecretResolver({}).resolve("prefect:db")
    assert "\n" not in str(caught.value)
