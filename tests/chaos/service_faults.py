"""Faults inside services and around monitoring, and what people do on purpose."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.chaos.fault import Fault, Make, Making, Right, one
from tests.chaos.oracle import fetched, posted
from tests.chaos.services import AGENT, BYSTANDER, ENVIRONMENT, LOST_IMAGE, STACK


def _sick(kind: str, path: str, *operations: str, check: int | None = 503) -> Make:
    """It runs, and does not answer as it should."""

    def make(m: Making) -> Fault:
        name = m.any(probe=True)
        return Fault(
            kind,
            name,
            (name,),
            Right.REPAIR,
            inject=lambda: m.post(name, path),
            seen=lambda: m.running(name) and m.health(name, check),
            operations=one(name, *operations),
        )

    return make


def _engine_unhealthy(m: Making) -> Fault:
    def seen() -> bool:
        health = m.oracle.state("legacy").get("Health", {})
        return bool(health.get("Status") == "unhealthy")

    return Fault(
        "engine's health check",
        "legacy",
        ("legacy",),
        Right.REPAIR,
        inject=lambda: m.post("legacy", "/fault/checked/on"),
        seen=seen,
        operations=one("legacy", "restart"),
    )


def _disk_full(m: Making) -> Fault:
    """It can't write, and says so in its log: a restart would not make room (Git's limit would)."""
    name = m.any(disk=True)
    return Fault(
        "disk full",
        f"tmpfs of {name}",
        (name,),
        Right.TELL,
        inject=lambda: m.post(name, "/fault/disk/on"),
        seen=lambda: m.running(name) and m.health(name, 503),
        mend=lambda: m.post(name, "/fault/disk/off"),
    )


def _breach(m: Making) -> Fault:
    """A metric is not as promised while the health probe passes: nobody knows what is wrong."""
    name = m.any(errors=True, probe=True)
    return Fault(
        "metric breach",
        f"service_errors of {name}",
        (name,),
        Right.TELL,
        inject=lambda: m.post(name, "/fault/errors/on"),
        seen=lambda: m.oracle.sample(f'min_over_time(service_errors{{job="{name}"}}[4s])') == 1,
        mend=lambda: m.post(name, "/fault/errors/off"),
    )


def _breach_unprobed(m: Making) -> Fault:
    """The same where nothing but the metric tells of health."""
    query = 'min_over_time(service_errors{job="worker"}[4s])'
    return Fault(
        "unprobed metric breach",
        "worker",
        ("worker",),
        Right.REPAIR,
        inject=lambda: m.post("worker", "/fault/errors/on"),
        seen=lambda: m.oracle.sample(query) == 1,
        operations=one("worker", "restart"),
        until=lambda: "service_errors 0" in m.oracle.text("worker", "/metrics"),
    )


def _scrape_broken(m: Making) -> Fault:
    """/metrics answers 500, the service works: monitoring is what is wrong."""
    name = m.any(probe=True)
    return Fault(
        "scrape broken",
        name,
        (name,),
        Right.TELL,
        inject=lambda: m.post(name, "/fault/scrape/on"),
        seen=lambda: (
            m.oracle.sample(f'max_over_time(up{{job="{name}"}}[4s])') == 0 and m.health(name, 200)
        ),
        mend=lambda: m.post(name, "/fault/scrape/off"),
    )


def _skewed(m: Making) -> Fault:
    """Its samples carry times of two minutes ago: what is now is not known, and not bad."""
    name = m.any(probe=True)

    def seen() -> bool:
        fresh = m.oracle.sample(f'time() - timestamp(service_healthy{{job="{name}"}}) < 7')
        return fresh is None and m.oracle.sample(f'up{{job="{name}"}}') == 1

    return Fault(
        "clock-skewed metrics",
        name,
        (name,),
        Right.LEAVE,
        inject=lambda: m.post(name, "/fault/skew/on"),
        seen=seen,
        mend=lambda: m.post(name, "/fault/skew/off"),
    )


def _monitoring_blind(m: Making) -> Fault:
    """Prometheus reaches nothing at all: it is more likely broken than everything else."""
    names = [name for name, kind in STACK.items() if kind.replicas == 1]
    firing = 'ALERTS{alertname=~".+Down",alertstate="firing"}'
    return Fault(
        "monitoring blind",
        "no service can be scraped",
        (ENVIRONMENT,),
        Right.TELL,
        inject=lambda: m.stage.scrape(**dict.fromkeys(names, "127.0.0.1:9")),
        seen=lambda: (
            m.oracle.sample(f'sum(max_over_time(up{{job=~"{"|".join(names)}"}}[4s]))') == 0
            and m.oracle.sample(f"count(count by (service) ({firing}))") == len(names)
        ),
        mend=m.stage.scrape,
        told=frozenset({ENVIRONMENT}),
    )


def _zombie(m: Making) -> Fault:
    """The server died and nobody waits for it: the container runs, and nobody answers."""
    name = m.any(probe=True)

    def seen() -> bool:
        # The engine's own list of processes leaves the dead out.
        shell = ("/bin/busybox", "sh", "-c", "busybox cat /proc/[0-9]*/stat")
        return ") Z " in m.stage.engine.output(name, *shell) and m.health(name, None)

    return Fault(
        "zombie process",
        name,
        (name,),
        Right.REPAIR,
        inject=lambda: m.post(name, "/fault/server/off"),
        seen=seen,
        operations=one(name, "restart"),
    )


# ── alerts ──────────────────────────────────────────────────────────────────────


def _alert(m: Making, alerts: list[dict[str, str]], *, minutes: float) -> None:
    ends = datetime.now(UTC) + timedelta(minutes=minutes)
    posted(
        f"{m.stage.alertmanager}/api/v2/alerts",
        [{"labels": labels, "endsAt": ends.isoformat()} for labels in alerts],
    )


def _fires(m: Making, name: str, count: int = 1) -> Callable[[], bool]:
    return lambda: count <= sum(a["labels"]["alertname"] == name for a in m.oracle.alerts())


def _alert_storm(m: Making) -> Fault:
    """Five hundred alerts about services that Git does not know."""
    storm = [
        {"alertname": "ChaosStorm", "service": f"elsewhere-{n}", "severity": "critical"}
        for n in range(500)
    ]
    return Fault(
        "alert storm",
        f"{len(storm)} alerts",
        (),
        Right.LEAVE,
        inject=lambda: _alert(m, storm, minutes=10),
        seen=_fires(m, "ChaosStorm", len(storm)),
        mend=lambda: _alert(m, storm, minutes=-1),
    )


def _alert_on_the_well(m: Making) -> Fault:
    name = m.any(probe=True)
    labels = {"alertname": "ChaosSlow", "service": name, "severity": "warning"}
    return Fault(
        "alert on a healthy service",
        name,
        (name,),
        Right.TELL,
        inject=lambda: _alert(m, [labels], minutes=10),
        seen=_fires(m, "ChaosSlow"),
        mend=lambda: _alert(m, [labels], minutes=-1),
    )


def _agents_own(m: Making) -> Fault:
    """The agent's own container is down and its alert fires: people are told, it is not touched."""
    return Fault(
        "agent's own alert",
        AGENT,
        (AGENT,),
        Right.TELL,
        inject=lambda: m.stage.engine.post(AGENT, "kill"),
        seen=_fires(m, "DevOpsAIAgentDown"),
        mend=lambda: m.stage.engine.post(AGENT, "start"),
        told=frozenset({f"agent/{AGENT}"}),
    )


