"""Environment files that nobody would write on purpose."""

from __future__ import annotations

import time

from infrastructure.sources.draft import Findings
from infrastructure.sources.env_file import parse_env_file


def read(text: str) -> tuple[dict[str, str | None], list[str]]:
    findings = Findings()
    found = parse_env_file(text.encode(), file="x.env", values={}, findings=findings)
    return {name: v.value for name, v in found.items()}, [p.message for p in findings.errors]


def test_values_made_of_values_do_not_fill_the_memory() -> None:
    lines = ["A0=lollollol", *(f"A{n}=" + f"${{A{n - 1}}}" * 10 for n in range(1, 12))]

    values, errors = read("\n".join(lines))

    assert sum(len(value or "") for value in values.values()) < 1_000_000
    assert any("longer than 100000 characters" in error for error in errors)


def test_a_quote_that_never_ends_is_told_and_costs_no_minute() -> None:
    began = time.process_time()

    _, errors = read('A="\n' + "x\n" * 10_000)

    assert "a quote is not closed" in errors
    assert time.process_time() - began < 20  # it took 32 s when it grew with the square


def test_ten_thousand_variables_see_those_above_them() -> None:
    text = "".join(f"V{n}=x${{V{n - 1}:-}}\n" if n % 100 else f"V{n}=\n" for n in range(10_000))

    values, errors = read(text)

    assert errors == []
    assert values["V9999"] == "x" * 99
