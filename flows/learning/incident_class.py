"""An incident's class: what it has in common with others that the same steps may mend.

Pure. Made of facts only: drift kinds and fields of the incident's root, error patterns
found about it, the type of its environment. Its name is the file's name in `knowledge/`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from flows.comparison.drift import Drift, Incident
from flows.plan import Evidence, PatternMatch
from infrastructure.drift_kinds import DriftKind
from infrastructure.knowledge import ClassConditions

# Alerts and metrics beside another drift are its symptoms, and come and go with scrapes.
_LAGGING = frozenset({DriftKind.METRIC_BREACH, DriftKind.ALERT_FIRING})
_MAX_PATTERNS = 3  # of those that come first in runbooks.yml; a log may match a dozen
_MAX_FIELDS = 8
_MAX_NAME = 100
_PROBED = "probed"  # the last word of a class where a probe says that it works


def class_of(incident: Incident, evidence: Evidence, executor: str) -> ClassConditions:
    """The class of an incident in an environment of this type."""
    return class_by_patterns(incident, patterns_of(incident, evidence.matches), executor)


def class_by_patterns(
    incident: Incident, patterns: Iterable[str], executor: str
) -> ClassConditions:
    """As `class_of`, for patterns that were found about the root."""
    own = _telling([drift for drift in incident.drifts if drift.target == incident.root])
    kinds = {drift.kind for drift in own}
    fields = sorted({_word(segment) for drift in own if (segment := _segment(drift))})
    lagging = bool(own) and all(drift.kind in _LAGGING for drift in own)
    return ClassConditions(
        executor=executor,
        kinds=tuple(kind for kind in DriftKind if kind in kinds),
        fields=tuple(fields[:_MAX_FIELDS]),
        patterns=tuple(sorted(list(dict.fromkeys(patterns))[:_MAX_PATTERNS])),
        # A restart that helps where nothing else can tell is wrong where a probe says it works.
        probed=lagging and any(drift.probed for drift in own),
    )


def patterns_of(incident: Incident, matches: Sequence[PatternMatch]) -> tuple[str, ...]:
    """Patterns found about the incident's root, each once."""
    return tuple(dict.fromkeys(m.name for m in matches if m.target == incident.root))


def class_name(when: ClassConditions) -> str:
    """A stable, readable slug: `docker-crashlooping-out-of-memory`."""
    parts = (when.executor, *(kind.value for kind in when.kinds), *when.fields, *when.patterns)
    parts += (_PROBED,) if when.probed else ()
    plain = "-".join(parts).lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    # A pattern may be called as the flag is.
    taken = not when.probed and slug.endswith(f"-{_PROBED}")
    if slug == plain and len(slug) <= _MAX_NAME and not taken:
        return slug
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return f"{slug[: _MAX_NAME - 9].strip('-')}-{digest}"


def _telling(drifts: Sequence[Drift]) -> Sequence[Drift]:
    return [drift for drift in drifts if drift.kind not in _LAGGING] or drifts


def _segment(drift: Drift) -> str:
    """`/env/LOG_LEVEL` → `env` (RFC 6901); a metric check's or alert's own name."""
    if drift.kind in _LAGGING:
        return drift.field
    segment = drift.field.removeprefix("/").split("/", 1)[0]
    return segment.replace("~1", "/").replace("~0", "~")


def _word(text: str) -> str:
    """Alert names come from outside: one plain word, bounded."""
    word = re.sub(r"[^A-Za-z0-9_.:-]+", "-", text)
    if word == text and len(word) <= 60:
        return word
    return f"{word[:51]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
