"""Faults that are made at the engine: what people, the kernel and bad days do to containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.chaos.engine import Json
from tests.chaos.fault import Fault, Make, Making, Right, one
from tests.chaos.services import OTHER_IMAGE, STACK, containers, dependents, image

_LOOPING = frozenset({"die", "start", "restart"})


def _stopped(kind: str, action: str, *, status: str, operation: str = "start") -> Make:
    def make(m: Making) -> Fault:
        name = m.any()
        return Fault(
            kind,
            name,
            (name,),
            Right.REPAIR,
            inject=lambda: m.stage.engine.post(name, action),
            seen=lambda: m.oracle.state(name).get("Status") == status,
            operations=one(name, operation),
        )

    return make


def _removed(m: Making) -> Fault:
    name = m.any()
    return Fault(
        "removed",
        name,
        (name,),
        Right.REPAIR,
        inject=lambda: m.stage.engine.remove(name),
        seen=lambda: m.oracle.inspect(name) is None,
        operations=one(name, "create"),
    )


def _replica_removed(m: Making) -> Fault:
    gone = m.rng.choice(containers("web"))
    return Fault(
        "replica removed",
        gone,
        ("web",),
        Right.REPAIR,
        inject=lambda: m.stage.engine.remove(gone),
        seen=lambda: m.oracle.inspect(gone) is None,
        operations=one("web", "create", "scale"),
    )


def _out_of_memory(m: Making) -> Fault:
    name = m.any(restart="no")
    return Fault(
        "out of memory",
        name,
        (name,),
        Right.REPAIR,
        inject=lambda: m.post(name, "/fault/oom/on"),
        seen=lambda: bool(m.oracle.state(name).get("OOMKilled")) and not m.running(name),
        operations=one(name, "start"),
    )


def _made_again(
    kind: str, change: Callable[[Making, Json], None], proof: Callable[[Making, Json], bool]
) -> Make:
    """Removed and run again by hand, with something changed."""

    def make(m: Making) -> Fault:
        name = m.any()

        def seen() -> bool:
            found = m.oracle.inspect(name)
            return found is not None and m.running(name) and proof(m, found)

        return Fault(
            kind,
            name,
            (name,),
            Right.REPAIR,
            inject=lambda: m.stage.engine.make_again(name, lambda body: change(m, body)),
            seen=seen,
            operations=one(name, "recreate"),
        )

    return make


def _set_image(_: Making, body: Json) -> None:
    body["Image"] = OTHER_IMAGE


def _set_env(_: Making, body: Json) -> None:
    kept = [pair for pair in body["Env"] if not pair.startswith("LOG_LEVEL=")]
    body["Env"] = [*kept, "LOG_LEVEL=debug"]


def _set_port(_: Making, body: Json) -> None:
    body["HostConfig"]["PortBindings"] = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}


def _set_network(m: Making, body: Json) -> None:
    body["HostConfig"]["NetworkMode"] = m.stage.other_network


def _bound_elsewhere(_: Making, found: Json) -> bool:
    bound = found["HostConfig"]["PortBindings"]["8000/tcp"]
    return bool(bound[0]["HostPort"] in ("", "0"))


def _updated(kind: str, *, operation: str, proof: tuple[str, Any], **changes: Any) -> Make:
    def make(m: Making) -> Fault:
        name = m.any(restart="no")
        key, value = proof

        def seen() -> bool:
            found = m.oracle.inspect(name)
            return found is not None and found["HostConfig"][key] == value

        return Fault(
            kind,
            name,
            (name,),
            Right.REPAIR,
            inject=lambda: m.stage.engine.update(name, **changes),
            seen=seen,
            operations=one(name, operation),
        )

    return make


def _disconnected(m: Making) -> Fault:
    name = m.any()
    body = {"Container": name, "Force": True}

    def seen() -> bool:
        found = m.oracle.inspect(name)
        return found is not None and not found["NetworkSettings"]["Networks"]

    return Fault(
        "network disconnected",
        name,
        (name,),
        Right.REPAIR,
        inject=lambda: m.stage.engine.ask("POST", f"/networks/{m.stage.network}/disconnect", body),
        seen=seen,
        operations=one(name, "restart", "recreate"),
    )


def _image_gone(m: Making) -> Fault:
    """Its container and its image are removed: it can't be made, and people have to know."""
    name = m.any()
    engine = m.stage.engine

    def inject() -> None:
        engine.remove(name)
        engine.ask("DELETE", f"/images/{image(name)}")

    def mend() -> None:
        repository, _, tag = image(name).partition(":")
        engine.ask("POST", f"/images/{OTHER_IMAGE}/tag?repo={repository}&tag={tag}")
        m.stage.commit(name, f"{name}: try again", keep=True, env=_noted(m, name))

    return Fault(
        "image gone",
        name,
        (name,),
        Right.TELL,
        inject=inject,
        seen=lambda: m.oracle.inspect(name) is None,
        mend=mend,
        after=one(name, "create"),
    )


def _noted(m: Making, name: str) -> dict[str, str]:
    """Its variables in Git with a new one, as who tries again by a commit would write."""
    env: dict[str, str] = m.stage.declared(name)["spec"]["env"]
    return {**env, "TRIED_AGAIN": str(m.rng.randrange(1_000_000))}


