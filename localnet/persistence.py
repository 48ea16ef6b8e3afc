"""Writes a whole ledger into a file and reads it back: accounts, blocks, statuses, journals, clock.

Owns: the file format: 8 bytes of mark and version, then zstandard-compressed MessagePack. Rules: a
restored ledger answers as the saved one did, down to unfinalized views and forks; a file of another
version is refused, never guessed at. Must not know: JSON-RPC, threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard
from solders.account import Account
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from .blocks import Block, InnerInstruction, TokenBalance, TransactionErrorJson, TransactionRecord
from .ledger import Ledger

FORMAT_VERSION: Final = 1
_MARK: Final = b"MWLEDGR" + bytes([FORMAT_VERSION])


class SavedLedgerError(ValueError):
    """A file that is no saved ledger, is damaged, or is of another version."""


class _SavedAccount(msgspec.Struct, array_like=True, frozen=True):
    key: bytes
    lamports: int
    data: bytes
    owner: bytes
    executable: bool
    rent_epoch: int


class _SavedTransaction(msgspec.Struct, array_like=True, frozen=True):
    wire: bytes
    slot: int
    index: int
    account_keys: bytes
    static_count: int
    loaded_writable_count: int
    writable_keys: bytes
    err: TransactionErrorJson | None
    fee_lamports: int
    logs: tuple[str, ...]
    inner_instructions: tuple[tuple[int, tuple[InnerInstruction, ...]], ...]
    pre_balances: tuple[int, ...]
    post_balances: tuple[int, ...]
    pre_token_balances: tuple[TokenBalance, ...]
    post_token_balances: tuple[TokenBalance, ...]
    return_data: tuple[str, bytes] | None
    compute_units_consumed: int
    cost_units: int
    compute_unit_price: int
    memo: str | None


class _SavedBlock(msgspec.Struct, array_like=True, frozen=True):
    slot: int
    parent_slot: int
    height: int
    blockhash: str
    previous_blockhash: str
    time_s: int
    transactions: list[_SavedTransaction]
    written: list[_SavedAccount]
    created: list[bytes]  # accounts of `written` that did not exist before


class SavedClock(msgspec.Struct, array_like=True, frozen=True):
    """The time of a saved ledger: see `localnet.clock`."""

    genesis_s: int
    offset_s: int


class _SavedLedger(msgspec.Struct, frozen=True):
    seed: bytes
    clock: SavedClock
    confirmed_lag: int
    finality_lag: int
    confirmed: int
    root: int
    transaction_count: int
    chain: list[_SavedBlock]
    open: _SavedBlock
    accounts: list[_SavedAccount]


def save(ledger: Ledger, clock: SavedClock, path: Path) -> None:
    """Write a ledger to a file; the old file stays until the new one is complete."""
    saved = _SavedLedger(
        seed=ledger.seed,
        clock=clock,
        confirmed_lag=ledger.confirmed_lag,
        finality_lag=ledger.finality_lag,
        confirmed=ledger.chain.index(ledger.view_block("confirmed")),
        root=ledger.chain.index(ledger.view_block("finalized")),
        transaction_count=ledger.transaction_count,
        chain=[_pack_block(block) for block in ledger.chain],
        open=_pack_block(ledger.open),
        accounts=_pack_accounts(
            (key, account)
            for key in ledger.index.all_keys()
            if (account := ledger.svm.account(key)) is not None
        ),
    )
    packed = zstandard.ZstdCompressor(level=3).compress(msgspec.msgpack.encode(saved))
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        file.write(_MARK + packed)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def read_clock(path: Path) -> SavedClock:
    """The clock of a saved ledger. Raises SavedLedgerError."""
    return _read(path).clock


def restore(ledger: Ledger, path: Path) -> None:
    """Turn `ledger` into the saved one; listeners stay. Raises SavedLedgerError, changing nothing then."""
    saved = _read(path)
    chain = [_unpack_block(block) for block in saved.chain]
    open_slot = _unpack_block(saved.open)
    accounts = [_unpack_account(account) for account in saved.accounts]
    # program data before the programs that point at it
    accounts.sort(key=lambda entry: entry[1].executable)
    ledger.become(
        seed=saved.seed,
        lags=(saved.confirmed_lag, saved.finality_lag),
        positions=(saved.confirmed, saved.root),
        transaction_count=saved.transaction_count,
        chain=chain,
        open_slot=open_slot,
        accounts=accounts,
    )


def _read(path: Path) -> _SavedLedger:
    content = path.read_bytes()
    if content[:7] != _MARK[:7]:
        raise SavedLedgerError(f"{path} is not a saved ledger")
    if content[:8] != _MARK:
        raise SavedLedgerError(f"{path} has format version {content[7]}, this program reads {FORMAT_VERSION}")
    try:
        packed = zstandard.ZstdDecompressor().decompress(content[8:])
        return msgspec.msgpack.decode(packed, type=_SavedLedger)
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise SavedLedgerError(f"{path} is damaged: {error}") from None


def _pack_accounts(entries: Iterable[tuple[Pubkey, Account]]) -> list[_SavedAccount]:
    return [
        _SavedAccount(bytes(key), a.lamports, a.data, bytes(a.owner), a.executable, a.rent_epoch)
        for key, a in entries
    ]


def _unpack_account(saved: _SavedAccount) -> tuple[Pubkey, Account]:
    owner = Pubkey(saved.owner)
    return Pubkey(saved.key), Account(saved.lamports, saved.data, owner, saved.executable, saved.rent_epoch)


def _pack_block(block: Block) -> _SavedBlock:
    return _SavedBlock(
        block.slot,
        block.parent_slot,
        block.height,
        block.blockhash,
        block.previous_blockhash,
        block.time_s,
        [_pack_transaction(record) for record in block.transactions],
        _pack_accounts((key, account) for key, account in block.written.items() if account is not None),
        [bytes(key) for key, account in block.written.items() if account is None],
    )


def _unpack_block(saved: _SavedBlock) -> Block:
    written: dict[Pubkey, Account | None] = dict(map(_unpack_account, saved.written))
    written.update((Pubkey(key), None) for key in saved.created)
    return Block(
        saved.slot,
        saved.parent_slot,
        saved.height,
        saved.blockhash,
        saved.previous_blockhash,
        saved.time_s,
        [_unpack_transaction(record) for record in saved.transactions],
        written,
    )


_SHARED_FIELDS: Final = tuple(
    name
    for name in _SavedTransaction.__struct_fields__
    if name not in ("wire", "account_keys", "writable_keys")
)


def _pack_transaction(record: TransactionRecord) -> _SavedTransaction:
    shared: dict[str, Any] = {name: getattr(record, name) for name in _SHARED_FIELDS}
    return _SavedTransaction(
        wire=bytes(record.transaction),
        account_keys=b"".join(map(bytes, record.account_keys)),
        writable_keys=b"".join(map(bytes, record.writable_keys)),
        **shared,
    )


def _unpack_transaction(saved: _SavedTransaction) -> TransactionRecord:
    shared: dict[str, Any] = {name: getattr(saved, name) for name in _SHARED_FIELDS}
    transaction = VersionedTransaction.from_bytes(saved.wire)
    return TransactionRecord(
        transaction=transaction,
        signature=str(transaction.signatures[0]),
        account_keys=_unpack_keys(saved.account_keys),
        writable_keys=_unpack_keys(saved.writable_keys),
        **shared,
    )


def _unpack_keys(packed: bytes) -> tuple[Pubkey, ...]:
    return tuple(Pubkey(packed[i : i + 32]) for i in range(0, len(packed), 32))
