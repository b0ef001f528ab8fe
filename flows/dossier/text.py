"""Text from outside, made harmless: cleaned first, then redacted, and only then cut.

In this order, because a character that nobody sees can hide a secret from the redactor,
and half a secret is not known as one. Used by every part of the dossier. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

from infrastructure.invisible import ANSI, ASCII_UNSEEN, BLANK, UNSEEN
from infrastructure.redaction import REDACTED

Redact = Callable[[str], str]

# No secret is looked for in a line behind this: the rest of it is dropped unseen …
_LONGEST = 16_384
# … and so is this much before it, where a secret may have been cut in two.
_TORN = 2_048

_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_ENDS = str.maketrans("\r\x0b\x0c", "\n\n\n")
_KEY = "PRIVATE KEY-----"
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_KEY_END = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY-----")
# What one line of a key's body looks like, whatever a logger put before it.
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=]{40,}[\"',\\n]*$|^[A-Za-z0-9+/]{1,76}={0,2}$")
_KEY_CHARS, _KEY_LINES = 32_768, 400


def clean(text: str) -> str:
    """Text without ANSI sequences, control and invisible characters; lines end with a newline."""
    if "\x1b" in text or "\x9b" in text:
        text = ANSI.sub("", text)
    if text.isascii():  # the usual case, ten times as fast
        text = text.replace("\r\n", "\n").translate(_ENDS)
        return text.encode().translate(None, ASCII_UNSEEN).decode()
    return "\n".join(map(_seen, _LINE_ENDS.sub("\n", text).split("\n")))


def _seen(line: str) -> str:
    if not line.isprintable():
        line = line.translate(_TABLE)
    return line if line.isascii() else BLANK.sub("", line)


class _Table(dict[int, int | None]):
    """What becomes of a character; looked up once for each that is met."""

    def __missing__(self, code: int) -> int | None:
        char = chr(code)
        category = unicodedata.category(char)
        if char == "\t":
            kept: int | None = code
        elif category == "Zs":
            kept = ord(" ")  # a blank of any width is a blank
        else:
            kept = None if category in UNSEEN else code
        self[code] = kept
        return kept


_TABLE = _Table()


def one_line(text: str, redact: Redact, limit: int) -> str:
    """The text as one clean, redacted line of at most `limit` characters and a mark."""
    short = text[: _LONGEST * 4]
    told = redact(" ".join(without_keys(clean(short), redact).split()))
    if len(short) < len(text):
        told = told[: max(0, len(told) - _TORN)]
    return told if len(told) <= limit else told[:limit] + "…"


def safe_line(line: str, before: str, redact: Redact) -> str:
    """One line of an already clean text, redacted.

    Args:
        line: what is wanted.
        before: the lines before it, newline at the end, or nothing: a secret may begin there.
        redact: cuts secrets out.
    """
    part = line[:_LONGEST]
    told = redact(before + part).rsplit("\n", 1)[-1]
    return told if len(part) == len(line) else told[: max(0, len(told) - _TORN)]


def without_keys(text: str, redact: Redact) -> str:
    """The text with its private keys redacted: they are the secrets that fill many lines.

    One that has lost its beginning or its end, as at the edge of a log, goes as well.
    """
    if _KEY not in text:
        return text
    return "".join(_key_free(text, redact))


def _key_free(text: str, redact: Redact) -> Iterator[str]:
    done = 0
    begin, end = _KEY_BEGIN.search(text), _KEY_END.search(text)
    while begin is not None or end is not None:
        if begin is None or (end is not None and end.start() < begin.start()):
            assert end is not None  # noqa: S101 - one of them is there
            yield _without_tail(text[done : end.start()]) + REDACTED
            done = end.end()
        elif end is not None and end.end() - begin.start() <= _KEY_CHARS:
            yield text[done : begin.start()]
            yield redact(text[begin.start() : end.end()]).replace(
                text[begin.end() : end.start()], ""
            )
            done = end.end()
        else:
            yield text[done : begin.start()] + REDACTED
            done = _body_end(text, begin.end())
        # Only what lies behind is looked for anew: else each step reads the whole rest.
        begin, end = _next(_KEY_BEGIN, begin, text, done), _next(_KEY_END, end, text, done)
    yield text[done:]


def _next(
    mark: re.Pattern[str], found: re.Match[str] | None, text: str, done: int
) -> re.Match[str] | None:
    """The first mark from `done` on, of which `found` was the first until now."""
    return found if found is None or found.start() >= done else mark.search(text, done)


def _body_end(text: str, start: int) -> int:
    """Where a key without an end stops looking like one; the rest of its line goes, too."""
    position = _next_line(text, start)
    for _ in range(_KEY_LINES):
        after = _next_line(text, position)
        if position >= len(text) or not _KEY_BODY.search(text[position:after].strip()):
            break
        position = after
    return max(start, position - 1) if text[position - 1 : position] == "\n" else position


def _next_line(text: str, start: int) -> int:
    found = text.find("\n", start)
    return len(text) if found < 0 else found + 1


def _without_tail(text: str) -> str:
    """Without the lines at the end that look like a key's body, and the last, begun one."""
    lines = text.split("\n")
    kept = len(lines) - 1
    while kept > max(0, len(lines) - _KEY_LINES) and _KEY_BODY.search(lines[kept - 1].strip()):
        kept -= 1
    return "".join(f"{line}\n" for line in lines[:kept])
