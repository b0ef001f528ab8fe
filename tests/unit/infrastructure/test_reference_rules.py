"""Words that no engine can take are refused beside their line, with what to write instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.desired_state import parse_desired_state
from infrastructure.errors import Problem
from infrastructure.service import Service

HEAD = """\
apiVersion: uici/v1
kind: Service
metadata: {name: shop, environment: local-docker}
spec:
"""
IMAGE = "  image: shop:1\n"


def parse(spec: str) -> tuple[dict[str, Service], tuple[Problem, ...]]:
    return parse_desired_state(
        {"shop.yml": (HEAD + spec).encode()},
        environments=["local-docker"],
        key_patterns=[],
        is_protected=lambda _: False,
        max_bytes=100_000,
    )


@pytest.mark.parametrize(
    ("spec", "line", "message", "remedy"),
    [
        ("  image: ' '\n", 5, "spec.image is not the name", "registry.example.com"),
        ("  image: 'shop:1 '\n", 5, "spec.image is not the name", "registry.example.com"),
        ("  image: Shop:1\n", 5, "spec.image is not the name", "in lower case"),
        ("  image: 'shop:'\n", 5, "spec.image is not the name", "1.2.3"),
        ("  image: shop:1:2\n", 5, "spec.image is not the name", ""),
        ("  image: -shop\n", 5, "spec.image is not the name", ""),
        ("  image: shop/\n", 5, "spec.image is not the name", ""),
        ("  image: /shop\n", 5, "spec.image is not the name", ""),
        ("  image: a..b/shop/../etc\n", 5, "spec.image is not the name", ""),
        ("  image: shop@sha256:12\n", 5, "spec.image is not the name", ""),
        ('  image: "shop\\n:1"\n', 5, "spec.image is not the name", ""),
        (f"  image: {'a' * 600}\n", 5, "spec.image is not the name", ""),
        ("  image: https://reg.example.com/shop:1\n", 5, "is an address", "before ://"),
        ("  image: ann:pw1234@reg.example.com/shop:1\n", 5, "a password", "log the engine in"),
        (IMAGE + '  env: {A: "x\\0y"}\n', 6, "spec.env.A holds a NUL", "no program"),
        (IMAGE + '  command: [run, "\\x00"]\n', 6, "spec.command[1] holds a NUL", ""),
        (IMAGE + '  native: {a: {b: ["\\0"]}}\n', 6, "holds a NUL", ""),
        (IMAGE + '  env: {A: "\\ud83d"}\n', 6, "invalid Unicode", "check this line"),
        (IMAGE + "  alerts: [{matchers: {' ': x}}]\n", 6, "is blank", "remove the field"),
        (IMAGE + "  ports: ['300.0.0.1:80:80']\n", 6, "300.0.0.1 is no address", "127.0.0.1"),
        (IMAGE + "  ports: ['0:80']\n", 6, "greater than or equal to 1", ""),
        (IMAGE + "  ports: ['80', 80/tcp]\n", 6, "spec.ports[1] is there twice", "remove one"),
        (IMAGE + "  suspend: {reason: ' '}\n", 6, "spec.suspend.reason is blank", ""),
        (IMAGE + "  alerts: [{matchers: {service: ''}}]\n", 6, "service is blank", ""),
        (
            IMAGE + "  health: {metrics: [{name: up, query: ' ', expect: == 1}]}\n",
            6,
            "query is blank",
            "",
        ),
    ],
)
def test_what_no_engine_takes_is_refused(spec: str, line: int, message: str, remedy: str) -> None:
    _, (problem,) = parse(spec)
    assert (problem.file, problem.line) == ("shop.yml", line)
    assert message in problem.message
    assert remedy in problem.remedy
    assert problem.remedy or "equal" in problem.message


def test_credentials_are_refused_and_not_repeated() -> None:
    _, problems = parse("  image: ann:hunter2@reg.example.com/shop:1\n")
    assert len(problems) == 1
    assert "hunter2" not in "".join(map(str, problems))


@pytest.mark.parametrize(
    "image",
    [
        "shop",
        "shop:1.4.2",
        "team/shop:v1_2-3",
        "localhost:5000/shop",
        "reg.example.com:5000/a/b__c/d-e.f:1",
        "REG.Example.com/shop:Latest",
        "[::1]:5000/shop:1",
        f"shop:1@sha256:{'a' * 64}",
        f"sha256:{'0' * 64}",
        "ocid1.image.oc1.eu-frankfurt-1.aaaaaaaa",
        "ocid1.image.oc1..aaaaaaaa",
    ],
)
def test_images_that_engines_take_are_taken(image: str) -> None:
    services, problems = parse(f"  image: '{image}'\n")
    assert problems == ()
    assert services["local-docker/shop"].spec.image == image


def test_text_with_line_breaks_and_every_alphabet_is_text() -> None:
    spec = IMAGE + '  env: {A: "one\\ntwo\\t", B: "žluťoučký 🐎", C: ""}\n'
    assert parse(spec)[1] == ()


@given(st.text(alphabet="aA0./:@-_ ", max_size=30))
def test_any_image_is_taken_or_refused_in_words(image: str) -> None:
    _, problems = parse(f"  image: '{image}'\n")
    assert len(problems) <= 1
    assert all(problem.line == 5 for problem in problems)
