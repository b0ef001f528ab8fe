"""What nobody sees in a text: escape sequences, control characters, fillers, joiners.

Such a character hides a secret from whoever looks for it, and not from whoever reads it.
Neighbours: `infrastructure.redaction` sees through them, `flows.dossier.text` takes them out.
"""

from __future__ import annotations

import re
import unicodedata

ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC and other strings: titles, links
    r"|\x1b(?:[ -/]*[0-~])?"
)
# Letters and marks that show nothing: fillers, joiners, variation selectors.
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U0001d159\U000e0100-\U000e01ef]"
)
# Control, format (zero width, direction marks), surrogate, private use, not assigned.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
ASCII_UNSEEN = bytes(code for code in (*range(32), 127) if chr(code) not in "\n\t")
_KEPT = "\n\t\r"
_ASCII_HIDING = bytes(code for code in ASCII_UNSEEN if chr(code) not in _KEPT)


class _Table(dict[int, int | None]):
    """What becomes of a character; looked up once for each that is met."""

    def __missing__(self, code: int) -> int | None:
        char = chr(code)
        kept = code if char in _KEPT or unicodedata.category(char) not in UNSEEN else None
        self[code] = kept
        return kept


_TABLE = _Table()


def visible(text: str) -> str:
    """The text without what nobody sees; line ends, tabs and blanks of any width stay."""
    return shown(ANSI.sub("", text) if "\x1b" in text or "\x9b" in text else text)


def shown(text: str) -> str:
    """The same where no escape sequence is known: what is printable of one stays."""
    if text.isascii():
        return text.encode().translate(None, _ASCII_HIDING).decode()
    return "\n".join(map(_line, text.split("\n")))


def _line(line: str) -> str:
    if not line.isprintable():
        line = line.translate(_TABLE)
    return line if line.isascii() else BLANK.sub("", line)
