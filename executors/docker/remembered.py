"""What was made of a container's last inspect, as long as the engine says the same.

The loop inspects every container in each run and most are as they were: checking an
answer's shape and reading it costs more than decoding it. `executors.docker.executor` asks
here first, before the JSON is decoded. Kept is a digest, not the answer, so a container
costs a few kilobytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from infrastructure.observed import ObservedInstance


class RememberedInstances:
    """By container id. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[bytes, Mapping[str, Any], ObservedInstance]] = {}

    def instance(
        self,
        container_id: str,
        answer: bytes,
        native: Mapping[str, Any],
        make: Callable[[], ObservedInstance],
    ) -> ObservedInstance:
        """The instance of this answer; `make` is called if it is another than last time.

        Args:
            container_id: the engine's.
            answer: as it came.
            native: what desired state wants to compare, on which the instance depends, too.
            make: reads the answer.
        """
        digest = hashlib.blake2b(answer, digest_size=16).digest()
        known = self._known.get(container_id)
        if known is not None and known[0] == digest and known[1] == native:
            return known[2]
        made = make()
        self._known[container_id] = digest, native, made
        return made

    def keep(self, container_ids: Collection[str]) -> None:
        """Forget all others: they are gone, or not looked for any more."""
        for gone in self._known.keys() - set(container_ids):
            self._known.pop(gone, None)
