"""Pages for people on the reports branch, as models."""

from __future__ import annotations

from pydantic import Field

from infrastructure.config_models.values import Period
from infrastructure.service import Document


class PageSettings(Document):
    """The status page, the index of each day, the chart and the badges.

    Attributes:
        every: at most so often they are written; nothing new, nothing written.
        days: days that the status page lists and its chart shows.
        rows: of one table; a page says how many more there are.
        reports_at_once: that one run counts for the pages, in a second or two; the next one goes
            on with what is left. `uici report --publish` counts all.
    """

    every: Period
    days: int = Field(ge=1, le=366)
    rows: int = Field(ge=1, le=1000)
    reports_at_once: int = Field(default=1000, ge=1, le=1_000_000)


class ReportSettings(Document):
    """What people find on the reports branch beside the reports.

    Attributes:
        pages: null: reports only, without pages that lead to them.
    """

    pages: PageSettings | None = None
