"""runbooks.yml, as models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from infrastructure.cause_kinds import CauseKind
from infrastructure.config_models.values import Identifier, Regex
from infrastructure.drift_kinds import DriftKind
from infrastructure.regex_cost import danger
from infrastructure.service import Document, Name


def _quick(pattern: str) -> str:
    why = danger(pattern)
    if why:
        raise ValueError(f"it could hold up a run on a hostile line: {why}")
    return pattern


class ErrorPattern(Document):
    """A log line that tells something, and what it usually means.

    A group named `subject` in the regex says of whom or what: the address that refuses, the
    variable that is missing. A regex that could take very long on a short line is refused.

    Attributes:
        name: unique.
        regex: searched in each line, in Python's syntax.
        meaning: for people and the model.
        cause: the kind of cause that it tells.
    """

    name: Name
    regex: Annotated[Regex, AfterValidator(_quick)]
    meaning: str
    cause: CauseKind = CauseKind.UNKNOWN


class RunbookCondition(Document):
    """All that is given must hold.

    Attributes:
        kinds: at least one of these.
        all_kinds: each of these.
        only_kinds: no other kind.
        fields: at least one ConfigDrift is about one of these fields (first segment of the JSON
            pointer, without the slash).
        only_fields: no ConfigDrift about another.
        patterns: one of these error patterns was found in what the target logged or its engine
            said of it.
        probed: whether desired state has an HTTP probe for it, which passes where Unhealthy is
            not among the kinds.
        only_secrets: whether every ConfigDrift is about a variable whose value is a secret
            reference.
    """

    kinds: tuple[DriftKind, ...] = ()
    all_kinds: tuple[DriftKind, ...] = ()
    only_kinds: tuple[DriftKind, ...] = ()
    fields: tuple[str, ...] = ()
    only_fields: tuple[str, ...] = ()
    patterns: tuple[Name, ...] = ()
    probed: bool | None = None
    only_secrets: bool | None = None


class RunbookStep(Document):
    """One step.

    Parameter templates see `service` (desired spec), `drifts`, and in a runbook with
    `patterns` the `match`: its `name`, `meaning`, `subject`, `line` and `count`.

    Attributes:
        operation: of operations.yml.
        parameters: templates, see above.
        why: for people.
    """

    operation: Identifier
    parameters: dict[str, Any]
    why: str


class Runbook(Document):
    """What to do about a class of incidents, without a model.

    Attributes:
        name: unique.
        when: for which incidents.
        diagnosis: for people.
        after_git_change: the diagnosis where Git has changed since the target was last in sync
            with it; the commit is added, and the cause is then ChangedInGit, unless that of
            an error pattern is told. Where it is not given, and the target was well until Git
            changed, that and the commit are added to `diagnosis`, and the cause is the same.
        after_deed: the diagnosis where the engine has recorded who ended it; that is added.
        cause: what the class alone tells; unless the runbook suffices, the plan's cause is that
            of the telling error pattern, where one was found.
        suffices: a model could add nothing, so none is asked while the runbook is the one that
            fits.
        steps: in order.
    """

    name: Name
    when: RunbookCondition
    diagnosis: str
    after_git_change: str = ""
    after_deed: str = ""
    cause: CauseKind = CauseKind.UNKNOWN
    suffices: bool = False
    steps: tuple[RunbookStep, ...]


class Runbooks(Document):
    """runbooks.yml: the first runbook whose condition holds plans.

    Attributes:
        patterns: what lines of logs tell.
        runbooks: in order.
    """

    api_version: Literal["uici/v1"]
    kind: Literal["Runbooks"]
    patterns: tuple[ErrorPattern, ...]
    runbooks: tuple[Runbook, ...]
