"""The note that UICI leaves on what it makes: which variables it has set, and which are secret.

Engines give an object's variables back without saying where their values came from. What was
a reference in Git must not be shown once Git declares a plain value in its place. Pure; used by
executors whose engine keeps values where they can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infrastructure.service import EnvValue, SecretRef

_MARK = "*"  # no name of a variable ends so


def env_words(env: Mapping[str, EnvValue]) -> list[str]:
    """Names, sorted; that of a reference with a mark."""
    marks = ((name, _MARK if isinstance(value, SecretRef) else "") for name, value in env.items())
    return [f"{name}{mark}" for name, mark in sorted(marks)]


def managed_in(words: Iterable[str]) -> frozenset[str]:
    """Names of all variables that are noted."""
    return frozenset(word.removesuffix(_MARK) for word in words)


def secret_in(words: Iterable[str]) -> frozenset[str]:
    """Names of those whose values were references."""
    return frozenset(word.removesuffix(_MARK) for word in words if word.endswith(_MARK))
