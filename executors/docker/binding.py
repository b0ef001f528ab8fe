"""What a service is in a Docker Engine: `spec.binding`. Nothing to choose yet."""

from __future__ import annotations

from infrastructure.service import Document


class Binding(Document):
    """`spec.binding` of a service whose environment is a Docker Engine: empty."""
