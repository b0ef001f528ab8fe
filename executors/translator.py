"""CommandTranslator: how an operation is done here, by command_translations.yml.

Turns a universal operation into primitive calls with rendered arguments; calls nothing
and judges nothing. Neighbours: `infrastructure.universal_interface` carries the calls
out, `infrastructure.templates` renders them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from executors.contract import Primitive
from infrastructure import templates
from infrastructure.config_models import CommandTranslations, TranslationStep
from infrastructure.errors import PermanentError, UnsupportedOperationError
from infrastructure.operations import OperationCall
from infrastructure.service import Service
from infrastructure.universal_interface import (
    PLATFORM,
    InstanceGroup,
    TranslatedCall,
    Translation,
)


class CommandTranslator:
    """An executor's own translation of an operation wins over the platform's.

    An empty list of steps takes an operation away from an executor. Immutable after
    construction, and safe to use from several threads.
    """

    def __init__(self, translations: CommandTranslations) -> None:
        self._entries = translations.translations
        platform = self._entries.get(PLATFORM, {})
        # Asked for every incident and every step, so made once.
        self._operations = {
            executor: frozenset(name for name, steps in (platform | own).items() if steps)
            for executor, own in {PLATFORM: platform, **self._entries}.items()
        }

    def operations(self, executor: str) -> frozenset[str]:
        """Operations that this executor (with the platform) has a translation for."""
        return self._operations.get(executor, self._operations[PLATFORM])

    def capabilities(self, executor: str) -> frozenset[str]:
        """The same under the word that the guard and the CLI use."""
        return self.operations(executor)

    def primitives(self, executor: str) -> frozenset[str]:
        """What this executor's operations call of it, whatever their parameters."""
        return frozenset(
            inner.call
            for steps in self._entries.get(executor, {}).values()
            for step in steps
            for inner in (step, *step.do)
            if inner.call is not None
        )

    def translate(self, executor: str, call: OperationCall, service: Service) -> Translation:
        """The calls of an operation, in order, with rendered arguments.

        Templates see `parameters` (which must hold every declared name, None if not
        given), `service` (desired state under its YAML names) and `target`. Arguments
        that are None are left out.

        Raises:
            UnsupportedOperationError: no translation for this executor.
            PermanentError: a template's mistake, or no step applies to these parameters.
        """
        steps, platform = self._steps(executor, call.operation)
        context = {
            "parameters": call.parameters,
            "service": _service_data(service, steps),
            "target": call.target,
        }
        translation = tuple(_translated(steps, context, platform=platform))
        if not translation:
            raise PermanentError(
                f"{call.operation}: no step of its translation for {executor} applies to"
                " these parameters; see command_translations.yml"
            )
        return translation

    def check(self, executor: str, primitives: Mapping[str, Primitive]) -> list[str]:
        """Mistakes in one entry against the primitives that carry it out, one line each.

        `executor` may be `platform`; its primitives are the platform provider's.
        """
        return [
            f"{executor}.{operation}: {problem}"
            for operation, steps in self._entries.get(executor, {}).items()
            for step in steps
            for problem in _step_problems(step, primitives, groups=executor != PLATFORM)
        ]

    def _steps(self, executor: str, operation: str) -> tuple[tuple[TranslationStep, ...], bool]:
        own = self._entries.get(executor, {})
        if operation in own:
            steps, platform = own[operation], executor == PLATFORM
        else:
            steps, platform = self._entries.get(PLATFORM, {}).get(operation, ()), True
        if not steps:
            raise UnsupportedOperationError(
                f"{operation} has no translation for {executor}; add one to"
                " command_translations.yml"
            )
        return steps, platform


def _service_data(service: Service, steps: Iterable[TranslationStep]) -> dict[str, Any]:
    """Desired state for the templates; not made for steps that have no template at all."""
    needed = any(templates.is_template([step.when, step.with_]) or step.do for step in steps)
    return templates.service_data(service) if needed else {}


def _translated(
    steps: Iterable[TranslationStep], context: Mapping[str, Any], *, platform: bool
) -> Iterator[TranslatedCall | InstanceGroup]:
    for step in steps:
        if not templates.render_condition(step.when, context):
            continue
        if step.call is not None:
            yield _call(step, context, platform=platform)
        elif platform:
            raise PermanentError(f"command_translations.yml: {_NO_GROUP}")
        elif calls := tuple(_group(step.do, context)):
            yield InstanceGroup(calls)


def _group(
    steps: Iterable[TranslationStep], context: Mapping[str, Any]
) -> Iterator[TranslatedCall]:
    for step in steps:
        if not templates.render_condition(step.when, context):
            continue
        if step.call is None:
            raise PermanentError(f"command_translations.yml: {_NO_GROUP}")
        yield _call(step, context, platform=False)


def _call(step: TranslationStep, context: Mapping[str, Any], *, platform: bool) -> TranslatedCall:
    rendered = templates.render(step.with_, context)
    arguments = {name: value for name, value in rendered.items() if value is not None}
    return TranslatedCall(str(step.call), arguments, platform=platform)


_NO_GROUP = "`each: instance` is for an executor's own steps, and not within another group"


def _step_problems(
    step: TranslationStep, primitives: Mapping[str, Primitive], *, groups: bool
) -> Iterator[str]:
    yield from templates.check([step.when, step.with_])
    if step.call is None:
        if not groups:
            yield _NO_GROUP
        for inner in step.do:
            yield from _step_problems(inner, primitives, groups=False)
        return
    primitive = primitives.get(step.call)
    if primitive is None:
        yield f"there is no primitive {step.call}; there are {', '.join(sorted(primitives))}"
        return
    for name in step.with_:
        if name not in primitive.arguments:
            known = ", ".join(primitive.arguments) or "none"
            yield f"primitive {step.call} takes no argument {name}; it takes {known}"
