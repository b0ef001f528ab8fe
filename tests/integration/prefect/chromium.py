"""A headless Chromium that is installed already, driven by Playwright.

Playwright would bring browsers of its own from its own servers; the distribution's is
enough and is kept up to date by it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from infrastructure.errors import PermanentError

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser.

    Raises:
        PermanentError: there is none on this machine.
    """
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise PermanentError(
            "no Chromium on PATH: deploy/setup.sh browser installs it (Debian's package chromium)"
        )
    # Chromium's sandbox refuses root; the pages are the server's own, on loopback.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*arguments, "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()
