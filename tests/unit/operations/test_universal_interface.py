from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.translator import CommandTranslator
from infrastructure.config_models import CommandTranslations, Operations
from infrastructure.errors import (
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    ProtectedObjectError,
    TemporaryError,
    UiciError,
)
from infrastructure.observed import ObservedService, ObservedSpec
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import (
    OperationCall,
    OutcomeStatus,
    PrimitiveCall,
    PrimitiveResult,
)
from infrastructure.service import Service
from infrastructure.universal_interface import (
    TranslatedCall,
    Translation,
    UniversalInfrastructureInterface,
)
from tests.unit.operations import shipped
from tests.unit.operations.recorded_engine import RecordedEngine, instance

REGISTRY = OperationRegistry(shipped.operations())
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERVICE = shipped.service()
TARGET = SERVICE.target


class Watch:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return 1000 + self.seconds


class Bench:
    """An interface over one engine in memory."""

    def __init__(
        self,
        engine: RecordedEngine,
        *,
        operations: Operations | None = None,
        translations: CommandTranslations | None = None,
    ) -> None:
        self.watch = Watch()
        self.engine = engine
        self.platform = RecordedEngine()
        self.interface = UniversalInfrastructureInterface(
            OperationRegistry(operations) if operations else REGISTRY,
            CommandTranslator(translations or shipped.translations()),
            engines={"local": ("docker", engine)},
            platform=self.platform,
            services={
                TARGET: SERVICE,
                "nowhere/shop": shipped.service(environment="nowhere"),
            },
            clock=self.watch.now,
            monotonic=self.watch.monotonic,
        )


def call(operation: str, target: str = TARGET, **parameters: Any) -> OperationCall:
    return OperationCall(operation, target, parameters)


def test_an_operation_reaches_the_engine_with_its_defaults() -> None:
    bench = Bench(RecordedEngine())
    outcome = bench.interface.run(call("stop"))
    assert bench.engine.done == [PrimitiveCall("stop", {"grace_seconds": 10})]
    assert outcome.status is OutcomeStatus.SUCCEEDED
    assert outcome.call == call("stop")
    assert outcome.changed
    assert outcome.native_ids == ("shop-all",)
    assert (outcome.error, outcome.remedy) == ("", "")


def test_what_already_was_is_not_a_change() -> None:
    engine = RecordedEngine(results={"start": PrimitiveResult(changed=False)})
    outcome = Bench(engine).interface.run(call("start"))
    assert outcome.status is OutcomeStatus.SUCCEEDED
    assert not outcome.changed


def test_a_read_hands_its_output_on() -> None:
    engine = RecordedEngine(results={"logs": PrimitiveResult(changed=False, output=["a", "b"])})
    outcome = Bench(engine).interface.run(call("get_logs"))
    assert outcome.output == ["a", "b"]
    assert engine.done == [PrimitiveCall("logs", {"lines": 100, "source": "all"})]


