"""Files that anyone may have written: read where they are whole, named where they are not."""

from __future__ import annotations

import json

import pytest
import yaml

from flows.approvals.asking import is_shown, plan_of
from flows.approvals.decision import Answer, Way, decision_path, use_path
from flows.approvals.ledger import read_ledger
from flows.approvals.merge_file import body, merge_file, merge_path, title
from flows.approvals.news import request_bytes
from flows.approvals.request import RequestState, request_path
from infrastructure.approval_file import is_approval_file
from tests.builders import NOW
from tests.unit.approvals.made import INCIDENT, REDACTOR, decision, plan, request

ASKED = request()
PATH = request_path(ASKED.id)


def changed(**changes: object) -> bytes:
    data = json.loads(request_bytes(ASKED))
    return json.dumps(data | changes).encode()


def test_what_was_written_is_read_back() -> None:
    said = decision(ASKED)
    files = {PATH: request_bytes(ASKED), decision_path(said): said.model_dump_json().encode()}
    found = read_ledger({**files, use_path(ASKED.id, "run-2"): b"{"})
    assert found.requests == {ASKED.id: ASKED}
    assert found.decisions == {ASKED.id: (said,)}
    assert found.uses == {ASKED.id: (use_path(ASKED.id, "run-2"),)}
    assert found.damaged == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"expiresAt": "2027-01-01T00:00:00Z"},
        {"desiredContent": "0" * 64},
        {"planDigest": "0" * 64},
        {"target": "local-docker/other"},
        {"diff": []},
        {"facts": ["all is well"]},
        {"plan": {**json.loads(request_bytes(ASKED))["plan"], "diagnosis": "harmless"}},
    ],
)
def test_a_request_that_somebody_has_changed_is_none(changes: dict[str, object]) -> None:
    found = read_ledger({PATH: changed(**changes)})
    assert found.requests == {}
    assert "was changed" in found.damaged[0]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"id": 3}', b"\xff" * 9])
def test_damaged_files_are_named_and_count_as_absent(content: bytes) -> None:
    folder = f"approvals/{ASKED.id}"
    found = read_ledger({PATH: content, f"{folder}/decision-1.json": content})
    assert (found.requests, found.decisions) == ({}, {})
    assert len(found.damaged) == 2
    assert found.unread == {ASKED.id}


def test_a_decision_in_another_requests_folder_is_none() -> None:
    said = decision(ASKED)
    path = decision_path(said).replace(ASKED.id, "0" * 12)
    assert read_ledger({path: said.model_dump_json().encode()}).decisions == {}


def test_a_file_can_not_pretend_to_be_a_merge() -> None:
    said = decision(ASKED, way=Way.MERGE)
    found = read_ledger({decision_path(said): said.model_dump_json().encode()})
    assert found.decisions == {}
    assert "merge" in found.damaged[0]


def test_its_end_and_its_pull_request_do_not_change_what_a_request_is() -> None:
    ended = ASKED.settled(RequestState.OVER, NOW, "well again")
    ended = ended.model_copy(update={"number": 3, "branch_commit": "a" * 40})
    assert read_ledger({PATH: request_bytes(ended)}).requests == {ASKED.id: ended}


def test_two_decisions_never_take_each_others_place() -> None:
    no = decision(ASKED, answer=Answer.REJECT)
    assert (
        decision_path(no)
        != decision_path(decision(ASKED))
        != decision_path(decision(ASKED, by="bob"))
    )


def test_of_several_that_wait_all_agents_hold_to_the_first() -> None:
    second = request(now=NOW.replace(hour=13))
    files = {request_path(r.id): request_bytes(r) for r in (second, ASKED)}
    newest = read_ledger(files).newest(ASKED.target, ASKED.fingerprint)
    assert newest == ASKED


# ── plans ───────────────────────────────────────────────────────────────────────


def test_a_kept_plan_is_the_plan() -> None:
    made = plan("set_env", env={"LOG_LEVEL": "info"})
    kept = plan_of(request(made))
    assert kept is not None
    assert kept.digest == made.digest
    assert is_shown(made, request(made), lambda data: REDACTOR.data(dict(data)))


def test_a_plan_with_a_secret_is_shown_without_it_and_made_anew() -> None:
    made = plan("set_env", env={"NOTE": "hunter2-is-it"})
    asked = request(made)
    assert "hunter2" not in request_bytes(asked).decode()
    assert plan_of(asked) is None
    assert is_shown(made, asked, lambda data: REDACTOR.data(dict(data)))


def test_a_request_that_shows_another_plan_than_it_is_bound_to_is_none_of_it() -> None:
    evil, shown = plan("execute_command", command=["rm", "-rf", "/"]), plan("restart")
    lie = request(shown, plan_digest=evil.digest).identified()
    assert read_ledger({request_path(lie.id): request_bytes(lie)}).requests  # whole in itself
    assert plan_of(lie) is None
    assert not is_shown(evil, lie, lambda data: REDACTOR.data(dict(data)))
    assert not is_shown(shown, lie, lambda data: REDACTOR.data(dict(data)))


# ── the file that is merged ─────────────────────────────────────────────────────


def test_the_file_says_in_words_and_data_what_would_be_done() -> None:
    text = merge_file(ASKED).decode()
    data = yaml.safe_load(text)
    assert data["kind"] == "Approval"
    assert data["request"] == ASKED.id
    assert data["plan"]["digest"] == ASKED.plan_digest
    assert data["plan"]["steps"][0]["operation"] == "recreate"
    words = text.partition("apiVersion")[0]
    for word in ("it has ended", "recreate", "risk high", "Expires: 2026-11-22T16:00:00", "run-1"):
        assert word in words
    assert all(line.startswith("#") for line in words.strip().splitlines())


def test_the_same_request_gives_the_same_bytes_whatever_became_of_it() -> None:
    ended = ASKED.settled(RequestState.OVER, NOW, "well again")
    assert merge_file(ended) == merge_file(ASKED)


def test_hostile_text_stays_a_comment_and_a_literal() -> None:
    wicked = "well\nkind: Service\n\x1b[31m</details><script>alert(1)</script> [x](http://e)"
    step = plan().steps[0]
    made = plan()
    made = type(made)(
        **{f: getattr(made, f) for f in made.__slots__} | {"diagnosis": wicked, "steps": (step,)}
    )
    asked = request(made)
    data = yaml.safe_load(merge_file(asked))
    assert data["kind"] == "Approval"
    assert b"\x1b" not in merge_file(asked)
    # Markdown: an indented block has neither HTML nor links.
    lines = [line for line in body(asked).splitlines() if "script" in line]
    assert lines
    assert all(line.startswith("    ") for line in lines)
    assert "\n" not in title(asked)


@pytest.mark.parametrize(
    ("folder", "path"),
    [(".", "approvals/{}.yml"), ("", "approvals/{}.yml"), ("deploy/", "deploy/approvals/{}.yml")],
)
def test_its_path_is_known_to_desired_state(folder: str, path: str) -> None:
    made = merge_path(folder, ASKED.id)
    assert made == path.format(ASKED.id)
    assert is_approval_file(made)


@pytest.mark.parametrize(
    "path",
    ["approvals/shop.yml", "approvals.yml", f"approvals/{ASKED.id}/x.yml", f"x{ASKED.id}.yml"],
)
def test_other_files_are_desired_state(path: str) -> None:
    assert not is_approval_file(path)


def test_the_incident_is_the_one_that_was_asked_about() -> None:
    assert (ASKED.target, ASKED.fingerprint) == (INCIDENT.root, INCIDENT.fingerprint)