def _crash_loop(m: Making) -> Fault:
    """The engine restarts it again and again; only a new container is free of the cause."""
    name = m.rng.choice(["search", "mailer"])

    def inject() -> None:
        m.post(name, "/state/crash/on")
        m.stage.engine.post(name, "restart?t=0")

    def seen() -> bool:
        found = m.oracle.inspect(name)
        return found is not None and found["RestartCount"] >= 1

    return Fault(
        "crash loop",
        name,
        (name,),
        Right.REPAIR,
        inject=inject,
        seen=seen,
        operations=one(name, "start", "restart", "recreate"),
        brings={name: _LOOPING},
        seconds=60,
    )


def _slow_start(m: Making) -> Fault:
    """Killed, and its next start takes three seconds: starting it is enough."""
    name = m.any(restart="no")

    def inject() -> None:
        m.post(name, "/state/slow/on")
        m.stage.engine.post(name, "kill")

    return Fault(
        "slow start",
        name,
        (name,),
        Right.REPAIR,
        inject=inject,
        seen=lambda: not m.running(name),
        operations=one(name, "start"),
    )


def _dependency_down(m: Making) -> Fault:
    """What others need is killed, and all of them are unwell by now: they are not touched."""
    name, needing = m.rng.choice([("db", "catalog"), ("db", "users"), ("queue", "orders")])
    return Fault(
        "dependency down",
        f"{name}, needed by {needing} and others",
        (name,),
        Right.REPAIR,
        inject=lambda: m.stage.engine.post(name, "kill"),
        seen=lambda: not m.running(name) and m.health(needing, 503),
        operations=one(name, "start"),
    )


def _everything_down(m: Making) -> Fault:
    every = tuple(c for name in STACK for c in containers(name))

    def inject() -> None:
        for container in m.rng.sample(every, len(every)):
            m.stage.engine.post(container, "kill")

    return Fault(
        "everything down",
        f"{len(every)} containers killed",
        tuple(STACK),
        Right.REPAIR,
        inject=inject,
        seen=lambda: not any(m.oracle.state(c).get("Running") for c in every),
        operations={name: frozenset({"start"}) for name in STACK},
        seconds=90,
    )


def _two_at_once(m: Making) -> Fault:
    """Two services that do not need each other, each broken in its own way."""
    first = m.any(needs=())
    second = m.any(but=(first,), needs=())
    engine = m.stage.engine

    def inject() -> None:
        engine.post(first, "kill")
        engine.make_again(second, lambda body: _set_env(m, body))

    return Fault(
        "two at once",
        f"{first} killed, {second} with another variable",
        (first, second),
        Right.REPAIR,
        inject=inject,
        seen=lambda: not m.running(first) and m.running(second),
        operations={first: frozenset({"start"}), second: frozenset({"recreate"})},
    )


def _renamed(m: Making) -> Fault:
    """Somebody gives a container another name; it is still the service's, and works.

    Of one that nobody needs: others find a service by its name.
    """
    name = m.rng.choice([n for n, k in STACK.items() if not dependents(n) and k.replicas == 1])
    other = f"{name}-by-hand"

    return Fault(
        "renamed",
        f"{name} to {other}",
        (name,),
        Right.LEAVE,
        inject=lambda: m.stage.engine.post(name, f"rename?name={other}"),
        seen=lambda: m.oracle.inspect(other) is not None and m.oracle.inspect(name) is None,
        mend=lambda: m.stage.engine.post(other, f"rename?name={name}"),
    )


KINDS: dict[str, Make] = {
    "killed": _stopped("killed", "kill", status="exited"),
    "stopped": _stopped("stopped", "stop?t=1", status="exited"),
    "paused": _stopped("paused", "pause", status="paused", operation="resume"),
    "removed": _removed,
    "replica removed": _replica_removed,
    "out of memory": _out_of_memory,
    "wrong image": _made_again(
        "wrong image", _set_image, lambda _, f: f["Config"]["Image"] == OTHER_IMAGE
    ),
    "env drift": _made_again(
        "env drift", _set_env, lambda _, f: "LOG_LEVEL=debug" in f["Config"]["Env"]
    ),
    "port drift": _made_again("port drift", _set_port, _bound_elsewhere),
    "network drift": _made_again(
        "network drift",
        _set_network,
        lambda m, f: f["HostConfig"]["NetworkMode"] == m.stage.other_network,
    ),
    "limits drift": _updated(
        "limits drift",
        operation="set_resources",
        proof=("Memory", 12 * 1024**2),
        Memory=12 * 1024**2,
        MemorySwap=24 * 1024**2,
    ),
    "restart-policy drift": _updated(
        "restart-policy drift",
        operation="recreate",
        proof=("RestartPolicy", {"Name": "always", "MaximumRetryCount": 0}),
        RestartPolicy={"Name": "always"},
    ),
    "network disconnected": _disconnected,
    "image gone": _image_gone,
    "crash loop": _crash_loop,
    "slow start": _slow_start,
    "dependency down": _dependency_down,
    "everything down": _everything_down,
    "two at once": _two_at_once,
    "renamed": _renamed,
}
