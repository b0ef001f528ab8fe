"""Pages on the reports branch: what they say, where links lead, and nothing told twice."""

from __future__ import annotations

import posixpath
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

from flows.listener import NullListener
from flows.report import RunReport
from flows.reporting.pages.badge import Colour, badge
from flows.reporting.pages.chart import recoveries_chart
from flows.reporting.pages.index import DayCount, PageIndex, read_index
from flows.reporting.pages.status_page import Standing, badges, render_status
from flows.reporting.pages.stored import stored_run
from flows.runtime import open_git
from infrastructure.config_models import PageSettings
from tests.fakes.loop import LoopWorld, git, loop_world, service_yaml
from tests.unit.report.made import TARGET, status

PAGES = {"every": "1h", "days": 30, "rows": 3}
EVIL = "<script>alert(1)</script> | ![x](http://evil.example/x.png) [click](javascript:x) `a` @ann"
DAY = date(2026, 11, 22)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    quick = {
        "guard": {"policy": {"backoff": {"initial": "0s", "max": "0s"}}},
        "reports": {"pages": PAGES},
    }
    with loop_world(tmp_path, platform=quick) as made:
        made.commit(shop=service_yaml("shop"), db=service_yaml("db"))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        made.run()
        yield made


def settings(world: LoopWorld) -> PageSettings:
    pages = world.config.platform.reports.pages
    assert pages is not None
    return pages


def publish(world: LoopWorld) -> bool:
    return world.runtime.git.publish(settings(world), datetime.now(UTC)) is not None


def break_and_heal(world: LoopWorld, name: str) -> None:
    world.engine.kill(name)
    assert world.run().incidents


def branch(world: LoopWorld) -> set[str]:
    names = git(world.remote, "ls-tree", "-r", "-t", "--name-only", "uici/reports")
    return set(names.splitlines())


def links(page: str, text: str) -> set[str]:
    """What a page's links and pictures lead to, from the top of the branch."""
    found = set()
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for child in token.children or ():
            to = child.attrs.get("href") or child.attrs.get("src")
            if to is not None:
                here = posixpath.dirname(page)
                found.add(posixpath.normpath(posixpath.join(here, unquote(str(to)))))
    return found


def test_every_link_leads_to_a_file_of_the_branch(world: LoopWorld) -> None:
    for name in ("shop", "db", "shop"):
        break_and_heal(world, name)
    assert publish(world)
    files = branch(world)
    pages = [name for name in files if name.endswith(".md")]
    assert {"README.md", "pages/recoveries.svg", "pages/services.svg"} <= files
    assert len(pages) == 5  # the status page, a day, three reports
    for page in pages:
        to = links(page, world.file(page))
        assert to <= files, page
    day = next(page for page in pages if page.startswith("reports/") and "README" in page)
    assert day in links("README.md", world.file("README.md"))
    reports = {page for page in pages if page not in (day, "README.md")}
    assert reports <= links(day, world.file(day))


def test_the_status_page_says_how_all_stands(world: LoopWorld) -> None:
    break_and_heal(world, "shop")
    publish(world)
    text = world.file("README.md")
    assert text.startswith("# All well: 2 targets\n")
    assert "1 incident: 1 recovered" in text
    row = next(line for line in text.splitlines() if line.startswith("| local-docker/shop"))
    assert "Healthy" in row
    assert "[recovered](reports/" in row


def test_nothing_new_is_no_commit_and_the_same_bytes(world: LoopWorld) -> None:
    break_and_heal(world, "shop")
    assert publish(world)
    before, told = world.reports(), git(world.remote, "rev-parse", "uici/reports^{tree}")
    assert not publish(world)
    again = world.runtime.git.publish(settings(world), datetime.now(UTC) + timedelta(days=2))
    assert again is None
    world.run()
    assert world.reports() == before
    assert git(world.remote, "rev-parse", "uici/reports^{tree}") == told


def test_the_loop_publishes_when_it_is_due_and_not_before(world: LoopWorld) -> None:
    assert world.reports()[0].startswith("pages:")  # the first run's
    break_and_heal(world, "shop")
    assert not world.reports()[0].startswith("pages:")
    later = datetime.now(UTC) + timedelta(hours=2)
    assert world.runtime.git.publish_due(settings(world), later) is not None
    assert world.reports()[0] == f"pages: {later - timedelta(hours=2):%Y-%m-%d}"
    assert world.runtime.git.publish_due(settings(world), later + timedelta(hours=2)) is None


