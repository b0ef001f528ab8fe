"""What the openai package's exceptions mean for the loop. Imports nothing of it.

Neighbour: `flows.llm.client`, which puts the endpoint in front of the words.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from infrastructure.errors import (
    DeadlineExceededError,
    PermanentError,
    TemporaryError,
    UiciError,
)

# Every exception class of the openai package by name (so that importing this module does
# not import the package), nearest class first found in the MRO. A test enumerates them.
ERRORS: Mapping[str, tuple[type[UiciError], str]] = {
    "OpenAIError": (PermanentError, "could not be asked"),
    "APIError": (PermanentError, "could not be asked"),
    "APITimeoutError": (DeadlineExceededError, "did not answer in time"),
    "APIConnectionError": (TemporaryError, "could not be reached, or broke off its answer"),
    "APIStatusError": (PermanentError, "refused the request"),
    "BadRequestError": (PermanentError, "refused the request"),
    "UnprocessableEntityError": (PermanentError, "refused the request"),
    "AuthenticationError": (PermanentError, "refused the API key; check llm.apiKey"),
    "OAuthError": (PermanentError, "refused the API key; check llm.apiKey"),
    "PermissionDeniedError": (PermanentError, "denied access to the model; check llm.apiKey"),
    "NotFoundError": (PermanentError, "knows no such model or path; check model and llm.baseUrl"),
    "ConflictError": (TemporaryError, "is busy"),
    "RateLimitError": (TemporaryError, "limits the rate of requests"),
    "InternalServerError": (TemporaryError, "failed"),
    "APIResponseValidationError": (PermanentError, "does not speak Chat Completions"),
    "LengthFinishReasonError": (PermanentError, "cut its answer off; raise maxOutputTokens"),
    "ContentFilterFinishReasonError": (PermanentError, "withheld its answer"),
    # Of features that are not used here; mapped all the same.
    "SubjectTokenProviderError": (PermanentError, "could not be asked"),
    "InvalidWebhookSignatureError": (PermanentError, "could not be asked"),
    "WebSocketConnectionClosedError": (PermanentError, "could not be asked"),
    "WebSocketQueueFullError": (PermanentError, "could not be asked"),
}


def map_error(exc: BaseException) -> tuple[type[UiciError], str]:
    """What an exception of the openai package (or below it) means for the loop."""
    if getattr(exc, "code", None) == "insufficient_quota":
        return PermanentError, "has no quota left for this key"
    if getattr(exc, "status_code", None) == 408:
        return TemporaryError, "did not wait for the request"
    for kind in type(exc).__mro__:
        if kind.__name__ in ERRORS:
            return ERRORS[kind.__name__]
    return TemporaryError, "could not be reached"


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After (RFC 9110, 10.2.3: a number or a date) or None."""
    text = headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError):
        # All of what a date can be wrong in: a year of twenty digits overflows, for one.
        return None
