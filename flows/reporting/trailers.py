"""What ties a commit of the reports branch to its run: the last lines of its message."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trailers:
    """The run, what it worked from, and the plans that it carried out."""

    run_id: str
    desired_revision: str
    plan_digests: tuple[str, ...] = ()

    def on(self, message: str) -> str:
        """The message with the trailers."""
        lines = [f"UICI-Run: {self.run_id}"]
        lines += [f"UICI-Plan: {digest}" for digest in self.plan_digests]
        lines.append(f"UICI-Desired: {self.desired_revision}")
        plain = ["".join(char for char in line if char.isprintable()) for line in lines]
        return f"{message.rstrip()}\n\n" + "\n".join(plain) + "\n"
