"""Blocks and transactions as the ledger keeps them.

Owns: `TransactionRecord` (one executed transaction with everything needed to print its metadata) and
`Block`. Rules: a record is written once, when the transaction has been executed; nothing here is JSON.
Must not know: JSON-RPC, sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from solders.account import Account
    from solders.pubkey import Pubkey
    from solders.transaction import VersionedTransaction

# {"InstructionError": [0, {"Custom": 1}]}, "AccountNotFound", ...: the exact JSON of a TransactionError
TransactionErrorJson = str | dict[str, object]


@dataclass(frozen=True, slots=True)
class TokenBalance:
    """A token balance of one account of a transaction, before or after it."""

    account_index: int
    mint: str
    owner: str
    program_id: str
    amount_units: int
    decimals: int
    # what the mint multiplies amounts by for display
    multiplier: float = 1.0


@dataclass(frozen=True, slots=True)
class InnerInstruction:
    """An instruction called by a program: indices into the record's `account_keys`."""

    program_id_index: int
    accounts: bytes
    data: bytes
    stack_height: int | None


@dataclass(slots=True)
class TransactionRecord:
    """One executed transaction.

    `account_keys` are the static keys, then the loaded writable, then the loaded readonly ones.
    """

    transaction: VersionedTransaction
    signature: str
    slot: int
    index: int
    account_keys: tuple[Pubkey, ...]
    static_count: int
    loaded_writable_count: int
    writable_keys: tuple[Pubkey, ...]
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
    # what it bid per compute unit, in micro-lamports; 0 without a bid
    compute_unit_price: int = 0
    memo: str | None = None


@dataclass(slots=True)
class Block:
    """A block, or the open slot. `written`: accounts written in it, as they were before (None: absent)."""

    slot: int
    parent_slot: int
    height: int
    blockhash: str
    previous_blockhash: str
    time_s: int
    transactions: list[TransactionRecord] = field(default_factory=list)
    # emptied when a later block is rooted: the past of a rooted slot is never needed again
    written: dict[Pubkey, Account | None] = field(default_factory=dict)
    _lowest_bids: tuple[int, dict[Pubkey, int]] | None = None

    def lowest_bids(self) -> tuple[int, dict[Pubkey, int]]:
        """The least compute unit price in the block, and to write each account; for a closed block only.

        Kept, because fee estimators ask for the last 150 blocks again and again. Accounts of a bid of 0
        are left out.
        """
        if self._lowest_bids is None:
            prices = [record.compute_unit_price for record in self.transactions]
            by_account: dict[Pubkey, int] = {}
            if any(prices):
                for record in self.transactions:
                    for key in record.writable_keys:
                        by_account[key] = min(
                            by_account.get(key, record.compute_unit_price), record.compute_unit_price
                        )
            self._lowest_bids = (min(prices, default=0), {k: bid for k, bid in by_account.items() if bid})
        return self._lowest_bids