def test_another_writer_loses_nothing(world: LoopWorld, tmp_path: Path) -> None:
    break_and_heal(world, "shop")
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", "-b", "uici/reports", str(world.remote), str(other))
    (other / "status" / "note.txt").write_text("of somebody else\n")
    git(other, "add", "-A")
    git(other, "commit", "-qm", "by somebody else")
    git(other, "push", "-q", "origin", "uici/reports")
    assert publish(world)  # on an older tip: replayed, never forced
    assert world.file("status/note.txt") == "of somebody else"
    assert world.file("README.md").startswith("# All well")
    assert "by somebody else" in world.reports()


def test_what_people_put_beside_reports_and_odd_days_are_no_reports(
    world: LoopWorld, tmp_path: Path
) -> None:
    break_and_heal(world, "shop")
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", "-b", "uici/reports", str(world.remote), str(other))
    for path in ("reports/zzz.md", "reports/0001/01/01/x.md", "reports/9999/12/31/x.md"):
        (other / path).parent.mkdir(parents=True, exist_ok=True)
        (other / path).write_text("# mine\n")
        (other / path).with_suffix(".json").write_text("{}")
    (other / "reports/zzz.json").unlink()
    git(other, "add", "-A")
    git(other, "commit", "-qm", "by somebody else")
    git(other, "push", "-q", "origin", "uici/reports")
    world.run()
    found = world.runtime.git.report("")
    assert not found.path.endswith("zzz")
    for now in (datetime.now(UTC), datetime.max.replace(tzinfo=UTC)):
        world.runtime.git.publish(settings(world), now)
    assert f"reports/{datetime.now(UTC):%Y/%m/%d}/README.md" in branch(world)


def test_a_day_shows_its_newest_and_counts_all(world: LoopWorld) -> None:
    for _ in range(5):
        break_and_heal(world, "shop")
    publish(world)
    day = next(n for n in branch(world) if n.startswith("reports/") and n.endswith("README.md"))
    text = world.file(day)
    assert "5 incidents: 5 recovered" in text
    assert "The newest 3; 2 reports more" in text
    index = read_index(world.file("pages/index.json").encode())
    assert [(c.reports, c.recovered) for c in index.days.values()] == [(5, 5)]


def test_a_page_is_no_report(world: LoopWorld) -> None:
    break_and_heal(world, "shop")
    publish(world)
    assert world.runtime.git.report("").title.startswith("shop: ")
    assert len(world.runtime.git.newest_reports(20)) == 1
    [one] = world.runtime.git.newest_reports(20, day=datetime.now(UTC).date())
    assert [i.root for i in one.incidents] == ["local-docker/shop"]


def test_a_damaged_index_is_made_anew(world: LoopWorld, tmp_path: Path) -> None:
    break_and_heal(world, "shop")
    publish(world)
    good = world.file("pages/index.json")
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", "-b", "uici/reports", str(world.remote), str(other))
    (other / "pages" / "index.json").write_text('{"days": {"2026-11-22": []}}')
    page = (other / "README.md").read_text()
    (other / "README.md").write_text(page.replace("# All well", "# vandalism"))
    git(other, "commit", "-qam", "damage")
    git(other, "push", "-q", "origin", "uici/reports")
    world.runtime.git.desired()
    assert publish(world)
    assert world.file("README.md").startswith("# All well")
    assert (
        read_index(world.file("pages/index.json").encode()).days == read_index(good.encode()).days
    )


def others_write(world: LoopWorld, **files: str | bytes | None) -> None:
    """A commit on the reports branch by somebody else, by path."""
    other = world.root / "other"
    if not other.exists():
        git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(other))
    git(other, "pull", "-q", "--rebase")
    for path, content in files.items():
        if content is None:
            (other / path).unlink()
        else:
            data = content.encode() if isinstance(content, str) else content
            (other / path).write_bytes(data)
    git(other, "add", "-A")
    git(other, "commit", "-qm", "by somebody else")
    git(other, "push", "-q", "origin", "uici/reports")
    world.runtime.git.desired()


def test_a_teams_own_readme_stays_and_the_page_stands_beside_it(world: LoopWorld) -> None:
    others_write(world, **{"README.md": "# Our runs\n\nOwned by team blue.\n"})
    break_and_heal(world, "shop")
    assert publish(world)
    assert world.file("README.md") == "# Our runs\n\nOwned by team blue."
    assert world.file("UICI.md").startswith("# All well: 2 targets\n")
    assert world.reports()[0].endswith(" (UICI.md: README.md is not ours)")
    day = next(n for n in branch(world) if n.startswith("reports/") and n.endswith("README.md"))
    assert "UICI.md" in links(day, world.file(day))
    break_and_heal(world, "shop")
    assert publish(world)
    assert sum("not ours" in subject for subject in world.reports()) == 1  # told once
    others_write(world, **{"README.md": None})
    break_and_heal(world, "db")
    assert publish(world)  # neither of them grows old
    assert world.file("README.md") == world.file("UICI.md")


