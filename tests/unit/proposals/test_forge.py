"""Pull requests at the three kinds of forge: found, opened once, closed with a sentence."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from flows.proposals.forge import ForgeClient, OutOfTimeError, PullState
from infrastructure.errors import PermanentError, TemporaryError, UiciError
from tests.fakes.forge import TOKEN, FakeForge, serving
from tests.fakes.http_server import FakeServer, silent, slow_drip, text

HEAD = "uici/propose/local-docker-shop-memory"


@pytest.fixture(params=["github", "gitlab", "gitea"])
def forge(request: pytest.FixtureRequest) -> Iterator[FakeForge]:
    with serving(request.param) as started:
        yield started


def client(forge: FakeForge, **changes: str) -> ForgeClient:
    return ForgeClient(forge.settings(**changes), redact=lambda text: text)


def opened(forge: FakeForge) -> int:
    return client(forge).open(HEAD, "main", title="propose: shop", text="why\n- a\n").number


def test_a_pull_request_is_opened_as_it_was_asked_for(forge: FakeForge) -> None:
    number = opened(forge)
    (pull,) = forge.pulls
    assert (pull.number, pull.head, pull.base) == (number, HEAD, "main")
    assert (pull.title, pull.text) == ("propose: shop", "why\n- a\n")
    found = client(forge).get(number, HEAD)
    assert found is not None
    assert found.state is PullState.OPEN
    assert found.url.startswith("https://")


def test_one_that_is_open_is_found_and_not_opened_twice(forge: FakeForge) -> None:
    assert opened(forge) == opened(forge)
    assert len(forge.pulls) == 1


def test_one_is_found_among_many_others(forge: FakeForge) -> None:
    wanted = forge.add(HEAD)
    for number in range(120):
        forge.add(f"feature-{number}")
    found = client(forge).find_open(HEAD)
    assert found is not None
    assert found.number == wanted.number


def test_a_forks_branch_of_the_same_name_is_somebody_elses(forge: FakeForge) -> None:
    forge.add(HEAD).fork = True
    assert client(forge).find_open(HEAD) is None


def test_a_closed_one_does_not_count_as_open(forge: FakeForge) -> None:
    forge.add(HEAD, state="closed")
    assert client(forge).find_open(HEAD) is None
    assert opened(forge) == 2


def test_another_who_was_faster_is_believed(forge: FakeForge) -> None:
    """Between the look and the opening somebody else opens it."""
    real = forge.answer

    def late(*asked: object) -> tuple[int, object]:
        if asked[0] == "POST":
            forge.add(HEAD)
            forge.answer = real  # type: ignore[method-assign]  # the fake's own, once
        return real(*asked)  # type: ignore[arg-type]  # passed on as they came

    forge.answer = late  # type: ignore[method-assign,assignment]  # as above
    assert opened(forge) == 1
    assert len(forge.pulls) == 1


def test_closing_says_why_and_happens_once(forge: FakeForge) -> None:
    number = opened(forge)
    for _ in range(2):
        client(forge).close(number, HEAD, "moot")
    (pull,) = forge.pulls
    assert (pull.state, pull.comments) == ("closed", ["moot"])


@pytest.mark.parametrize("state", ["merged", "closed"])
def test_the_state_that_a_person_gave_it_is_told(forge: FakeForge, state: str) -> None:
    pull = forge.add(HEAD, state=state)
    found = client(forge).get(pull.number, HEAD)
    assert found is not None
    assert found.state == state
    client(forge).close(pull.number, HEAD, "moot")
    assert pull.comments == []


@pytest.mark.parametrize("state", ["locked", "", "draft"])
def test_a_state_that_nobody_knows_is_neither_open_nor_closed(forge: FakeForge, state: str) -> None:
    pull = forge.add(HEAD, state=state)
    found = client(forge).get(pull.number, HEAD)
    assert found is not None
    assert found.state is PullState.UNKNOWN
    with pytest.raises(TemporaryError, match="no known state"):
        client(forge).close(pull.number, HEAD, "moot")
    assert (pull.state, pull.comments) == (state, [])


@pytest.mark.parametrize(("head", "fork"), [("feature/human-work", False), (HEAD, True)])
def test_another_branchs_number_is_never_closed(forge: FakeForge, head: str, fork: bool) -> None:
    pull = forge.add(head)
    pull.fork = fork
    assert client(forge).get(pull.number, HEAD) is None
    client(forge).close(pull.number, HEAD, "moot")
    assert (pull.state, pull.comments) == ("open", [])


def test_what_does_not_say_whose_branch_it_is_is_not_ours() -> None:
    body = json.dumps({"number": 1, "state": "open", "head": {"ref": HEAD}})
    with FakeServer(text(body)) as server:
        settings = FakeForge("github").settings(apiUrl=server.url)
        assert ForgeClient(settings, redact=str).get(1, HEAD) is None


def test_where_it_may_not_be_closed_nothing_is_said(forge: FakeForge) -> None:
    number = opened(forge)
    forge.unchangeable = True
    with pytest.raises(PermanentError, match="403"):
        client(forge).close(number, HEAD, "moot")
    assert forge.pulls[0].comments == []


def test_many_slow_pages_are_bounded_together() -> None:
    with serving("gitea") as forge:
        for number in range(1000):
            forge.add(f"feature-{number}")
        forge.slow = 0.15
        slow = client(forge, timeout="200ms")
        with pytest.raises(TemporaryError):
            slow.find_open(HEAD)
        assert len(forge.asked) < 10  # of 20 pages
        forge.asked.clear()
        with pytest.raises(OutOfTimeError):
            slow.find_open(HEAD)
        assert forge.asked == []


def test_nothing_is_asked_after_the_run_has_to_end(forge: FakeForge) -> None:
    late = ForgeClient(forge.settings(), redact=str, until=time.monotonic())
    with pytest.raises(OutOfTimeError):
        late.find_open(HEAD)
    assert forge.asked == []


def test_one_that_is_not_there_is_none(forge: FakeForge) -> None:
    assert client(forge).get(7, HEAD) is None


def test_a_wrong_token_is_refused_and_never_told(forge: FakeForge) -> None:
    with pytest.raises(PermanentError, match="HTTP 401") as caught:
        client(forge, token="another-token").find_open(HEAD)
    assert "another-token" not in str(caught.value)
    assert TOKEN not in repr(client(forge)) + repr(forge.settings())


@pytest.mark.parametrize(
    ("status", "error"), [(500, TemporaryError), (429, TemporaryError), (403, PermanentError)]
)
def test_trouble_is_told_by_its_kind_without_the_token(
    forge: FakeForge, status: int, error: type[UiciError]
) -> None:
    forge.broken = status
    with pytest.raises(error) as caught:
        opened(forge)
    assert TOKEN not in str(caught.value)


def test_a_redirect_is_not_followed(forge: FakeForge) -> None:
    forge.broken = 302
    with pytest.raises(PermanentError, match="302"):
        client(forge).find_open(HEAD)
    assert len(forge.asked) == 1


@pytest.mark.parametrize("behaviour", [silent, slow_drip])
def test_a_forge_that_hangs_is_given_up_in_time(behaviour: object) -> None:
    settings = FakeForge("github").settings(timeout="300ms")
    with FakeServer(behaviour) as server:  # type: ignore[arg-type]  # one of two functions
        there = settings.model_copy(update={"api_url": server.url})
        with pytest.raises(TemporaryError):
            ForgeClient(there, redact=str).find_open(HEAD)


@pytest.mark.parametrize("body", ["<html>", "{}", "[1]", "[[]]", '[{"number": "x"}]'])
def test_what_is_no_forge_is_told(body: str) -> None:
    with FakeServer(text(body)) as server:
        settings = FakeForge("gitea").settings(apiUrl=server.url)
        with pytest.raises(PermanentError, match=r"proposals\.forge"):
            ForgeClient(settings, redact=str).find_open(HEAD)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = FakeForge("gitlab").settings(apiUrl=f"http://127.0.0.1:{port}/api/v4")
    with pytest.raises(TemporaryError, match="refused"):
        ForgeClient(settings, redact=str).find_open(HEAD)
