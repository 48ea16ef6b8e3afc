"""What can be read off a transaction around its run: its accounts, balances, fee bid, memo and nonce.

Owns: account resolution through lookup tables, writability as the runtime sees it, token balances,
compute budget and memo of a message. Rules: pure, apart from reading accounts through the function it is
given. Must not know: blocks, commitments, JSON.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from solders.account import Account
from solders.instruction import CompiledInstruction
from solders.message import Message, MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from . import programs
from .blocks import TokenBalance
from .token_state import read_mint, read_token_account, ui_multiplier

AnyMessage: TypeAlias = Message | MessageV0 | MessageV1
ReadAccount: TypeAlias = Callable[[Pubkey], Account | None]

_TABLE_META_LENGTH: Final = 56
_TABLE_LOADED_LENGTH: Final = 8_248
_ACCOUNT_OVERHEAD: Final = 64
_NONCE_LENGTH: Final = 80
_DEFAULT_UNITS_PER_INSTRUCTION: Final = 200_000
_MAX_UNITS: Final = 1_400_000


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of a transaction: static, loaded writable, loaded readonly; and which it may write."""

    keys: tuple[Pubkey, ...]
    static_count: int
    loaded_writable_count: int
    is_writable: tuple[bool, ...]
    invoked: frozenset[int]

    def writable_keys(self) -> tuple[Pubkey, ...]:
        """The accounts it may write, in order."""
        return tuple(key for key, writable in zip(self.keys, self.is_writable, strict=True) if writable)


def resolve_accounts(message: AnyMessage, read: ReadAccount) -> Accounts:
    """List a message's accounts; a lookup table that cannot be read adds none (the runtime then refuses)."""
    static = message.account_keys
    header = message.header
    signed = header.num_required_signatures
    count = len(static)
    signed_writable = signed - header.num_readonly_signed_accounts
    unsigned_writable = count - header.num_readonly_unsigned_accounts
    instructions = message.instructions
    invoked = frozenset(instruction.program_id_index for instruction in instructions)
    keys = list(static)
    loaded_writable: list[Pubkey] = []
    loaded_readonly: list[Pubkey] = []
    if isinstance(message, MessageV0):
        for lookup in message.address_table_lookups:
            table = read(lookup.account_key)
            loaded_writable += _table_entries(table, lookup.writable_indexes)
            loaded_readonly += _table_entries(table, lookup.readonly_indexes)
        keys += loaded_writable
        keys += loaded_readonly
    # A program is read-only, unless the upgradeable loader is there to upgrade it.
    demote = programs.BPF_LOADER_UPGRADEABLE not in keys
    writable_until = count + len(loaded_writable)
    is_writable = tuple(
        (index < signed_writable or signed <= index < unsigned_writable or count <= index < writable_until)
        and key not in programs.RESERVED
        and not (demote and index in invoked)
        for index, key in enumerate(keys)
    )
    return Accounts(tuple(keys), count, len(loaded_writable), is_writable, invoked)


def _table_entries(table: Account | None, indexes: Sequence[int]) -> list[Pubkey]:
    if table is None or table.owner != programs.ADDRESS_LOOKUP_TABLE:
        return []
    data = table.data
    offsets = [_TABLE_META_LENGTH + 32 * index for index in bytes(indexes)]
    return [Pubkey(data[offset : offset + 32]) for offset in offsets if offset + 32 <= len(data)]


def lookup_error(message: AnyMessage, read: ReadAccount, slot: int) -> str | None:
    """Why the addresses of a message's lookup tables cannot be loaded in a slot; None when they can."""
    if not isinstance(message, MessageV0):
        return None
    for lookup in message.address_table_lookups:
        table = read(lookup.account_key)
        if table is None:
            return "AddressLookupTableNotFound"
        if table.owner != programs.ADDRESS_LOOKUP_TABLE:
            return "InvalidAddressLookupTableOwner"
        data = table.data
        if len(data) < _TABLE_META_LENGTH or data[:4] != b"\x01\0\0\0":
            return "InvalidAddressLookupTableData"
        extended_slot, start_index = struct.unpack_from("<QB", data, 12)
        length = (len(data) - _TABLE_META_LENGTH) // 32
        # entries added in a slot can be used from the next one on
        usable = length if slot > extended_slot else start_index
        if any(i >= usable for i in (*bytes(lookup.writable_indexes), *bytes(lookup.readonly_indexes))):
            return "InvalidAddressLookupTableIndex"
    return None


