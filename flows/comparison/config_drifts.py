"""The declared spec against the observed one, field by field: image, limits, environment …

Only what is declared is looked at. Part of stage 2, pure; used by
`flows.comparison.target_judgement`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flows.comparison.drift import Drift
from infrastructure.drift_kinds import DriftKind
from infrastructure.limits import declared_or_within
from infrastructure.observed import ObservedInstance, ObservedSpec, Workload
from infrastructure.quantities import format_cpu, format_memory
from infrastructure.service import SecretRef, Service

_HIDDEN = "(secret)"
_NOT_SHOWN = "another value (not shown)"


def config_drifts(
    service: Service,
    holder: ObservedInstance | Workload,
    secrets: Mapping[str, str],
    carried_out: Callable[[str], bool],
) -> Iterator[Drift]:
    """Every declared field that an instance, or what instances are made from, has otherwise.

    Args:
        service: desired state.
        holder: what has the configuration.
        secrets: secret reference → value; one that is absent is not compared. A value is
            never shown.
        carried_out: whether a target was in sync with its present spec before.
    """
    spec, seen = service.spec, holder.spec
    fields: list[tuple[str, str, str]] = []
    if seen.image is not None and normal_image(seen.image) != normal_image(spec.image):
        fields.append(("/image", spec.image, seen.image))
    if spec.command is not None and seen.command is not None and spec.command != seen.command:
        fields.append(("/command", " ".join(spec.command), " ".join(seen.command)))
    memory, cpu = spec.resources.memory, spec.resources.cpu
    if (
        memory is not None
        and seen.memory is not None
        and not declared_or_within(spec, "/resources/memory", seen.memory)
    ):
        shown = format_memory(seen.memory) if seen.memory else "unlimited"
        fields.append(("/resources/memory", format_memory(memory), shown))
    if (
        cpu is not None
        and seen.cpu is not None
        and not declared_or_within(spec, "/resources/cpu", seen.cpu)
    ):
        fields.append(
            ("/resources/cpu", format_cpu(cpu), format_cpu(seen.cpu) if seen.cpu else "unlimited")
        )
    fields.extend(_env(service, seen, secrets, carried_out))
    fields.extend(_left_env(service, seen))
    missing = sorted({str(port) for port in spec.ports} - set(seen.ports))
    if missing:
        fields.append(("/ports", ", ".join(missing), ", ".join(seen.ports) or "none"))
    fields.extend(_native(spec.native, holder.native_config, "/native"))
    for field, desired, observed in fields:
        yield Drift(
            service.target,
            DriftKind.CONFIG_DRIFT,
            field=field,
            desired=desired,
            observed=observed,
            message=f"{field[1:]} of {holder.native.name} is {observed}, Git says {desired}",
            instance=holder.native.name if isinstance(holder, ObservedInstance) else None,
        )


def _env(
    service: Service,
    seen: ObservedSpec,
    secrets: Mapping[str, str],
    carried_out: Callable[[str], bool],
) -> Iterator[tuple[str, str, str]]:
    """Variables that differ; what UICI did not set as plain text may be a secret.

    Who declares a plain value in its place, on a branch or in Git, must not be told it. What
    came after that value was carried out, somebody has set in its place.
    """
    env = seen.env
    plain = seen.managed_env - seen.secret_env
    for key, wanted in service.spec.env.items():
        pointer = f"/env/{key}"
        if isinstance(wanted, SecretRef):
            value = secrets.get(wanted.secret)
            # That it is not there at all is seen without knowing what it should be.
            if key not in env or (value is not None and env[key] != value):
                yield pointer, _HIDDEN, f"{_HIDDEN}, another value" if key in env else "not set"
        elif env.get(key) != wanted:
            told = key not in env or key in plain
            told = told or (key not in seen.secret_env and carried_out(service.target))
            yield pointer, wanted, env.get(key, "not set") if told else _NOT_SHOWN


def _left_env(service: Service, seen: ObservedSpec) -> Iterator[tuple[str, str, str]]:
    """Variables that UICI set and Git no longer names. Their values may have been secrets."""
    for key in sorted(seen.managed_env - service.spec.env.keys()):
        if key in seen.env:
            yield f"/env/{key}", "not set", "set, by an earlier desired state"


def _native(wanted: Any, seen: Any, pointer: str) -> Iterator[tuple[str, str, str]]:
    """Subset comparison: only what is declared is looked at."""
    if wanted == seen:
        return
    if isinstance(wanted, Mapping):
        for key, value in wanted.items():
            below = seen.get(key) if isinstance(seen, Mapping) else None
            yield from _native(value, below, f"{pointer}/{key}")
    elif isinstance(wanted, list) and isinstance(seen, list) and len(wanted) == len(seen):
        # Member by member: engines add defaults to members, too.
        for number, (value, below) in enumerate(zip(wanted, seen, strict=True)):
            yield from _native(value, below, f"{pointer}/{number}")
    else:
        yield pointer, str(wanted), "not set" if seen is None else str(seen)


@functools.lru_cache(maxsize=4096)  # the same ones in every run
def normal_image(reference: str) -> str:
    """One spelling for one image: registry, `library/` and `latest` made explicit.

    Source: the reference grammar of the OCI distribution project.
    """
    name, at, digest = reference.partition("@")
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = "docker.io", name
    if first in ("docker.io", "index.docker.io"):
        first, rest = "docker.io", rest if "/" in rest else f"library/{rest}"
    if not at and ":" not in rest.rsplit("/", 1)[-1]:
        rest += ":latest"
    return f"{first}/{rest}{at}{digest}"