def test_a_page_from_before_the_mark_is_ours(world: LoopWorld) -> None:
    break_and_heal(world, "shop")
    assert publish(world)
    page = world.file("README.md").partition("<!-- uici")[0].rstrip("\n") + "\n"
    others_write(world, **{"README.md": page})
    assert publish(world)
    assert "<!-- uici" in world.file("README.md")
    assert "UICI.md" not in branch(world)


def test_one_run_counts_so_many_reports_and_the_next_goes_on(world: LoopWorld) -> None:
    for _ in range(5):
        break_and_heal(world, "shop")
    few = settings(world).model_copy(update={"reports_at_once": 2})
    counts, said = [], []
    for _ in range(6):
        world.runtime.git.publish_due(few, datetime.now(UTC) + timedelta(hours=2))
        index = read_index(world.file("pages/index.json").encode())
        counts.append((sum(c.reports for c in index.days.values()), index.behind))
        said.append("Counting older reports" in world.file("README.md"))
    assert counts == [(2, 3), (4, 1), (5, 0), (5, 0), (5, 0), (5, 0)]
    assert said == [True, True, False, False, False, False]
    assert publish(world) is False


def test_a_day_for_which_there_is_no_time_keeps_its_old_count(world: LoopWorld) -> None:
    break_and_heal(world, "shop")
    assert publish(world)
    pages, now = world.runtime.git._pages, datetime.now(UTC)
    listed = pages._listed(world.remembered().tip, 30, now)
    [(day, known)] = read_index(world.file("pages/index.json").encode()).days.items()
    other = replace(known, reports=known.reports + 1)  # a report has been taken away since
    counted, behind = pages._counted(listed, PageIndex(now, {day: other}), 0)
    assert (counted, behind) == ({day: other}, known.reports)


def test_asked_for_by_hand_all_are_counted_at_once(world: LoopWorld) -> None:
    for _ in range(3):
        break_and_heal(world, "shop")
    few = settings(world).model_copy(update={"reports_at_once": 1})
    assert world.runtime.git.publish(few, datetime.now(UTC)) is not None
    assert read_index(world.file("pages/index.json").encode()).behind == 0


def test_an_index_that_was_deleted_is_written_again(world: LoopWorld) -> None:
    break_and_heal(world, "shop")
    assert publish(world)
    good = read_index(world.file("pages/index.json").encode())
    others_write(world, **{"pages/index.json": None})
    assert publish(world)  # all pages are as they were: counted anew in each run otherwise
    assert read_index(world.file("pages/index.json").encode()).days == good.days
    assert not publish(world)


def test_a_new_process_does_not_count_again_what_the_newest_commit_tells(
    world: LoopWorld,
) -> None:
    break_and_heal(world, "shop")
    assert publish(world)
    anew = open_git(world.config, world.runtime.identity, world.runtime.redactor)
    tip = anew.reported().tip
    assert read_index(world.file("pages/index.json").encode()).told == git(
        world.remote, "rev-parse", f"{tip}^"
    )
    assert anew.publish_due(settings(world), datetime.now(UTC) + timedelta(days=3)) is None
    assert anew._pages._published == tip  # without a look at any report


def test_a_run_is_told_before_its_pages_are_made(world: LoopWorld) -> None:
    seen = []

    class Told(NullListener):
        def run_finished(self, report: RunReport) -> None:
            super().run_finished(report)
            seen.append(world.reports()[0])

    others_write(world, **{"pages/index.json": None})
    world.engine.kill("shop")
    world.run(listener=Told())
    assert not seen[0].startswith("pages:")
    assert world.reports()[0].startswith("pages:")


def test_a_report_that_is_too_large_is_named_and_not_read(world: LoopWorld) -> None:
    for _ in range(2):
        break_and_heal(world, "shop")
    newest = world.runtime.git.report("").path
    size = world.config.platform.git.max_file_bytes + 1
    others_write(world, **{f"{newest}.json": b" " * size})
    assert publish(world)
    day = next(n for n in branch(world) if n.startswith("reports/") and n.endswith("README.md"))
    assert f"not read: {size} bytes, more than git.maxFileBytes" in world.file(day)
    assert "1 incident: 1 recovered" in world.file(day)
    titles = [run.title for run in world.runtime.git.newest_reports(20)]
    assert titles[0].startswith("not read: ")
    assert titles[1].startswith("shop: ")