def token_balances(
    accounts: Accounts, states: Mapping[Pubkey, Account | None], read: ReadAccount, time_s: int
) -> tuple[TokenBalance, ...]:
    """The token balances of a transaction's accounts, by index; programs it calls are not looked at."""
    found = []
    for index, key in enumerate(accounts.keys):
        account = states.get(key)
        if account is None or account.owner not in programs.TOKEN_PROGRAMS or index in accounts.invoked:
            continue
        token = read_token_account(account.data)
        if token is None:
            continue
        decimals, multiplier = 9, 1.0
        if token.mint != programs.NATIVE_MINT:
            mint_account = states.get(token.mint) or read(token.mint)
            mint = read_mint(mint_account.data) if mint_account is not None else None
            if mint_account is None or mint is None:
                continue
            decimals, multiplier = mint.decimals, ui_multiplier(mint_account.data, time_s)
        found.append(
            TokenBalance(
                index,
                str(token.mint),
                str(token.owner),
                str(account.owner),
                token.amount_units,
                decimals,
                multiplier,
            )
        )
    return tuple(found)


def touches_tokens(accounts: Accounts) -> bool:
    """Whether token balances are collected at all: only when a token program is among the accounts."""
    return programs.TOKEN in accounts.keys or programs.TOKEN_2022 in accounts.keys


def compute_budget(message: AnyMessage, accounts: Accounts) -> tuple[int, int]:
    """(compute unit limit, price in micro-lamports per unit) that a message asks for."""
    if isinstance(message, MessageV1):
        limit = message.config.compute_unit_limit or 0
        fee_lamports = message.config.priority_fee or 0
        # a v1 message bids a total in lamports
        return limit, fee_lamports * 1_000_000 // limit if limit else 0
    asked: int | None = None
    price = others = 0
    for instruction in message.instructions:
        if accounts.keys[instruction.program_id_index] != programs.COMPUTE_BUDGET:
            others += 1
            continue
        data = bytes(instruction.data)
        if data[:1] == b"\x02" and len(data) >= 5:
            (asked,) = struct.unpack_from("<I", data, 1)
        elif data[:1] == b"\x03" and len(data) >= 9:
            (price,) = struct.unpack_from("<Q", data, 1)
    return min(_DEFAULT_UNITS_PER_INSTRUCTION * others if asked is None else asked, _MAX_UNITS), price


