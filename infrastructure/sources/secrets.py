"""Secrets in drafts → references, before a draft is written down. Pure.

In the environment a secret becomes `{secret: "env:NAME"}`. Where no reference can stand, the
value is left out, and said so: no more of it than has a meaning of its own, such as one variable
of a sidecar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from infrastructure.errors import Problem
from infrastructure.model_problems import field_path
from infrastructure.sources.draft import Draft
from infrastructure.state_rules import SecretRules
from infrastructure.yaml_source import Location, YamlDocument


def hide_secrets(draft: Draft, rules: SecretRules) -> None:
    """Replace or drop every value that looks like a secret."""
    dropped: set[Location] = set()
    for location in _locations(draft, rules):
        match location:
            case ("spec", "env", str() as key):
                _refer(draft, key)
            case ("metadata", "labels", str() as label):
                draft.labels.pop(label)
                draft.left_out.append(f"the label {label} holds what looks like a secret")
            case ("spec", *_):
                dropped.add(_part(draft.spec, location[1:]))
            case _:
                continue
    left_out = [f"{_shown(draft.spec, path)} holds what looks like a secret" for path in dropped]
    # The last first: what is dropped of a list moves what comes after it.
    for path in sorted(dropped, reverse=True):
        draft.drop(path)
    draft.left_out += sorted(left_out)


def _part(spec: Any, location: Location) -> Location:
    """The least that can be left out around a value: a variable, or all of a plain list.

    In a list whose members have names each stands for itself; any other is one value.
    """
    value, below = spec, 0
    for depth, segment in enumerate(location):
        if isinstance(segment, int):
            if not all(isinstance(each, dict) and "name" in each for each in value):
                return location[:depth]
            below = depth + 1
        value = value[segment]
    is_pair = len(location) == below + 1 and location[-1] == "value"
    return location[:below] if is_pair else location


def _shown(spec: Any, path: Location) -> str:
    """The place, and the names of those members of lists that it leads through."""
    names, value = [], spec
    for segment in path:
        value = value[segment]
        if isinstance(segment, int):
            names.append(str(value["name"]))
    return field_path(path) + (f" ({', '.join(names)})" if names else "")


@dataclass(frozen=True, slots=True)
class _Noting(YamlDocument):
    """A document that notes the locations which rules complain about."""

    noted: list[Location] = field(default_factory=list)

    def problem(
        self, location: Location, message: str, remedy: str = "", *, of_key: bool = False
    ) -> Problem:
        """Note the location; the words are for another occasion."""
        del of_key
        self.noted.append(location)
        return Problem(self.file, 0, 0, message, remedy)


def _locations(draft: Draft, rules: SecretRules) -> list[Location]:
    """Where values stand that the rules for desired state take for secrets."""
    document = draft.document("any")
    noting = _Noting(document.file, document.data, document.root)
    for _ in rules.problems(noting):
        pass
    return noting.noted


def _refer(draft: Draft, key: str) -> None:
    env: dict[str, Any] = draft.spec["env"]
    name = re.sub(r"[^A-Z0-9]+", "_", f"{draft.name}_{key}".upper()).strip("_")
    env[key] = {"secret": f"env:{name}"}
    draft.left_out.append(f"the value of {key}; set {name} where UICI runs, or refer elsewhere")
