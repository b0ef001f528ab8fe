"""The README's picture of a terminal: `python -m tests.reference.terminal` takes it anew.

The commands are run for real, on a Docker Engine with a service of the demo's image, in a
scratch folder; what they print is drawn as it is, but for blank lines and the last report's end.
"""

from __future__ import annotations

import fcntl
import os
import pty
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from flows import local_stack
from flows.demo.place import ROOT

PICTURE = ROOT / "docs/images/terminal.svg"
COLUMNS = 108
SERVICE = "market-predictor"
_BEFORE = "uici init ops --mode enforce"
SCENE = (
    f"docker kill {SERVICE}",
    "uici plan --config ops/config",
    "uici reconcile --config ops/config",
)
_LAST_LINE = "From the fault at"
# Longer than the grace of a process that has ended (`compare.grace.stopped`).
_PAUSE_SECONDS = 3.0
# Rich's own format asks a server on the internet for a font.
_FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; \
font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def drawn(scene: str) -> str:
    """Text with a terminal's colours as an SVG that asks for nothing."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.from_ansi(scene))
    return console.export_svg(title="uici", theme=MONOKAI, code_format=_FORMAT, unique_id="uici")


def play(folder: Path, environ: Mapping[str, str]) -> str:
    """What a person would see who types the scene."""
    _in_terminal(shlex.split(_BEFORE), folder, environ)
    seen = ""
    for line in SCENE:
        if "plan" in line:
            time.sleep(_PAUSE_SECONDS)
        told = _in_terminal(shlex.split(line), folder, environ)
        seen += f"\x1b[1;32m$\x1b[0m \x1b[1m{line}\x1b[0m\n{told.rstrip()}\n\n"
    lines = seen.rstrip().splitlines()
    end = next((n for n, line in enumerate(lines) if line.startswith(_LAST_LINE)), len(lines))
    return _folded([*lines[: end + 1], "", "…"])


def _folded(lines: list[str]) -> str:
    """Of blank lines that follow each other one."""
    full = [bool(Text.from_ansi(line).plain.strip()) for line in lines]
    kept = [line for n, line in enumerate(lines) if full[n] or (n and full[n - 1])]
    return "\n".join(kept) + "\n"


def _in_terminal(words: list[str], folder: Path, environ: Mapping[str, str]) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    told = bytearray()
    with subprocess.Popen(
        words, cwd=folder, env=environ, stdout=theirs, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed: that is how a terminal ends
                break
            if not part:
                break
            told += part
        process.wait()
    os.close(ours)
    return told.decode().replace("\r\n", "\n")


def main() -> None:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(local_stack.docker_engine(scratch / "docker"))
        name = f"picture-{os.getpid()}"
        image = f"{SERVICE}:1.4.2"
        local_stack.build_demo_image(engine.host, image, stack=name)
        stack.callback(local_stack.remove_stack, engine.host, name)
        environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(scratch),
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "DOCKER_HOST": engine.host,
        }
        begin = ["docker", "run", "--detach", "--name", SERVICE, "--memory", "64m", image]
        subprocess.run(begin, env=environ, check=True, stdout=subprocess.DEVNULL)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_text(drawn(play(scratch, environ)), encoding="utf-8")
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
