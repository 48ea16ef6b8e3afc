"""The one door to LiteSVM: executes transactions, reads and writes accounts, sets the sysvars of a slot.

Owns: the `LiteSVM` object and every quirk of it. Rules: signatures, blockhash age and duplicates are
checked by the ledger (LiteSVM knows one blockhash and no forks), so its own checks are off; whatever a
validator does on a failed transaction and LiteSVM does not (charge the fee when a program cannot be
loaded, advance a durable nonce) is done by the ledger with `write`. Must not know: blocks, commitments,
JSON-RPC.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
from solders.account import Account
from solders.clock import Clock
from solders.epoch_schedule import EpochSchedule
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.message import MessageV1
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import (
    FailedTransactionMetadata,
    SimulatedTransactionInfo,
    TransactionMetadata,
)

from . import programs
from .blocks import InnerInstruction, TransactionErrorJson

SLOTS_PER_EPOCH: Final = 432_000
LAMPORTS_PER_SIGNATURE: Final = 5_000
_NOWHERE: Final = Account(0, b"", programs.SYSTEM)
_NO_SIGNATURE: Final = Signature.default()


@dataclass(frozen=True, slots=True)
class Execution:
    """What a transaction did. `included` is False when a validator would not have put it into a block."""

    err: TransactionErrorJson | None
    included: bool
    fee_lamports: int
    logs: tuple[str, ...]
    inner_instructions: tuple[tuple[int, tuple[InnerInstruction, ...]], ...]
    compute_units_consumed: int
    return_data: tuple[str, bytes] | None
    # only from `simulate`
    post_accounts: dict[Pubkey, Account] | None = None


_UNPAID: Final = Execution("InsufficientFundsForFee", False, 0, (), (), 0, None)


class Svm:
    """A LiteSVM with SPL Token, Token-2022, ATA and Memo, and no opinion of its own on age or duplicates."""

    def __init__(self) -> None:
        self.epoch_schedule = EpochSchedule.custom(SLOTS_PER_EPOCH, SLOTS_PER_EPOCH, False)
        self._svm = (
            LiteSVM()
            .with_blockhash_check(False)
            .with_sigverify(False)
            .with_transaction_history(0)
            # validators cut logs at 10,000 bytes; LiteSVM's default is the same, stated because it is visible
            .with_log_bytes_limit(10_000)
        )
        self._svm.set_epoch_schedule(self.epoch_schedule)
        self.time_s = 0  # of the open slot
        # LiteSVM's own faucet: this cluster has another, and the supply must be what the accounts hold
        self.write(self._svm.airdrop_pubkey(), None)

    def account(self, key: Pubkey) -> Account | None:
        """Read an account; None when it does not exist."""
        return self._svm.get_account(key)

    def balance(self, key: Pubkey) -> int:
        """Read a balance in lamports; 0 when the account does not exist."""
        return self._svm.get_balance(key) or 0

    def write(self, key: Pubkey, account: Account | None) -> None:
        """Overwrite an account; None removes it."""
        self._svm.set_account(key, _NOWHERE if account is None else account)

    def owned_by(self, program: Pubkey) -> list[tuple[Pubkey, Account]]:
        """Every account of a program, by a scan in Rust."""
        return self._svm.get_program_accounts(program)

    def rent_exempt_lamports(self, data_length: int) -> int:
        """The balance that makes an account of `data_length` bytes rent-exempt."""
        return self._svm.minimum_balance_for_rent_exemption(data_length)

    def add_program(self, program: Pubkey, elf: bytes) -> None:
        """Load an SBF program at an address."""
        self._svm.add_program(program, elf)

    def execute(self, transaction: VersionedTransaction) -> Execution:
        """Run a transaction and keep its changes; a failed one keeps only the fee."""
        bid = _v1_priority_fee(transaction)
        if not bid:
            return _execution(self._svm.send_transaction(transaction))
        payer = transaction.message.account_keys[0]
        before = self.account(payer)
        if not self._take(payer, before, bid):
            return _UNPAID
        result = _execution(self._svm.send_transaction(transaction))
        if not result.included:
            self.write(payer, before)
        return replace(result, fee_lamports=result.fee_lamports + bid)

    def simulate(self, transaction: VersionedTransaction) -> Execution:
        """Run a transaction and keep nothing."""
        bid = _v1_priority_fee(transaction)
        if not bid:
            return self._simulate(transaction)
        payer = transaction.message.account_keys[0]
        before = self.account(payer)
        if not self._take(payer, before, bid):
            return _UNPAID
        try:
            result = self._simulate(transaction)
        finally:
            self.write(payer, before)
        return replace(result, fee_lamports=result.fee_lamports + bid)

    def _take(self, payer: Pubkey, account: Account | None, lamports: int) -> bool:
        """Take a v1 transaction's priority fee, which this LiteSVM does not know, before it runs."""
        if account is None or account.lamports <= lamports:
            return False
        rest = account.lamports - lamports
        self.write(payer, Account(rest, account.data, account.owner, False, account.rent_epoch))
        return True

    def _simulate(self, transaction: VersionedTransaction) -> Execution:
        result = self._svm.simulate_transaction(transaction)
        if isinstance(result, SimulatedTransactionInfo):
            return _execution(result.meta(), dict(result.post_accounts()))
        return _execution(result)

    def open_slot(self, slot: int, time_s: int, epoch_start_s: int) -> int:
        """Set the clock to a slot; returns the epoch."""
        epoch: int = self.epoch_schedule.get_epoch(slot)
        leader_epoch = self.epoch_schedule.get_leader_schedule_epoch(slot)
        self.time_s = time_s
        self._svm.set_clock(Clock(slot, epoch_start_s, epoch, leader_epoch, time_s))
        return epoch

    def set_recent_hashes(self, newest_first: Sequence[tuple[int, bytes]]) -> None:
        """Set the SlotHashes (512) and RecentBlockhashes (150) sysvars from (slot, hash) pairs."""
        slot_hashes = newest_first[:512]
        data = struct.pack("<Q", len(slot_hashes)) + b"".join(
            struct.pack("<Q", slot) + digest for slot, digest in slot_hashes
        )
        self._write_sysvar(programs.SYSVAR_SLOT_HASHES, data.ljust(20_488, b"\0"))
        recent = newest_first[:150]
        fee = struct.pack("<Q", LAMPORTS_PER_SIGNATURE)
        data = struct.pack("<Q", len(recent)) + b"".join(digest + fee for _, digest in recent)
        self._write_sysvar(programs.SYSVAR_RECENT_BLOCKHASHES, data.ljust(6_008, b"\0"))

    def _write_sysvar(self, key: Pubkey, data: bytes) -> None:
        lamports = self.rent_exempt_lamports(len(data))
        self._svm.set_account(key, Account(lamports, data, programs.SYSVAR_OWNER))

    def boot_accounts(self, owners: Iterable[Pubkey]) -> list[Pubkey]:
        """The addresses of all accounts of these owners."""
        return [key for owner in owners for key, _ in self._svm.get_program_accounts(owner)]


