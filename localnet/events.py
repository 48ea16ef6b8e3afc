"""What the ledger tells its listeners.

Owns: the event types that `Ledger.subscribe` delivers. Rules: events are facts, sent after the ledger is
consistent again, in the order in which a validator would notify, synchronously and on the ledger's own
thread. A listener must return at once, must not raise and must not change the ledger from inside the
call. Must not know: sockets, JSON, subscriptions.

Order within one slot: `SignatureReceived`* and `TransactionProcessed`* while the slot is open, then
`BlockProduced`, then `SlotConfirmed`/`SlotRooted` of the older slots that reached their depth, then
`SlotOpened` of the next slot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .blocks import Block, TransactionRecord


@dataclass(frozen=True, slots=True)
class SlotOpened:
    """A slot began and takes transactions: what `slotSubscribe` reports as {slot, parent, root}."""

    slot: int
    parent: int
    root: int


@dataclass(frozen=True, slots=True)
class SignatureReceived:
    """`sendTransaction` took a transaction, before it was executed (`receivedSignature`)."""

    signature: str
    slot: int


@dataclass(frozen=True, slots=True)
class TransactionProcessed:
    """A transaction was executed in the open slot (it may have failed: `transaction.err`).

    `transaction.writable_keys` are the accounts it may have changed: `Ledger.account_at(key, slot)` reads
    them.
    """

    slot: int
    transaction: TransactionRecord


@dataclass(frozen=True, slots=True)
class AccountOverwritten:
    """An account was set by hand (`set_account`, cheat codes), not by a transaction."""

    slot: int
    address: str


@dataclass(frozen=True, slots=True)
class BlockProduced:
    """The open slot was closed with a block; it is the tip at `processed` now."""

    slot: int
    block: Block


@dataclass(frozen=True, slots=True)
class SlotSkipped:
    """A slot passed without a block."""

    slot: int


@dataclass(frozen=True, slots=True)
class SlotConfirmed:
    """A block reached the `confirmed` depth. `block.written` are the accounts written in it."""

    slot: int
    block: Block


@dataclass(frozen=True, slots=True)
class SlotRooted:
    """A block reached the `finalized` depth and can never be dropped: what `rootSubscribe` reports.

    Sent while the views at this slot can still be read.
    """

    slot: int
    block: Block


@dataclass(frozen=True, slots=True)
class ForkAbandoned:
    """Blocks were dropped and the state rolled back to `parent`; `blocks` are the dropped ones, oldest first.

    The open slot's transactions, if any, were dropped with them and are in `open_transactions`.
    """

    parent: int
    blocks: tuple[Block, ...]
    open_transactions: tuple[TransactionRecord, ...]


Event: TypeAlias = (
    SlotOpened
    | SignatureReceived
    | TransactionProcessed
    | AccountOverwritten
    | BlockProduced
    | SlotSkipped
    | SlotConfirmed
    | SlotRooted
    | ForkAbandoned
)
Listener: TypeAlias = Callable[[Event], None]
