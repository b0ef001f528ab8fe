"""`uici report --publish`: the pages for people on the reports branch, now."""

from __future__ import annotations

from flows.command_line.terminal import print_json, say
from flows.repository.contract import CommitResult, Durability
from flows.runtime import Runtime
from infrastructure.errors import PermanentError


def publish(runtime: Runtime) -> CommitResult | None:
    """Bring the pages up to date, whenever that was done last. None: they are.

    Raises:
        PermanentError: no pages are wanted, or the commit could not be written.
        TemporaryError: the state repository can't be read or written now.
    """
    pages = runtime.config.platform.reports.pages
    if pages is None:
        raise PermanentError("reports.pages is null in platform.yml: set it to have pages")
    runtime.git.desired()  # brings the newest reports along
    return runtime.git.publish(pages, runtime.clock.now())


def show(done: CommitResult | None, *, as_json: bool) -> None:
    """What was written."""
    if as_json:
        pushed = done is not None and done.durability is Durability.PUSHED
        print_json(
            {
                "apiVersion": "uici/v1",
                "kind": "Publication",
                "commit": done.sha if done is not None else None,
                "pushed": pushed if done is not None else None,
            }
        )
    elif done is None:
        say("nothing new: the pages are up to date")
    elif done.durability is Durability.PUSHED:
        say(f"published: commit {done.sha[:12]}")
    else:
        say(f"committed here, not pushed yet: {done.sha[:12]}: {done.error}")
