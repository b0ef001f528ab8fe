"""Settings of platform.yml about approvals."""

from __future__ import annotations

from pydantic import Field

from infrastructure.config_models.values import Period
from infrastructure.service import Document


class ApprovalSettings(Document):
    """How a step that needs a person is asked for.

    Attributes:
        expire_after: how long a request may be approved; afterwards it is a no.
        keep_for: how long one that has ended is kept.
        branch_prefix: of branches that approve by being merged; null: there are none.
        trust_after: so many approved plans of one class that helped, without one that did not,
            after which its steps that can be undone run alone; null: never.
    """

    expire_after: Period
    keep_for: Period
    branch_prefix: str | None = Field(pattern=r"^[a-z0-9][a-z0-9._/-]*/$")
    trust_after: int | None = Field(ge=1)
