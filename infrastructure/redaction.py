"""The one choke point: what is cut out of everything that leaves the process.

Nothing goes to an LLM, a log, Prefect or Git before it went through a `Redactor`. Two
grounds: exact values of secrets that were resolved in this process, in every common
encoding, and patterns of what secrets look like. Neighbours:
`infrastructure.config_loader` and `infrastructure.secret_references` know the values,
platform.yml (`secrets`) the patterns. What nobody sees hides nothing from it
(`infrastructure.invisible`).
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from infrastructure.invisible import shown, visible

REDACTED = "[redacted]"

# Shorter values would cut ordinary words out of every text.
_MIN_VALUE = 4
# Lines of a secret of several lines (a private key) are cut one by one from this length on.
_MIN_LINE = 8
# From this length on, a value is also found inside of a longer base64 text.
_MIN_EMBEDDED = 6
_REFERENCE = re.compile(r"(?:env|file|prefect):\S+")


class SecretKeys:
    """Tells by its name whether a field holds a secret, by patterns of platform.yml.

    `match(key)` is whether a value under this key is a secret.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)
        # The same few names come by a thousand times.
        self.match = lru_cache(maxsize=1024)(self._match)

    def _match(self, key: str) -> bool:
        # Patterns are written for words joined by `_` or `-`; `dbPassword` and
        # `datasource.password` are read as such words, too.
        key = visible(key)
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[.\s]+", "_", key)
        return any(p.search(key) or p.search(words) for p in self._patterns)


class Redactor:
    """Cuts secrets out of texts and data. Applying it twice changes nothing more.

    Safe to use from several threads. Its repr shows no value.
    """

    def __init__(
        self,
        patterns: Iterable[str],
        values: Iterable[str] = (),
        *,
        key_patterns: Iterable[str] = (),
    ) -> None:
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)
        self._searches = tuple(pattern.search for pattern in self._patterns)
        self._keys = SecretKeys(key_patterns)
        self._values: frozenset[str] = frozenset()
        self._forms: tuple[str, ...] = ()
        self.learn(values)

    def __repr__(self) -> str:
        return f"Redactor({len(self._patterns)} patterns, {len(self._values)} values)"

    def learn(self, values: Iterable[str]) -> None:
        """Cut these exact values from now on; those under four characters are left out."""
        new = {value for value in values if len(value) >= _MIN_VALUE}
        if new <= self._values:
            return
        self._values |= new
        forms = {form for value in self._values for form in _forms(value)}
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def text(self, text: str) -> str:
        """The text with `[redacted]` in place of every secret.

        Characters that nobody sees stay as they are, but for a text in which they hide a
        secret: that one loses them all.
        """
        told = self._cut(text)
        if text.isascii() and text.isprintable():  # the usual case
            return told
        for look in (visible, shown) if "\x1b" in text or "\x9b" in text else (shown,):
            plain = look(text)
            if plain == text:
                continue
            cut = self._cut(plain)
            if cut != look(told):  # more than can be found without looking through
                return cut
        return told

    def _cut(self, text: str) -> str:
        text = self._cut_values(text)
        for search in self._searches:
            if search(text):
                break
        else:
            return text
        while True:
            # What was cut is never looked at again: only the pieces between can shrink, so
            # this ends, and ends where another call would change nothing.
            pieces = [self._cut_patterns(piece) for piece in text.split(REDACTED)]
            result = REDACTED.join(pieces)
            if result == text:
                return result
            text = result

    def data(self, value: Any) -> Any:
        """JSON-like data with its texts redacted, and values under secret keys blanked.

        Anything that is no mapping, list, tuple, set, text or bytes stays as it is if what
        it prints holds no secret; otherwise its redacted print takes its place.
        """
        match value:
            case str():
                text = self.text(value)
                return value if text == value else text
            case bytes():
                return self.text(value.decode("utf-8", "backslashreplace")).encode()
            case Mapping():
                return {
                    self._key(key): self._member(key_of(value, key), item)
                    for key, item in value.items()
                }
            case list() | set() | frozenset():
                return type(value)(self.data(item) for item in value)
            case tuple():
                return tuple(self.data(item) for item in value)
            case _:
                return self._other(value)

    def _key(self, key: Any) -> Any:
        return self.text(key) if isinstance(key, str) else key

    def _member(self, key: Any, value: Any) -> Any:
        if not isinstance(key, str) or not self._keys.match(key) or value is None or value == "":
            return self.data(value)
        if is_reference(value) or (isinstance(value, str) and _REFERENCE.fullmatch(value)):
            return self.data(value)
        return REDACTED

    def _other(self, value: Any) -> Any:
        for printed in (str(value), repr(value)):
            redacted = self.text(printed)
            if redacted != printed:
                return redacted
        return value

    def _cut_values(self, text: str) -> str:
        spans: list[tuple[int, int]] = []
        for form in self._forms:
            start = text.find(form)
            while start >= 0:
                spans.append((start, start + len(form)))
                start = text.find(form, start + 1)
        if not spans:
            return text
        # Overlapping occurrences are cut as one: no half of a second secret stays.
        result, done = "", 0
        for start, end in _united(spans):
            result += text[done:start] + REDACTED
            done = end
        return result + text[done:]

    def _cut_patterns(self, piece: str) -> str:
        for pattern in self._patterns:
            piece = pattern.sub(lambda match: REDACTED if match[0] else "", piece)
        return piece


