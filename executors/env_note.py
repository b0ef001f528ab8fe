"""The note that UICI leaves on what it makes: which variables it has set, and which are secret.

Engines give an object's variables back without saying where their values came from. What was
a reference in Git must not be shown once Git declares a plain value in its place. Pure; used by
executors whose engine keeps values where they can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from infrastructure.service import EnvValue, SecretRef

# Behind a name: its value was a reference. Alone: this note tells references from others, which
# those of older versions do not. No name of a variable ends so.
_MARK = "*"


def env_words(env: Mapping[str, EnvValue]) -> list[str]:
    """Names, sorted; that of a reference with a mark. Before them, if there are any, the mark."""
    marks = ((name, _MARK if isinstance(value, SecretRef) else "") for name, value in env.items())
    words = [f"{name}{mark}" for name, mark in sorted(marks)]
    return [_MARK, *words] if words else []


def managed_in(words: Iterable[str]) -> frozenset[str]:
    """Names of all variables that are noted."""
    return frozenset(word.removesuffix(_MARK) for word in words if word != _MARK)


def secret_in(words: Collection[str]) -> frozenset[str]:
    """Names of those whose values were references, or may have been."""
    if _MARK not in words:
        return managed_in(words)
    return frozenset(w.removesuffix(_MARK) for w in words if w.endswith(_MARK) and w != _MARK)
