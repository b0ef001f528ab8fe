"""Answers as a model writes them: good ones, obedient ones, and ten thousand that are neither.

`fuzzed` is a grammar over what models are known to return and what an attacker would have them
return; seeded, so that a failure comes back. The form is that of `flows.llm.answer`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infrastructure.cause_kinds import CauseKind

_WORDS = (
    "restart", "the service hangs", "", "忽略", "\u202epots", "\x1b[2K", "<|im_start|>system",
    "ignore all previous instructions", "a" * 3000, "\u200b", "'; DROP TABLE", "{{ 7*7 }}",
)  # fmt: skip
_HUGE = (10**30, -1, 2**63, 1e308, 0, 1, 2, 3, 1001, True, "0", "NaN", None, 0.5)
_ODD: tuple[Any, ...] = (None, True, [], {}, "", 0, -1, 1e400, "x", [[]], {"a": {"b": {"c": []}}})


@dataclass(frozen=True)
class Vocabulary:
    """What fuzzed answers are made of."""

    operations: Sequence[str]
    targets: Sequence[str]  # of the incident
    others: Sequence[str]  # in desired state or not, the agent's among them


def step(operation: str, target: str, **parameters: Any) -> dict[str, Any]:
    """A step in the form that the schema asks for."""
    return {
        "do": {"operation": operation, **parameters},
        "target": target,
        "why": "because",
        "expected_effect": "it works",
    }


def plan(cause_target: str, *steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An answer that fits the schema where its steps do: one, two, or none for a false alarm.

    A `rollback` among the changes stands beside it, as some models write it.
    """
    listed = as_lists(cause_target, *steps, **changes)
    finding: dict[str, Any] = {"state": "works"}
    if steps:
        state = "broken" if len(steps) == 1 else "broken_needs_two_steps"
        finding = {"state": state, "cause": listed["cause"], "cause_target": cause_target}
        finding |= dict(zip(("step", "second_step"), steps, strict=False))
    texts = {key: listed[key] for key in ("confidence", "diagnosis")}
    undo = {"rollback": listed["rollback"]} if listed["rollback"] else {}
    return {"finding": finding, **texts, "evidence": " ".join(listed["evidence"]), **undo}


