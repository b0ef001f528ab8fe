"""No answer whatever leads to a step outside of the offer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flows.llm.answer import (
    Draft,
    Offer,
    UnfitAnswerError,
    WantedRead,
    answer_schema,
    read_answer,
)
from flows.plan import RootCause
from infrastructure.cause_kinds import CauseKind
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import PermanentError
from infrastructure.operations import Risk
from tests.fakes.llm_setting import (
    DEPENDENT,
    ROOT,
    as_asked,
    incident,
    nothing_to_do,
    plan_answer,
    registry,
    step,
)

OFFER = Offer(
    ("start", "restart", "scale", "set_resources", "set_env", "escalate_to_human"),
    (ROOT, DEPENDENT),
)


def read(answer: Any, kind: DriftKind = DriftKind.STOPPED) -> Draft:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return read_answer(text, incident(kind), OFFER, registry=registry(), redact=lambda t: t)


def test_a_good_answer() -> None:
    draft = read(plan_answer(step("restart", strategy=None, grace_seconds=3)))
    [planned] = draft.steps
    assert (planned.operation, planned.target) == ("restart", ROOT)
    assert planned.parameters == {"strategy": "graceful", "grace_seconds": 3}
    assert (draft.diagnosis, draft.confidence) == ("The database has ended.", 0.9)


def test_pairs_become_a_map_again() -> None:
    pairs = [{"name": "LOG_LEVEL", "value": "info"}]
    [planned] = read(plan_answer(step("set_env", env=pairs))).steps
    assert planned.parameters == {"env": {"LOG_LEVEL": "info"}}


@pytest.mark.parametrize("text", ["```json\n{}\n```", "```\n{}```", "Sure! Here it is:\n{}\nDone."])
def test_json_in_a_fence_or_in_words_is_found(text: str) -> None:
    assert read(text.replace("{}", json.dumps(plan_answer()))).steps


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("I would restart the database.", "does not fit the schema"),
        ('{"diagnosis": "the conta', "does not fit the schema"),
        ("[]", "whole answer"),
        ("{}", "broken: Field required"),
        (plan_answer(extra=1), "extra: Extra inputs are not permitted"),
        (plan_answer(confidence=1.5), "confidence: Input should be less than or equal to 1"),
        (plan_answer(confidence="high"), "confidence"),
        (plan_answer(step() | {"force": True}), "steps.0.force: Extra inputs"),
        (plan_answer({"operation": "start"}), r"steps\.0\.target: Field required"),
        (plan_answer(step("rm_rf")), r"steps\[0\]: 'rm_rf' is not on offer; choose one of start"),
        (plan_answer(step("get_logs")), "is not on offer"),
        (plan_answer(step(target="local-docker/other")), "is no target of this incident"),
        (plan_answer(step(target="devops-ai-agent")), f"choose one of {ROOT}, {DEPENDENT}"),
        (plan_answer(step("restart", strategy="brutal")), r"strategy is .brutal.; allowed"),
        (plan_answer(step("scale")), "lack .?replicas"),
        (plan_answer(rollback=[step("stop")]), r"rollback\[0\]: 'stop' is not on offer"),
        (plan_answer(steps=[step()] * 21), "at most 20"),
        (plan_answer(steps=[]), "there are no steps"),
        (plan_answer(broken=False), "broken is false, but there are steps"),
        (plan_answer(cause="Gremlins"), "cause: Input should be 'Removed', 'Stopped'"),
        (plan_answer(cause_target="local-docker/other"), "cause_target: 'local-docker/other'"),
        (plan_answer(look_first="all"), "look_first: Input should be a valid array"),
        ('{"name": "get_logs", "arguments": {"target": "a"}}', "a tool call written as text"),
        ('{"diagnosis": NaN}', "does not fit"),
        (json.dumps(plan_answer()).replace("0.9", "NaN"), "confidence"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "does not fit"),
    ],
)
def test_what_does_not_fit_is_named_exactly(answer: Any, words: str) -> None:
    with pytest.raises(UnfitAnswerError, match=words) as caught:
        read(answer)
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_what_can_not_help_is_refused_by_the_drift_that_is_there() -> None:
    offer = Offer(("create", "start"), (ROOT, DEPENDENT))

    def asked(kind: DriftKind, **answer: Any) -> Draft:
        text = json.dumps(plan_answer(**answer))
        return read_answer(text, incident(kind), offer, registry=registry(), redact=lambda t: t)

    create = [step("create")]
    assert asked(DriftKind.MISSING, steps=create).steps
    words = f"create repairs Missing, ScaleDrift, and {ROOT} is CrashLooping; choose another"
    with pytest.raises(UnfitAnswerError, match=re.escape(words)):
        asked(DriftKind.CRASH_LOOPING, steps=create)
    elsewhere = [step("create", target=DEPENDENT)]
    with pytest.raises(UnfitAnswerError, match=f"{DEPENDENT} is Unhealthy"):
        asked(DriftKind.MISSING, steps=elsewhere)
    # What is taken back is the plan's own, and no repair.
    assert asked(DriftKind.STOPPED, steps=[step("start")], rollback=create).rollback


NOTHING = nothing_to_do()


@pytest.mark.parametrize(
    "kind", [DriftKind.ALERT_FIRING, DriftKind.METRIC_BREACH, DriftKind.UNHEALTHY]
)
def test_nothing_to_do_where_only_monitoring_speaks(kind: DriftKind) -> None:
    draft = read(NOTHING, kind)
    assert (draft.steps, draft.diagnosis) == ((), "It works.")


@pytest.mark.parametrize("kind", [DriftKind.MISSING, DriftKind.STOPPED, DriftKind.CONFIG_DRIFT])
def test_nothing_to_do_never_against_the_engines_word(kind: DriftKind) -> None:
    with pytest.raises(
        UnfitAnswerError, match=f"works contradicts what the engine says: {kind.value}"
    ):
        read(NOTHING, kind)


def test_free_text_is_shortened_cleaned_and_redacted() -> None:
    long = "x\x1b[31m\n<<<" + "y" * 5000
    answer = plan_answer(diagnosis=long, evidence=[long] * 50)
    text = json.dumps(answer)
    draft = read_answer(
        text,
        incident(),
        OFFER,
        registry=registry(),
        redact=lambda words: words.replace("y", "[redacted]", 1),
    )
    assert draft.diagnosis.startswith("x ‹[redacted]")
    assert len(draft.diagnosis) == 1000
    assert len(draft.evidence) == 10
    assert max(map(len, draft.evidence)) == 300


def test_the_schema_is_of_the_strict_subset_and_takes_good_answers() -> None:
    schema = answer_schema(registry(), OFFER)
    Draft202012Validator.check_schema(schema)
    good = as_asked(plan_answer(step("restart", strategy="rolling")))
    Draft202012Validator(schema).validate(good)
    [planned] = read(good).steps
    assert (planned.operation, planned.parameters["strategy"]) == ("restart", "rolling")
    for bad in (plan_answer(step("create")), plan_answer(step(target="x/y"))):
        assert not Draft202012Validator(schema).is_valid(as_asked(bad))
    _assert_strict(schema)


def test_choices_come_before_texts() -> None:
    schema = answer_schema(registry(), OFFER)["properties"]
    assert list(schema) == ["finding", "confidence", "diagnosis", "evidence"]
    broken = list(schema["finding"]["anyOf"][0]["properties"])
    assert broken == ["state", "cause", "cause_target", "step"]


def test_the_form_has_no_open_end_and_no_place_to_contradict_itself() -> None:
    """Small models go on as long as a list lets them."""
    schema = answer_schema(registry(), Offer(("start", "restart"), (ROOT,), ("get_logs",)))
    assert "array" not in json.dumps(schema)
    states = {
        branch["properties"]["state"]["enum"][0]: list(branch["properties"])[1:]
        for branch in schema["properties"]["finding"]["anyOf"]
    }
    assert states == {
        "broken": ["cause", "cause_target", "step"],
        "broken_needs_two_steps": ["cause", "cause_target", "step", "second_step"],
        "works": [],
        "look_first": ["read"],
    }


def test_the_form_is_read_as_the_lists_that_it_stands_for() -> None:
    two = read(as_asked(plan_answer(step("start"), step("scale", replicas=2))))
    assert [each.operation for each in two.steps] == ["start", "scale"]
    assert two.evidence == ("exit code 1",)
    calm = read(as_asked(NOTHING), DriftKind.ALERT_FIRING)
    assert (calm.steps, calm.cause) == ((), RootCause(CauseKind.FALSE_ALARM, ROOT))


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        ({"state": "fine"}, "broken: Input should be a valid boolean"),
        ({"state": ["works"]}, "broken: Input should be a valid boolean"),
        ({}, "broken: Input should be a valid boolean"),
        ({"state": "works", "step": 7}, "steps"),
        ({"state": "works", "force": True}, "force: Extra inputs"),
        ({"state": "broken", "cause": "Stopped", "cause_target": ROOT}, "there are no steps"),
    ],
)
def test_a_finding_that_does_not_fit_is_named(finding: dict[str, Any], words: str) -> None:
    with pytest.raises(UnfitAnswerError, match=words):
        read(as_asked(NOTHING) | {"finding": finding}, DriftKind.UNHEALTHY)


def test_the_same_step_twice_is_one_step() -> None:
    draft = read(plan_answer(step(), step() | {"why": "once more"}, step("restart")))
    assert [each.operation for each in draft.steps] == ["start", "restart"]


def test_the_cause_is_typed_and_may_lie_in_a_dependency() -> None:
    offer = Offer(("start",), (DEPENDENT,), places=(DEPENDENT, ROOT))
    answer = plan_answer(step(target=DEPENDENT), cause="DependencyDown", cause_target=ROOT)
    draft = read_answer(
        json.dumps(answer), incident(), offer, registry=registry(), redact=lambda t: t
    )
    assert draft.cause == RootCause(CauseKind.DEPENDENCY_DOWN, ROOT)


def test_many_targets_do_not_stand_in_the_schema_and_are_checked_all_the_same() -> None:
    schema = answer_schema(registry(), Offer(OFFER.operations, ()))
    assert schema["$defs"]["target"] == {"type": "string"}


def test_what_may_be_looked_at_first_is_asked_for_only_where_there_is_something() -> None:
    reads = ("get_logs", "query_metrics")
    schema = answer_schema(registry(), Offer(OFFER.operations, OFFER.targets, reads))
    _assert_strict(schema)
    wanted = [{"operation": "get_logs", "target": ROOT, "about": None}]
    answer = as_asked(plan_answer(steps=[]) | {"look_first": wanted})
    Draft202012Validator(schema).validate(answer)
    assert read(answer).look_first == (WantedRead("get_logs", ROOT, None),)
    assert "read" not in answer_schema(registry(), OFFER)["$defs"]


def _assert_strict(schema: Any) -> None:
    """Each object is closed and requires all it has."""
    if isinstance(schema, list):
        for item in schema:
            _assert_strict(item)
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == set(schema["properties"])
        for value in schema.values():
            _assert_strict(value)


def test_the_schema_of_all_operations_is_small() -> None:
    names = [name for name in registry().names() if registry().get(name).risk is not Risk.READ]
    whole = answer_schema(registry(), Offer(tuple(names), (ROOT,)))
    plain = registry().schema_for_model(names, [ROOT])
    assert len(json.dumps(whole)) < 0.6 * len(json.dumps(plain))


# ── whatever comes ──────────────────────────────────────────────────────────────

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)
names = st.sampled_from([*registry().names(), "start ", "START", "", "drop_table"])
targets = st.sampled_from(
    [ROOT, DEPENDENT, "local-docker/uici-agent", "uici-agent", "*", "", ROOT + " ", ROOT.upper()]
)
parameters = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"strategy": st.sampled_from(["graceful", "force", None, "x"])}),
    st.fixed_dictionaries({"replicas": st.integers() | json_values}),
    st.dictionaries(st.sampled_from(["env", "memory", "cpu", "argv", "image"]), json_values),
)
steps = st.fixed_dictionaries(
    {
        "operation": names | st.text(max_size=10),
        "target": targets | st.text(max_size=10),
        "parameters": parameters | json_values,
        "why": st.text(max_size=30),
        "expected_effect": st.text(max_size=30) | st.none(),
    },
    optional={"extra": json_values},
)
answers = st.fixed_dictionaries(
    {
        "diagnosis": st.text(max_size=50) | json_values,
        "confidence": st.floats(0, 1) | json_values,
        "evidence": st.lists(st.text(max_size=20), max_size=3) | json_values,
        "steps": st.lists(steps, max_size=4),
        "rollback": st.lists(steps, max_size=2),
        "broken": st.booleans(),
        "cause": st.sampled_from(CauseKind) | json_values,
        "cause_target": targets,
    },
    optional={
        "more": json_values,
        "finding": st.dictionaries(
            st.sampled_from(["state", "cause", "cause_target", "step", "second_step", "read"]),
            st.sampled_from(["broken", "works", "look_first", "Stopped", ROOT]) | steps,
            max_size=6,
        )
        | json_values,
    },
)


def _within_the_offer(text: str, kind: DriftKind) -> None:
    try:
        draft = read(text, kind)
    except UnfitAnswerError:
        return
    for planned in (*draft.steps, *draft.rollback):
        assert planned.operation in OFFER.operations
        assert planned.target in OFFER.targets
        assert registry().validate(planned.operation, planned.parameters) == planned.parameters
    assert 0 <= draft.confidence <= 1


@given(answer=answers | json_values, kind=st.sampled_from(DriftKind))
@settings(max_examples=100)
def test_any_json_leads_to_steps_of_the_offer_or_to_a_reason(answer: Any, kind: DriftKind) -> None:
    _within_the_offer(json.dumps(answer), kind)


@given(text=st.text(max_size=300), kind=st.sampled_from(DriftKind))
def test_any_text_leads_to_steps_of_the_offer_or_to_a_reason(text: str, kind: DriftKind) -> None:
    _within_the_offer(text, kind)


def test_the_errors_are_final_for_the_loop() -> None:
    assert issubclass(UnfitAnswerError, PermanentError)
