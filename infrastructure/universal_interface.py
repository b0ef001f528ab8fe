"""UniversalInfrastructureInterface: one word in, the same thing everywhere.

registry (is it an operation, are the parameters right) → translation (how is it done
here) → executor or platform provider (do it). It judges nothing: `flows.guard` wraps it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from infrastructure import templates
from infrastructure.errors import (
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TakenBackError,
    UiciError,
)
from infrastructure.observed import ObservedService
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import (
    OperationCall,
    OperationOutcome,
    OutcomeStatus,
    PrimitiveCall,
    PrimitiveResult,
)
from infrastructure.quantities import format_cpu
from infrastructure.service import Service

PLATFORM = "platform"  # the entry of command_translations.yml that is no executor


class PrimitiveProvider(Protocol):
    """What carries out primitives: an executor, or the platform (metrics, alerts, probes)."""

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        """See `executors.contract.Executor.call`."""
        ...


class EngineProvider(PrimitiveProvider, Protocol):
    """A provider that also has instances to repeat over."""

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        """See `executors.contract.Executor.look`."""
        ...


@runtime_checkable
class Choosy(Protocol):
    """An engine in which not every target can do everything: a pool is not a machine.

    Nor can it be made what refers to a secret that is not there.
    """

    def refusal(self, service: Service, primitive: str) -> str | None:
        """Why what the service is bound to can't have such a primitive now; None: it may.

        Rests on desired state and on the secrets that it refers to: no engine is asked, nothing
        raised.
        """
        ...


@dataclass(frozen=True, slots=True)
class TranslatedCall:
    """A primitive with rendered arguments. `platform`: not the engine, the platform does it."""

    primitive: str
    arguments: Mapping[str, Any]
    platform: bool


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """Calls that are done for one instance after the other."""

    calls: tuple[TranslatedCall, ...]


Translation = tuple[TranslatedCall | InstanceGroup, ...]


class Translator(Protocol):
    """Makes a Translation; `executors.translator.CommandTranslator` is the one."""

    def operations(self, executor: str) -> frozenset[str]:
        """Operations that this executor (with the platform) has a translation for."""
        ...

    def translate(self, executor: str, call: OperationCall, service: Service) -> Translation:
        """Raises UnsupportedOperationError, or PermanentError for a template's mistake."""
        ...


