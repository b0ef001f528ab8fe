"""A decision counts for its plan, its revision, its time, once; anything else is a no."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from flows.approvals.decision import Answer, Decision, Way
from flows.approvals.ledger import Ledger
from flows.approvals.request import ApprovalRequest, RequestState
from flows.approvals.standing import Given, Merged, Standing, stands
from tests.builders import NOW
from tests.unit.approvals.made import CONTENT, HOURS, decision, given, ledger, plan, request

ASKED = request()


def standing(*decisions: Decision, about: ApprovalRequest = ASKED, **changes: object) -> Standing:
    known = ledger(about, decisions=decisions)
    return stands(about, given(known, **changes)).standing


def test_nobody_has_decided() -> None:
    assert standing() is Standing.WAITING


def test_an_approval_of_exactly_this_counts() -> None:
    found = stands(ASKED, given(ledger(ASKED, decisions=(decision(ASKED, reason="drained"),))))
    assert (found.standing, found.by, found.way) == (Standing.APPROVED, "ann", Way.COMMAND)
    assert found.reason == "approved by ann (command): drained"


@pytest.mark.parametrize(
    "changes",
    [
        {"plan_digest": "0" * 64},
        {"desired_content": "0" * 64},
        {"expires_at": ASKED.expires_at + timedelta(hours=1)},
        {"at": ASKED.expires_at},
        {"at": ASKED.expires_at + timedelta(seconds=1)},
        {"at": NOW + timedelta(days=2)},
    ],
    ids=["another plan", "another state", "another expiry", "too late", "later", "in the future"],
)
def test_an_approval_that_is_bound_to_something_else_is_none(changes: dict[str, object]) -> None:
    assert standing(decision(ASKED, **changes)) is Standing.WAITING


def test_a_rejection_outweighs_every_approval() -> None:
    yes, no = decision(ASKED), decision(ASKED, answer=Answer.REJECT, by="bob")
    assert standing(yes, no) is Standing.REJECTED
    assert standing(no, yes) is Standing.REJECTED


def test_a_rejection_needs_to_be_bound_to_nothing_but_the_request() -> None:
    no = decision(ASKED, answer=Answer.REJECT, plan_digest="0" * 64)
    assert standing(decision(ASKED), no) is Standing.REJECTED


def test_two_equal_approvals_are_one() -> None:
    found = standing(decision(ASKED), decision(ASKED, by="bob", at=NOW + timedelta(minutes=6)))
    assert found is Standing.APPROVED


def test_at_its_expiry_an_approval_has_ended() -> None:
    yes = decision(ASKED)
    just_before = ASKED.expires_at - timedelta(microseconds=1)
    assert standing(yes, now=just_before) is Standing.APPROVED
    assert standing(yes, now=ASKED.expires_at) is Standing.EXPIRED


def test_another_desired_state_takes_the_approval_away() -> None:
    assert standing(decision(ASKED), content="e" * 64) is Standing.CHANGED


def test_what_git_says_must_be_known_for_certain() -> None:
    assert standing(decision(ASKED), content="") is Standing.WAITING


def test_a_decision_that_can_not_be_read_may_be_a_no() -> None:
    known = replace(ledger(ASKED, decisions=(decision(ASKED),)), unread=frozenset({ASKED.id}))
    assert stands(ASKED, given(known)).standing is Standing.WAITING


def test_a_use_however_it_looks_spends_the_approval() -> None:
    known = replace(ledger(ASKED, decisions=(decision(ASKED),)), uses={ASKED.id: ("x",)})
    assert stands(ASKED, given(known)).standing is Standing.USED


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (RequestState.USED, Standing.USED),
        (RequestState.REJECTED, Standing.REJECTED),
        (RequestState.EXPIRED, Standing.EXPIRED),
        (RequestState.SUPERSEDED, Standing.ENDED),
        (RequestState.OVER, Standing.ENDED),
    ],
)
def test_what_has_ended_is_not_approved_any_more(state: RequestState, expected: Standing) -> None:
    about = ASKED.settled(state, NOW, "told")
    assert standing(decision(about), about=about) is expected


def test_a_clock_that_went_back_does_not_lengthen_an_approval() -> None:
    assert standing(decision(ASKED), now=NOW - timedelta(hours=1)) is Standing.WAITING


def test_a_request_can_not_grant_itself_more_time_than_configured() -> None:
    long = request(expire_after=timedelta(days=30))
    assert standing(decision(long), about=long) is Standing.WAITING


@pytest.mark.parametrize(
    ("intact", "expected"), [(True, Standing.APPROVED), (False, Standing.WAITING)]
)
def test_a_merge_approves_only_what_was_written(*, intact: bool, expected: Standing) -> None:
    assert standing(merged={ASKED.id: Merged("ann", intact)}) is expected


def test_another_requests_merge_approves_nothing() -> None:
    assert standing(merged={"0" * 12: Merged("ann", intact=True)}) is Standing.WAITING


def test_a_wish_to_be_asked_again_is_seen() -> None:
    known = ledger(ASKED, decisions=(decision(ASKED, answer=Answer.RENEW),))
    found = stands(ASKED, given(known, now=ASKED.expires_at))
    assert (found.standing, found.renewed) == (Standing.EXPIRED, True)


OTHER = request(plan("restart"))
WORDS = st.sampled_from(
    [
        decision(ASKED),
        decision(ASKED, by="bob"),
        decision(ASKED, answer=Answer.REJECT),
        decision(ASKED, answer=Answer.RENEW),
        decision(ASKED, plan_digest=OTHER.plan_digest),
        decision(OTHER),
        decision(OTHER, answer=Answer.REJECT),
    ]
)
WORLDS = st.builds(
    lambda words, content, minutes, used: Given(
        replace(
            ledger(ASKED, OTHER, decisions=tuple(words)),
            uses={ASKED.id: ("used",)} if used else {},
        ),
        content,
        NOW + timedelta(minutes=minutes),
        HOURS,
    ),
    st.lists(WORDS, max_size=5),
    st.sampled_from([CONTENT, "e" * 64, ""]),
    st.integers(-60, 300),
    st.booleans(),
)


@examples(WORLDS)
def test_it_is_approved_only_where_everything_is_as_it_must_be(world: Given) -> None:
    if stands(ASKED, world).standing is Standing.APPROVED:
        said = world.ledger.decisions[ASKED.id]
        assert any(d.answer is Answer.APPROVE and d.is_about(ASKED) for d in said)
        assert not any(d.answer is Answer.REJECT for d in said)
        assert world.content == CONTENT
        assert NOW <= world.now < ASKED.expires_at
        assert ASKED.id not in world.ledger.uses


@examples(WORLDS, st.sampled_from(["reject", "use", "change", "late"]))
def test_every_single_no_is_enough(world: Given, what: str) -> None:
    known: Ledger = world.ledger
    worse = {
        "reject": replace(
            world,
            ledger=replace(
                known,
                decisions={
                    **known.decisions,
                    ASKED.id: (
                        *known.decisions.get(ASKED.id, ()),
                        decision(ASKED, answer=Answer.REJECT),
                    ),
                },
            ),
        ),
        "use": replace(world, ledger=replace(known, uses={ASKED.id: ("another",)})),
        "change": replace(world, content="9" * 64),
        "late": replace(world, now=ASKED.expires_at + timedelta(seconds=1)),
    }[what]
    assert stands(ASKED, worse).standing is not Standing.APPROVED
