"""One fault on stage: made, seen, left to the agent, judged by the world, cleared away.

The agent runs only between the moment when the oracle has seen the fault and the end, so
whatever the engine records in that time is the agent's doing, or the fault's own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flows.local_stack.remote import git
from infrastructure.errors import UiciError
from tests.chaos import engine_faults, service_faults
from tests.chaos.agent import Agent
from tests.chaos.engine import Event
from tests.chaos.fault import EVENTS, Fault, Make, Making, Right
from tests.chaos.oracle import Oracle, Told, await_true
from tests.chaos.services import ENVIRONMENT, STACK
from tests.chaos.stage import Stage

KINDS: Mapping[str, Make] = {**engine_faults.KINDS, **service_faults.KINDS}
CONTROL = service_faults.CONTROL
_CONTROL_EVERY = 4
_SEEN_SECONDS = 30.0
_SETTLE_SECONDS = 90.0
_FAILED_SECONDS = 20.0  # what went wrong is put right by hand sooner
_HOLD_SECONDS = 3.0  # how long what is to be left alone is watched, and in so many runs
_HOLD_RUNS = 5
_PAUSE = 0.2  # between two runs
# Ends of processes follow from other events and are nobody's request.
_CONSEQUENCES = frozenset({"die", "oom"})


@dataclass
class Outcome:
    """What came of one fault. `seconds`: from its being seen to its being repaired or told."""

    index: int
    kind: str
    about: str
    right: Right
    seed: int = 0
    injected: bool = False
    detected: bool = False
    good: bool = False
    settled: bool = False
    seconds: float | None = None
    wrong: list[str] = field(default_factory=list)  # actions that nothing explains
    false: list[str] = field(default_factory=list)  # people told of what is none
    errors: list[str] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    tokens: int = 0
    runs: int = 0
    said: str = ""  # by the agent, when it went wrong

    @property
    def passed(self) -> bool:
        return (
            self.injected
            and self.good
            and self.settled
            and not (self.wrong or self.false or self.errors)
        )


def sequence(seed: int, kinds: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Endless: every kind once, then again in another order; controls in between."""
    index = 0
    faults = [kind for kind in kinds if kind != CONTROL]
    turn = 0
    while True:
        order = sorted(faults)
        random.Random(f"{seed} {turn}").shuffle(order)
        for number, kind in enumerate(order):
            yield index, kind
            index += 1
            if number % _CONTROL_EVERY == _CONTROL_EVERY - 1:
                yield index, CONTROL
                index += 1
        turn += 1


