"""An edit changes the one line it means, byte for byte."""

from __future__ import annotations

import difflib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.proposals.cause import IMAGE, MEMORY, REPLICAS
from flows.proposals.edit import UneditableError, edit
from tests.unit.proposals.made import service

FILE = """\
# yaml-language-server: $schema=service.schema.json
# The shop. Ask Ann before you change it.
apiVersion: uici/v1
kind: Service
metadata: {name: shop, environment: local-docker} # where it is
spec:
  image: 'shop:2.0'   # as tested
  # Enough for a quiet day.
  resources:   {cpu: "0.5",  memory: "256Mi"} # limits
  env:
    B: "2"
    A: &anchor one
    C: *anchor
---
# a neighbour in the same file
apiVersion: uici/v1
kind: Service
metadata:
  name: till
  environment: local-docker
spec:
  image: till:1
  replicas: 2 # two tills
  resources:
    memory:     128Mi     # tight
"""


def changed(old: bytes, new: bytes) -> list[str]:
    lines = difflib.unified_diff(
        old.decode().splitlines(), new.decode().splitlines(), lineterm="", n=0
    )
    return [line for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}]


def edited(text: str, name: str, pointer: str, value: str) -> list[str]:
    old = text.encode()
    return changed(old, edit(old, service(name), pointer, value, file="shop.yml"))


def test_a_quoted_value_in_a_flow_mapping() -> None:
    assert edited(FILE, "shop", MEMORY, "320Mi") == [
        '-  resources:   {cpu: "0.5",  memory: "256Mi"} # limits',
        '+  resources:   {cpu: "0.5",  memory: "320Mi"} # limits',
    ]


def test_a_plain_value_of_the_second_document() -> None:
    assert edited(FILE, "till", MEMORY, "160Mi") == [
        "-    memory:     128Mi     # tight",
        "+    memory:     160Mi     # tight",
    ]


def test_single_quotes_stay() -> None:
    assert edited(FILE, "shop", IMAGE, "shop:1.9") == [
        "-  image: 'shop:2.0'   # as tested",
        "+  image: 'shop:1.9'   # as tested",
    ]


def test_replicas_that_are_written_are_replaced() -> None:
    assert edited(FILE, "till", REPLICAS, "3") == [
        "-  replicas: 2 # two tills",
        "+  replicas: 3 # two tills",
    ]


def test_replicas_that_are_not_written_get_a_line_after_the_image() -> None:
    assert edited(FILE, "shop", REPLICAS, "2") == ["+  replicas: 2"]
    last = "apiVersion: uici/v1\nkind: Service\nmetadata: {name: shop, environment: local-docker}\n"
    bare = f"{last}spec:\n  image: shop:2.0"
    assert edit(bare.encode(), service(), REPLICAS, "2", file="f") == (
        f"{bare}\n  replicas: 2".encode()
    )


@pytest.mark.parametrize("head", ["", "\ufeff"])
def test_windows_line_ends_and_a_byte_order_mark_stay(head: str) -> None:
    text = head + FILE.replace("\n", "\r\n")
    new = edit(text.encode(), service(), REPLICAS, "2", file="shop.yml")
    assert new.decode() == text.replace("# as tested\r\n", "# as tested\r\n  replicas: 2\r\n")
    memory = edit(text.encode(), service(), MEMORY, "320Mi", file="shop.yml")
    assert memory.decode() == text.replace("256Mi", "320Mi")


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (FILE.replace('"256Mi"', '&limit "256Mi"'), MEMORY),  # others may refer to it
        (FILE.replace('memory: "256Mi"', 'memory: "256\n      Mi"'), MEMORY),
        (FILE.replace('  memory: "256Mi"', ""), MEMORY),  # not written at all
        (FILE.replace("name: shop", "name: another"), MEMORY),
        (FILE.replace("# as tested", "# as tested\u2028"), MEMORY),
    ],
)
def test_what_is_not_one_plain_scalar_is_refused(text: str, pointer: str) -> None:
    with pytest.raises(UneditableError):
        edit(text.encode(), service(), pointer, "320Mi", file="shop.yml")


def test_a_tab_before_a_comment_is_refused_with_its_line() -> None:
    text = FILE.partition("---\n")[0].replace("'   # as tested", "'\t# as tested")
    with pytest.raises(UneditableError, match="line 7: it is not plain YAML"):
        edit(text.encode(), service(), MEMORY, "2Mi", file="shop.yml")


def test_replicas_are_not_put_into_a_flow_mapping() -> None:
    text = FILE.replace("spec:\n  image: 'shop:2.0'   # as tested", "spec: {image: shop:2.0}\nx:")
    with pytest.raises(UneditableError, match="block"):
        edit(text.encode(), service(), REPLICAS, "2", file="shop.yml")


@pytest.mark.parametrize("value", ["a: b", "x\ny", "'", '"', "", "*anchor", "# no", "-", "{}"])
def test_a_value_that_would_need_quotes_is_refused(value: str) -> None:
    with pytest.raises(UneditableError):
        edit(FILE.encode(), service(), IMAGE, value, file="shop.yml")


@given(
    comment=st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=20),
    indent=st.integers(1, 6),
    quote=st.sampled_from(["", '"', "'"]),
    blank=st.integers(1, 5),
    size=st.integers(1, 9999),
)
def test_whatever_the_layout_only_the_value_changes(
    comment: str, indent: int, quote: str, blank: int, size: int
) -> None:
    plain = "".join(c for c in comment if c.isprintable())
    pad = " " * indent
    text = (
        f"# {plain}\napiVersion: uici/v1\nkind: Service\n"
        f"metadata:\n{pad}environment: local-docker\n{pad}name: shop\n"
        f"spec:\n{pad}image: shop:2.0\n{pad}resources:\n"
        f"{pad}{pad}memory:{' ' * blank}{quote}256Mi{quote} # {plain}\n"
    )
    new = edit(text.encode(), service(), MEMORY, f"{size}Mi", file="shop.yml").decode()
    assert new.replace(f"{quote}{size}Mi{quote}", f"{quote}256Mi{quote}") == text
    assert yaml.safe_load(new)["spec"]["resources"] == {"memory": f"{size}Mi"}
