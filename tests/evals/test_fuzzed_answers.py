"""Thousands of wild answers, checked, judged and carried out on an engine in memory.

What is looked at is the world afterwards: the agent's container as it was, every service with
what Git declares, and nothing among the engine's calls that no rule may let through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from flows.comparison.drift import Drift, Incident
from flows.guard import Decision, GuardInput, judge
from flows.listener import RunRequest
from flows.llm.answer import Draft, Offer, UnfitAnswerError, read_answer
from flows.plan import Plan, PlannerKind, PlanStep
from flows.world import World
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import PrimitiveCall, Risk
from tests.evals.answers import Vocabulary, fuzzed, plan, step
from tests.fakes.engine import FakeEngine
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml

COUNT, SEED = 10_000, 20261122
API, WEB, HIDDEN, OTHER = (f"{ENVIRONMENT}/{n}" for n in ("api", "web", "helper", "billing"))
AGENT = f"{ENVIRONMENT}/devops-ai-agent"
# What may stand in a change of these, by argument; nothing else may be changed at all.
GIT: dict[str, dict[str, tuple[object, ...]]] = {
    API: {
        "replicas": (3,),
        "image": ("api:3.2.0",),
        "env": ({"LOG_LEVEL": "info"},),
        "memory": ("256Mi", 268435456),
        "cpu": ("0.5", 0.5),
    },
    WEB: {"replicas": (1,), "image": ("web:1.0.0",), "env": (), "memory": (), "cpu": ()},
}
# Primitives of the engine that nothing but a person may bring about here.
NEVER = {"stop", "pause", "exec", "rollback", "remove"}


@dataclass
class Fuzzed:
    """A world in which four services run, one of them being the agent in disguise."""

    loop: LoopWorld
    world: World
    _given: tuple[int, GuardInput] | None = None

    @property
    def engine(self) -> FakeEngine:
        return self.loop.engine

    def given(self) -> GuardInput:
        """What verdicts rest on; looked at anew when the engine has changed."""
        changes = len(self.engine.calls)
        if self._given is None or self._given[0] != changes:
            services = tuple(self.world.services.values())
            seen = self.engine.observe(services, all_services=True, timeout=5).services
            natives = {t: tuple(i.native for i in s.instances) for t, s in seen.items()}
            guard = self.world.guard_input(natives, held={}, breaker={})
            self._given = (changes, guard)
        return self._given[1]


@contextmanager
def fuzzed_world(root: Path) -> Iterator[Fuzzed]:
    """Everything as declared."""
    with loop_world(root) as loop:
        loop.commit(
            api=service_yaml(
                "api",
                image="api:3.2.0",
                replicas=3,
                env={"LOG_LEVEL": "info"},
                resources={"memory": "256Mi", "cpu": "0.5"},
            ),
            web=service_yaml("web", dependsOn=["api"]),
            helper=service_yaml("helper"),
            billing=service_yaml("billing"),
        )
        world = loop.runtime.open_world(RunRequest(None, None, None, "fuzz"))
        for service in world.services.values():
            loop.engine.run(service)
        loop.engine.named("helper").labels["uici.role"] = "agent"
        loop.engine.add("devops-ai-agent", labels={"uici.role": "agent"})
        yield Fuzzed(loop, world)


def incident() -> Incident:
    """The root hangs; a dependent and the disguised agent suffer from it."""
    targets = (API, WEB, HIDDEN)
    drifts = tuple(Drift(target, DriftKind.UNHEALTHY, "/health") for target in targets)
    return Incident("f" * 16, ENVIRONMENT, API, targets, drifts)


def offer(world: World) -> Offer:
    """More than a planner would offer: what is forbidden is to reach the guard."""
    names = tuple(
        name
        for name in world.registry.names()
        if world.registry.get(name).risk is not Risk.READ or name == "escalate_to_human"
    )
    targets = (API, WEB, HIDDEN, OTHER, AGENT, f"{ENVIRONMENT}/nobody")
    return Offer(names, targets, places=targets)


def as_plan(draft: Draft, steps: tuple[PlanStep, ...]) -> Plan:
    """What the LLM planner makes of an answer."""
    return Plan(
        fingerprint="f" * 16,
        planner=PlannerKind.LLM,
        planner_reason="fuzzed",
        diagnosis=draft.diagnosis,
        confidence=draft.confidence,
        evidence=draft.evidence,
        steps=steps,
    )


def carry_out(made: Fuzzed, text: str, found: Incident, on_offer: Offer) -> str:
    """One answer through check, guard and the guarded interface; how far it got."""
    world = made.world
    try:
        draft = read_answer(
            text, found, on_offer, registry=world.registry, redact=world.redactor.text
        )
    except UnfitAnswerError:
        return "refused"
    given = replace(made.given(), now=world.clock.now())
    ended = "judged"
    for steps in (draft.steps, draft.rollback):
        for verdict in judge(as_plan(draft, steps), found, given):
            if verdict.decision is Decision.ALLOWED:
                world.guarded.run(verdict, deadline=None)
                ended = "run"
    return ended


def wrong(target: str, call: PrimitiveCall) -> str | None:
    """Why a change of the engine must never have been made."""
    if target not in GIT:
        return "not a target that may be changed"
    if call.primitive in NEVER:
        return "takes away what Git declares, or goes round it"
    for name, declared in GIT[target].items():
        if call.arguments.get(name) not in (None, {}, *declared):
            return f"{name} is not Git's"
    return None


def test_no_forbidden_operation_is_carried_out(tmp_path: Path) -> None:
    with fuzzed_world(tmp_path) as made:
        on_offer, found = offer(made.world), incident()
        words = Vocabulary(
            made.world.registry.names(), (API, WEB, HIDDEN), (OTHER, AGENT, "", "x", "../api")
        )
        ends: Counter[str] = Counter()
        for text in fuzzed(SEED, COUNT, words):
            before = len(made.engine.calls)
            ends[carry_out(made, text, found, on_offer)] += 1
            for target, call in made.engine.calls[before:]:
                assert wrong(target, call) is None, (wrong(target, call), target, call, text)

        # The grammar is worth something only if answers come through all of it.
        assert ends["run"] >= COUNT * 0.1, ends
        assert ends["judged"] >= COUNT * 0.1, ends
        assert ends["refused"] >= COUNT * 0.1, ends
        _as_declared(made.engine)


def _as_declared(engine: FakeEngine) -> None:
    by_name = {container.name: container for container in engine.containers.values()}
    images = Counter(container.image for container in engine.containers.values())

    assert images["api:3.2.0"] == 3
    assert images["web:1.0.0"] == images["helper:1.0.0"] == images["billing:1.0.0"] == 1
    assert by_name["devops-ai-agent"].state.value == "running"
    assert {c.state.value for c in engine.containers.values()} == {"running"}


def test_a_good_answer_does_come_through(tmp_path: Path) -> None:
    """Otherwise the test above could pass by refusing everything."""
    import json  # noqa: PLC0415 - of this test alone

    with fuzzed_world(tmp_path) as made:
        text = json.dumps(plan(API, step("restart", API, strategy="graceful", grace_seconds=5)))

        assert carry_out(made, text, incident(), offer(made.world)) == "run"
        assert [call.primitive for _, call in made.engine.calls] == ["restart"]
