"""`python -m tests.reference`: write the pages anew."""

from __future__ import annotations

import sys

from flows.demo.place import ROOT
from tests.reference.pages import pages


def main() -> None:
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
