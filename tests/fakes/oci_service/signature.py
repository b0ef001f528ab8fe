"""The signature of a request to Oracle Cloud, checked with the public key.

Source: "Request Signatures" of the Oracle Cloud documentation (draft-cavage-http-signatures,
version 1): RSA-SHA256 over `date`, `(request-target)` and `host`, and with a body also over
`content-length`, `content-type` and `x-content-sha256`.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import re
import time
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.fakes.http_server import Asked

_FIELD = re.compile(r'(\w+)="([^"]*)"')
_ALWAYS = {"date", "(request-target)", "host"}
_WITH_BODY = {"content-length", "content-type", "x-content-sha256"}
_SKEW = 300  # seconds that clocks may differ


def problem(asked: Asked, keys: Mapping[str, rsa.RSAPublicKey]) -> str | None:
    """Why the request is not authentic; None: it is."""
    authorization = asked.headers.get("authorization", "")
    if not authorization.startswith("Signature "):
        return "no signature"
    fields = dict(_FIELD.findall(authorization))
    if (fields.get("version"), fields.get("algorithm")) != ("1", "rsa-sha256"):
        return "another version or algorithm"
    key = keys.get(fields.get("keyId", ""))
    if key is None:
        return "nobody has this key"
    signed = fields.get("headers", "").split()
    needed = _ALWAYS | (_WITH_BODY if asked.method in ("POST", "PUT", "PATCH") else set())
    if not needed <= set(signed):
        return f"not signed: {sorted(needed - set(signed))}"
    return _wrong_header(asked) or _wrong_signature(asked, key, signed, fields["signature"])


def _wrong_header(asked: Asked) -> str | None:
    sent = email.utils.parsedate_to_datetime(asked.headers["date"]).timestamp()
    if abs(time.time() - sent) > _SKEW:
        return "the clock is wrong"
    if asked.method in ("POST", "PUT", "PATCH"):
        digest = base64.b64encode(hashlib.sha256(asked.body).digest()).decode()
        if asked.headers["x-content-sha256"] != digest:
            return "the body is not the one that was signed"
    return None


def _wrong_signature(
    asked: Asked, key: rsa.RSAPublicKey, signed: list[str], signature: str
) -> str | None:
    target = f"{asked.method.lower()} {asked.path}"
    lines = [
        f"{name}: {target if name == '(request-target)' else asked.headers[name]}"
        for name in signed
    ]
    try:
        key.verify(
            base64.b64decode(signature),
            "\n".join(lines).encode(),
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
    except InvalidSignature:
        return "the signature is wrong"
    return None