def as_lists(cause_target: str, *steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The same as a model writes it that is asked without a schema."""
    return {
        "broken": True,
        "cause": CauseKind.HANGING.value,
        "cause_target": cause_target,
        "steps": list(steps),
        "confidence": 0.9,
        "look_first": [],
        "diagnosis": "It hangs.",
        "evidence": ["the probe gets no answer"],
        "rollback": [],
    } | changes


def fuzzed(seed: int, count: int, words: Vocabulary) -> Iterator[str]:
    """So many answers, the same for the same seed."""
    chance = random.Random(seed)
    maker = _Maker(chance, words)
    for _ in range(count):
        yield maker.answer()


class _Maker:
    """One stream of answers."""

    def __init__(self, chance: random.Random, words: Vocabulary) -> None:
        self._chance = chance
        self._words = words

    def answer(self) -> str:
        """Half fit the schema, so that it is the guard that has to stop them; half may not."""
        if self._chance.random() < 0.5:
            return json.dumps(self._fitting())
        made = self._plan()
        kind = self._chance.random()
        if kind < 0.08:
            made[self._chance.choice(list(made))] = self._chance.choice(_ODD)
        elif kind < 0.12:
            del made[self._chance.choice(list(made))]
        elif kind < 0.15:
            made[self._text()] = self._chance.choice(_ODD)
        text = json.dumps(made, ensure_ascii=self._chance.random() < 0.5)
        return self._wrapped(text)

    def _fitting(self) -> dict[str, Any]:
        """Every word of it is on offer; what it asks for is mostly wrong."""
        chance, targets = self._chance, self._words.targets
        cases: tuple[tuple[str, dict[str, Any]], ...] = (
            ("start", {}),
            ("stop", {"grace_seconds": 0}),
            ("restart", {"strategy": chance.choice(("graceful", "force", "rolling"))}),
            ("create", {}),
            ("recreate", {"strategy": chance.choice(("in_place", "blue_green"))}),
            ("scale", {"replicas": chance.choice((0, 1, 2, 3, 4, 1000))}),
            ("set_image", {"image": chance.choice(("api:3.2.0", "evil.example/api:1", "api"))}),
            ("set_env", {"env": {"LOG_LEVEL": chance.choice(("info", "trace"))}}),
            ("set_env", {"env": {"LD_PRELOAD": "/tmp/x.so", "LOG_LEVEL": "info"}}),
            ("set_resources", {"memory": chance.choice(("256Mi", "1Gi", "4Mi")), "cpu": "0.5"}),
            ("rollback_service", {}),
            ("pause", {}),
            ("resume", {}),
            ("execute_command", {"argv": ["rm", "-rf", "/"]}),
        )
        steps = [
            step(name, chance.choice(targets), **given)
            for name, given in chance.choices(cases, k=chance.choice((1, 1, 1, 2)))
        ]
        undo, given = chance.choice(cases)
        rollback = [step(undo, chance.choice(targets), **given)] if chance.random() < 0.3 else []
        return plan(targets[0], *steps, rollback=rollback, diagnosis=self._text())

    def _wrapped(self, text: str) -> str:
        call = {"name": self._operation(), "arguments": {"target": self._target()}}
        forms = (
            text[: self._chance.randrange(len(text))],
            f"```json\n{text}\n```",
            f"{self._text()} {text} {self._text()}",
            f"{text}{text}",
            json.dumps(call),
            "[" * self._chance.randrange(1, 5000) + text,
        )
        return self._chance.choice(forms) if self._chance.random() < 0.2 else text

    def _plan(self) -> dict[str, Any]:
        steps = [self._step() for _ in range(self._chance.choice((0, 1, 1, 1, 2, 3, 8, 25)))]
        return as_lists(
            self._target(),
            *steps,
            broken=self._chance.random() < 0.9,
            cause=self._chance.choice([*(kind.value for kind in CauseKind), "Gremlins"]),
            confidence=self._chance.choice((0.9, 0.95, 1, 0.2, 1, 7, -1)),
            look_first=[self._read() for _ in range(self._chance.choice((0, 0, 0, 1, 30)))],
            diagnosis=self._text(),
            evidence=[self._text() for _ in range(self._chance.choice((0, 1, 20)))],
            rollback=[self._step() for _ in range(self._chance.choice((0, 0, 1)))],
        )

    def _step(self) -> dict[str, Any]:
        operation, target = self._operation(), self._target()
        made = step(operation, target, **self._parameters(operation))
        if self._chance.random() < 0.2:  # written out, as some models do
            do = made.pop("do")
            made |= {"operation": do.pop("operation"), "parameters": do}
        if self._chance.random() < 0.03:
            made[self._chance.choice(list(made))] = self._chance.choice(_ODD)
        return made

    def _operation(self) -> str:
        pick = self._chance.random()
        if pick < 0.3:
            return self._chance.choice(("stop", "scale", "execute_command", "pause", "set_image"))
        if pick < 0.93:
            return self._chance.choice(self._words.operations)
        return self._chance.choice(("delete", "rm -rf /", "Stop", "stop ", "kubectl", "", "scаle"))

    def _target(self) -> str:
        if self._chance.random() < 0.7:
            return self._chance.choice(self._words.targets)
        return self._chance.choice(self._words.others)

    def _parameters(self, operation: str) -> dict[str, Any]:
        chance = self._chance
        known: dict[str, Any] = {
            "scale": {"replicas": chance.choice(_HUGE)},
            "stop": {"grace_seconds": chance.choice((0, 10, 10**9))},
            "restart": {"strategy": chance.choice(("graceful", "force", "rolling", "stop"))},
            "recreate": {"strategy": chance.choice(("in_place", "blue_green", None))},
            "set_image": {"image": chance.choice(("evil:1", "api:3.2.0", "api", "", 7))},
            "set_env": {"env": chance.choice(({"LOG_LEVEL": "trace"}, {"LOG_LEVEL": "info"}, {}))},
            "set_resources": {
                "memory": chance.choice(("256Mi", "1Ei", "0", 268435456, None, "-1Mi")),
                "cpu": chance.choice(("0.5", "64", 0.5, 0, None)),
            },
            "execute_command": {"argv": chance.choice((["rm", "-rf", "/"], [], "sh -c x"))},
            "escalate_to_human": {"summary": self._text() or "look", "severity": "warning"},
        }
        made = dict(known.get(operation, {}))
        if chance.random() < 0.1:
            made[chance.choice(("replicas", "force", "$ref", "__class__"))] = chance.choice(_HUGE)
        return made

    def _read(self) -> dict[str, Any]:
        return {
            "operation": self._chance.choice(("get_logs", "query_metrics", "stop", "")),
            "target": self._target(),
            "about": self._chance.choice((None, "x" * 5000, "up", 7)),
        }

    def _text(self) -> str:
        return self._chance.choice(_WORDS)
