"""Standard output and error as they may be: closed, full, or of an encoding with few letters."""

from __future__ import annotations

import io
import os
import pathlib
import sys


def make_ready() -> None:
    """Keep files of ours out of closed streams' places, and give each character a way out.

    What is written to a closed stdout fails, as on a full disk; of a closed stderr nothing can
    be told.
    """
    for name, number, flags in (("stdout", 1, os.O_RDONLY), ("stderr", 2, os.O_WRONLY)):
        stream = getattr(sys, name)
        if stream is None:  # closed by who called; programs that we start may write there
            _hold(number)
            place = os.open(os.devnull, flags)
            setattr(sys, name, os.fdopen(place, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _hold(number: int) -> None:
    held = os.open(os.devnull, os.O_WRONLY)
    if held != number:
        os.dup2(held, number)
        os.close(held)


def give_up_output() -> None:
    """What is still to be written can't be: the interpreter must not try at its end."""
    sys.stdout = pathlib.Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays open


def writes_all_letters() -> bool:
    """Whether stdout can write every character as it is."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
