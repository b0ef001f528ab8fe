"""Standard output and error as they may be: closed, full, or of an encoding with few letters."""

from __future__ import annotations

import io
import os
import pathlib
import sys


def make_ready() -> None:
    """Give every stream a place to write to, and each character a way to be written."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # closed by who called: no file of ours may take its number
            _hold(number)
            setattr(sys, name, pathlib.Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - stays open
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
