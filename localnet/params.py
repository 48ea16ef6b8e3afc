"""Reads the parameters of JSON-RPC requests and refuses wrong ones in a validator's words.

Owns: `Params` (the positional parameters of a request) and `Config` (a configuration object among them).
Rules: texts are serde's and Agave's, since clients and people read them; unknown members of a
configuration object are ignored, as a validator does. Must not know: the ledger, HTTP.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from solders.account import Account
from solders.hash import Hash, ParseHashError
from solders.pubkey import Pubkey
from solders.signature import Signature

from . import base58
from .errors import RpcError, invalid_params
from .token_state import is_token_account

COMMITMENTS: Final = ("processed", "confirmed", "finalized")
_COMMITMENT_VARIANTS: Final = (
    "max",
    "recent",
    "root",
    "single",
    "singleGossip",
    "processed",
    "confirmed",
    "finalized",
)
# the deprecated names still mean something to old clients
_OLD_COMMITMENTS: Final = {
    "max": "finalized",
    "root": "finalized",
    "recent": "processed",
    "single": "confirmed",
    "singleGossip": "confirmed",
}
ACCOUNT_ENCODINGS: Final = ("binary", "base58", "base64", "jsonParsed", "base64+zstd")
TRANSACTION_ENCODINGS: Final = ("binary", "base64", "base58", "json", "jsonParsed")
TRANSACTION_DETAILS: Final = ("full", "signatures", "none", "accounts")
MAX_FILTERS: Final = 4
MAX_FILTER_BYTES: Final = 128
_U64: Final = 2**64
T = TypeVar("T")


class Params:
    """The positional parameters of a request; absent and null optional ones are the same."""

    def __init__(self, values: object, required: int, total: int) -> None:
        if values is None:
            values = []
        if not isinstance(values, list):
            raise invalid_params("`params` should be an array")
        if len(values) < required:
            raise invalid_params(f"`params` should have at least {required} argument(s)")
        if len(values) > total:
            if total == 0:
                raise invalid_params("Invalid parameters: No parameters were expected")
            raise _serde(f"invalid length {len(values)}, expected fewer elements in array")
        self._values = values

    def get(self, index: int) -> object:
        """The parameter, or None."""
        return self._values[index] if index < len(self._values) else None

    def text(self, index: int) -> str:
        """A string."""
        return _text(self.get(index))

    def uint(self, index: int, kind: str = "u64") -> int:
        """An unsigned integer below 2^64."""
        return _uint(self.get(index), kind)

    def optional_uint(self, index: int) -> int | None:
        """An unsigned integer or nothing."""
        value = self.get(index)
        return None if value is None else _uint(value, "u64")

    def pubkey(self, index: int) -> Pubkey:
        """An address."""
        return pubkey_of(self.text(index))

    def signature(self, index: int) -> Signature:
        """A transaction signature."""
        return signature_of(self.text(index))

    def texts(self, index: int) -> list[str]:
        """A list of strings; nothing is an empty list."""
        value = self.get(index)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _wrong_type(value, "a sequence")
        return [_text(item) for item in value]

    def config(self, index: int, name: str) -> Config:
        """A configuration object of the named Rust type; nothing is an empty one."""
        value = self.get(index)
        if value is not None and not isinstance(value, dict):
            raise _wrong_type(value, f"struct {name}")
        return Config(value or {})

    def config_or_encoding(self, index: int, name: str) -> Config:
        """A configuration object, or just an encoding (the old form)."""
        value = self.get(index)
        if isinstance(value, str):
            return Config({"encoding": value})
        return self.config(index, name)


class Config:
    """A configuration object of a request."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def get(self, name: str) -> object:
        """The member, or None."""
        return self._values.get(name)

    def commitment(self, name: str = "commitment", default: str = "finalized") -> str:
        """A commitment level."""
        value = self._values.get(name)
        if value is None:
            return default
        level = _variant(value, _COMMITMENT_VARIANTS)
        return _OLD_COMMITMENTS.get(level, level)

    def min_context_slot(self) -> int | None:
        """The slot that the node must have reached, if any."""
        return self.uint("minContextSlot")

    def uint(self, name: str, kind: str = "u64") -> int | None:
        """An unsigned integer or nothing."""
        value = self._values.get(name)
        return None if value is None else _uint(value, kind)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise _wrong_type(value, "a boolean")
        return value

    def text(self, name: str) -> str | None:
        """A string or nothing."""
        value = self._values.get(name)
        return None if value is None else _text(value)

    def variant(self, name: str, variants: Sequence[str], default: str) -> str:
        """One of several words."""
        value = self._values.get(name)
        return default if value is None else _variant(value, variants)

    def account_encoding(self, default: str = "binary") -> str:
        """How to print account data."""
        return self.variant("encoding", ACCOUNT_ENCODINGS, default)

    def transaction_encoding(self, default: str = "json") -> str:
        """How to print (or read) transactions."""
        return self.variant("encoding", TRANSACTION_ENCODINGS, default)

    def max_transaction_version(self) -> int | None:
        """The newest transaction version that the caller understands; None is legacy only."""
        return self.uint("maxSupportedTransactionVersion", "u8")

    def data_slice(self) -> tuple[int, int] | None:
        """The (offset, length) of account data wanted."""
        value = self._values.get("dataSlice")
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _wrong_type(value, "struct UiDataSliceConfig")
        for name in ("offset", "length"):
            if name not in value:
                raise _serde(f"missing field `{name}`")
        return _uint(value["offset"], "usize"), _uint(value["length"], "usize")

    def filters(self) -> tuple[Filter, ...]:
        """The account filters; at most four."""
        value = self._values.get("filters")
        if value is None:
            return ()
        if not isinstance(value, list):
            raise _wrong_type(value, "a sequence")
        filters = [_filter_fields(item) for item in value]
        if len(filters) > MAX_FILTERS:
            raise invalid_params(f"Too many filters provided; max {MAX_FILTERS}")
        return tuple(_filter(*fields) for fields in filters)

    def object(self, name: str, kind: str) -> Config | None:
        """A nested configuration object or nothing."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _wrong_type(value, f"struct {kind}")
        return Config(value)

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        value = self._values.get(name)
        if value is None:
            raise _serde(f"missing field `{name}`")
        if not isinstance(value, list):
            raise _wrong_type(value, "a sequence")
        return [_text(item) for item in value]


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on account data: its size, bytes at an offset, or being a token account."""

    data_size: int | None = None
    offset: int = 0
    matched: bytes | None = None

    def allows(self, account: Account) -> bool:
        """Whether the account meets the condition."""
        data = account.data
        if self.data_size is not None:
            return len(data) == self.data_size
        if self.matched is not None:
            return data[self.offset : self.offset + len(self.matched)] == self.matched
        return is_token_account(data)