def _silenced(m: Making) -> Fault:
    """A person works on it and has silenced it; the silence ends, and then it is repaired."""
    name = m.any()
    silences = f"{m.stage.alertmanager}/api/v2"

    def inject() -> None:
        now = datetime.now(UTC)
        matcher = {"name": "service", "value": name, "isRegex": False, "isEqual": True}
        silence = {
            "matchers": [matcher],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "a person",
            "comment": "maintenance",
        }
        posted(f"{silences}/silences", silence)
        m.stage.engine.post(name, "stop?t=1")

    def active() -> list[str]:
        words = urllib.parse.quote(json.dumps("maintenance"))
        found = fetched(f"{silences}/silences?comment={words}")
        return [s["id"] for s in found if s["status"]["state"] == "active"]

    def mend() -> None:
        for identifier in active():
            posted(f"{silences}/silence/{identifier}", None, "DELETE")

    return Fault(
        "silenced service",
        name,
        (name,),
        Right.LEAVE,
        inject=inject,
        seen=lambda: not m.running(name) and bool(active()),
        mend=mend,
        after=one(name, "start"),
    )


# ── people and Git ──────────────────────────────────────────────────────────────


def _suspended(m: Making) -> Fault:
    """A person says so in Git and stops it; when they take the word back, it is started."""
    name = m.any()

    def inject() -> None:
        m.stage.commit(name, f"suspend {name}", suspend={"reason": "a person works on it"})
        m.stage.engine.post(name, "stop?t=1")

    return Fault(
        "suspended by a person",
        name,
        (name,),
        Right.LEAVE,
        inject=inject,
        seen=lambda: not m.running(name),
        mend=lambda: m.stage.commit(name, f"go on with {name}"),
        after=one(name, "start"),
    )


