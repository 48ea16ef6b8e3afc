"""Prints the extensions of Token-2022 accounts and mints as `jsonParsed` does.

Owns: the layouts of the extensions that wallets look at. Rules: a known extension has its fields; the
confidential ones and those newer than this table print as "unparseableExtension", as an older validator
does. Must not know: the ledger, JSON-RPC.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from solders.pubkey import Pubkey

from .token_state import STATES, extensions_of

_UNKNOWN: Final[dict[str, object]] = {"extension": "unparseableExtension"}


def encode_extensions(data: bytes) -> list[dict[str, object]]:
    """The extensions of an account or mint, in the order in which they are stored."""
    found: list[dict[str, object]] = []
    for kind, value in extensions_of(data):
        name, read = _KINDS.get(kind, ("", None))
        if not name:
            found.append(dict(_UNKNOWN))
            continue
        entry: dict[str, object] = {"extension": name}
        if read is not None:
            try:
                entry["state"] = read(value)
            except (struct.error, IndexError, ValueError):
                entry = dict(_UNKNOWN)
        found.append(entry)
    return found


def _optional_key(value: bytes) -> str | None:
    """An all-zero key stands for none."""
    return None if value == bytes(32) else str(Pubkey(value))


def _transfer_fee(value: bytes) -> dict[str, object]:
    epoch, maximum, basis_points = struct.unpack("<QQH", value)
    return {"epoch": epoch, "maximumFee": maximum, "transferFeeBasisPoints": basis_points}


def _transfer_fee_config(value: bytes) -> dict[str, object]:
    return {
        "transferFeeConfigAuthority": _optional_key(value[:32]),
        "withdrawWithheldAuthority": _optional_key(value[32:64]),
        "withheldAmount": struct.unpack_from("<Q", value, 64)[0],
        "olderTransferFee": _transfer_fee(value[72:90]),
        "newerTransferFee": _transfer_fee(value[90:108]),
    }


def _interest_bearing(value: bytes) -> dict[str, object]:
    start, average, updated, rate = struct.unpack_from("<qhqh", value, 32)
    return {
        "rateAuthority": _optional_key(value[:32]),
        "initializationTimestamp": start,
        "preUpdateAverageRate": average,
        "lastUpdateTimestamp": updated,
        "currentRate": rate,
    }


def _scaled_amount(value: bytes) -> dict[str, object]:
    multiplier, effective, new_multiplier = struct.unpack_from("<dqd", value, 32)
    return {
        "authority": _optional_key(value[:32]),
        "multiplier": _float_text(multiplier),
        "newMultiplierEffectiveTimestamp": effective,
        "newMultiplier": _float_text(new_multiplier),
    }


def _float_text(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _borsh_text(value: bytes, offset: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", value, offset)
    end = offset + 4 + length
    return value[offset + 4 : end].decode(), end


def _token_metadata(value: bytes) -> dict[str, object]:
    name, offset = _borsh_text(value, 64)
    symbol, offset = _borsh_text(value, offset)
    uri, offset = _borsh_text(value, offset)
    (count,) = struct.unpack_from("<I", value, offset)
    offset += 4
    additional = []
    for _ in range(count):
        key, offset = _borsh_text(value, offset)
        text, offset = _borsh_text(value, offset)
        additional.append([key, text])
    return {
        "updateAuthority": _optional_key(value[:32]),
        "mint": str(Pubkey(value[32:64])),
        "name": name,
        "symbol": symbol,
        "uri": uri,
        "additionalMetadata": additional,
    }


def _pair(first: str, second: str) -> Callable[[bytes], dict[str, object]]:
    return lambda value: {first: _optional_key(value[:32]), second: _optional_key(value[32:64])}


_Reader = Callable[[bytes], dict[str, object]] | None
_KINDS: Final[dict[int, tuple[str, _Reader]]] = {
    1: ("transferFeeConfig", _transfer_fee_config),
    2: ("transferFeeAmount", lambda value: {"withheldAmount": struct.unpack("<Q", value)[0]}),
    3: ("mintCloseAuthority", lambda value: {"closeAuthority": _optional_key(value)}),
    6: ("defaultAccountState", lambda value: {"accountState": STATES[value[0]]}),
    7: ("immutableOwner", None),
    8: ("memoTransfer", lambda value: {"requireIncomingTransferMemos": value[0] == 1}),
    9: ("nonTransferable", None),
    10: ("interestBearingConfig", _interest_bearing),
    11: ("cpiGuard", lambda value: {"lockCpi": value[0] == 1}),
    12: ("permanentDelegate", lambda value: {"delegate": _optional_key(value)}),
    13: ("nonTransferableAccount", None),
    14: ("transferHook", _pair("authority", "programId")),
    15: ("transferHookAccount", lambda value: {"transferring": value[0] == 1}),
    18: ("metadataPointer", _pair("authority", "metadataAddress")),
    19: ("tokenMetadata", _token_metadata),
    20: ("groupPointer", _pair("authority", "groupAddress")),
    22: ("groupMemberPointer", _pair("authority", "memberAddress")),
    25: ("scaledUiAmountConfig", _scaled_amount),
    26: (
        "pausableConfig",
        lambda value: {"authority": _optional_key(value[:32]), "paused": value[32] == 1},
    ),
    27: ("pausableAccount", None),
}