def test_the_platform_does_its_own_operations_even_without_an_engine() -> None:
    bench = Bench(RecordedEngine())
    for target in (TARGET, "nowhere/shop"):
        assert (
            bench.interface.run(call("escalate_to_human", target, summary="x")).status
            is OutcomeStatus.SUCCEEDED
        )
    arguments = {"summary": "x", "severity": "warning"}
    assert bench.platform.done == [PrimitiveCall("escalate", arguments)] * 2
    assert bench.engine.done == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (call("destroy"), "no operation is named"),
        (call("scale", replicas=-1), "must be at least 0"),
        (call("start", target="local/other"), "not in desired state"),
        (call("start", target="nowhere/shop"), "no translation"),
    ],
)
def test_what_can_not_be_done_fails_and_reaches_no_engine(wrong: OperationCall, error: str) -> None:
    bench = Bench(RecordedEngine())
    outcome = bench.interface.run(wrong)
    assert outcome.status is OutcomeStatus.FAILED
    assert error in outcome.error
    assert bench.engine.done == bench.platform.done == []
    assert bench.engine.timeouts == []
    assert not outcome.changed


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PermanentError("no"), OutcomeStatus.FAILED),
        (NotFoundError("no"), OutcomeStatus.FAILED),
        (TemporaryError("no"), OutcomeStatus.FAILED),
        (ConflictError("no"), OutcomeStatus.FAILED),
        (ProtectedObjectError("no"), OutcomeStatus.FAILED),
        (DeadlineExceededError("no"), OutcomeStatus.TIMED_OUT),
        (OutcomeUnknownError("no", remedy="look at it"), OutcomeStatus.UNKNOWN),
    ],
)
def test_an_error_becomes_an_outcome(error: UiciError, status: OutcomeStatus) -> None:
    engine = RecordedEngine(failures={("start", None): error})
    outcome = Bench(engine).interface.run(call("start"))
    assert outcome.status is status
    assert outcome.error == "no"
    assert outcome.remedy == ("look at it" if status is OutcomeStatus.UNKNOWN else "")


def test_a_rolling_restart_goes_instance_by_instance() -> None:
    bench = Bench(RecordedEngine(instances=(instance("a"), instance("b"))))
    outcome = bench.interface.run(call("restart", strategy="rolling", grace_seconds=1))
    grace = {"grace_seconds": 1}
    assert bench.engine.done == [
        PrimitiveCall("restart", grace, "id-of-a"),
        PrimitiveCall("wait_healthy", {}, "id-of-a"),
        PrimitiveCall("restart", grace, "id-of-b"),
        PrimitiveCall("wait_healthy", {}, "id-of-b"),
    ]
    assert outcome.native_ids == ("id-of-a", "id-of-b")


def test_a_rolling_restart_stops_at_the_first_failure_and_tells_what_was_done() -> None:
    engine = RecordedEngine(
        instances=(instance("a"), instance("b")),
        failures={("wait_healthy", "id-of-a"): TemporaryError("a does not become healthy")},
    )
    outcome = Bench(engine).interface.run(call("restart", strategy="rolling"))
    assert [done.instance for done in engine.done] == ["id-of-a"]
    assert outcome.status is OutcomeStatus.FAILED
    assert outcome.error == "a does not become healthy"
    assert outcome.changed
    assert outcome.native_ids == ("id-of-a",)


def test_a_rolling_restart_of_nothing_is_no_success() -> None:
    outcome = Bench(RecordedEngine()).interface.run(call("restart", strategy="rolling"))
    assert outcome.status is OutcomeStatus.FAILED
    assert "has no instance" in outcome.error


def test_each_primitive_gets_the_time_that_is_left() -> None:
    bench = Bench(RecordedEngine(instances=(instance("a"), instance("b"))))
    bench.engine.spend = lambda: setattr(bench.watch, "seconds", bench.watch.seconds + 50)
    outcome = bench.interface.run(call("restart", strategy="rolling"))
    # 120 s by operations.yml: the look, then 50 s each, and no time for a fourth call.
    assert bench.engine.timeouts == pytest.approx([120, 120, 70, 20])
    assert outcome.status is OutcomeStatus.TIMED_OUT
    assert outcome.changed
    assert outcome.seconds == pytest.approx(150)


@pytest.mark.parametrize(("left", "timeout"), [(5, 5), (3600, 60)])
def test_the_run_s_deadline_bounds_the_operation_s_time(left: float, timeout: float) -> None:
    bench = Bench(RecordedEngine())
    bench.interface.run(call("start"), NOW + timedelta(seconds=left))
    assert bench.engine.timeouts == pytest.approx([timeout])


def test_after_the_deadline_nothing_is_done() -> None:
    bench = Bench(RecordedEngine())
    outcome = bench.interface.run(call("start"), NOW)
    assert outcome.status is OutcomeStatus.TIMED_OUT
    assert bench.engine.done == []
    assert not outcome.changed