@dataclass(slots=True)
class _Progress:
    """What one operation has done so far: kept when a later call of it fails."""

    results: list[tuple[str, str | None, PrimitiveResult]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return any(result.changed for _, _, result in self.results)

    @property
    def native_ids(self) -> tuple[str, ...]:
        touched = (native for _, _, result in self.results for native in result.native_ids)
        return tuple(dict.fromkeys(touched))

    @property
    def output(self) -> Any:
        """One call's output as it is; of several, each under its primitive and instance."""
        if len(self.results) == 1:
            return self.results[0][2].output
        outputs = [
            {"primitive": primitive, "instance": instance, "output": result.output}
            for primitive, instance, result in self.results
            if result.output is not None
        ]
        return outputs or None


@dataclass(frozen=True, slots=True)
class _Run:
    """One operation under way."""

    service: Service
    executor: str
    engine: EngineProvider | None
    seconds_left: Callable[[], float]
    progress: _Progress


class UniversalInfrastructureInterface:
    """Runs universal operations on any target. Judges nothing: `flows.guard` wraps it.

    Immutable after construction, and as safe to use from several threads as its
    providers are.
    """

    def __init__(
        self,
        registry: OperationRegistry,
        translator: Translator,
        *,
        engines: Mapping[str, tuple[str, EngineProvider]],
        platform: PrimitiveProvider,
        services: Mapping[str, Service],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call nothing yet.

        Args:
            registry: what is an operation.
            translator: how each is done.
            engines: environment → kind of executor (its word in the translations), engine.
            platform: what UICI itself does in every environment.
            services: desired state by target.
            clock: now, with a time zone; for the report and the run's deadline.
            monotonic: seconds; for time-outs.
        """
        self._registry = registry
        self._translator = translator
        self._engines = engines
        self._platform = platform
        self._services = services
        self._clock = clock
        self._monotonic = monotonic

    def capabilities(self, environment: str) -> frozenset[str]:
        """Operations that can be run there: declared and translated.

        Without an engine, an environment still has what the platform does.
        """
        executor, _ = self._engine(environment)
        return self._translator.operations(executor) & frozenset(self._registry.names())

    def refusal(self, call: OperationCall) -> str | None:
        """Why this target can't do it although its environment can; None: nothing is known.

        Asks nobody: an engine tells it from the target's binding (see `Choosy`).
        """
        service = self._services.get(call.target)
        executor, engine = self._engine(call.target.partition("/")[0])
        choosy = _choosy(engine)
        if service is None or choosy is None:
            return None
        try:
            parameters = self._registry.validate(call.operation, call.parameters)
            complete = self._registry.with_all_names(call.operation, parameters)
            translation = self._translator.translate(
                executor, OperationCall(call.operation, call.target, complete), service
            )
        except UiciError:
            return None  # other rules say what is wrong with it
        parts = (part.calls if isinstance(part, InstanceGroup) else (part,) for part in translation)
        names = [one.primitive for calls in parts for one in calls if not one.platform]
        reasons = (choosy.refusal(service, name) for name in names)
        return next((reason for reason in reasons if reason is not None), None)

    def run(self, call: OperationCall, deadline: datetime | None = None) -> OperationOutcome:
        """Carry out one operation; what goes wrong is in the outcome, never raised.

        It takes at most the operation's time-out, and no longer than to `deadline`; each
        primitive gets what is left. The first call that fails ends it: what was done
        before stays done, and the outcome tells it.
        """
        started, progress = self._clock(), _Progress()
        error: UiciError | None = None
        try:
            self._carry_out(call, self._budget(call, deadline, started), progress)
        except UiciError as exc:
            error = exc
        return OperationOutcome(
            call=call,
            status=_status(error),
            started_at=started,
            finished_at=self._clock(),
            changed=progress.changed or isinstance(error, TakenBackError),
            native_ids=progress.native_ids,
            output=(error.output if isinstance(error, TakenBackError) else None) or progress.output,
            error="" if error is None else " ".join(str(error).split()),
            remedy=getattr(error, "remedy", ""),
            permanent=isinstance(error, PermanentError),
        )

    def inverse_of(
        self, call: OperationCall, before: ObservedService | None
    ) -> OperationCall | None:
        """The call that undoes this one; None: there is none, or not enough was known.

        Args:
            call: the call that is, or was, run.
            before: the target as it was observed before it.

        Raises:
            PermanentError: a mistake in operations.yml.
        """
        inverse = self._registry.get(call.operation).inverse
        if inverse is None:
            return None
        context = {
            "parameters": self._registry.with_all_names(call.operation, call.parameters),
            "before": _facts(before),
        }
        try:
            rendered = templates.render(inverse.parameters, context)
        except PermanentError:
            if before is None or not (before.instances or before.workload):
                return None
            raise
        given = {name: value for name, value in rendered.items() if value is not None}
        try:
            parameters = self._registry.validate(inverse.operation, given)
        except PermanentError:
            return None  # the engine did not say what the inverse needs
        return OperationCall(inverse.operation, call.target, parameters)

    def _engine(self, environment: str) -> tuple[str, EngineProvider | None]:
        return self._engines.get(environment, (PLATFORM, None))

    def _budget(
        self, call: OperationCall, deadline: datetime | None, now: datetime
    ) -> Callable[[], float]:
        """A function that tells the seconds left, and raises when there are none."""
        seconds = self._registry.get(call.operation).timeout.total_seconds()
        if deadline is not None:
            seconds = min(seconds, (deadline - now).total_seconds())
        end = self._monotonic() + seconds

        def seconds_left() -> float:
            left = end - self._monotonic()
            if left <= 0:
                raise DeadlineExceededError(f"{call.operation} on {call.target}: its time is over")
            return left

        return seconds_left

    def _carry_out(
        self, call: OperationCall, seconds_left: Callable[[], float], progress: _Progress
    ) -> None:
        service = self._services.get(call.target)
        if service is None:
            raise PermanentError(f"{call.target} is not in desired state")
        parameters = self._registry.validate(call.operation, call.parameters)
        complete = self._registry.with_all_names(call.operation, parameters)
        executor, engine = self._engine(service.metadata.environment)
        translation = self._translator.translate(
            executor, OperationCall(call.operation, call.target, complete), service
        )
        run = _Run(service, executor, engine, seconds_left, progress)
        for part in translation:
            if isinstance(part, InstanceGroup):
                self._each_instance(run, part)
            else:
                self._call(run, part, None)

    def _each_instance(self, run: _Run, group: InstanceGroup) -> None:
        """Instance by instance; the exception of a failed call ends the whole group."""
        engine = _require_engine(run)
        instances = engine.look(run.service, timeout=run.seconds_left()).instances
        if not instances:
            raise NotFoundError(f"{run.service.target} has no instance")
        for instance in instances:
            for call in group.calls:
                self._call(run, call, instance.native.id)

    def _call(self, run: _Run, call: TranslatedCall, instance: str | None) -> None:
        provider = self._platform if call.platform else _require_engine(run)
        primitive = PrimitiveCall(call.primitive, call.arguments, instance)
        result = provider.call(run.service, primitive, timeout=run.seconds_left())
        run.progress.results.append((call.primitive, instance, result))


def _choosy(engine: object) -> Choosy | None:
    return engine if isinstance(engine, Choosy) else None


def _require_engine(run: _Run) -> EngineProvider:
    if run.engine is None:
        environment = run.service.metadata.environment
        raise PermanentError(f"environment {environment} has no engine to run this on")
    return run.engine


def _status(error: UiciError | None) -> OutcomeStatus:
    match error:
        case None:
            return OutcomeStatus.SUCCEEDED
        case OutcomeUnknownError():
            return OutcomeStatus.UNKNOWN
        case DeadlineExceededError():
            return OutcomeStatus.TIMED_OUT
        case _:
            return OutcomeStatus.FAILED


def _facts(before: ObservedService | None) -> dict[str, Any]:
    """What inverses may speak of: the spec, and how many instances there were.

    Of the workload, where the engine has one: its instances may be of before a change.
    """
    if before is None:
        return {}
    kept = before.workload.replicas if before.workload is not None else None
    facts: dict[str, Any] = {"replicas": len(before.instances) if kept is None else kept}
    holder = before.workload or next(iter(before.instances), None)
    if holder is not None:
        spec = holder.spec
        facts |= {
            "image": spec.image,
            "env": dict(spec.env),
            "memory": spec.memory,
            "cpu": None if spec.cpu is None else format_cpu(spec.cpu),
        }
    return facts
