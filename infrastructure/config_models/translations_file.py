"""command_translations.yml, as models."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from infrastructure.config_models.values import Identifier
from infrastructure.service import Document


class TranslationStep(Document):
    """One call of a primitive, or a group done instance by instance.

    Values of `with` and `when` are sandboxed Jinja2 templates over `parameters`,
    `service` (desired spec) and `target`; a value that is one expression keeps its type.
    `each: instance` repeats `do` for every instance in turn, the next only when the last
    call of the group succeeded.

    Attributes:
        call: a primitive of the executor.
        with_: its arguments.
        when: done only where this is true.
        each: `instance`: a group, done for each in turn.
        do: the group's steps.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["call"]}, {"required": ["each", "do"]}]}
    )

    call: Identifier | None = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    when: str | bool | None = None
    each: Literal["instance"] | None = None
    do: tuple[TranslationStep, ...] = ()

    @model_validator(mode="after")
    def _call_or_group(self) -> Self:
        is_call = self.call is not None and self.each is None and not self.do
        is_group = self.call is None and self.each is not None and self.do and not self.with_
        if not is_call and not is_group:
            raise ValueError("write either call, with its arguments in with, or each and do")
        return self


class CommandTranslations(Document):
    """command_translations.yml: executor (or `platform`) → operation → steps.

    Attributes:
        translations: executor → operation → steps. `platform` is what needs no executor.
    """

    api_version: Literal["uici/v1"]
    kind: Literal["CommandTranslations"]
    translations: dict[Identifier, dict[Identifier, tuple[TranslationStep, ...]]]
