"""What reading Sources gives; apart from the readers, which cost 50 ms to import.

Most state repositories have no Source: `infrastructure.desired_state` imports
`infrastructure.sources.read_source` only for those that do.
"""

from __future__ import annotations

from dataclasses import dataclass

from infrastructure.errors import Problem
from infrastructure.sources.draft import SourcedDocument

KIND = "Source"


@dataclass(frozen=True, slots=True)
class SourceRead:
    """What Sources gave.

    Attributes:
        documents: of Services, one each.
        problems: why the state is refused.
        warnings: what is not done.
        claimed: paths that belong to a Source and are no state files themselves.
    """

    documents: tuple[SourcedDocument, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    claimed: frozenset[str] = frozenset()
