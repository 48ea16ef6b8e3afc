"""Reads transactions and messages from their wire form, and refuses bad ones in a validator's words.

Owns: size limits, base58/base64 decoding, deserialization, replacing a blockhash. Rules: legacy and v0
transactions have at most 1,232 bytes, v1 transactions 4,096. Must not know: the ledger, HTTP.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from solders.hash import Hash
from solders.message import MessageV0, MessageV1, from_bytes_versioned
from solders.transaction import VersionedTransaction

from . import base58
from .errors import RpcError, invalid_params
from .execution import AnyMessage
from .transaction_errors import describe

PACKET_BYTES: Final = 1_232
V1_BYTES: Final = 4_096
_V1_MARK: Final = b"\x81"
_TRANSACTION_TYPE: Final = "solana_transaction::versioned::VersionedTransaction"
_MESSAGE_TYPE: Final = "solana_message::versions::VersionedMessage"
# the longest encodings of V1_BYTES bytes
_MAX_TEXT: Final = {"base58": 5_594, "base64": 5_464}


def read_transaction(text: str, encoding: str) -> VersionedTransaction:
    """Read a transaction. Raises -32602 on bad encoding, size or contents."""
    if encoding in ("json", "jsonParsed"):
        raise invalid_params(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    wire = _decode(text, "base64" if encoding == "base64" else "base58", _TRANSACTION_TYPE)
    try:
        transaction = VersionedTransaction.from_bytes(wire)
        transaction.sanitize()
    except BaseException as error:  # noqa: BLE001 - see _refusal
        raise _refusal(error, _TRANSACTION_TYPE) from None
    if len(wire) > PACKET_BYTES and not isinstance(transaction.message, MessageV1):
        raise _too_large(_TRANSACTION_TYPE, len(wire))
    return transaction


def read_message(text: str) -> AnyMessage:
    """Read a base64 message. Raises -32602 on bad encoding, size or contents."""
    wire = _decode(text, "base64", _MESSAGE_TYPE)
    try:
        message = from_bytes_versioned(wire)
    except BaseException as error:  # noqa: BLE001 - see _refusal
        raise _refusal(error, _MESSAGE_TYPE) from None
    return message


def _refusal(error: BaseException, kind: str) -> BaseException:
    # solders turns a Rust panic into a BaseException that `except Exception` would miss
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        return error
    if type(error).__name__ in ("SanitizeError", "TransactionError"):
        return invalid_params(f"invalid transaction: {describe('SanitizeFailure')}")
    return invalid_params(f"failed to deserialize {kind}: io error: {error}")


def _decode(text: str, encoding: str, kind: str) -> bytes:
    if len(text) > _MAX_TEXT[encoding]:
        raise invalid_params(
            f"{encoding} encoded {kind} too large: {len(text)} bytes "
            f"(max: encoded/raw {_MAX_TEXT[encoding]}/{V1_BYTES})"
        )
    try:
        if encoding == "base64":
            wire = base64.b64decode(text, validate=True)
        else:
            wire = base58.decode(text)
    except binascii.Error:
        raise invalid_params(f"invalid base64 encoding: {_base64_fault(text)}") from None
    except ValueError as error:
        raise invalid_params(f"invalid base58 encoding: {error}") from None
    if len(wire) > (V1_BYTES if wire[:1] == _V1_MARK else PACKET_BYTES):
        raise _too_large(kind, len(wire))
    return wire


def _too_large(kind: str, size: int) -> RpcError:
    return invalid_params(f"decoded {kind} too large: {size} bytes (max: {PACKET_BYTES} bytes)")


def _base64_fault(text: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for offset, character in enumerate(text.rstrip("=")):
        if character not in alphabet:
            return f"InvalidByte({offset}, {ord(character)})"
    return "InvalidPadding"


def with_blockhash(transaction: VersionedTransaction, blockhash: Hash) -> VersionedTransaction:
    """The same transaction, its signatures no longer true, on another blockhash."""
    wire = bytes(transaction)
    message = transaction.message
    if isinstance(message, MessageV1):
        offset = 8  # version, header and config mask stand before the lifetime specifier
    else:
        count = len(transaction.signatures)
        keys = len(message.account_keys)
        version = 1 if isinstance(message, MessageV0) else 0
        offset = _short_length(count) + 64 * count + version + 3 + _short_length(keys) + 32 * keys
    return VersionedTransaction.from_bytes(wire[:offset] + bytes(blockhash) + wire[offset + 32 :])


def _short_length(count: int) -> int:
    """How many bytes Solana's short_vec needs for a count."""
    return 1 if count < 0x80 else 2
