"""One test for each kind of mistake in a configuration: its place, its words, its remedy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from infrastructure.errors import InvalidInputError
from tests.unit.infrastructure.config_folder import ConfigFolder


class Mistake(NamedTuple):
    """`old` becomes `new` in the file; `‸` stands where the mistake has to be told."""

    file: str
    old: str
    new: str
    message: str
    remedy: str = ""


IN_ONE_FILE = [
    Mistake("platform", "  level: info", "  ‸levle: info", "log.levle is not a known", "level?"),
    Mistake("platform", "log:\n  level: info\n", "‸log:\n", "log.level is missing", "add level"),
    Mistake("platform", "level: info", "level: ‸inf", "must be one of debug, info", "info?"),
    Mistake("platform", "interval: 60s", "interval: ‸60", "can't be read: 60", "500ms, 30s"),
    Mistake("platform", "interval: 60s", "interval: ‸0s", "can't be read", "longer than 0s"),
    Mistake("platform", "share: 0.6", "share: ‸most", 'must be a number, not "most"'),
    Mistake("platform", "share: 0.6", "share: ‸1.5", "must be less than or equal to 1, not 1.5"),
    Mistake("platform", "port: 4200, r", "port: ‸many, r", "must be a whole number"),
    Mistake("platform", "port: 4200, r", "port: ‸[1], r", "must be a whole number, not a list"),
    Mistake("platform", "host: 127.0.0.1", "host: ‸1", "must be text, not 1", 'quotes: "1"'),
    Mistake("platform", "tags: [uici]", "tags: ‸uici", "must be a list"),
    Mistake("platform", "keyRequired: true", "keyRequired: ‸perhaps", "must be true or false"),
    Mistake("platform", "apiVersion: uici/v1", "apiVersion: ‸v1", "must be one of uici/v1"),
    Mistake("platform", "    - \\bsk-", "    - ‸'['\n    - \\bsk-", "", "not a regular expression"),
    Mistake(
        "platform",
        "overrun: stop",
        'overrun: stop\n    window: {from: ‸"9", to: "10:00", timeZone: UTC}',
        "must be a time of day from 00:00 to 24:00",
    ),
    Mistake(
        "platform",
        "overrun: stop",
        'overrun: stop\n    window: [{from: "09:00", to: "10:00", timeZone: ‸Mars}]',
        "can't be read",
        "Europe/Berlin",
    ),
    Mistake("agents", "agents:\n", "agents:\n  ‸Bad_Name: {}\n", "must be lower-case letters"),
    Mistake("environments", "executor: docker", "executor: ‸5", "must be text", 'quotes: "5"'),
    Mistake("environments", "- {file", "- ‸{env: A, file", "is not right", "exactly one of"),
    Mistake("environments", "- {file", "- ‸{}\n      - {file", "is not right", "exactly one of"),
    Mistake("environments", '"http://127.0.0.1:9090"', '‸"9090"', "must be an address such as"),
    Mistake(
        "command_translations", "[{call: start}]", "[‸{call: start, each: instance}]", "", "either"
    ),
    Mistake("command_translations", "[{call: start}]", "[‸{when: 'x'}]", "", "write either call"),
    Mistake("operations", "risk: read", "risk: ‸none", "must be one of read, low, high"),
    Mistake("operations", "timeout: 15s", "timeout: ‸0s", "can't be read", "longer than 0s"),
    Mistake("runbooks", "[Missing]", "[‸missing]", "must be one of Missing, Stopped"),
    Mistake("runbooks", "apiVersion: uici/v1", "a: 1\n‸a: 2", "a is written twice", "on line"),
    Mistake("runbooks", "why: limits", "why: limits‸: x", "not valid YAML", "in quotes"),
]

BETWEEN_FILES = [
    Mistake(
        "platform", "agent: devops-ai-agent", "agent: ‸devops", "agents.yml", "devops-ai-agent?"
    ),
    Mistake("platform", "../../desired-state", "‸../nowhere", "no such folder", "git.remote"),
    Mistake("platform", "uici/reports", "‸main", "is also git.branch", "another branch"),
    Mistake("platform", "UpTo: destructive", "UpTo: ‸low", "less than allowUpTo", "high or more"),
    Mistake(
        "platform", "http://127.0.0.1:4200/api", "‸http://127.0.0.1:42/api", "port", "external"
    ),
    Mistake(
        "platform", "[execute_command]", "[‸exec_command]", "operations.yml", "execute_command?"
    ),
    Mistake("agents", "prompts/plan.v3.md", "‸prompts/plan.md", "no such file", "create the file"),
    Mistake("environments", "executor: docker", "executor: ‸dockr", "translations.yml", "docker?"),
    Mistake("environments", "out: 5s}", "out: 5s, tls: {caFile: ‸x}}", "no such file", "the path"),
    Mistake(
        "environments",
        "out: 5s}",
        "out: 5s, ‸tls: {keyFile: agents.yml}}",
        "only one of",
        "both or neither",
    ),
    Mistake(
        "operations",
        "  pause:\n",
        "  ‸nap:\n    {description: x, risk: low, parameters: *none, timeout: 1s, effect: none}\n"
        "  pause:\n",
        "has risk low and no inverse",
        "irreversible: true",
    ),
    Mistake("operations", "{operation: stop,", "{operation: ‸stopp,", "operations.yml", "stop?"),
    Mistake(
        "operations",
        "  pause:\n",
        "  ‸pause:\n    irreversible: true\n",
        "and has an inverse",
        "remove one of them",
    ),
    Mistake(
        "operations",
        "{operation: stop, parameters: {}}",
        "{operation: stop, parameters: {force: ‸true}}",
        "parameters.force is not a parameter",
        "known here: grace_seconds",
    ),
    Mistake("operations", "{type: integer,", "{type: ‸int,", "must be one of object, array"),
    Mistake("operations", "{type: integer,", "{typ: ‸integer,", "no keyword of JSON", "type?"),
    Mistake("operations", "{replicas: /", "{‸replica: /", "no parameter of", "replicas?"),
    Mistake("operations", "parameter: strategy", "parameter: ‸strat", "no parameter", "strategy?"),
    Mistake(
        "operations",
        "{parameter: strategy, values: [graceful, force], instead: rolling}",
        "‸{parameter: strategy, values: [graceful, force], instead: roling}",
        "names roling, which strategy can't be",
        "rolling?",
    ),
    Mistake("operations", "runs: argv", "runs: ‸arg", "no parameter of", "argv?"),
    Mistake("command_translations", "start: [", "‸starrt: [", "exists nowhere", "start?"),
    Mistake("runbooks", "{operation: start,", "{operation: ‸strat,", "operations.yml", "start?"),
    Mistake("runbooks", "graceful", "‸gentle", "must be one of graceful, force, rolling"),
    Mistake("runbooks", "{strategy: graceful}", "{stratgy: ‸a}", "not a parameter", "strategy?"),
    Mistake(
        "runbooks",
        'parameters: {replicas: "{{ service.spec.replicas }}"}',
        "parameters: ‸{}",
        "lacks replicas",
        "add replicas",
    ),
    Mistake(
        "runbooks", "[Missing]}", "[Missing], patterns: [‸oom]}", "which is not among patterns"
    ),
    Mistake("runbooks", "start-stopped", "‸create-missing", "repeats create-missing", "rename one"),
    Mistake("runbooks", "permission-denied", "‸connection-refused", "repeats", "rename one"),
]


@pytest.mark.parametrize("mistake", [*IN_ONE_FILE, *BETWEEN_FILES], ids=lambda m: m.new.strip())
def test_a_mistake_is_placed_and_has_a_remedy(mistake: Mistake, tmp_path: Path) -> None:
    folder = ConfigFolder.make(tmp_path)
    place = folder.break_at(mistake.file, mistake.old, mistake.new)
    with pytest.raises(InvalidInputError) as caught:
        folder.load()
    told = [p for p in caught.value.problems if (p.line, p.column) == place]
    assert told, f"nothing was told at {place}, but:\n{caught.value}"
    assert {problem.file for problem in told} == {str(folder.path(mistake.file))}
    assert any(mistake.message in p.message and mistake.remedy in p.remedy for p in told), told


def test_parameters_have_to_describe_an_object(tmp_path: Path) -> None:
    folder = ConfigFolder.make(tmp_path)
    place = folder.break_at(
        "operations", "parameters: &none {type: object,", "‸parameters: {type: string,"
    )
    folder.path("operations").write_text(
        folder.path("operations").read_text().replace("*none", "{type: object}")
    )
    with pytest.raises(InvalidInputError) as caught:
        folder.load()
    assert [(p.line, p.column, p.remedy) for p in caught.value.problems] == [
        (*place, "write type: object")
    ]


def test_agents_have_to_share_their_identity_labels(tmp_path: Path) -> None:
    folder = ConfigFolder.make(tmp_path)
    folder.replace("agents", "labels: {uici.role: agent}", "labels: {uici.role: robot}")
    with pytest.raises(InvalidInputError) as caught:
        folder.load()
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == folder.place("agents", "labels: {uici.role: agent}")
    assert "together they would protect neither" in problem.message
    assert problem.remedy == "give every agent the same identity labels"
