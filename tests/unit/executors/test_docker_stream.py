from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from executors.docker.stream import STDERR, STDOUT, Frame, demultiplex, first, newest

frames_of = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=40)))


def multiplexed(frames: list[Frame]) -> bytes:
    return b"".join(
        bytes([source, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for source, data in frames
    )


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The bytes in chunks of these sizes, as a network would."""
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


def joined(frames: Iterator[Frame] | tuple[Frame, ...]) -> dict[int, bytes]:
    found = {STDOUT: b"", STDERR: b""}
    for source, data in frames:
        found[source] += data
    return found


@given(frames=frames_of, sizes=st.lists(st.integers(0, 30)))
def test_however_it_is_cut_each_source_gets_its_bytes(
    frames: list[Frame], sizes: list[int]
) -> None:
    chunks = cut(multiplexed(frames), sizes)
    assert joined(demultiplex(chunks, tty=False)) == joined(tuple(frames))


def test_with_a_terminal_all_is_stdout() -> None:
    assert list(demultiplex([b"ab", b"", b"c"], tty=True)) == [(STDOUT, b"ab"), (STDOUT, b"c")]


def test_a_frame_that_is_never_finished_is_handed_on_as_far_as_it_came() -> None:
    lie = bytes([1, 0, 0, 0]) + (2**32 - 1).to_bytes(4, "big") + b"short"
    assert list(demultiplex([lie], tty=False)) == [(STDOUT, b"short")]


@given(frames=frames_of, limit=st.integers(1, 100))
def test_the_newest_bytes(frames: list[Frame], limit: int) -> None:
    whole = b"".join(data for _, data in frames)
    stream = newest(frames, limit)
    assert b"".join(data for _, data in stream.frames) == whole[-limit:]
    assert stream.truncated == (len(whole) > limit)


@given(frames=frames_of, limit=st.integers(1, 100))
def test_the_first_bytes(frames: list[Frame], limit: int) -> None:
    whole = b"".join(data for _, data in frames)
    stream = first(frames, limit)
    assert b"".join(data for _, data in stream.frames) == whole[:limit]
    assert stream.truncated == (len(whole) > limit)