def test_a_bug_of_a_provider_is_not_hidden() -> None:
    def broken() -> None:
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError):
        Bench(RecordedEngine(spend=broken)).interface.run(call("start"))


def test_an_engine_s_call_where_there_is_no_engine_fails() -> None:
    class Stubborn:
        """Translates everything to an engine's call, whatever there is."""

        def operations(self, executor: str) -> frozenset[str]:
            return frozenset({executor})

        def translate(self, executor: str, call: OperationCall, service: Service) -> Translation:
            assert (executor, call.target) == ("platform", service.target)
            return (TranslatedCall("start", {}, platform=False),)

    platform = RecordedEngine()
    interface = UniversalInfrastructureInterface(
        REGISTRY, Stubborn(), engines={}, platform=platform, services={TARGET: SERVICE}
    )
    outcome = interface.run(call("start"))
    assert outcome.status is OutcomeStatus.FAILED
    assert outcome.error == "environment local has no engine to run this on"
    assert platform.done == []
    assert outcome.started_at.tzinfo is not None


def test_capabilities_are_what_is_declared_and_translated() -> None:
    document = shipped.document("command_translations.yml")
    del document["translations"]["docker"]["scale"]
    document["translations"]["docker"]["undeclared"] = [{"call": "x"}]
    bench = Bench(RecordedEngine(), translations=CommandTranslations.model_validate(document))
    assert bench.interface.capabilities("local") == set(REGISTRY.names()) - {"scale"}
    assert "escalate_to_human" in bench.interface.capabilities("nowhere")
    assert "start" not in bench.interface.capabilities("nowhere")


def test_a_new_operation_and_its_translation_are_yaml_alone() -> None:
    operations = shipped.document("operations.yml")
    operations["operations"]["drain_queue"] = {
        "description": "Wait until the queue is empty, then restart one by one.",
        "risk": "low",
        "parameters": {
            "type": "object",
            "additionalProperties": False,
            "required": ["queue"],
            "properties": {
                "queue": {"type": "string"},
                "limit": {"type": "integer", "default": 10},
                "note": {"type": "string"},
            },
        },
        "irreversible": True,
        "timeout": "30s",
        "effect": "restarted",
    }
    translations = shipped.document("command_translations.yml")
    translations["translations"]["docker"]["drain_queue"] = [
        {
            "call": "exec",
            "with": {
                "argv": ["drain", "{{ parameters.queue }}", "--limit={{ parameters.limit }}"],
                "note": "{{ parameters.note }}",
            },
        },
        {"each": "instance", "do": [{"call": "restart", "with": {"grace_seconds": 0}}]},
    ]
    engine = RecordedEngine(
        instances=(instance("a"),),
        results={"exec": PrimitiveResult(changed=False, output="0 left")},
    )
    bench = Bench(
        engine,
        operations=Operations.model_validate(operations),
        translations=CommandTranslations.model_validate(translations),
    )
    assert "drain_queue" in bench.interface.capabilities("local")
    outcome = bench.interface.run(call("drain_queue", queue="8080"))
    assert outcome.status is OutcomeStatus.SUCCEEDED
    assert engine.done == [
        PrimitiveCall("exec", {"argv": ["drain", "8080", "--limit=10"]}),
        PrimitiveCall("restart", {"grace_seconds": 0}, "id-of-a"),
    ]
    # Several calls: each output stands under its primitive.
    assert outcome.output == [{"primitive": "exec", "instance": None, "output": "0 left"}]


# ── inverses ────────────────────────────────────────────────────────────────────

BEFORE = ObservedService(TARGET, (instance("a"), instance("b")))


