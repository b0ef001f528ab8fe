"""Secrets in drafts → references, before a draft is written down. Pure.

In the environment a secret becomes `{secret: "env:NAME"}`. Where no reference can stand, the
value is left out, and said so.
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
    dropped: set[tuple[str, ...]] = set()
    for location in _locations(draft, rules):
        match location:
            case ("spec", "env", str() as key):
                _refer(draft, key)
            case ("metadata", "labels", str() as label):
                draft.labels.pop(label)
                draft.left_out.append(f"the label {label} holds what looks like a secret")
            case ("spec", *_):
                keys = []
                for segment in location[1:]:
                    if isinstance(segment, int):
                        break
                    keys.append(segment)
                dropped.add(tuple(keys))
            case _:
                continue
    for path in sorted(dropped):
        draft.drop(path)
        draft.left_out.append(f"{field_path(path)} holds what looks like a secret")


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
