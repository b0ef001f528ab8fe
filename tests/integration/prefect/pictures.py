"""Take the documentation's pictures of Prefect's pages again.

    python -m tests.integration.prefect.pictures

Runs the test of the pages, in the order of their text, and writes docs/images/prefect-*.png.
"""

from __future__ import annotations

import os
import subprocess
import sys

from flows.demo.place import ROOT


def main() -> int:
    test = "tests/integration/prefect/test_prefect_pages.py"
    environ = {**os.environ, "UICI_PICTURES": str(ROOT / "docs" / "images")}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", test]
    return subprocess.run(argv, cwd=ROOT, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