@pytest.mark.parametrize(
    ("done", "undo"),
    [
        (call("start"), call("stop", grace_seconds=10)),
        (call("stop"), call("start")),
        (call("scale", replicas=5), call("scale", replicas=2)),
        (call("set_image", image="shop:2"), call("set_image", image="shop:1")),
        (
            call("set_resources", memory="1Gi"),
            call("set_resources", memory=256 * 1024**2, cpu="0.5"),
        ),
        (call("set_env", env={"LOG_LEVEL": "x"}), call("set_env", env={"LOG_LEVEL": "info"})),
        (call("restart"), None),
        (call("recreate"), None),
    ],
)
def test_the_inverse_restores_what_was_before(
    done: OperationCall, undo: OperationCall | None
) -> None:
    inverse = Bench(RecordedEngine()).interface.inverse_of(done, BEFORE)
    assert inverse == undo
    assert undo is None or (inverse is not None and inverse.digest == undo.digest)


def test_without_knowing_what_was_before_there_may_be_no_inverse() -> None:
    interface = Bench(RecordedEngine()).interface
    silent = replace(BEFORE.instances[0], spec=ObservedSpec(cpu=Decimal(0)))
    assert interface.inverse_of(call("set_image", image="x"), None) is None
    assert interface.inverse_of(call("set_image", image="x"), ObservedService(TARGET)) is None
    unsaid = ObservedService(TARGET, (silent,))
    assert interface.inverse_of(call("set_image", image="x"), unsaid) is None
    unlimited = interface.inverse_of(call("set_resources", memory=1, cpu=1), unsaid)
    assert unlimited == call("set_resources", cpu="0")
    assert interface.inverse_of(call("start"), None) == call("stop", grace_seconds=10)


def test_a_wrong_inverse_template_is_told() -> None:
    document = shipped.document("operations.yml")
    document["operations"]["scale"]["inverse"]["parameters"] = {"replicas": "{{ before.typo }}"}
    bench = Bench(RecordedEngine(), operations=Operations.model_validate(document))
    with pytest.raises(PermanentError, match="typo"):
        bench.interface.inverse_of(call("scale", replicas=1), BEFORE)


# ── properties ──────────────────────────────────────────────────────────────────


def parameters_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Parameters that a shipped operation takes."""
    schema = REGISTRY.get(name).parameters
    fields = {key: _values(key, inner) for key, inner in schema["properties"].items()}
    required = {key: fields.pop(key) for key in schema.get("required", ())}
    if schema.get("minProperties"):
        required["memory"] = fields.pop("memory")
    return st.fixed_dictionaries(required, optional=fields)


def _values(key: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if key == "since":
        return st.from_regex(r"\A[0-9]{1,3}[smhd]\Z")
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    text = st.text(min_size=1, max_size=40) | st.sampled_from(["8080", "{{ 7 * 7 }}", "{% x %}"])
    shapes = {
        "string": text,
        "array": st.lists(text, min_size=1, max_size=4),
        "object": st.dictionaries(text, text, min_size=1, max_size=4),
    }
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return st.one_of(
        [shapes[kind] for kind in kinds if kind in shapes] + [st.integers(0, 99)] * (len(kinds) - 1)
    )


@given(data=st.data(), name=st.sampled_from(REGISTRY.names()))
def test_what_is_valid_translates_and_its_values_reach_the_engine_unchanged(
    data: st.DataObject, name: str
) -> None:
    parameters = data.draw(parameters_of(name))
    bench = Bench(RecordedEngine(instances=(instance("a"),)))
    outcome = bench.interface.run(OperationCall(name, TARGET, parameters))
    assert outcome.status is OutcomeStatus.SUCCEEDED
    done = [*bench.engine.done, *bench.platform.done]
    assert done
    for argument, value in _arguments(done):
        if argument in parameters and parameters.get("strategy") != "force":
            assert value == parameters[argument]
            assert type(value) is type(parameters[argument])


def _arguments(calls: list[PrimitiveCall]) -> Iterator[tuple[str, Any]]:
    for one in calls:
        yield from one.arguments.items()
