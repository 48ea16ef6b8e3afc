"""The values that go into the database and come out of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One command with what came of it, chained to all before it by its hash."""

    sequence: int
    command: bytes
    outcome: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """The whole state after `sequence` commands; `hash` is the journal's at that point."""

    sequence: int
    hash: bytes
    state_hash: str
    state: bytes


@dataclass(frozen=True, slots=True)
class DepositRow:
    """One credit on chain and what became of it."""

    key: str
    signature: str
    account: str
    mint: str
    symbol: str
    subaccount: str
    address: str
    units: int
    sender: str
    slot: int
    blockhash: str
    block_time: int | None
    status: str
    sequence: int | None = None
    receipt: bytes | None = None


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """Something seen on chain that is no deposit and that somebody may ask about."""

    slot: int
    kind: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class PayoutRow:
    """Money owed to a destination on chain: reserved by the engine, paid by the payer, settled once."""

    id: str
    kind: str
    subaccount: str
    symbol: str
    units: int
    destination: str
    reserved_sequence: int
    deposit_key: str | None = None
    state: str = "requested"
    record: bytes | None = None
    signature: str | None = None
    settled_sequence: int | None = None


@dataclass(frozen=True, slots=True)
class TradeRow:
    """Base changed hands in a market: the event's place in the journal, who bought and sold, the event."""

    sequence: int
    number: int
    time_ns: int
    market: str
    kind: str
    buyer: str
    seller: str
    event: bytes


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One epoch of the proof of solvency: fixed for ever by its hash, then signed, then published."""

    epoch: int
    hash: bytes
    previous: bytes
    header: bytes
    signature: bytes | None = None
    publication: str | None = None


@dataclass(slots=True)
class Batch:
    """Everything that one transaction makes durable together."""

    journal: list[JournalRow] = field(default_factory=list)
    deposits: list[DepositRow] = field(default_factory=list)
    deposit_status: list[tuple[str, str, int | None, bytes | None]] = field(default_factory=list)
    voided: list[str] = field(default_factory=list)
    notices: list[NoticeRow] = field(default_factory=list)
    payouts: list[PayoutRow] = field(default_factory=list)
    settled: list[tuple[str, int]] = field(default_factory=list)
    returned: list[tuple[str, int]] = field(default_factory=list)  # payouts that sent a deposit back
    addresses: list[tuple[str, str]] = field(default_factory=list)
    trades: list[TradeRow] = field(default_factory=list)
    meta: list[tuple[str, bytes]] = field(default_factory=list)
    epochs: list[EpochRow] = field(default_factory=list)
    sealed: list[tuple[int, bytes, str]] = field(default_factory=list)  # epoch, signature, publication
    checkpoint: tuple[int, str] | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)
