"""UniversalInfrastructureInterface: one word in, the same thing everywhere.

registry (is it an operation, are the parameters right) → translation (how is it done
here) → executor or platform provider (do it). It judges nothing: `flows.guard` wraps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from infrastructure.observed import ObservedService
from infrastructure.operations import (
    OperationCall,
    PrimitiveCall,
    PrimitiveResult,
)
from infrastructure.service import Service


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
