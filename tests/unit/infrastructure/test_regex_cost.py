from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infrastructure.cause_kinds import CauseKind
from infrastructure.config_models import ErrorPattern
from infrastructure.regex_cost import LONGEST_LINE, danger


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "(a*)*",
        r"(\w+\s?)*$",
        "(a|aa)+$",
        "(?:x{1,60}y?){1,60}",
        "((a{2,50}))*",
        "(?P<subject>[a-z]+)*",
        ".*.*.*x",
        r"\d+\w+\d+\w+z",
        "(?:a+b+c+d+)",
        "(?=(a+)+b)",
    ],
)
def test_a_pattern_that_could_take_for_ever_is_refused(pattern: str) -> None:
    re.compile(pattern)
    assert danger(pattern)
    with pytest.raises(ValidationError, match="hold up a run"):
        ErrorPattern(name="x", regex=pattern, meaning="m", cause=CauseKind.UNKNOWN)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?i)out of memory|cannot allocate",
        "a+b+|c+d+|e+f+",
        r"lookup (?P<subject>[\w.-]{1,80})\b.{0,60}no such host",
        r"(?:exit(?:ed)?(?: code| status)?) \d+",
        r"[]+*(]\+\*",
        r"[^\]]+",
        "(?i:a)(?#what [ that is)(?P<n>b)(?P=n)",
        "(?:ab|cd){0,5}",
        "x{3}y{,4}z{2,}",
        "",
    ],
)
def test_a_quick_pattern_is_not(pattern: str) -> None:
    re.compile(pattern)
    assert danger(pattern) == ""


_ATOMS = st.sampled_from(["a", "b", ".", r"\w", "[ab]", "(?:a)", "(?:ab)", "(a|b)"])
_QUANTIFIERS = st.sampled_from(["", "", "?", "*", "+", "{1,30}", "{2,5}", "+?"])
_PATTERNS = st.recursive(
    st.builds("{}{}".format, _ATOMS, _QUANTIFIERS),
    lambda inner: st.builds(
        "(?:{}){}".format, st.lists(inner, min_size=1, max_size=3).map("".join), _QUANTIFIERS
    ),
    max_leaves=5,
)


@given(pattern=_PATTERNS)
def test_what_is_accepted_is_quick_on_lines_that_almost_match(pattern: str) -> None:
    if danger(pattern):
        return
    expression = re.compile(pattern + "Z")
    for line in ("a" * LONGEST_LINE, "ab" * (LONGEST_LINE // 2)):
        begin = time.process_time()
        expression.search(line)
        assert time.process_time() - begin < 4