class Player:
    """Plays faults on one stage with one agent."""

    def __init__(self, stage: Stage, oracle: Oracle, agent: Agent) -> None:
        self._stage, self._oracle, self._agent = stage, oracle, agent

    def converge(self, *, seconds: float = 180.0) -> None:
        """From an empty engine to what Git says, and until monitoring says so, too."""
        outcome = Outcome(-1, "start", "all", Right.REPAIR)
        if not self._settle(outcome, {}, seconds=seconds):
            raise RuntimeError(f"the stack did not come up: {self._trouble()}")

    def play(self, index: int, kind: str, seed: int) -> Outcome:
        """One fault from beginning to end; afterwards all is well, or `settled` is false."""
        rng = random.Random(f"{seed} {index} {kind}")
        fault = KINDS[kind](Making(self._stage, self._oracle, rng))
        outcome = Outcome(index, kind, fault.about, fault.right, seed)
        untouched, tip = self._oracle.untouchable(), self._tip()
        self._agent.taken()
        runs = self._agent.runs
        self._stage.engine.events()
        fault.inject()
        outcome.injected = await_true(fault.seen, seconds=_SEEN_SECONDS) and not (
            fault.right is Right.REPAIR and self._repaired(fault)
        )
        self._stage.engine.events()
        if outcome.injected:
            self._face(fault, outcome)
        if fault.right is Right.CONTROL and self._tip() != tip:
            outcome.false.append("a commit tells of something where nothing was")
        if not outcome.good and not outcome.said:
            outcome.said = f"{self._agent.said()} | {self._trouble()}"
        if fault.mend is not None:
            fault.mend()
            self._stage.engine.events()
        calm = fault.after if fault.mend is not None else {}
        patience = _SETTLE_SECONDS if outcome.good else _FAILED_SECONDS
        outcome.settled = self._settle(outcome, calm, brings=fault.brings, seconds=patience)
        if not outcome.settled:
            outcome.errors.append(f"not settled: {self._trouble()}; {self._agent.said()}")
        if _lasting(self._oracle.untouchable()) != _lasting(untouched):
            outcome.wrong.append("the agent's or the bystander's container is another one")
        outcome.operations, outcome.tokens = self._agent.taken()
        outcome.runs = self._agent.runs - runs
        return outcome

    def rescue(self) -> None:
        """By hand, after something went wrong: all as in Git, so that others can be played.

        Raises:
            RuntimeError: even so the stack does not come up.
        """
        for name in STACK:
            self._stage.commit(name, "by hand", keep=True, env=_rescued(self._stage, name))
        self._oracle.end_alerts()
        self._stage.scrape()
        for name, found in self._stage.engine.inspect_all().items():
            if found["Config"]["Labels"].get("uici.service") in STACK or name in STACK:
                self._stage.engine.remove(name)
        self.converge()

    # ── parts ───────────────────────────────────────────────────────────────────

    def _face(self, fault: Fault, outcome: Outcome) -> None:
        began = time.monotonic()
        acted: list[Event] = []
        told: list[Told] = []

        def look() -> None:
            self._run(outcome)
            acted.extend(self._stage.engine.events())
            told.extend(t for t in self._oracle.told() if t not in told)

        match fault.right:
            case Right.REPAIR:
                done = self._until(look, lambda: self._repaired(fault), fault.seconds)
            case Right.TELL:
                wanted = fault.told or {f"{ENVIRONMENT}/{name}" for name in fault.targets}
                done = self._until(look, lambda: wanted <= {t.target for t in told}, fault.seconds)
            case _:
                done = self._hold(look)
        outcome.seconds = time.monotonic() - began
        self._judge(fault, outcome, acted, told)
        outcome.good = done and not outcome.wrong and not outcome.false

    def _repaired(self, fault: Fault) -> bool:
        return not self._oracle.complaints() and fault.until()

    def _until(self, look: Callable[[], None], done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            look()
            if done():
                return True
            time.sleep(_PAUSE)
        return False

    def _hold(self, look: Callable[[], None]) -> bool:
        """Watched for a while: a judgement that nothing is done takes time."""
        deadline, runs = time.monotonic() + _HOLD_SECONDS, 0
        while runs < _HOLD_RUNS or time.monotonic() < deadline:
            look()
            runs += 1
            time.sleep(_PAUSE)
        return True

    def _judge(
        self, fault: Fault, outcome: Outcome, acted: Sequence[Event], told: Sequence[Told]
    ) -> None:
        targets = set(fault.targets)
        wanted = fault.told or {f"{ENVIRONMENT}/{name}" for name in targets}
        about = {t.target for t in told} & wanted
        asked = {e.owner for e in acted if e.action not in _CONSEQUENCES}
        outcome.detected = bool(targets & asked) or bool(about)
        outcome.wrong += _unexplained(acted, fault.operations, fault.brings)
        expected = wanted if fault.right is Right.TELL else set()
        outcome.false += [
            f"people told of {t.target}: {t.summary}" for t in told if t.target not in expected
        ]

    def _settle(
        self,
        outcome: Outcome,
        operations: Mapping[str, frozenset[str]],
        *,
        brings: Mapping[str, frozenset[str]] | None = None,
        seconds: float = _SETTLE_SECONDS,
    ) -> bool:
        """Runs until all is well and quiet; what is done meanwhile has to be explained, too."""
        deadline = time.monotonic() + seconds
        while True:
            self._run(outcome)
            acted = self._stage.engine.events()
            if outcome.index >= 0:
                outcome.wrong += _unexplained(acted, operations, brings or {})
            if not self._trouble():
                self._run(outcome)  # what has been seen of it is written now
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)

    def _trouble(self) -> list[str]:
        return self._oracle.unquiet() or self._oracle.complaints()  # the cheaper look first

    def _run(self, outcome: Outcome) -> None:
        try:
            report = self._agent.run()
        except UiciError as exc:
            outcome.errors.append(f"a run ended by {type(exc).__name__}: {exc}")
            return
        outcome.errors += [error for error in report.errors if error not in outcome.errors]

    def _tip(self) -> str:
        return git("for-each-ref", "--format=%(objectname)", repository=self._stage.remote)


def _unexplained(
    events: Sequence[Event],
    operations: Mapping[str, frozenset[str]],
    brings: Mapping[str, frozenset[str]],
) -> list[str]:
    """Events that neither an expected operation nor the fault itself brings about."""
    return [
        str(event)
        for event in events
        if event.action not in _CONSEQUENCES
        and event.action not in brings.get(event.container, frozenset())
        and not any(event.action in EVENTS[op] for op in operations.get(event.owner, ()))
    ]


def _lasting(found: Mapping[str, object]) -> dict[str, object]:
    """Without when they were started: some faults stop them."""
    return {name: (v[0], v[1], v[3]) if isinstance(v, tuple) else v for name, v in found.items()}


def _rescued(stage: Stage, name: str) -> dict[str, str]:
    env: dict[str, str] = stage.declared(name)["spec"]["env"]
    return {**env, "RESCUED": str(time.time_ns())}
