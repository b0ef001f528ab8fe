"""An open proposal follows its branch; what refuses it is not asked again and again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from flows.proposals.candidate import Candidates
from flows.proposals.follow import Following
from flows.proposals.result import Remembered, Result, Work
from flows.reporting.proposal_note import ProposalNote, ProposalState
from flows.repository.proposal_store import ProposalStore
from tests.unit.report.made import NOW, TARGET

NOTE = ProposalNote(
    target=TARGET,
    field="/spec/resources/memory",
    old="1Gi",
    new="2Gi",
    spec_digest="0" * 16,
    branch="uici/propose/memory",
    commit="c" * 40,
    state=ProposalState.OPEN,
    at=NOW,
    run_id="a-run",
)
CONTENTS = {"parent": b"memory: 1Gi\n", "tip": b"memory: 2Gi\n", "base": b"memory: 1Gi # why\n"}


class Refusing:
    """A repository whose remote takes no proposal any more."""

    base = "main"

    def __init__(self) -> None:
        self.pushes = 0

    def only_ours(self, *_: str) -> bool:
        return True

    def change(self, _: str) -> tuple[str, tuple[str, ...]]:
        return "parent", ("x.yml",)

    def contents(self, sha: str, _: tuple[str, ...]) -> dict[str, bytes]:
        return {"x.yml": CONTENTS[sha.removesuffix("-2")]}

    def message(self, _: str) -> str:
        return "propose: more\n\nUICI-Run: a-run\n"

    def renew(self, *_: Any, **__: Any) -> tuple[str, str]:
        self.pushes += 1
        return "new", "protected branch hook declined"


def test_what_the_remote_refuses_is_told_with_its_reason_and_pushed_once() -> None:
    store, told = Refusing(), list[tuple[Any, ...]]()
    candidates = SimpleNamespace(make=lambda *_: SimpleNamespace(path="x.yml", new=b"new"))
    following = Following(
        cast("ProposalStore", store), cast("Candidates", candidates), Remembered()
    )

    def follow(base: str) -> None:
        desired = SimpleNamespace(revision=f"main@sha1:{base}", services={TARGET: None})
        situation = SimpleNamespace(desired=desired, run_id="another", now=NOW)
        work = SimpleNamespace(situation=situation, tell=lambda *words: told.append(words))
        following.follow(cast("Work", work), NOTE, "tip")

    follow("base")
    follow("base")
    assert store.pushes == 1
    ((result, _, _, why),) = told
    assert result is Result.FAILED
    assert "hook declined" in why
    follow("base-2")  # the branch has gone on: it may be taken now
    assert store.pushes == 2
