"""Prefect's pages as a person uses them: words on buttons, not the markup behind them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any, TypeVar

from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from tests.integration.prefect.service import Api, wait_for

T = TypeVar("T")
_TRIES = 4
_SOON = 3_000.0
TIMEOUT = 120_000.0  # milliseconds; a busy machine takes long for a page's first time


class Ui:
    """The pages of one server."""

    def __init__(self, api: Api, page: Page) -> None:
        self.page = page
        self._base = api.url.removesuffix("/api")
        page.set_default_timeout(TIMEOUT)
        page.set_default_navigation_timeout(TIMEOUT)

    def open(self, path: str) -> None:
        """A page of Prefect's first user interface, which has every form."""
        self.page.goto(f"{self._base}{path}", wait_until="domcontentloaded")

    def deployment(self, deployment: str) -> None:
        self.open(f"/deployments/deployment/{deployment}")

    def form(self, deployment: str) -> None:
        """Of a run with parameters."""
        self.open(f"/deployments/deployment/{deployment}/run")
        self.page.get_by_text("Only these services").wait_for()

    def run(self, run: str) -> None:
        self.open(f"/runs/flow-run/{run}")

    def artifact(self, artifact: str) -> None:
        self.open(f"/artifacts/artifact/{artifact}")

    def tab(self, name: str) -> None:
        self.page.locator(".p-tab").get_by_text(name, exact=True).click()

    def field(self, label: str) -> Locator:
        """What is filled in under a label."""
        name = self.page.locator(".schema-form-property__label", has_text=re.compile(f"^{label}"))
        return self.page.locator(".schema-form-property").filter(has=name)

    def choose(self, label: str, value: str) -> None:
        """Pick from a list, opened by the keyboard: a click opens and closes it at once."""
        field = self.field(label)
        option = self.page.get_by_role("option", name=value, exact=True)
        for _ in range(_TRIES):
            field.locator(".p-select-button__control").press("ArrowDown")
            try:
                option.wait_for(timeout=_SOON)
                break
            except PlaywrightTimeoutError:  # it was open already, and is closed now
                continue
        option.locator(".p-select-option__text").or_(option).last.click()
        field.get_by_text(value).first.wait_for()
        if option.is_visible():  # a list of several stays open until one clicks elsewhere
            self.page.mouse.click(1000, 15)
            option.wait_for(state="hidden")

    def write(self, label: str, text: str) -> None:
        """Into a field of text."""
        self.field(label).locator("textarea").fill(text)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).last.click()

    def submit(self, done: Callable[[], T | None]) -> T:
        """Send the form; again where SQLite was busy, which this interface only says."""
        for _ in range(_TRIES):
            self.press("Submit")
            with contextlib.suppress(AssertionError):
                return wait_for(done, timeout=20)
        raise AssertionError("the form was not taken")

    def sees(self, text: str) -> None:
        """Wait until it stands on the page."""
        self.page.get_by_text(text).filter(visible=True).first.wait_for()

    def picture(self, path: Any) -> None:
        """What is right of the navigation."""
        self.page.screenshot(path=path, clip={"x": 256, "y": 0, "width": 1024, "height": 860})
