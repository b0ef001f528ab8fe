"""What leads to the agent by another way than its name: its engine, or not knowing itself.

Self-exclusion knows the agent's own objects. Who can command the engine can command the
agent, whatever target that is; and an agent that does not know in which container or pod
it runs could be any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from flows.observe import Observation
from infrastructure.identity import WHICH_CONTAINER, AgentIdentity

_WHICH_POD = (
    "the agent runs in a pod and can't tell in which, so it could change itself: give its pod"
    " UICI_POD_UID by the downward API (fieldPath: metadata.uid)"
)


def engine_access(seen: Observation, patterns: Iterable[str]) -> dict[str, str]:
    """Target → what of its host leads to the engine, for targets that have such a thing.

    Args:
        seen: the observation.
        patterns: `guard.engineAccess`.
    """
    wanted = [re.compile(pattern) for pattern in patterns]
    found: dict[str, str] = {}
    for environment in seen.environments.values():
        services = environment.engine.services if environment.engine is not None else {}
        for target, service in services.items():
            reached = (path for each in service.instances for path in each.host_access)
            access = _first(reached, wanted)
            if access is not None:
                found[target] = access
    return found


def _first(reached: Iterable[str], wanted: Sequence[re.Pattern[str]]) -> str | None:
    return next((p for p in reached if any(regex.search(p) for regex in wanted)), None)


def blind_in(identity: AgentIdentity, executors: Mapping[str, str]) -> dict[str, str]:
    """Environment → why the agent could be any of what runs there.

    Args:
        identity: the agent's.
        executors: environment → type of its executor.
    """
    blind: dict[str, str] = {}
    for environment, executor in executors.items():
        if executor == "docker" and not identity.knows_its_container:
            blind[environment] = WHICH_CONTAINER
        if executor == "kubernetes" and not identity.knows_its_pod:
            blind[environment] = _WHICH_POD
    return blind
