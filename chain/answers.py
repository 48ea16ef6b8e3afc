"""What a node's answer says: a result, an error by its code (D6), or nothing usable.

Owns the JSON-RPC envelope and the meaning of error codes and of Retry-After. Pure; must not know
endpoints' states or retries.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from chain.errors import (
    BlockCleanedUp,
    BlockNotAvailable,
    ChainError,
    NodeBehind,
    RpcError,
    Throttled,
    TransportError,
    UnsupportedVersion,
)

# D6. What a code means decides what we do; a code that is not here is reported with its body, and rotated.
_ERROR_CLASSES: Final[Mapping[int, type[RpcError]]] = {
    -32001: BlockCleanedUp,
    -32004: BlockNotAvailable,
    -32007: BlockNotAvailable,
    -32009: BlockNotAvailable,
    -32005: NodeBehind,
    -32014: NodeBehind,
    -32016: NodeBehind,
    -32015: UnsupportedVersion,
}
# The request or the transaction itself is at fault: every node would answer the same.
REQUEST_FAULTS: Final = frozenset({-32002, -32003, -32006, -32008, -32012, -32013, -32600, -32602, -32700})
_EXCERPT_CHARACTERS: Final = 300


class _ErrorBody(msgspec.Struct):
    code: int
    message: str = ""
    data: Any = None


class Answer(msgspec.Struct):
    """A JSON-RPC response; the result stays as it came."""

    id: Any = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _ErrorBody | None = None

    def raise_error(self, endpoint: str) -> None:
        """Raise the exception of the error object, if there is one (D6)."""
        if self.error is not None:
            raise error_of(self.error.code, self.error.message, self.error.data, endpoint)


def error_of(code: int, message: str, data: object, endpoint: str) -> ChainError:
    """Return the exception for a JSON-RPC error object (D6)."""
    if code == 429:
        return Throttled(message or "too many requests", endpoint=endpoint)
    return _ERROR_CLASSES.get(code, RpcError)(code, message, data, endpoint=endpoint)


_ANSWER_DECODER: Final = msgspec.json.Decoder(Answer)


def read_answer(body: bytes, endpoint: str) -> Answer:
    """Decode the envelope of a response; raises TransportError if it is none."""
    try:
        return _ANSWER_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise TransportError(
            "answer is not JSON-RPC", endpoint=endpoint, body_excerpt=excerpt(body)
        ) from None


def excerpt(body: bytes) -> str:
    """Return the first of a body, for logs."""
    return body[:_EXCERPT_CHARACTERS].decode("utf-8", "replace")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait the node asks for: seconds, or a date, measured by the node's own Date header."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
        now = email.utils.parsedate_to_datetime(headers.get("Date", ""))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None
