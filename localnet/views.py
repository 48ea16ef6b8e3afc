"""The chain as it stands at one commitment: what a validator calls a bank.

Owns: reading accounts as of a slot. LiteSVM keeps only the newest state, so an older account is found in
the journal: the first state *before* a write in any later slot, else the present one. Rules: a view is a
cheap value made per request and thrown away; it never changes the ledger (a simulation at an older view
puts everything back). Must not know: JSON-RPC.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solders.account import Account
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from . import programs
from .blocks import TransactionErrorJson
from .execution import next_durable_nonce, nonce_is_usable, resolve_accounts
from .svm import Execution

if TYPE_CHECKING:
    from solders.hash import Hash

    from .ledger import Ledger

MAX_BLOCKHASH_AGE = 150


@dataclass(frozen=True, slots=True)
class View:
    """One slot of the current fork. `blockhash` is the newest known there, of height `blockhash_height`."""

    ledger: Ledger
    slot: int
    height: int
    blockhash: str
    blockhash_height: int
    epoch: int
    time_s: int

    @property
    def last_valid_block_height(self) -> int:
        """The height that `getLatestBlockhash` promises its blockhash to be valid for: 150 blocks on."""
        return self.blockhash_height + MAX_BLOCKHASH_AGE

    def account(self, key: Pubkey) -> Account | None:
        """Read an account as of this view; None when it did not exist."""
        if key == programs.SYSVAR_CLOCK:
            return self._clock()
        return self.ledger.account_at(key, self.slot)

    def _clock(self) -> Account | None:
        """The clock of this view's slot: it is set, not written by a transaction, so no journal has it."""
        account = self.ledger.svm.account(programs.SYSVAR_CLOCK)
        if account is None:
            return None
        # slot, start of the epoch, epoch, epoch of the leader schedule, time
        start_s, epoch, leader_epoch = struct.unpack_from("<qQQ", account.data, 8)
        packed = struct.pack("<QqQQq", self.slot, start_s, epoch, leader_epoch, self.time_s)
        return Account(account.lamports, packed, account.owner, False, account.rent_epoch)

    def balance(self, key: Pubkey) -> int:
        """Read a balance in lamports as of this view."""
        account = self.account(key)
        return 0 if account is None else account.lamports

    def program_accounts(self, program: Pubkey) -> list[tuple[Pubkey, Account]]:
        """Every account that a program owned at this view, by address."""
        ledger = self.ledger
        later = ledger.keys_written_after(self.slot)
        if program in programs.BOOT_OWNERS:
            keys = {key for key, _ in ledger.svm.owned_by(program)} | later
        else:
            keys = ledger.index.by_program.get(program, set()) | later
        return self._select(keys, program)

    def token_accounts(self, program: Pubkey, *, owner: Pubkey | None, mint: Pubkey | None) -> list[Pubkey]:
        """Candidates for the token accounts of an owner and/or a mint; the caller checks their contents."""
        ledger = self.ledger
        index = ledger.index
        if owner is not None:
            keys = index.by_token_owner.get(bytes(owner), set())
        elif mint is not None:
            keys = index.by_mint.get(bytes(mint), set())
        else:
            keys = index.by_program.get(program, set())
        return sorted(keys | ledger.keys_written_after(self.slot), key=bytes)

    def _select(self, keys: set[Pubkey], program: Pubkey) -> list[tuple[Pubkey, Account]]:
        found = []
        for key in sorted(keys, key=bytes):
            account = self.account(key)
            if account is not None and account.owner == program:
                found.append((key, account))
        return found

    def knows_blockhash(self, blockhash: Hash) -> bool:
        """Whether a transaction with this blockhash is young enough here: at most 150 blocks."""
        height = self.ledger.height_of(blockhash)
        return height is not None and 0 <= self.blockhash_height - height <= MAX_BLOCKHASH_AGE

    def refusal(self, transaction: VersionedTransaction) -> TransactionErrorJson | None:
        """Why the transaction could not be in a block here, before running it; None when it could."""
        message = transaction.message
        if not self.knows_blockhash(message.recent_blockhash):
            next_nonce = next_durable_nonce(self.ledger.blockhash_bytes(self.blockhash))
            if nonce_is_usable(message, self.account, next_nonce) is None:
                return "BlockhashNotFound"
        known = self.ledger.transaction(str(transaction.signatures[0]))
        # A validator remembers messages: one whose blockhash was replaced for a simulation is another one.
        if known is not None and known.slot <= self.slot and known.transaction.message == message:
            return "AlreadyProcessed"
        return None

    def simulate(self, transaction: VersionedTransaction) -> Execution:
        """Run a transaction on the state of this view and keep nothing.

        The clock stays that of the open slot; accounts are those of the view.
        """
        ledger = self.ledger
        svm = ledger.svm
        if self.slot == ledger.open.slot:
            return svm.simulate(transaction)
        tables = getattr(transaction.message, "address_table_lookups", ())
        keys = {*resolve_accounts(transaction.message, self.account).keys, *(t.account_key for t in tables)}
        displaced = {key: svm.account(key) for key in keys if ledger.is_written_after(key, self.slot)}
        try:
            for key in displaced:
                svm.write(key, self.account(key))
            return svm.simulate(transaction)
        finally:
            for key, account in displaced.items():
                svm.write(key, account)