def _bad_image_in_git(m: Making) -> Fault:
    """Git asks for an image that is nowhere: what runs goes on running."""
    name = m.any()
    return Fault(
        "lost image in Git",
        name,
        (name,),
        Right.TELL,
        inject=lambda: m.stage.commit(name, f"{name}: next version", image=LOST_IMAGE),
        seen=lambda: m.running(name) and m.health(name, 200),
        mend=lambda: m.stage.commit(name, f"{name}: revert"),
    )


def _bad_setting_in_git(m: Making) -> Fault:
    """Git has a setting that the service refuses: applied as Git says, then people are told."""
    name = m.any(restart="no")
    env = {**m.stage.declared(name)["spec"]["env"], "UNKNOWN_SETTING": "1"}
    return Fault(
        "bad setting in Git",
        name,
        (name,),
        Right.TELL,
        inject=lambda: m.stage.commit(name, f"{name}: a new setting", env=env),
        seen=lambda: m.running(name) and m.health(name, 200),
        operations=one(name, "recreate", "start", "restart"),
        brings={name: frozenset({"die"})},
        mend=lambda: m.stage.commit(name, f"{name}: revert"),
        after=one(name, "recreate", "start"),
    )


def _declared_change(m: Making) -> Fault:
    """No accident: a person changes the desired state, and the world follows."""
    name = m.any()
    feature = f"FEATURE={m.rng.randrange(1_000_000)}"
    key, _, value = feature.partition("=")
    env = {**m.stage.declared(name)["spec"]["env"], key: value}

    def has_it() -> bool:
        found = m.oracle.inspect(name)
        return found is not None and feature in found["Config"]["Env"]

    return Fault(
        "new setting in Git",
        name,
        (name,),
        Right.REPAIR,
        inject=lambda: m.stage.commit(name, f"{name}: a feature", keep=True, env=env),
        seen=lambda: m.running(name) and not has_it(),
        operations=one(name, "recreate"),
        until=has_it,
    )


def _remote_away(m: Making) -> Fault:
    """The Git remote is gone while a container is killed: a start needs no more than the clone."""
    name = m.any(restart="no")
    away = m.stage.remote.with_suffix(".away")

    def inject() -> None:
        m.stage.remote.rename(away)
        m.stage.engine.post(name, "kill")

    return Fault(
        "Git remote away",
        name,
        (name,),
        Right.REPAIR,
        inject=inject,
        seen=lambda: not m.running(name) and not m.stage.remote.exists(),
        operations=one(name, "start"),
        mend=lambda: away.rename(m.stage.remote),
    )


def _bystander(m: Making) -> Fault:
    """A container that Git knows nothing of is killed: it is nobody's business."""
    return Fault(
        "bystander killed",
        BYSTANDER,
        (),
        Right.LEAVE,
        inject=lambda: m.stage.engine.post(BYSTANDER, "kill"),
        seen=lambda: not m.oracle.state(BYSTANDER).get("Running"),
        mend=lambda: m.stage.engine.post(BYSTANDER, "start"),
    )


def _restarted_by_hand(m: Making) -> Fault:
    """A person restarts a service: it is well again before anybody else could help."""
    name = m.any()
    began = str(m.oracle.state(name).get("StartedAt"))
    return Fault(
        "restarted by hand",
        name,
        (),
        Right.LEAVE,
        inject=lambda: m.stage.engine.post(name, "restart?t=1"),
        seen=lambda: m.oracle.state(name).get("StartedAt") != began and m.running(name),
    )


def _control(_: Making) -> Fault:
    return Fault("control: nothing", "–", (), Right.CONTROL, inject=lambda: None, seen=lambda: True)


CONTROL = "control: nothing"
KINDS: dict[str, Make] = {
    "health failing": _sick("health failing", "/fault/health/on", "restart"),
    "sick until replaced": _sick("sick until replaced", "/state/sick/on", "restart", "recreate"),
    "engine's health check": _engine_unhealthy,
    "disk full": _disk_full,
    "metric breach": _breach,
    "unprobed metric breach": _breach_unprobed,
    "scrape broken": _scrape_broken,
    "clock-skewed metrics": _skewed,
    "monitoring blind": _monitoring_blind,
    "zombie process": _zombie,
    "alert storm": _alert_storm,
    "alert on a healthy service": _alert_on_the_well,
    "agent's own alert": _agents_own,
    "silenced service": _silenced,
    "suspended by a person": _suspended,
    "lost image in Git": _bad_image_in_git,
    "bad setting in Git": _bad_setting_in_git,
    "new setting in Git": _declared_change,
    "Git remote away": _remote_away,
    "bystander killed": _bystander,
    "restarted by hand": _restarted_by_hand,
    CONTROL: _control,
}
