"""What takes back a step that a person is asked to approve, as far as its executor promises.

`irreversible` of an operation says that no operation undoes it once it is done. That is not all
that a person asks: what does not come up may be put back by the executor itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

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


def undo_words(operation: str, target: str, config: UniversalConfig) -> str:
    """What takes back an operation that no other undoes.

    Args:
        operation: what is to be done.
        target: inventory id.
        config: where each is done, and how.
    """
    place = config.environments.environments[target.partition("/")[0]]
    translated = config.translations.translations.get(place.executor, {}).get(operation, ())
    calls = _calls(translated)
    return next((w for call in calls if (w := _PUT_BACK.get((place.executor, call)))), _NONE)


def _calls(steps: Iterable[TranslationStep]) -> Iterator[str]:
    for step in steps:
        if step.call is None:
            yield from _calls(step.do)
        else:
            yield step.call
