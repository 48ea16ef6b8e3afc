"""Reads SPL Token and Token-2022 accounts and mints from their bytes.

Owns: the layouts (account 165 bytes, mint 82, multisig 355, Token-2022 extensions after byte 165) and the
printed form of an amount. Rules: amounts are integers here; the only float is `uiAmount`, which JSON-RPC
defines as one. Must not know: the ledger, JSON-RPC.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

ACCOUNT_LENGTH: Final = 165
MINT_LENGTH: Final = 82
MULTISIG_LENGTH: Final = 355
STATES: Final = ("uninitialized", "initialized", "frozen")
_ACCOUNT_TYPE_MINT: Final = 1
_ACCOUNT_TYPE_ACCOUNT: Final = 2
_INTEREST_BEARING: Final = 10
_SCALED_UI_AMOUNT: Final = 25
_SECONDS_PER_YEAR: Final = 60 * 60 * 24 * 365.24


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """A token account. `native_reserve_lamports` is set for wrapped SOL only."""

    mint: Pubkey
    owner: Pubkey
    amount_units: int
    delegate: Pubkey | None
    state: str
    native_reserve_lamports: int | None
    delegated_units: int
    close_authority: Pubkey | None


@dataclass(frozen=True, slots=True)
class Mint:
    """A token mint."""

    mint_authority: Pubkey | None
    supply_units: int
    decimals: int
    is_initialized: bool
    freeze_authority: Pubkey | None


def is_token_account(data: bytes) -> bool:
    """Whether the bytes are an initialized token account (with or without extensions)."""
    length = len(data)
    if length < ACCOUNT_LENGTH or not 1 <= data[108] <= 2:
        return False
    return length == ACCOUNT_LENGTH or (length != MULTISIG_LENGTH and data[165] == _ACCOUNT_TYPE_ACCOUNT)


def is_mint(data: bytes) -> bool:
    """Whether the bytes are an initialized mint (with or without extensions)."""
    length = len(data)
    if length == MINT_LENGTH:
        return data[45] == 1
    return (
        length > ACCOUNT_LENGTH
        and length != MULTISIG_LENGTH
        and data[165] == _ACCOUNT_TYPE_MINT
        and data[45] == 1
    )


def read_token_account(data: bytes) -> TokenAccount | None:
    """Read a token account; None when the bytes are not one."""
    if not is_token_account(data):
        return None
    (amount,) = struct.unpack_from("<Q", data, 64)
    native_flag, native_reserve, delegated = struct.unpack_from("<IQQ", data, 109)
    return TokenAccount(
        mint=Pubkey(data[:32]),
        owner=Pubkey(data[32:64]),
        amount_units=amount,
        delegate=_optional_key(data, 72),
        state=STATES[data[108]],
        native_reserve_lamports=native_reserve if native_flag else None,
        delegated_units=delegated,
        close_authority=_optional_key(data, 129),
    )


def read_mint(data: bytes) -> Mint | None:
    """Read a mint; None when the bytes are not one."""
    if not is_mint(data):
        return None
    supply, decimals, initialized = struct.unpack_from("<QBB", data, 36)
    return Mint(_optional_key(data, 0), supply, decimals, bool(initialized), _optional_key(data, 46))


def pack_mint(
    *, mint_authority: Pubkey | None, supply_units: int, decimals: int, freeze_authority: Pubkey | None
) -> bytes:
    """The 82 bytes of an initialized mint."""
    return (
        _pack_optional_key(mint_authority)
        + struct.pack("<QBB", supply_units, decimals, 1)
        + _pack_optional_key(freeze_authority)
    )


def pack_token_account(
    *, mint: Pubkey, owner: Pubkey, amount_units: int, native_reserve_lamports: int | None = None
) -> bytes:
    """The 165 bytes of an initialized token account without delegate."""
    native = (0, 0) if native_reserve_lamports is None else (1, native_reserve_lamports)
    return (
        bytes(mint)
        + bytes(owner)
        + struct.pack("<Q", amount_units)
        + _pack_optional_key(None)
        + struct.pack("<BIQQ", 1, *native, 0)
        + _pack_optional_key(None)
    )


def extensions_of(data: bytes) -> list[tuple[int, bytes]]:
    """The (type, value) extensions of a Token-2022 account or mint, in order."""
    found = []
    offset = ACCOUNT_LENGTH + 1
    while offset + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, offset)
        if kind == 0:
            break
        found.append((kind, data[offset + 4 : offset + 4 + length]))
        offset += 4 + length
    return found


def ui_amount_string(amount_units: int, decimals: int) -> str:
    """The amount in whole tokens without trailing zeros, e.g. 1500000 with 6 decimals is "1.5"."""
    if decimals == 0:
        return str(amount_units)
    digits = str(amount_units).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")


def ui_multiplier(mint_data: bytes, time_s: int) -> float:
    """What a mint multiplies amounts by for display: the scale or the interest of Token-2022, else 1.

    Interest: e^(rate x years), at the average rate until the last update and the current one since; a rate
    is in 1/10,000.
    """
    for kind, value in extensions_of(mint_data):
        if kind == _SCALED_UI_AMOUNT and len(value) >= 56:
            multiplier, effective_s, next_multiplier = struct.unpack_from("<dqd", value, 32)
            return float(next_multiplier if time_s >= effective_s else multiplier)
        if kind == _INTEREST_BEARING and len(value) >= 52:
            start_s, average, updated_s, rate = struct.unpack_from("<qhqh", value, 32)
            exponent = average * (updated_s - start_s) + rate * (time_s - updated_s)
            return math.exp(exponent / _SECONDS_PER_YEAR / 10_000)
    return 1.0


def ui_token_amount(amount_units: int, decimals: int, multiplier: float = 1.0) -> dict[str, object]:
    """An amount as JSON-RPC prints it; `uiAmount` is null only when 10^decimals leaves 64 bits.

    `amount` is always the raw units: a multiplier changes what is shown, never what is owned.
    """
    if multiplier != 1.0:
        shown = f"{amount_units * multiplier / 10**decimals:.{decimals}f}"
        shown = shown.rstrip("0").rstrip(".") if decimals else shown
        return {
            "uiAmount": float(shown),
            "decimals": decimals,
            "amount": str(amount_units),
            "uiAmountString": shown,
        }
    return {
        "uiAmount": float(amount_units) / float(10**decimals) if decimals < 20 else None,
        "decimals": decimals,
        "amount": str(amount_units),
        "uiAmountString": ui_amount_string(amount_units, decimals),
    }


def _optional_key(data: bytes, offset: int) -> Pubkey | None:
    (flag,) = struct.unpack_from("<I", data, offset)
    return Pubkey(data[offset + 4 : offset + 36]) if flag else None


def _pack_optional_key(key: Pubkey | None) -> bytes:
    return struct.pack("<I", 0) + bytes(32) if key is None else struct.pack("<I", 1) + bytes(key)
