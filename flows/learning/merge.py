"""Two agents, or an agent and a person, have written the same file of `knowledge/`.

Commits that were not pushed in time are made again on the newer tip; a file of knowledge is
then merged and not overwritten, so that a failure that the other has seen still ends trust
and a file that a person has deleted stays so. Used by `flows.repository.reports_branch`.
"""

from __future__ import annotations

from flows.learning.learn import merged
from flows.learning.shelf import class_of_path, knowledge_text, parse_knowledge
from infrastructure.errors import InvalidInputError


def is_knowledge(path: str) -> bool:
    """Whether a path of the reports branch has to be merged."""
    return class_of_path(path) is not None


def merged_file(path: str, ours: bytes, theirs: bytes) -> bytes:
    """The file with both sides' trials; theirs where either can't be read."""
    name = class_of_path(path) or ""
    try:
        both = merged(parse_knowledge(ours, name), parse_knowledge(theirs, name))
    except InvalidInputError:
        return theirs
    return knowledge_text(both)