def _v1_priority_fee(transaction: VersionedTransaction) -> int:
    """The lamports that a v1 message bids beside the signature fee."""
    message = transaction.message
    return (message.config.priority_fee or 0) if isinstance(message, MessageV1) else 0


def hash_bytes(text: str) -> bytes:
    """The 32 bytes of a base58 hash."""
    return bytes(Hash.from_string(text))


def _execution(
    result: TransactionMetadata | FailedTransactionMetadata,
    post_accounts: dict[Pubkey, Account] | None = None,
) -> Execution:
    err: TransactionErrorJson | None = None
    included = True
    if isinstance(result, FailedTransactionMetadata):
        # solders' own serialization is serde's, so the error is byte for byte what a validator prints
        err = msgspec.json.decode(result.to_json())["err"]
        meta = result.meta()
        # LiteSVM leaves the signature empty when it refused before executing
        included = meta.signature() != _NO_SIGNATURE
    else:
        meta = result
    returned = meta.return_data()
    data = bytes(returned.data)
    return Execution(
        err=err,
        included=included,
        fee_lamports=meta.fee(),
        logs=tuple(meta.logs()),
        inner_instructions=_inner_instructions(meta),
        compute_units_consumed=meta.compute_units_consumed(),
        return_data=(str(returned.program_id), data) if data else None,
        post_accounts=post_accounts,
    )


def _inner_instructions(meta: TransactionMetadata) -> tuple[tuple[int, tuple[InnerInstruction, ...]], ...]:
    groups = []
    for index, group in enumerate(meta.inner_instructions()):
        if group:
            inner = []
            for item in group:
                compiled = item.instruction()
                inner.append(
                    InnerInstruction(
                        compiled.program_id_index,
                        bytes(compiled.accounts),
                        bytes(compiled.data),
                        item.stack_height(),
                    )
                )
            groups.append((index, tuple(inner)))
    return tuple(groups)
