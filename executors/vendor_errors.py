"""How to read the exceptions of an SDK: their meaning, by name and by cause. Pure.

Exceptions are looked up by qualified name, so that nothing of an SDK is imported. Each
executor's `errors` module has a table of its own for its SDK; what SDKs are built of
(requests, urllib3) stands here once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum, auto


class Meaning(Enum):
    """What happened to a request."""

    ANSWERED = auto()  # it was answered with an HTTP error: its status decides
    TIMED_OUT = auto()  # sent, no answer in time
    LOST = auto()  # sent, the connection broke
    NOT_SENT = auto()  # no connection: nothing can have changed
    GARBAGE = auto()  # an answer came that is not what the API promises
    MISUSE = auto()  # refused on this side: configuration, wrong argument, missing file
    HELD_BACK = auto()  # the SDK itself refused to send it now


REQUESTS: Mapping[Meaning, str] = {
    Meaning.ANSWERED: "HTTPError",
    Meaning.TIMED_OUT: "Timeout ReadTimeout",
    Meaning.LOST: "RequestException ConnectionError ChunkedEncodingError RetryError",
    Meaning.NOT_SENT: "ConnectTimeout ProxyError SSLError",
    Meaning.GARBAGE: "JSONDecodeError InvalidJSONError ContentDecodingError TooManyRedirects"
    " StreamConsumedError",
    Meaning.MISUSE: "URLRequired MissingSchema InvalidSchema InvalidURL InvalidHeader"
    " InvalidProxyURL UnrewindableBodyError",
}

URLLIB3: Mapping[Meaning, str] = {
    Meaning.TIMED_OUT: "TimeoutError ReadTimeoutError",
    Meaning.LOST: "HTTPError PoolError RequestError MaxRetryError ProtocolError"
    " IncompleteRead InvalidChunkLength",
    Meaning.NOT_SENT: "ConnectTimeoutError NewConnectionError NameResolutionError ProxyError"
    " SSLError EmptyPoolError FullPoolError ClosedPoolError",
    Meaning.GARBAGE: "DecodeError ResponseError ResponseNotChunked BodyNotHttplibCompatible"
    " InvalidHeader HeaderParsingError",
    Meaning.MISUSE: "HostChangedError TimeoutStateError LocationValueError LocationParseError"
    " URLSchemeUnknown ProxySchemeUnknown ProxySchemeUnsupported UnrewindableBodyError",
}


def named(module: str, meanings: Mapping[Meaning, str]) -> Iterator[tuple[str, Meaning]]:
    """Entries of a table: qualified name → meaning."""
    for meaning, names in meanings.items():
        for name in names.split():
            yield f"{module}.{name}", meaning


def nearest(exc: BaseException, meanings: Mapping[str, Meaning]) -> Meaning | None:
    """The entry of the nearest class; None for an exception of nobody in the table."""
    for cls in type(exc).__mro__:
        found = meanings.get(f"{cls.__module__}.{cls.__qualname__}")
        if found is not None:
            return found
    return None


def most_telling(
    chain: Iterable[BaseException],
    meaning_of: Callable[[BaseException], Meaning | None],
    *,
    telling: Iterable[Meaning] = (Meaning.NOT_SENT, Meaning.TIMED_OUT),
) -> Meaning:
    """The outermost meaning, unless a cause tells more than "the connection broke".

    Args:
        chain: see `causes`.
        meaning_of: one exception's meaning.
        telling: what says more, the first that is found wins.
    """
    meanings = [found for found in map(meaning_of, chain) if found is not None]
    outermost = meanings[0] if meanings else Meaning.LOST
    if outermost is Meaning.LOST:
        return next((meaning for meaning in telling if meaning in meanings), outermost)
    return outermost


def causes(exc: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and exceptions kept in `args` (urllib3's way)."""
    seen: set[int] = set()
    waiting: list[BaseException] = [exc]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [current.__cause__, current.__context__, getattr(current, "reason", None)]
        inner += list(current.args)
        waiting.extend(e for e in inner if isinstance(e, BaseException))
