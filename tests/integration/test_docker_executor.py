"""What only a real Docker Engine can show; the rest is in the contract suite."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from executors.contract import Executor, ExecutorContext, load_executor_module
from executors.docker.membership import old_name
from executors.docker.sdk import Connection, TlsFiles, connect
from infrastructure.errors import (
    DeadlineExceededError,
    OutcomeUnknownError,
    PermanentError,
    ProtectedObjectError,
    TakenBackError,
    TemporaryError,
)
from infrastructure.identity import AgentIdentity
from infrastructure.observed import InstanceState
from infrastructure.operations import PrimitiveCall
from tests.contract.conftest import (  # noqa: F401 - fixtures
    docker_world,
    loop_images,
    silent_socket,
)
from tests.contract.test_executor_contract import declare, do, instances, only
from tests.contract.world import CHECKED, ENVIRONMENT, DockerWorld, resolve_secret, unique
from tests.fakes.docker_proxy import Behaviour, DockerProxy, Rule, docker_proxy
from tests.fakes.engine import NOBODY

pytestmark = pytest.mark.real


@pytest.fixture
def world(docker_world: DockerWorld) -> DockerWorld:  # noqa: F811 - pytest's way to ask for it
    return docker_world


def executor_on(
    connection: Connection, *, concurrency: int = 4, identity: AgentIdentity = NOBODY
) -> Executor:
    return connect(connection, ExecutorContext(ENVIRONMENT, concurrency, identity, resolve_secret))


@contextmanager
def proxied(
    world: DockerWorld, tmp_path: Path, rule: Rule
) -> Iterator[tuple[Executor, DockerProxy]]:
    """An executor whose engine is behind a proxy that follows `rule`."""
    with docker_proxy(world.host, rule, socket_path=tmp_path / "proxy.sock") as proxy:
        executor = executor_on(Connection(host=proxy.host))
        yield executor, proxy
        executor.close()


def on_change(behaviour: Behaviour, part: str = "") -> Rule:
    def rule(method: str, path: str) -> Behaviour:
        return behaviour if method != "GET" and part in path else Behaviour.FORWARD

    return rule


# ── recreate ────────────────────────────────────────────────────────────────────


def test_recreate_keeps_what_desired_state_does_not_speak_of(world: DockerWorld) -> None:
    executor = world.executor()
    name = unique()
    volume, network, other = (unique(kind) for kind in ("vol", "net", "net"))
    anonymous: list[str] = []
    world.docker("volume", "create", volume)
    for created in (network, other):
        world.docker("network", "create", created)
    try:
        world.docker(
            *("run", "--detach", "--name", name, "--label", "team=trading", "--hostname", "chosen"),
            *(
                "--volume",
                f"{volume}:/named",
                "--volume",
                "/data",
                "--tmpfs",
                "/scratch",
                "--restart",
                "on-failure:3",
            ),
            *("--network", network, "--network-alias", "alias", "--cap-drop", "NET_RAW"),
            *("--user", "65534", "--stop-timeout", "7", "--log-opt", "max-size=1m"),
            *("--publish", "127.0.0.1::9000", "--env", "MINE=1", world.image),
        )
        world.docker("network", "connect", "--alias", "second", other, name)
        world.docker("exec", "--user", "0", name, "sh", "-c", "echo a > /data/f; echo b > /named/f")
        before = json.loads(world.docker("inspect", name))[0]
        anonymous = [m["Name"] for m in before["Mounts"] if m["Destination"] == "/data"]
        assert len(anonymous) == 1
        service = declare(world, name, resources={"memory": "32Mi"}, env={"A": "1"}, ports=["8000"])

        assert do(executor, service, "recreate").changed

        after = json.loads(world.docker("inspect", name))[0]
        config, host = after["Config"], after["HostConfig"]
        assert after["Id"] != before["Id"]
        assert host["Memory"] == 32 * 1024 * 1024
        assert {"A=1", "MINE=1", "DEFAULT=1"} <= set(config["Env"])
        assert set(config["ExposedPorts"]) == {"8000/tcp", "9000/tcp"}
        assert config["Labels"]["team"] == "trading"
        for key in ("Hostname", "User", "StopTimeout"):
            assert config[key] == before["Config"][key]
        for key in ("RestartPolicy", "CapDrop", "Tmpfs", "LogConfig", "PortBindings"):
            assert host[key] == before["HostConfig"][key]
        networks = after["NetworkSettings"]["Networks"]
        assert set(networks) == {network, other}
        assert "alias" in networks[network]["Aliases"]
        assert "second" in networks[other]["Aliases"]
        # The anonymous volume and the named one are there with their data.
        assert world.docker("exec", name, "cat", "/data/f", "/named/f") == "a\nb"
        # A second time from its own result: nothing piles up.
        do(executor, service, "recreate")
        again = json.loads(world.docker("inspect", name))[0]
        assert again["HostConfig"]["Binds"] == host["Binds"]
        assert again["Config"]["Env"] == config["Env"]
        assert again["NetworkSettings"]["Networks"].keys() == networks.keys()
    finally:
        world.docker("rm", "--force", "--volumes", name)
        world.docker("network", "rm", network, other)
        world.docker("volume", "rm", volume, *anonymous)


def test_a_new_image_brings_its_own_defaults(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    do(executor, service, "recreate", image=world.other_image)
    assert only(executor, service).spec.env["DEFAULT"] == "2"


def test_a_tag_that_moved_is_rolled_back_to_the_image_itself(world: DockerWorld) -> None:
    executor = world.executor()
    tag = f"{unique('moving')}:1"
    world.docker("tag", world.image, tag)
    try:
        service = declare(world, unique(), image=tag)
        do(executor, service, "create")
        world.docker("tag", world.other_image, tag)
        do(executor, service, "recreate")
        assert only(executor, service).spec.env["DEFAULT"] == "2"
        do(executor, service, "rollback")
        assert only(executor, service).spec.env["DEFAULT"] == "1"
        world.docker("rm", "--force", "--volumes", service.metadata.name)
    finally:
        world.docker("rmi", tag)


def test_a_rolling_recreate_never_takes_the_last_healthy_replica(world: DockerWorld) -> None:
    executor = world.executor()
    name = unique()
    service = declare(world, name, replicas=3, native=dict(CHECKED))
    do(executor, service, "create")
    do(executor, service, "wait_healthy")
    ended = threading.Event()
    fewest = [3]

    def watch() -> None:
        observer = world.executor()
        while not ended.is_set():
            up = sum(i.state is InstanceState.RUNNING for i in instances(observer, service))
            fewest[0] = min(fewest[0], up)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        before = {i.native.id for i in instances(executor, service)}
        assert do(executor, service, "recreate").changed
    finally:
        ended.set()
        watcher.join()
    after = {i.native.id for i in instances(executor, service)}
    assert not before & after
    assert fewest[0] >= 2


def test_a_rolling_recreate_stops_at_the_first_that_is_not_healthy(world: DockerWorld) -> None:
    executor = world.executor()
    name = unique()
    service = declare(world, name, replicas=2, native=dict(CHECKED))
    do(executor, service, "create")
    do(executor, service, "wait_healthy")
    before = instances(executor, service)
    sick = {"Healthcheck": {**CHECKED["Healthcheck"], "Test": ["CMD", "test", "-e", "/never"]}}
    worse = declare(world, name, replicas=2, native=sick)
    with pytest.raises(PermanentError, match="as it was before"):
        executor.call(worse, _call("recreate"), timeout=6)
    after = instances(executor, service)
    assert [i.native.id for i in after] == [i.native.id for i in before]
    assert {i.state for i in after} == {InstanceState.RUNNING}
    do(executor, service, "wait_healthy")


def test_what_a_new_container_said_before_it_ended_is_told_and_how_long_nothing_ran(
    world: DockerWorld,
) -> None:
    executor = world.executor()
    name = unique()
    service = declare(world, name, replicas=2)  # so that it is waited for
    do(executor, service, "create")
    before = {i.native.id for i in instances(executor, service)}
    script = "printf '%0600d\\n' 7; echo reading; echo 'no such setting: MODE' >&2; exit 3"
    worse = declare(world, name, replicas=2, command=["/bin/sh", "-c", script])
    with pytest.raises(TakenBackError) as caught:
        executor.call(worse, _call("recreate"), timeout=10)
    told = str(caught.value)
    words = re.search(
        r"ended by itself with exit code 3; its last words: (.*?); "
        r"\S+ is as it was before, and was away for \d+\.\d s$",
        told,
    )
    assert words, told
    # Which of two streams was first, the engine does not always know.
    lines = ["[a line of 600 characters]", "reading", "no such setting: MODE"]
    assert sorted(words[1].split(" | ")) == sorted(lines)
    said = (caught.value.output or "").splitlines()[1:]
    assert sorted(said) == sorted(lines)
    assert {i.native.id for i in instances(executor, service)} == before


def _call(primitive: str, **arguments: Any) -> PrimitiveCall:
    return PrimitiveCall(primitive, arguments)


# ── what a crash leaves ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("stage", ["renamed", "created", "stopped", "started"])
def test_a_replacement_that_broke_off_is_finished_or_undone(world: DockerWorld, stage: str) -> None:
    """Whatever the moment: one working container of the right name, and nothing beside it."""
    executor = world.executor()
    service = declare(world, unique())
    name = service.metadata.name
    do(executor, service, "create")
    old = only(executor, service)
    parked = old_name(name, old.native.id)
    world.docker("rename", name, parked)
    if stage != "renamed":
        label = f"--label=uici.target={service.target}"
        world.docker("create", "--name", name, label, world.image)
    if stage in ("stopped", "started"):
        world.docker("stop", "--time", "1", parked)
    if stage == "started":
        world.docker("start", name)

    seen = executor.look(service, timeout=10).instances
    # What never ran is not there yet; beside one that did, the old one is one too many.
    assert {i.native.name for i in seen} == ({name, parked} if stage == "started" else {parked})
    snapshot = executor.observe((service,), all_services=True, timeout=10)
    assert not [o for o in snapshot.orphans if o.labels.get("uici.target") == service.target]
    do(executor, service, "start")

    found = only(executor, service)
    assert (found.native.name, found.state) == (name, InstanceState.RUNNING)
    assert (found.native.id == old.native.id) == (stage != "started")
    assert len(world.state(name)) == 1


# ── pruning ─────────────────────────────────────────────────────────────────────


def test_only_what_uici_made_and_nobody_declares_is_removed(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique(), replicas=2)
    name = service.metadata.name
    do(executor, service, "create")
    for declared in (None, frozenset({name})):
        if declared is not None:
            executor.declare(declared)
        with pytest.raises(PermanentError, match="desired state has it"):
            executor.call(service, _call("remove"), timeout=30)
    executor.declare(frozenset())
    world.docker("create", "--name", name, world.image)  # somebody's, of the same name
    with pytest.raises(PermanentError, match=f"UICI did not make {name}"):
        executor.call(service, _call("remove"), timeout=30)
    assert len(world.state(name)) == 3
    world.docker("rm", name)
    assert executor.call(service, _call("remove", grace_seconds=1), timeout=30).changed
    assert world.state(name) == {}
    assert not executor.call(service, _call("remove"), timeout=30).changed


# ── lost, late and broken answers ───────────────────────────────────────────────


@pytest.mark.parametrize("behaviour", [Behaviour.SWALLOW, Behaviour.LOSE_ANSWER])
@pytest.mark.parametrize("primitive", ["restart", "pause", "update_resources", "scale"])
def test_a_change_without_an_answer_is_of_unknown_outcome(
    world: DockerWorld, tmp_path: Path, behaviour: Behaviour, primitive: str
) -> None:
    service = declare(world, unique())
    do(world.executor(), service, "create")
    known: dict[str, dict[str, Any]] = {
        "update_resources": {"memory": "32Mi"},
        "scale": {"replicas": 2},
        "restart": {"grace_seconds": 0},
    }
    arguments = known.get(primitive, {})
    with proxied(world, tmp_path, on_change(behaviour)) as (executor, _):
        started = time.monotonic()
        with pytest.raises(OutcomeUnknownError) as error:
            executor.call(service, _call(primitive, **arguments), timeout=2)
        assert time.monotonic() - started < 3
        assert error.value.remedy


def test_a_lost_answer_does_not_stop_the_next_run(world: DockerWorld, tmp_path: Path) -> None:
    """The container was created; its name and start were never confirmed."""
    service = declare(world, unique())
    rule = on_change(Behaviour.LOSE_ANSWER, "/create")
    with proxied(world, tmp_path, rule) as (executor, _), pytest.raises(OutcomeUnknownError):
        executor.call(service, _call("create"), timeout=5)
    executor = world.executor()
    assert only(executor, service).state is InstanceState.PENDING
    do(executor, service, "start")
    assert only(executor, service).state is InstanceState.RUNNING


@pytest.mark.parametrize("part", ["/create", "/stop", "/start"])
def test_a_recreate_that_loses_an_answer_puts_the_old_one_back(
    world: DockerWorld, tmp_path: Path, part: str
) -> None:
    service = declare(world, unique())
    do(world.executor(), service, "create")
    before = only(world.executor(), service)
    lost: list[str] = []

    def rule(method: str, path: str) -> Behaviour:
        if method == "POST" and part in path and not lost:
            lost.append(path)
            return Behaviour.LOSE_ANSWER
        return Behaviour.FORWARD

    with (
        proxied(world, tmp_path, rule) as (executor, _),
        pytest.raises(PermanentError, match="as it was before"),
    ):
        executor.call(service, _call("recreate"), timeout=10)
    after = only(world.executor(), service)
    assert (after.native.id, after.state) == (before.native.id, InstanceState.RUNNING)
    assert len(world.state(service.metadata.name)) == 1


def test_a_recreate_that_can_not_be_undone_says_where_the_old_one_is(
    world: DockerWorld, tmp_path: Path
) -> None:
    service = declare(world, unique())
    do(world.executor(), service, "create")
    old = only(world.executor(), service)
    broken: list[str] = []

    def rule(method: str, path: str) -> Behaviour:
        if method == "POST" and "/create" in path:
            broken.append(path)
        return Behaviour.FAIL if broken else Behaviour.FORWARD

    with (
        proxied(world, tmp_path, rule) as (executor, _),
        pytest.raises(OutcomeUnknownError) as error,
    ):
        executor.call(service, _call("recreate"), timeout=10)
    parked = old_name(service.metadata.name, old.native.id)
    assert parked in error.value.remedy
    seen = only(world.executor(), service)
    assert (seen.native.name, seen.state) == (parked, InstanceState.RUNNING)
    assert do(world.executor(), service, "recreate").changed  # and the next one goes through
    assert only(world.executor(), service).native.name == service.metadata.name
    assert len(world.state(service.metadata.name)) == 1


@pytest.mark.parametrize("behaviour", [Behaviour.GARBAGE, Behaviour.FAIL, Behaviour.LOSE_ANSWER])
def test_a_read_that_fails_may_be_tried_again(
    world: DockerWorld, tmp_path: Path, behaviour: Behaviour
) -> None:
    def rule(_method: str, path: str) -> Behaviour:
        return behaviour if "/containers/" in path else Behaviour.FORWARD

    service = declare(world, unique())
    with proxied(world, tmp_path, rule) as (executor, proxy):
        with pytest.raises(TemporaryError):
            executor.observe((service,), all_services=True, timeout=5)
        with pytest.raises(TemporaryError):
            do(executor, service, "restart")
        assert proxy.changes() == []


def test_an_inspect_that_hangs_does_not_hold_observation(
    world: DockerWorld, tmp_path: Path
) -> None:
    service = declare(world, unique(), replicas=2)
    do(world.executor(), service, "create")

    def rule(_method: str, path: str) -> Behaviour:
        inspects = path.endswith("/json") and "/containers/" in path
        return Behaviour.SWALLOW if inspects else Behaviour.FORWARD

    with proxied(world, tmp_path, rule) as (executor, _):
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            executor.look(service, timeout=0.5)
        assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_an_answer_that_drips_does_not_hold_observation(
    world: DockerWorld, tmp_path: Path, transport: str
) -> None:
    def rule(_method: str, path: str) -> Behaviour:
        return Behaviour.DRIP if "/containers/" in path else Behaviour.FORWARD

    path = tmp_path / "drip.sock" if transport == "unix" else None
    with docker_proxy(world.host, rule, socket_path=path) as proxy:
        executor = executor_on(Connection(host=proxy.host))
        executor.check(timeout=5)
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            executor.observe((), all_services=True, timeout=1)
        assert time.monotonic() - started < 2
        executor.close()


def test_a_container_that_vanishes_between_list_and_inspect_is_absent(
    world: DockerWorld, tmp_path: Path
) -> None:
    service = declare(world, unique(), replicas=2)
    do(world.executor(), service, "create")
    first, second = instances(world.executor(), service)

    def rule(_method: str, path: str) -> Behaviour:
        if first.native.id in path and world.state(first.native.name):
            world.delete(first.native.name)
        return Behaviour.FORWARD

    with proxied(world, tmp_path, rule) as (executor, _):
        assert only(executor, service).native.id == second.native.id


def test_without_an_engine_everything_is_temporary(tmp_path: Path) -> None:
    executor = executor_on(Connection(host=f"unix://{tmp_path}/nothing.sock"))
    with pytest.raises(TemporaryError, match="check that it runs"):
        executor.check(timeout=1)
    with pytest.raises(TemporaryError):
        executor.observe((), all_services=True, timeout=1)
    executor.close()


def test_an_engine_that_was_restarted_is_read_again(world: DockerWorld, tmp_path: Path) -> None:
    """A kept connection is stale then; the reader notices and makes another."""
    service = declare(world, unique())
    path = tmp_path / "proxy.sock"
    executor = executor_on(Connection(host=f"unix://{path}"))
    for _ in range(2):
        with docker_proxy(world.host, lambda _m, _p: Behaviour.FORWARD, socket_path=path):
            assert executor.look(service, timeout=5).instances == ()
        path.unlink()
    executor.close()


# ── self-exclusion ──────────────────────────────────────────────────────────────


def test_a_refused_call_sends_no_change_at_all(world: DockerWorld, tmp_path: Path) -> None:
    service = declare(world, unique(), replicas=2)
    do(world.executor(), service, "create")
    protected = instances(world.executor(), service)[1].native.id
    identity = AgentIdentity("agent", frozenset({"a-b-c"}), native_ids=frozenset({protected}))
    with docker_proxy(
        world.host, lambda _m, _p: Behaviour.FORWARD, socket_path=tmp_path / "p.sock"
    ) as proxy:
        executor = executor_on(Connection(host=proxy.host), identity=identity)
        for primitive in ("restart", "recreate", "stop", "pause", "rollback"):
            with pytest.raises(ProtectedObjectError):
                do(executor, service, primitive)
        assert proxy.changes() == []
        executor.close()


# ── evidence ────────────────────────────────────────────────────────────────────


def test_logs_by_level_filter_and_source(world: DockerWorld) -> None:
    executor = world.executor()
    script = (
        "echo 'INFO one'; echo 'ERROR two'; echo '  at line 7'; echo '{\"level\":\"debug\"} three';"
        "echo 'WARN four' >&2; trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"
    )
    service = declare(world, unique(), command=["sh", "-c", script])
    do(executor, service, "create")
    time.sleep(0.5)

    def texts(**arguments: Any) -> list[str]:
        output: str = do(executor, service, "logs", **arguments).output
        return [line.split(" ", 1)[1] for line in output.splitlines()]

    assert set(texts()) == {
        "INFO one", "ERROR two", "  at line 7", '{"level":"debug"} three', "WARN four",
    }  # fmt: skip
    assert len(texts(lines=2)) == 2
    assert set(texts(level="warning")) == {"ERROR two", "  at line 7", "WARN four"}
    assert texts(level="error") == ["ERROR two", "  at line 7"]
    assert texts(filter="three") == ['{"level":"debug"} three']
    assert texts(source="stderr") == ["WARN four"]
    assert texts(since="1h", source="stderr") == ["WARN four"]
    moment = do(executor, service, "logs", lines=1).output.split(" ")[0]
    assert moment.endswith("Z")
    with pytest.raises(PermanentError, match="since"):
        do(executor, service, "logs", since="yesterday")


def test_logs_of_several_instances_are_one_text_and_bounded(world: DockerWorld) -> None:
    executor = world.executor()
    script = "yes 0123456789012345678901234567890123456789 | head -c 3000000; sleep 1000"
    service = declare(world, unique(), replicas=2, command=["sh", "-c", script])
    do(executor, service, "create")
    time.sleep(2)
    output = do(executor, service, "logs", lines=5000, filter="0123").output
    assert len(output) < 1024 * 1024 + 100
    assert output.startswith("[older output cut]\n") or output.count("\n") == 4999
    names = {line.split(" ")[1] for line in output.splitlines()[1:]}
    assert names <= {f"[{service.metadata.name}-1]", f"[{service.metadata.name}-2]"}
    world.docker("kill", *(i.native.name for i in instances(executor, service)))


def test_stats_tell_use_against_limits(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique(), resources={"memory": "32Mi", "cpu": "0.5"})
    do(executor, service, "create")
    (figures,) = do(executor, service, "stats").output["instances"]
    assert 0 < figures["memory_bytes"] < figures["memory_limit_bytes"] == 32 * 1024 * 1024
    assert figures["cpu_limit_cores"] == "0.5"
    assert figures["cpu_cores"] >= 0


def test_events_tell_what_happened_also_to_what_is_gone(world: DockerWorld) -> None:
    executor = world.executor()
    service, other = declare(world, unique()), declare(world, unique("other"))
    for each in (service, other):
        do(executor, each, "create")
    world.kill(service.metadata.name)
    world.delete(service.metadata.name)
    events = do(executor, service, "events", since="1m").output["events"]
    actions = [event["action"] for event in events]
    assert actions[:2] == ["create", "start"]
    assert {"kill", "die", "destroy"} <= set(actions)
    assert {event["instance"] for event in events} == {service.metadata.name}
    assert any(event.get("exitCode") == "137" for event in events)


def test_inspect_tells_names_of_variables_and_never_values(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique(), env={"KEY": {"secret": "env:X"}, "PLAIN": "hidden-too"})
    do(executor, service, "create")
    text = json.dumps(do(executor, service, "inspect").output)
    assert "KEY" in text
    assert "value of env:X" not in text
    assert "hidden-too" not in text


# ── exec ────────────────────────────────────────────────────────────────────────


def test_exec_tells_exit_code_directory_user_and_both_outputs(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    output = do(
        executor, service, "exec",
        argv=["sh", "-c", "pwd; id -u; echo bad >&2; exit 3"], workdir="/tmp", user="65534",
    ).output  # fmt: skip
    assert output["stdout"] == "/tmp\n65534\n"
    assert (output["stderr"], output["exit_code"]) == ("bad\n", 3)
    missing = do(executor, service, "exec", argv=["/no/such/program"]).output
    assert missing["exit_code"] in (126, 127)


@pytest.mark.parametrize("script", ["sleep 60", "while :; do echo x; done"])
def test_exec_ends_with_its_time(world: DockerWorld, script: str) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    started = time.monotonic()
    with pytest.raises(OutcomeUnknownError):
        do(executor, service, "exec", argv=["sh", "-c", script], timeout_seconds=1)
    assert time.monotonic() - started < 3
    do(executor, service, "restart", grace_seconds=0)  # ends the command, too


# ── the rest ────────────────────────────────────────────────────────────────────


def test_a_crash_loop_is_told_with_its_count(world: DockerWorld) -> None:
    executor = world.executor()
    loop = {"HostConfig": {"RestartPolicy": {"Name": "always"}}}
    service = declare(world, unique(), command=["sh", "-c", "exit 3"], native=loop)
    do(executor, service, "create")
    limit = time.monotonic() + 15
    while True:
        seen = only(executor, service)
        if seen.restart_count >= 2 and seen.state is InstanceState.RESTARTING:
            break
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert seen.exit_code == 3
    assert seen.native_config["HostConfig"]["RestartPolicy"]["Name"] == "always"
    with pytest.raises((PermanentError, DeadlineExceededError)):
        executor.call(service, _call("wait_healthy", stable_seconds=1), timeout=3)
    do(executor, service, "stop", grace_seconds=0)
    assert only(executor, service).state is InstanceState.STOPPED


def test_a_quota_is_updated_as_a_quota(world: DockerWorld) -> None:
    executor = world.executor()
    name = unique()
    world.docker("run", "--detach", "--name", name, "--cpu-quota=50000", world.image)
    service = declare(world, name)
    do(executor, service, "update_resources", cpu="0.25")
    assert str(only(executor, service).spec.cpu) == "0.25"
    do(executor, service, "update_resources", cpu="0")
    assert only(executor, service).spec.cpu == 0


def test_a_limit_that_can_not_be_taken_away_changes_nothing(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique(), resources={"memory": "32Mi", "cpu": "0.5"})
    do(executor, service, "create")
    before = world.state(service.metadata.name)
    for arguments in ({"memory": "0", "cpu": "1"}, {"memory": "64Mi", "cpu": "0"}):
        with pytest.raises(PermanentError, match="recreate"):
            do(executor, service, "update_resources", **arguments)
    with pytest.raises(PermanentError, match="quantity"):
        do(executor, service, "update_resources", memory="lots")
    assert world.state(service.metadata.name) == before


def test_a_grace_that_does_not_fit_is_refused_before_anything(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    with pytest.raises(PermanentError, match="time-out"):
        executor.call(service, _call("stop", grace_seconds=60), timeout=5)
    assert only(executor, service).state is InstanceState.RUNNING


def test_published_ports_are_told_as_declared_and_as_reached(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique(), ports=["127.0.0.1:28471:8000"])
    do(executor, service, "create")
    seen = only(executor, service)
    assert "127.0.0.1:28471:8000" in seen.spec.ports
    assert seen.published == {8000: ("127.0.0.1", 28471)}
    assert seen.address is not None


def test_a_port_that_is_taken_is_told_and_leaves_nothing(world: DockerWorld) -> None:
    executor = world.executor()
    first = declare(world, unique(), ports=["127.0.0.1:28472:8000"])
    second = declare(world, unique(), ports=["127.0.0.1:28472:8000"])
    do(executor, first, "create")
    with pytest.raises(TemporaryError, match="port"):
        do(executor, second, "create")
    assert instances(executor, second) == ()


def test_a_missing_image_is_pulled_only_where_the_connection_says_so(
    world: DockerWorld, tmp_path: Path
) -> None:
    service = declare(world, unique(), image="127.0.0.1:1/nobody/nothing:1")
    for pull, expected in ((None, 0), (True, 1)):
        path = tmp_path / f"{expected}.sock"
        with docker_proxy(world.host, lambda _m, _p: Behaviour.FORWARD, socket_path=path) as proxy:
            executor = executor_on(Connection(host=proxy.host, pull=pull))
            with pytest.raises((PermanentError, TemporaryError)):
                do(executor, service, "create")
            assert sum("/images/create" in path for _, path in proxy.changes()) == expected
            executor.close()


def test_several_threads_share_an_executor(world: DockerWorld) -> None:
    executor = world.executor()
    all_of_them = [declare(world, unique(), replicas=2) for _ in range(4)]
    failures: list[BaseException] = []

    def work(name: int) -> None:
        service = all_of_them[name]
        try:
            do(executor, service, "create")
            for _ in range(5):
                assert len(instances(executor, service)) == 2
            do(executor, service, "scale", replicas=0)
        except BaseException as exc:  # noqa: BLE001 - told by the main thread
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# ── connections ─────────────────────────────────────────────────────────────────


def test_a_remote_engine_over_tcp(world: DockerWorld) -> None:
    with docker_proxy(world.host, lambda _m, _p: Behaviour.FORWARD) as proxy:
        executor = executor_on(Connection(host=proxy.host))
        _round_trip(world, executor)
        executor.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_remote_engine_over_tls(world: DockerWorld, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    server.load_verify_locations(cert)
    server.verify_mode = ssl.CERT_REQUIRED  # the client has to show its own, too
    files = TlsFiles(ca_file=str(cert), cert_file=str(cert), key_file=str(key))
    with docker_proxy(world.host, lambda _m, _p: Behaviour.FORWARD, tls=server) as proxy:
        executor = executor_on(Connection(host=proxy.host, tls=files))
        _round_trip(world, executor)
        executor.close()
        strange = executor_on(Connection(host=proxy.host, tls=TlsFiles(ca_file=_another_ca())))
        with pytest.raises(PermanentError, match="caFile"):
            strange.check(timeout=5)
        strange.close()


def _another_ca() -> str:
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.openssl_cafile


def _round_trip(world: DockerWorld, executor: Executor) -> None:
    service = declare(world, unique(), replicas=2)
    assert "Docker Engine" in executor.check(timeout=10)
    do(executor, service, "create")
    seen = instances(executor, service)
    assert [i.state for i in seen] == [InstanceState.RUNNING] * 2
    assert seen[0].address is None  # a remote bridge is not ours
    assert do(executor, service, "exec", argv=["echo", "hi"]).output["stdout"] == "hi\n"
    do(executor, service, "scale", replicas=0)


def test_wrong_files_for_tls_are_told() -> None:
    files = TlsFiles(ca_file="/no/such/file")
    executor = executor_on(Connection(host="tcp://127.0.0.1:1", tls=files))
    with pytest.raises(PermanentError):
        executor.check(timeout=1)


def test_ssh_without_its_library_is_told() -> None:
    executor = executor_on(Connection(host="ssh://nobody@127.0.0.1:1"))
    with pytest.raises((PermanentError, TemporaryError)):
        executor.check(timeout=2)


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="host"):
        Connection(host="http://example")


def test_looking_imports_no_sdk(world: DockerWorld) -> None:
    """A run that finds nothing to do does not pay for the SDK."""
    module = load_executor_module("docker")
    assert module.Connection is Connection
    script = (
        "import sys\n"
        "from executors.contract import ExecutorContext, load_executor_module\n"
        "from infrastructure.identity import AgentIdentity\n"
        "module = load_executor_module('docker')\n"
        "context = ExecutorContext('dev', 2, AgentIdentity('a', frozenset({'a'})), str)\n"
        f"executor = module.connect(module.Connection(host={world.host!r}), context)\n"
        "executor.observe((), all_services=True, timeout=10)\n"
        "executor.close()\n"
        "assert not {'docker', 'requests', 'urllib3'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