def key_of(mapping: Mapping[Any, Any], key: Any) -> Any:
    """The name that a member of a mapping goes by: `{name: API_TOKEN, value: …}` is one, too."""
    if key != "value":
        return key
    name = mapping.get("name")
    named = isinstance(name, str) and isinstance(mapping[key], str | Mapping)
    return name if named else key


def is_reference(value: Any) -> bool:
    """Whether a value is `{secret: "env:NAME"}`: it tells where a secret is, not the secret."""
    if not isinstance(value, Mapping) or set(value) != {"secret"}:
        return False
    reference = value["secret"]
    return isinstance(reference, str) and bool(_REFERENCE.fullmatch(reference))


def _united(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    united: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if united and start < united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((start, end))
    return united


@lru_cache(maxsize=256)
def _forms(value: str) -> frozenset[str]:
    """The value as it may stand in logs, URLs, headers and JSON."""
    raw = value.encode("utf-8", "surrogatepass")
    forms = {value, value.strip(), html.escape(value), value.replace("'", "'\"'\"'")}
    forms.add(visible(value))
    forms |= {line.strip() for line in value.splitlines() if len(line.strip()) >= _MIN_LINE}
    forms |= {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    forms |= {re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), form) for form in forms}
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        forms |= {once, json.dumps(once, ensure_ascii=ascii_only)[1:-1]}
    forms |= {repr(value)[1:-1]}
    encoded = base64.b64encode(raw).decode()
    forms |= {encoded, encoded.rstrip("=")}
    if len(raw) >= _MIN_EMBEDDED:
        forms |= {_embedded(raw, offset) for offset in range(3)}
    forms |= {form.translate(_URL_SAFE) for form in forms if _BASE64.fullmatch(form)}
    return frozenset(form for form in forms if len(form) >= _MIN_VALUE)


_URL_SAFE = str.maketrans("+/", "-_")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


def _embedded(raw: bytes, offset: int) -> str:
    """The characters that base64 of any text with `raw` at this offset (mod 3) holds.

    RFC 4648, section 4: three bytes make four characters; those that share bits with
    what stands before or after are left out.
    """
    encoded = base64.b64encode(b"\0" * offset + raw).decode()
    start = (0, 2, 3)[offset]
    end = (offset + len(raw)) * 8 // 6
    return encoded[start:end]
