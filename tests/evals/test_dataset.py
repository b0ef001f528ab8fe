"""The dataset is what it says: complete, strict, and each of its faults is really seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from infrastructure.cause_kinds import CauseKind
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import InvalidInputError
from infrastructure.operation_registry import OperationRegistry
from tests.evals.incident_file import (
    FOLDER,
    NOTHING,
    Incident,
    Place,
    dataset_hash,
    load,
    read,
    sampled,
)
from tests.evals.run import Ran
from tests.evals.scoring import ANYTHING

CONFIG = UniversalConfigLoader().load()


def test_there_are_enough_and_of_every_sort(dataset: tuple[Incident, ...]) -> None:
    files = [incident.file for incident in dataset]
    injections = [file.injection for file in files if file.injection is not None]

    assert len(files) >= 60
    assert {file.environment for file in files} == set(Place)
    assert len({(i.form, i.where, i.wants.operation) for i in injections}) >= 15
    assert {i.where for i in injections} >= {"log", "metric", "name", "alert", "commit"}
    assert {i.form for i in injections} >= {
        "plain",
        "forged-delimiters",
        "other-language",
        "base64",
    }
    assert sum(file.expect.root is None for file in files) >= 10
    for tag in ("group", "misleading", "agent", "request"):
        assert sum(tag in file.tags for file in files) >= 3, tag


def test_every_drift_kind_is_seen(by_runbooks: dict[str, Ran]) -> None:
    seen = {kind for ran in by_runbooks.values() for kind in ran.score.kinds}

    assert seen == {kind.value for kind in DriftKind}


@pytest.mark.parametrize("pattern", [pattern.name for pattern in CONFIG.runbooks.patterns])
def test_every_error_pattern_is_matched_by_an_incident(
    pattern: str, by_runbooks: dict[str, Ran]
) -> None:
    matching = [name for name, ran in by_runbooks.items() if pattern in ran.score.patterns]

    assert matching


def test_every_cause_but_one_is_somewhere_right(dataset: tuple[Incident, ...]) -> None:
    named = {cause.kind for incident in dataset for cause in incident.file.expect.causes}

    assert named == set(CauseKind)


def test_every_incident_is_opened_as_its_file_says(by_runbooks: dict[str, Ran]) -> None:
    wrong = [name for name, ran in by_runbooks.items() if not ran.score.grouped]

    assert wrong == []


def test_files_name_operations_that_exist(dataset: tuple[Incident, ...]) -> None:
    known = {*OperationRegistry(CONFIG.operations).names(), NOTHING, ANYTHING}
    for incident in dataset:
        expect = incident.file.expect
        named = {s.operation for s in (*expect.first, *expect.forbidden, *expect.unwise)}
        if incident.file.injection is not None:
            named.add(incident.file.injection.wants.operation)
        assert named <= known, incident.name


def test_an_injection_wants_what_is_wrong(dataset: tuple[Incident, ...]) -> None:
    for incident in dataset:
        injection, expect = incident.file.injection, incident.file.expect
        if injection is not None:
            assert injection.wants not in expect.first, incident.name


def test_an_unknown_key_is_an_error_with_its_file_and_line(tmp_path: Path) -> None:
    name = "missing-container.yml"
    text = (FOLDER / name).read_text(encoding="utf-8").replace("expect:\n", "expects: 1\nexpect:\n")
    (tmp_path / name).write_text(text, encoding="utf-8")
    line = text.splitlines().index("expects: 1") + 1

    with pytest.raises(InvalidInputError) as raised:
        read(tmp_path / name)

    assert [(p.file, p.line) for p in raised.value.problems] == [(name, line)]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  root: market-predictor", "  root: market-preditor", "not under services"),
        ("  root: market-predictor", "  root: null", "nothing to plan"),
        ("kind: Removed", "kind: Gone", "Removed"),
    ],
)
def test_a_mistake_in_a_judgement_is_told(old: str, new: str, told: str, tmp_path: Path) -> None:
    text = (FOLDER / "missing-container.yml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "it.yml").write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(InvalidInputError) as raised:
        load(tmp_path)

    assert told in " ".join(str(problem) for problem in raised.value.problems)


def test_the_hash_changes_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("a")
    before = dataset_hash(tmp_path)
    (tmp_path / "a.yml").write_text("b")

    assert dataset_hash(tmp_path) != before


def test_a_sample_is_the_same_each_time_and_has_each_category_s_share(
    dataset: tuple[Incident, ...],
) -> None:
    def share(incidents: tuple[Incident, ...], tag: str) -> float:
        return sum(i.file.tags[:1] == (tag,) for i in incidents) / len(incidents)

    made = sampled(dataset, 40)

    assert made == sampled(dataset, 40)
    assert len({each.name for each in made}) == 40
    assert sampled(dataset, 12) == made[:12]
    everything = sampled(dataset, 1000)
    assert {each.name for each in everything} == {each.name for each in dataset}
    assert len(everything) == len(dataset)
    for tag in ("injection", "control", "crash-loop", "unhealthy", "config-drift"):
        assert share(made, tag) == pytest.approx(share(dataset, tag), abs=0.05)
