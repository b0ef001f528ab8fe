"""Environment files that nobody would write on purpose."""

from __future__ import annotations

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


def test_a_quote_that_never_ends_takes_a_bounded_part_of_the_file() -> None:
    """Each further line is looked at from the quote on, so its reach must have an end."""
    values, errors = read('A="\n' + "x\n" * 2_000 + "LAST=1\n")

    assert errors == ["a quote is not closed"]
    assert values["LAST"] == "1"


def test_ten_thousand_variables_see_those_above_them() -> None:
    text = "".join(f"V{n}=x${{V{n - 1}:-}}\n" if n % 100 else f"V{n}=\n" for n in range(10_000))

    values, errors = read(text)

    assert errors == []
    assert values["V9999"] == "x" * 99
