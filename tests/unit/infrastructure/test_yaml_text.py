"""What is written as YAML is read back as the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.yaml_source import parse_yaml
from infrastructure.yaml_text import to_yaml

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
IDS = st.text("0123456789abcdef-", min_size=1, max_size=12)


def read_back(data: Any) -> Any:
    content = to_yaml(data, width=100).encode()
    (document,) = parse_yaml(content, file="x.yml", max_bytes=10**6)
    return document.data


@pytest.mark.parametrize(
    "text",
    [
        "8445132659e5",
        "1e5",
        "0o17",
        "0x1f",
        "12",
        "1.5",
        ".5",
        "null",
        "~",
        "true",
        "no",
        ".inf",
        "a\x85b",
        "\u2028",
        "",
    ],
)
def test_a_text_that_reads_like_something_else_stays_a_text(text: str) -> None:
    assert read_back({"run": text, "runs": [text]}) == {"run": text, "runs": [text]}


@given(
    st.dictionaries(
        IDS | TEXTS.filter(bool), IDS | TEXTS | st.integers(-(10**15), 10**15) | st.booleans()
    )
)
def test_whatever_is_written_is_read_back(data: dict[str, Any]) -> None:
    assert read_back({"data": data}) == {"data": data}