def priority_fee_lamports(message: AnyMessage, accounts: Accounts) -> int:
    """What a message bids beside the signature fee, in lamports: limit x price / 10^6, rounded up."""
    if isinstance(message, MessageV1):
        return message.config.priority_fee or 0
    limit, price = compute_budget(message, accounts)
    return -(-limit * price // 1_000_000)


def precompile_signatures(message: AnyMessage, accounts: Accounts) -> int:
    """The signatures that precompiled programs are asked to check; each is charged like a message's own."""
    return sum(
        instruction.data[0]
        for instruction in message.instructions
        if accounts.keys[instruction.program_id_index] in programs.PRECOMPILES and instruction.data
    )


def cost_units(message: AnyMessage, accounts: Accounts, compute_units: int, loaded_bytes: int) -> int:
    """The block cost: 720 a signature, 300 a write lock, 1 per 4 data bytes, units, 8 per 32 KiB loaded."""
    data_bytes = sum(len(instruction.data) for instruction in message.instructions)
    pages = -(-loaded_bytes // 32_768)
    signatures = message.header.num_required_signatures
    return 720 * signatures + 300 * sum(accounts.is_writable) + data_bytes // 4 + compute_units + 8 * pages


def loaded_data_bytes(message: AnyMessage, accounts: Accounts, read: ReadAccount) -> int:
    """The loaded accounts data size: 64 + data of each account and program data, 8,248 per lookup table."""
    tables = len(message.address_table_lookups) if isinstance(message, MessageV0) else 0
    total = _TABLE_LOADED_LENGTH * tables
    for key in accounts.keys:
        account = read(key)
        if account is None:
            continue
        data = account.data
        total += _ACCOUNT_OVERHEAD + len(data)
        if account.owner == programs.BPF_LOADER_UPGRADEABLE and len(data) == 36 and data[0] == 2:
            program_data = read(Pubkey(data[4:36]))
            total += _ACCOUNT_OVERHEAD + len(program_data.data) if program_data is not None else 0
    return total


def memo_of(message: AnyMessage, accounts: Accounts) -> str | None:
    """The memos of a message as `getSignaturesForAddress` prints them: "[5] hello; [3] bye"."""
    memos = []
    for instruction in message.instructions:
        if accounts.keys[instruction.program_id_index] in programs.MEMO_PROGRAMS:
            data = bytes(instruction.data)
            try:
                text = data.decode()
            except UnicodeDecodeError:
                text = "(unparseable)"
            memos.append(f"[{len(data)}] {text}")
    return "; ".join(memos) if memos else None


def nonce_account_of(message: AnyMessage) -> tuple[Pubkey, CompiledInstruction] | None:
    """The nonce account that the first instruction advances, and that instruction; None for anything else."""
    instructions = message.instructions
    if not instructions or isinstance(message, MessageV1):
        return None
    first = instructions[0]
    data, indexes, keys = bytes(first.data), bytes(first.accounts), message.account_keys
    if data[:4] != b"\x04\0\0\0" or not indexes or first.program_id_index >= len(keys):
        return None
    if keys[first.program_id_index] != programs.SYSTEM or indexes[0] >= len(keys):
        return None
    if not _is_writable_by_header(message, indexes[0]):
        return None
    return keys[indexes[0]], first


def _is_writable_by_header(message: AnyMessage, index: int) -> bool:
    header = message.header
    signed = header.num_required_signatures
    if index < signed:
        return index < signed - header.num_readonly_signed_accounts
    return index < len(message.account_keys) - header.num_readonly_unsigned_accounts


def read_nonce(account: Account | None) -> tuple[Pubkey, bytes] | None:
    """The (authority, stored nonce) of an initialized nonce account; None for anything else."""
    if account is None or account.owner != programs.SYSTEM or len(account.data) != _NONCE_LENGTH:
        return None
    data = account.data
    version, state = struct.unpack_from("<II", data, 0)
    return (Pubkey(data[8:40]), data[40:72]) if (version, state) == (1, 1) else None


def nonce_is_usable(message: AnyMessage, read: ReadAccount, next_nonce: bytes) -> Pubkey | None:
    """The nonce account if the message may run on it now: value stored, authority signs, not yet advanced."""
    found = nonce_account_of(message)
    if found is None:
        return None
    key, instruction = found
    stored = read_nonce(read(key))
    if stored is None:
        return None
    authority, value = stored
    if value != bytes(message.recent_blockhash) or value == next_nonce:
        return None
    keys = message.account_keys
    signers = message.header.num_required_signatures
    signed = any(keys[i] == authority for i in bytes(instruction.accounts) if i < signers)
    return key if signed else None


def next_durable_nonce(blockhash: bytes) -> bytes:
    """The nonce value that stands for a blockhash: sha256("DURABLE_NONCE" + blockhash)."""
    return hashlib.sha256(b"DURABLE_NONCE" + blockhash).digest()


def with_nonce(account: Account, value: bytes) -> Account:
    """The nonce account with another stored value."""
    data = bytes(account.data)
    changed = data[:40] + value + data[72:]
    return Account(account.lamports, changed, account.owner, account.executable, account.rent_epoch)


def signatures_are_valid(transaction: VersionedTransaction) -> bool:
    """Check every signature of a transaction; a wrong number of signatures is invalid."""
    if len(transaction.signatures) != transaction.message.header.num_required_signatures:
        return False
    return all(transaction.verify_with_results())
