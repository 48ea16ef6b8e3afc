"""Prints instructions with their meaning, as `jsonParsed` does, for System, Token, ATA, lookup tables, Memo.

Owns: the tables of those instructions. Rules: an instruction that is not in a table, or does not fit it,
is printed partially decoded (program, accounts, data), which is a validator's fallback too. Must not
know: the ledger, HTTP.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from solders.pubkey import Pubkey

from . import base58, programs
from .token_state import ui_token_amount

Json: TypeAlias = dict[str, object]
# (account addresses, instruction data) -> (type, info)
_Parser: TypeAlias = Callable[[list[str], bytes], tuple[str, Json]]


def encode_parsed_instruction(
    keys: Sequence[str], program_index: int, accounts: bytes, data: bytes, stack_height: int | None
) -> Json:
    """One instruction, parsed if its program is known and the instruction is well-formed."""
    program_id = keys[program_index]
    named = [keys[index] for index in accounts]
    parsed = _parse(program_id, named, data)
    if parsed is not None:
        name, meaning = parsed
        return {"program": name, "programId": program_id, "parsed": meaning, "stackHeight": stack_height}
    return {
        "programId": program_id,
        "accounts": named,
        "data": base58.encode(data),
        "stackHeight": stack_height,
    }


def _parse(program_id: str, accounts: list[str], data: bytes) -> tuple[str, object] | None:
    if program_id in _MEMOS:
        try:
            return "spl-memo", data.decode()
        except UnicodeDecodeError:
            return None
    known = _PROGRAMS.get(program_id)
    if known is None:
        return None
    name, parse = known
    try:
        kind, info = parse(accounts, data)
    except (struct.error, IndexError, KeyError, ValueError):
        return None
    return name, {"type": kind, "info": info}


def _u64(data: bytes, offset: int) -> int:
    value: int = struct.unpack_from("<Q", data, offset)[0]
    return value


def _key(data: bytes, offset: int) -> str:
    return str(Pubkey(data[offset : offset + 32]))


def _optional_key(data: bytes, offset: int) -> str | None:
    return _key(data, offset + 1) if data[offset] else None


def _parse_system(a: list[str], data: bytes) -> tuple[str, Json]:
    (kind,) = struct.unpack_from("<I", data, 0)
    match kind:
        case 0:
            info: Json = {
                "source": a[0],
                "newAccount": a[1],
                "lamports": _u64(data, 4),
                "space": _u64(data, 12),
                "owner": _key(data, 20),
            }
            return "createAccount", info
        case 1:
            return "assign", {"account": a[0], "owner": _key(data, 4)}
        case 2:
            return "transfer", {"source": a[0], "destination": a[1], "lamports": _u64(data, 4)}
        case 3:
            length = _u64(data, 36)
            seed, rest = data[44 : 44 + length].decode(), 44 + length
            info = {
                "source": a[0],
                "newAccount": a[1],
                "base": _key(data, 4),
                "seed": seed,
                "lamports": _u64(data, rest),
                "space": _u64(data, rest + 8),
                "owner": _key(data, rest + 16),
            }
            return "createAccountWithSeed", info
        case 4:
            info = {"nonceAccount": a[0], "recentBlockhashesSysvar": a[1], "nonceAuthority": a[2]}
            return "advanceNonce", info
        case 5:
            info = {
                "nonceAccount": a[0],
                "destination": a[1],
                "recentBlockhashesSysvar": a[2],
                "rentSysvar": a[3],
                "nonceAuthority": a[4],
                "lamports": _u64(data, 4),
            }
            return "withdrawFromNonce", info
        case 6:
            info = {
                "nonceAccount": a[0],
                "recentBlockhashesSysvar": a[1],
                "rentSysvar": a[2],
                "nonceAuthority": _key(data, 4),
            }
            return "initializeNonce", info
        case 7:
            info = {"nonceAccount": a[0], "nonceAuthority": a[1], "newAuthorized": _key(data, 4)}
            return "authorizeNonce", info
        case 8:
            return "allocate", {"account": a[0], "space": _u64(data, 4)}
        case 12:
            return "upgradeNonce", {"nonceAccount": a[0]}
    raise KeyError(kind)


def _signers(info: Json, role: str, accounts: list[str], at: int) -> Json:
    """The authority of a token instruction, or a multisig authority with its signers."""
    if len(accounts) > at + 1:
        info[f"multisig{role[0].upper()}{role[1:]}"] = accounts[at]
        info["signers"] = accounts[at + 1 :]
    else:
        info[role] = accounts[at]
    return info


_AUTHORITY_TYPES: Final = (
    "mintTokens",
    "freezeAccount",
    "accountOwner",
    "closeAccount",
    "transferFeeConfig",
    "withheldWithdraw",
    "closeMint",
    "interestRate",
    "permanentDelegate",
    "confidentialTransferMint",
    "transferHookProgramId",
    "confidentialTransferFeeConfig",
    "metadataPointer",
    "groupPointer",
    "groupMemberPointer",
    "scaledUiAmount",
    "pause",
)


def _parse_token(a: list[str], data: bytes) -> tuple[str, Json]:
    kind = data[0]
    simple = _TOKEN_AMOUNTS.get(kind)
    if simple is not None:
        name, first, second, role = simple
        info: Json = {first: a[0], second: a[1], "amount": str(_u64(data, 1))}
        return name, _signers(info, role, a, 2)
    checked = _TOKEN_CHECKED.get(kind)
    if checked is not None:
        name, roles, role = checked
        info = dict(zip(roles, a, strict=False))
        info["tokenAmount"] = ui_token_amount(_u64(data, 1), data[9])
        return name, _signers(info, role, a, len(roles))
    match kind:
        case 0 | 20:
            info = {"mint": a[0], "decimals": data[1], "mintAuthority": _key(data, 2)}
            if kind == 0:
                info["rentSysvar"] = a[1]
            freeze = _optional_key(data, 34)
            if freeze is not None:
                info["freezeAuthority"] = freeze
            return ("initializeMint" if kind == 0 else "initializeMint2"), info
        case 1:
            return "initializeAccount", {"account": a[0], "mint": a[1], "owner": a[2], "rentSysvar": a[3]}
        case 5:
            return "revoke", _signers({"source": a[0]}, "owner", a, 1)
        case 6:
            role = _AUTHORITY_TYPES[data[1]]
            owned = "account" if role in ("accountOwner", "closeAccount") else "mint"
            info = {owned: a[0], "authorityType": role, "newAuthority": _optional_key(data, 2)}
            return "setAuthority", _signers(info, "authority", a, 1)
        case 9:
            return "closeAccount", _signers({"account": a[0], "destination": a[1]}, "owner", a, 2)
        case 10 | 11:
            info = _signers({"account": a[0], "mint": a[1]}, "freezeAuthority", a, 2)
            return ("freezeAccount" if kind == 10 else "thawAccount"), info
        case 16:
            info = {"account": a[0], "mint": a[1], "rentSysvar": a[2], "owner": _key(data, 1)}
            return "initializeAccount2", info
        case 17:
            return "syncNative", {"account": a[0]}
        case 18:
            return "initializeAccount3", {"account": a[0], "mint": a[1], "owner": _key(data, 1)}
        case 21:
            kinds = struct.unpack_from(f"<{(len(data) - 1) // 2}H", data, 1)
            info = {"mint": a[0]}
            if kinds:
                info["extensionTypes"] = [_EXTENSION_NAMES[number] for number in kinds]
            return "getAccountDataSize", info
        case 22:
            return "initializeImmutableOwner", {"account": a[0]}
    raise KeyError(kind)


_EXTENSION_NAMES: Final = {7: "immutableOwner", 2: "transferFeeAmount", 8: "memoTransfer", 11: "cpiGuard"}
# kind: (name, first account, second account, authority)
_TOKEN_AMOUNTS: Final = {
    3: ("transfer", "source", "destination", "authority"),
    4: ("approve", "source", "delegate", "owner"),
    7: ("mintTo", "mint", "account", "mintAuthority"),
    8: ("burn", "account", "mint", "authority"),
}
# kind: (name, accounts in order, authority)
_TOKEN_CHECKED: Final = {
    12: ("transferChecked", ("source", "mint", "destination"), "authority"),
    13: ("approveChecked", ("source", "mint", "delegate"), "owner"),
    14: ("mintToChecked", ("mint", "account"), "mintAuthority"),
    15: ("burnChecked", ("account", "mint"), "authority"),
}


def _parse_associated_token(a: list[str], data: bytes) -> tuple[str, Json]:
    kind = data[0] if data else 0
    if kind in (0, 1):
        info: Json = {
            "source": a[0],
            "account": a[1],
            "wallet": a[2],
            "mint": a[3],
            "systemProgram": a[4],
            "tokenProgram": a[5],
        }
        return ("create" if kind == 0 else "createIdempotent"), info
    if kind == 2:
        info = {
            "nestedSource": a[0],
            "nestedMint": a[1],
            "destination": a[2],
            "nestedOwner": a[3],
            "ownerMint": a[4],
            "wallet": a[5],
            "tokenProgram": a[6],
        }
        return "recoverNested", info
    raise KeyError(kind)


def _parse_lookup_table(a: list[str], data: bytes) -> tuple[str, Json]:
    (kind,) = struct.unpack_from("<I", data, 0)
    owner: Json = {"lookupTableAccount": a[0], "lookupTableAuthority": a[1]}
    match kind:
        case 0:
            owner |= {"payerAccount": a[2], "systemProgram": a[3]}
            return "createLookupTable", owner | {"recentSlot": _u64(data, 4), "bumpSeed": data[12]}
        case 1:
            return "freezeLookupTable", owner
        case 2:
            addresses = [_key(data, 12 + 32 * index) for index in range(_u64(data, 4))]
            if len(a) >= 4:
                owner |= {"payerAccount": a[2], "systemProgram": a[3]}
            return "extendLookupTable", owner | {"newAddresses": addresses}
        case 3:
            return "deactivateLookupTable", owner
        case 4:
            return "closeLookupTable", owner | {"recipient": a[2]}
    raise KeyError(kind)


_MEMOS: Final = frozenset(str(program) for program in programs.MEMO_PROGRAMS)
_PROGRAMS: Final[dict[str, tuple[str, _Parser]]] = {
    str(programs.SYSTEM): ("system", _parse_system),
    str(programs.TOKEN): ("spl-token", _parse_token),
    str(programs.TOKEN_2022): ("spl-token", _parse_token),
    str(programs.ASSOCIATED_TOKEN): ("spl-associated-token-account", _parse_associated_token),
    str(programs.ADDRESS_LOOKUP_TABLE): ("address-lookup-table", _parse_lookup_table),
}