def pubkey_of(text: str) -> Pubkey:
    """Read an address. Raises "Invalid param: WrongSize" or "Invalid param: Invalid"."""
    try:
        return Pubkey.from_string(text)
    except ValueError:
        raise _parse_failure(text, 32) from None


def signature_of(text: str) -> Signature:
    """Read a signature. Raises "Invalid param: WrongSize" or "Invalid param: Invalid"."""
    try:
        return Signature.from_string(text)
    except ValueError:
        raise _parse_failure(text, 64) from None


def hash_of(text: str) -> Hash:
    """Read a blockhash. Raises "Invalid param: WrongSize" or "Invalid param: Invalid"."""
    try:
        return Hash.from_string(text)
    except ParseHashError:
        raise _parse_failure(text, 32) from None


def _parse_failure(text: str, size: int) -> RpcError:
    # as the SDK does: a text longer than the size could ever need is not even decoded
    longest = {32: 44, 64: 88}[size]
    if len(text) <= longest:
        try:
            base58.decode(text)
        except ValueError:
            return invalid_params("Invalid param: Invalid")
    return invalid_params("Invalid param: WrongSize")


def _filter_fields(value: object) -> tuple[str, object]:
    if isinstance(value, str):
        return _variant(value, ("dataSize", "memcmp", "tokenAccountState")), None
    if not isinstance(value, dict) or len(value) != 1:
        raise (
            _wrong_type(value, "string or map")
            if not isinstance(value, dict)
            else _serde("expected map with a single key")
        )
    ((name, detail),) = value.items()
    return _variant(name, ("dataSize", "memcmp", "tokenAccountState")), detail


def _filter(name: str, detail: object) -> Filter:
    if name == "dataSize":
        return Filter(data_size=_uint(detail, "u64"))
    if name == "tokenAccountState":
        return Filter()
    if not isinstance(detail, dict):
        raise _wrong_type(detail, "struct Memcmp")
    for field in ("offset", "bytes"):
        if field not in detail:
            raise _serde(f"missing field `{field}`")
    offset = _uint(detail["offset"], "usize")
    return Filter(offset=offset, matched=_filter_bytes(detail["bytes"], detail.get("encoding")))


def _filter_bytes(value: object, encoding: object) -> bytes:
    if isinstance(value, list):
        try:
            matched = bytes(_uint(item, "u8") for item in value)
        except ValueError:
            raise _serde("data did not match any variant of untagged enum DataType") from None
    elif isinstance(value, str):
        try:
            if encoding == "base64":
                matched = base64.b64decode(value, validate=True)
            else:
                matched = base58.decode(value)
        except binascii.Error as error:
            raise invalid_params(f"Invalid param: Base64DecodeError({error})") from None
        except ValueError as error:
            raise invalid_params(f"Invalid param: Base58DecodeError({error})") from None
    else:
        raise _serde("data did not match any variant of untagged enum DataType")
    if len(matched) > MAX_FILTER_BYTES:
        raise invalid_params("Invalid param: DataTooLarge")
    return matched


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(value, "a string")
    return value


def _uint(value: object, kind: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(value, kind)
    limit = 256 if kind == "u8" else _U64
    if not 0 <= value < limit:
        raise _serde(f"invalid value: integer `{value}`, expected {kind}")
    return value


def _variant(value: object, variants: Sequence[str]) -> str:
    if not isinstance(value, str):
        raise _wrong_type(value, "string or map")
    if value not in variants:
        known = ", ".join(f"`{name}`" for name in variants)
        raise _serde(f"unknown variant `{value}`, expected one of {known}")
    return value


def _wrong_type(value: object, expected: str) -> RpcError:
    return _serde(f"invalid type: {_kind(value)}, expected {expected}")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f"string {msgspec.json.encode(value).decode()}"
        case list():
            return "sequence"
        case _:
            return "map"


def _serde(message: str) -> RpcError:
    return invalid_params(f"Invalid params: {message}.")