def test_a_clock_of_1970_is_not_called_all_well(world: LoopWorld) -> None:
    break_and_heal(world, "shop")
    assert world.runtime.git.publish(settings(world), datetime(1970, 1, 1, tzinfo=UTC)) is not None
    title, _, rest = world.file("README.md").partition("\n")
    assert title.startswith("# Nothing is known up to 1970-01-01: the newest report is of 20")
    assert "**A clock is wrong**" in rest


# ── pure parts ──────────────────────────────────────────────────────────────────


def test_hostile_text_is_shown_and_does_nothing() -> None:
    known = status(TARGET, message=EVIL).model_copy(update={"health": "Degraded"})
    standing = Standing({known.target: known}, {DAY: DayCount(1, "1-a", {"recovered": 1})})
    text = render_status(standing, rows=10, redact=str)
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert "<script" not in rendered
    assert "alert(1)" in rendered
    assert "evil.example" not in str(links("README.md", text))
    assert not [to for to in links("README.md", text) if "javascript" in to]
    row = next(line for line in text.splitlines() if "alert(1)" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 8


def test_secrets_are_cut_out() -> None:
    known = status(TARGET, message="token hunter2").model_copy(update={"health": "Degraded"})
    standing = Standing({known.target: known}, {})
    text = render_status(standing, rows=10, redact=lambda t: t.replace("hunter2", "(secret)"))
    assert "hunter2" not in text
    assert "(secret)" in text


def test_a_hostile_report_is_counted_as_far_as_it_is_one() -> None:
    for content in (b"", b"[", b"[]", b'{"incidents": 3}', b'{"incidents": [1, {"result": []}]}'):
        run = stored_run("reports/2026/11/22/10/101010-a", content, f"# {EVIL}\n".encode())
        assert all(i.result == "unknown" for i in run.incidents)
        assert run.title
    for number in ("NaN", "Infinity", "-1", "1" + "0" * 400, '"5"'):
        odd = b'{"incidents": [{"faultToRecoverySeconds": ' + number.encode() + b"}]}"
        assert stored_run("a", odd).incidents[0].seconds is None


def test_a_number_that_no_float_holds_is_no_day() -> None:
    day = '{"reports": 1, "last": "a", "results": {}, "timed": 1, "seconds": '
    for seconds, days in (("5", 1), ("1" + "0" * 400, 0), ("NaN", 0)):
        content = '{"days": {"2026-11-22": ' + day + seconds + "}}}"
        assert len(read_index(content.encode()).days) == days


def test_a_badge_is_an_image_that_says_it() -> None:
    root = ET.fromstring(badge("services", f"12 healthy {EVIL[:20]}", Colour.GOOD))  # noqa: S314  # ours
    assert "12 healthy" in "".join(root.itertext())
    assert not [e for e in root.iter() if e.tag.endswith("script")]


@pytest.mark.parametrize(
    ("health", "said"),
    [("Healthy", "1 healthy"), ("Degraded", "0 healthy / 1 not well")],
)
def test_the_services_badge_counts(health: str, said: str) -> None:
    known = status(TARGET).model_copy(update={"health": health})
    assert said in badges(Standing({TARGET: known}, {}))["pages/services.svg"].decode()


def test_the_chart_shows_both_and_stays_the_same() -> None:
    days = {
        DAY - timedelta(days=n): DayCount(3, "x", {"recovered": n % 4, "failed": n % 2})
        for n in range(20)
    }
    drawn = recoveries_chart(days, count=30)
    assert drawn == recoveries_chart(dict(reversed(days.items())), count=30)
    root = ET.fromstring(drawn)  # noqa: S314  # ours
    names = {e.tag.rpartition("}")[2] for e in root.iter()}
    assert "script" not in names
    said = " ".join(root.itertext())
    assert "recovered" in said
    assert "not recovered" in said
    assert f"{datetime.now(UTC):%Y-%m-%d}" not in drawn.decode()
    bars = [e for e in root.iter() if e.get("class", "").startswith("rect ")]
    shown = sum(c.recovered > 0 for c in days.values()) + sum(c.others > 0 for c in days.values())
    assert len(bars) == shown
    assert len(drawn) < 30_000


def test_a_chart_of_nothing() -> None:
    assert recoveries_chart({}, count=30).startswith(b"<svg")


def test_the_index_reads_what_it_wrote() -> None:
    index = PageIndex(
        datetime(2026, 11, 22, 12, tzinfo=UTC),
        {DAY: DayCount(4, "101010-a", {"failed": 1, "recovered": 3}, 4.5, 3)},
    )
    assert read_index(index.to_bytes()) == index
    assert read_index(None) == PageIndex()
