"""What takes back a step that a person is asked to approve, as far as its executor promises.

`irreversible` of an operation says that no operation undoes it once it is done. That is not all
that a person asks: what does not come up may be put back by the executor itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flows.approvals.request import ApprovalRequest, AskedStep
from infrastructure.config_loader import UniversalConfig
from infrastructure.config_models import TranslationStep

_NONE = "no operation"
# By executor and primitive. `executors.docker.replace_container`: the old container waits until
# its successor has started, and gets its place back where that fails; then it is removed.
_PUT_BACK: Mapping[tuple[str, str], str] = {
    ("docker", primitive): (
        f"{_NONE}: if the new container can't start or ends at once, the old one is put back;"
        " else the old one is removed, with its files that are in no volume"
    )
    for primitive in ("recreate", "rollback")
}


def with_undo_words(request: ApprovalRequest, config: UniversalConfig) -> ApprovalRequest:
    """The request for people's eyes: each step says what takes it back, or that nothing does."""
    steps = tuple(
        step if step.undo else step.model_copy(update={"undo": _words(step, config)})
        for step in request.plan.steps
    )
    return request.model_copy(update={"plan": request.plan.model_copy(update={"steps": steps})})


def _words(step: AskedStep, config: UniversalConfig) -> str:
    place = config.environments.environments.get(step.target.partition("/")[0])
    if place is None:  # it was configured when the step was asked for
        return _NONE
    translated = config.translations.translations.get(place.executor, {}).get(step.operation, ())
    calls = _calls(translated)
    return next((w for call in calls if (w := _PUT_BACK.get((place.executor, call)))), _NONE)


def _calls(steps: Iterable[TranslationStep]) -> Iterator[str]:
    for step in steps:
        if step.call is None:
            yield from _calls(step.do)
        else:
            yield step.call
