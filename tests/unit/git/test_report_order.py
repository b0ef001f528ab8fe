"""Reports in the order of their time, whichever version of UICI has written them."""

from __future__ import annotations

from flows.repository.contract import Blob, Listing
from flows.repository.memory import report_stems

STEMS = (
    "reports/2026/11/22/23/59/235959-0a1b2c3d",
    "reports/2026/11/23/10/101500-aaaaaaaa",  # of an older version: a folder for an hour
    "reports/2026/11/23/10/15/101530-bbbbbbbb",
    "reports/2026/11/23/10/104500-cccccccc",
    "reports/2026/11/23/10/46/104600-dddddddd",
)


def test_reports_of_both_layouts_are_in_the_order_of_their_time() -> None:
    files = {
        f"{stem}{end}": Blob("0" * 40, 1) for stem in reversed(STEMS) for end in (".md", ".json")
    }
    assert report_stems(Listing(files)) == list(STEMS)


def test_pages_and_what_people_put_there_are_no_reports() -> None:
    files = {
        "reports/2026/11/23/README.md": Blob("0" * 40, 1),
        "reports/2026/11/23/10/46/notes.md": Blob("0" * 40, 1),
    }
    assert report_stems(Listing(files)) == []
