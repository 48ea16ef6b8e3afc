"""Prints accounts as JSON-RPC does.

Owns: the encodings base58, base64, base64+zstd, jsonParsed and the old `binary`, data slices, and the
parsed form of token accounts, mints, nonces, lookup tables, upgradeable programs and the clock. Rules:
what cannot be parsed is printed as base64, as a validator does. Must not know: the ledger, HTTP.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Final, TypeAlias

import zstandard
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey

from . import base58, programs
from .errors import RpcError, invalid_request
from .token_extensions import encode_extensions
from .token_state import (
    MINT_LENGTH,
    MULTISIG_LENGTH,
    Mint,
    TokenAccount,
    read_mint,
    read_token_account,
    ui_multiplier,
    ui_token_amount,
)

Json: TypeAlias = dict[str, object]
ReadAccount: TypeAlias = Callable[[Pubkey], Account | None]

MAX_BASE58_BYTES: Final = 128
RENT_EXEMPT_EPOCH: Final = 2**64 - 1


def encode_account(
    account: Account,
    encoding: str,
    data_slice: tuple[int, int] | None,
    read: ReadAccount,
    *,
    key: Pubkey | None = None,
) -> Json:
    """An account as `getAccountInfo` prints it. `read` finds the mint of a token account (for its decimals).

    Raises the -32600 of a validator when more than 128 bytes are asked for in base58.
    """
    data = account.data
    return {
        "data": _encode_data(account, data, encoding, data_slice, read, key),
        "executable": account.executable,
        "lamports": account.lamports,
        "owner": str(account.owner),
        # LiteSVM leaves 0 where a validator marks rent-exempt accounts, which are all
        "rentEpoch": account.rent_epoch or RENT_EXEMPT_EPOCH,
        "space": len(data),
    }


def _encode_data(
    account: Account,
    data: bytes,
    encoding: str,
    data_slice: tuple[int, int] | None,
    read: ReadAccount,
    key: Pubkey | None,
) -> object:
    if encoding == "jsonParsed":
        parsed = _parse(account, data, read, key)
        if parsed is not None:
            return parsed
        encoding = "base64"
    if data_slice is not None:
        offset, length = data_slice
        data = data[offset : offset + length]
    if encoding == "base64":
        return [base64.b64encode(data).decode(), "base64"]
    if encoding == "base64+zstd":
        packed = zstandard.ZstdCompressor(level=0).compress(data)
        return [base64.b64encode(packed).decode(), "base64+zstd"]
    if len(data) > MAX_BASE58_BYTES:
        raise too_long_for_base58()
    text = base58.encode(data)
    return text if encoding == "binary" else [text, "base58"]


def too_long_for_base58() -> RpcError:
    """The refusal to print more than 128 bytes in base58."""
    return invalid_request(
        f"Encoded binary (base 58) data should be less than {MAX_BASE58_BYTES} bytes, "
        "please use Base64 encoding."
    )


def _parse(account: Account, data: bytes, read: ReadAccount, key: Pubkey | None) -> Json | None:
    """The parsed form, or None when there is none for this owner or these bytes."""
    owner = account.owner
    info: Json | None = None
    program = ""
    if owner in programs.TOKEN_PROGRAMS:
        program = "spl-token" if owner == programs.TOKEN else "spl-token-2022"
        info = _parse_token(data, read)
    elif owner == programs.SYSTEM:
        program, info = "nonce", _parse_nonce(data)
    elif owner == programs.ADDRESS_LOOKUP_TABLE:
        program, info = "address-lookup-table", _parse_lookup_table(data)
    elif owner == programs.BPF_LOADER_UPGRADEABLE:
        program, info = "bpf-upgradeable-loader", _parse_upgradeable(data)
    elif key == programs.SYSVAR_CLOCK:
        program, info = "sysvar", _parse_clock(data)
    if info is None:
        return None
    return {"program": program, "parsed": info, "space": len(data)}


def _parse_token(data: bytes, read: ReadAccount) -> Json | None:
    token = read_token_account(data)
    if token is not None:
        shown = _display_of(token.mint, read)
        return None if shown is None else _token_account_info(token, *shown, data)
    mint = read_mint(data)
    if mint is not None:
        return _mint_info(mint, data)
    if len(data) == MULTISIG_LENGTH and data[2] == 1:
        signers = [Pubkey(data[3 + 32 * i : 35 + 32 * i]) for i in range(11)]
        return {
            "type": "multisig",
            "info": {
                "numRequiredSigners": data[0],
                "numValidSigners": data[1],
                "isInitialized": True,
                "signers": [str(signer) for signer in signers if signer != Pubkey.default()],
            },
        }
    return None


def _display_of(mint: Pubkey, read: ReadAccount) -> tuple[int, float] | None:
    """The decimals and the display multiplier of a mint; None when it is no mint."""
    if mint == programs.NATIVE_MINT:
        return 9, 1.0
    account = read(mint)
    if account is None or account.owner not in programs.TOKEN_PROGRAMS:
        return None
    state = read_mint(account.data)
    if state is None:
        return None
    if len(account.data) == MINT_LENGTH:
        return state.decimals, 1.0
    clock = read(programs.SYSVAR_CLOCK)
    time_s = 0 if clock is None else struct.unpack_from("<q", clock.data, 32)[0]
    return state.decimals, ui_multiplier(account.data, time_s)


def _token_account_info(token: TokenAccount, decimals: int, multiplier: float, data: bytes) -> Json:
    info: Json = {
        "isNative": token.native_reserve_lamports is not None,
        "mint": str(token.mint),
        "owner": str(token.owner),
        "state": token.state,
        "tokenAmount": ui_token_amount(token.amount_units, decimals, multiplier),
    }
    if token.delegate is not None:
        info["delegate"] = str(token.delegate)
        info["delegatedAmount"] = ui_token_amount(token.delegated_units, decimals, multiplier)
    if token.native_reserve_lamports is not None:
        info["rentExemptReserve"] = ui_token_amount(token.native_reserve_lamports, decimals, multiplier)
    if token.close_authority is not None:
        info["closeAuthority"] = str(token.close_authority)
    extensions = encode_extensions(data)
    if extensions:
        info["extensions"] = extensions
    return {"type": "account", "info": info}


def _mint_info(mint: Mint, data: bytes) -> Json:
    info: Json = {
        "decimals": mint.decimals,
        "freezeAuthority": None if mint.freeze_authority is None else str(mint.freeze_authority),
        "isInitialized": mint.is_initialized,
        "mintAuthority": None if mint.mint_authority is None else str(mint.mint_authority),
        "supply": str(mint.supply_units),
    }
    extensions = encode_extensions(data)
    if extensions:
        info["extensions"] = extensions
    return {"type": "mint", "info": info}


def _parse_nonce(data: bytes) -> Json | None:
    if len(data) != 80:
        return None
    version, state = struct.unpack_from("<II", data, 0)
    if version > 1:
        return None
    if state == 0:
        return {"type": "uninitialized"}
    (fee,) = struct.unpack_from("<Q", data, 72)
    return {
        "type": "initialized",
        "info": {
            "authority": str(Pubkey(data[8:40])),
            "blockhash": str(Hash(data[40:72])),
            "feeCalculator": {"lamportsPerSignature": str(fee)},
        },
    }


def _parse_lookup_table(data: bytes) -> Json | None:
    if len(data) < 56 or struct.unpack_from("<I", data, 0)[0] != 1:
        return None
    deactivation, extended, start, has_authority = struct.unpack_from("<QQBB", data, 4)
    info: Json = {
        "deactivationSlot": str(deactivation),
        "lastExtendedSlot": str(extended),
        "lastExtendedSlotStartIndex": start,
        "addresses": [str(Pubkey(data[i : i + 32])) for i in range(56, len(data) - 31, 32)],
    }
    if has_authority:
        info["authority"] = str(Pubkey(data[22:54]))
    return {"type": "lookupTable", "info": info}


def _parse_upgradeable(data: bytes) -> Json | None:
    if len(data) < 4:
        return None
    (state,) = struct.unpack_from("<I", data, 0)
    if state == 2 and len(data) >= 36:
        return {"type": "program", "info": {"programData": str(Pubkey(data[4:36]))}}
    if state == 3 and len(data) >= 45:
        (slot,) = struct.unpack_from("<Q", data, 4)
        authority = str(Pubkey(data[13:45])) if data[12] else None
        packed = [base64.b64encode(data[45:]).decode(), "base64"]
        return {"type": "programData", "info": {"authority": authority, "data": packed, "slot": slot}}
    if state == 1 and len(data) >= 37:
        authority = str(Pubkey(data[5:37])) if data[4] else None
        packed = [base64.b64encode(data[37:]).decode(), "base64"]
        return {"type": "buffer", "info": {"authority": authority, "data": packed}}
    return {"type": "uninitialized"} if state == 0 else None


def _parse_clock(data: bytes) -> Json | None:
    if len(data) != 40:
        return None
    slot, start, epoch, leader_epoch, time_s = struct.unpack("<QqQQq", data)
    return {
        "type": "clock",
        "info": {
            "slot": slot,
            "epoch": epoch,
            "epochStartTimestamp": start,
            "leaderScheduleEpoch": leader_epoch,
            "unixTimestamp": time_s,
        },
    }
