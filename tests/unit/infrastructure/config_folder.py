"""A copy of the shipped configuration in which a test makes its mistake."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from infrastructure.config_loader import UniversalConfig, UniversalConfigLoader

CARET = "‸"
SHIPPED = Path(__file__).parents[3] / "infrastructure/config"


@dataclass(frozen=True)
class ConfigFolder:
    """The copy. `home` is where `~` leads."""

    directory: Path
    home: Path

    @classmethod
    def make(cls, scratch: Path) -> ConfigFolder:
        directory = scratch / "infrastructure/config"
        shutil.copytree(SHIPPED, directory)
        prompts = directory / "prompts"
        prompts.mkdir(exist_ok=True)
        for name in ("plan.v3.md", "propose.v2.md"):
            (prompts / name).touch()
        (scratch / "desired-state").mkdir()
        return cls(directory, scratch / "home")

    def load(self, **environ: str) -> UniversalConfig:
        environment = {"HOME": str(self.home), **environ}
        return UniversalConfigLoader(self.directory, environment).load()

    def path(self, name: str) -> Path:
        return self.directory / f"{name}.yml"

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a file's text; the old text has to be there."""
        text = self.path(name).read_text()
        assert old in text, f"{name}.yml no longer holds {old!r}: change the test"
        self.path(name).write_text(text.replace(old, new, 1))

    def break_at(self, name: str, old: str, new: str) -> tuple[int, int]:
        """Change a file's text; `‸` in the new text is where the mistake is told."""
        self.replace(name, old, new)
        place = self.place(name, CARET)
        self.replace(name, CARET, "")
        return place

    def append(self, name: str, text: str) -> None:
        with self.path(name).open("a") as file:
            file.write(text)

    def place(self, name: str, mark: str) -> tuple[int, int]:
        """Line and column of a text's first occurrence, both from 1."""
        before, found, _ = self.path(name).read_text().partition(mark)
        assert found, f"{name}.yml does not hold {mark!r}"
        return before.count("\n") + 1, len(before) - before.rfind("\n")
