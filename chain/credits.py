"""What scanning finds, as values, and when a block may follow the checkpoint (D2, D4).

Owns the forms that leave the chain side: credits, notices, scanned blocks, checkpoints. Pure values; must
not know how they were found.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

NATIVE_MINT_IN_KEYS: Final = "SOL"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The last block whose credits are committed."""

    slot: int
    blockhash: str


@dataclass(frozen=True, slots=True)
class Credit:
    """Units that arrived for a deposit address; `key` is unique for ever (D4)."""

    signature: str
    slot: int
    blockhash: str
    account: str
    address: str
    mint: str | None
    symbol: str
    units: int
    sender: str | None
    block_time: int | None

    @property
    def key(self) -> str:
        """Return signature:account:mint, with SOL as the mint of native lamports."""
        return f"{self.signature}:{self.account}:{self.mint or NATIVE_MINT_IN_KEYS}"


class NoticeKind(enum.StrEnum):
    """What happened to a watched account that is not a credit."""

    DUST = "dust"
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - not a secret
    UNDERIVED_ACCOUNT = "underived_account"
    MISDIRECTED_LAMPORTS = "misdirected_lamports"
    OWN_TRANSACTION = "own_transaction"
    ACCOUNT_TOUCHED = "account_touched"
    NEGATIVE_DIFFERENCE = "negative_difference"
    OWNER_CHANGED = "owner_changed"
    FROZEN = "frozen"


_ALARMS: Final = frozenset({NoticeKind.NEGATIVE_DIFFERENCE, NoticeKind.OWNER_CHANGED, NoticeKind.FROZEN})


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an operator may want to know; `units` is signed, in units of `mint` (lamports if None)."""

    kind: NoticeKind
    slot: int
    signature: str
    account: str
    address: str
    mint: str | None
    units: int
    detail: str

    @property
    def is_alarm(self) -> bool:
        """Say whether a person must look: money left or became unreachable without our signature."""
        return self.kind in _ALARMS


@dataclass(frozen=True, slots=True)
class ScannedBlock:
    """All that one block means to us."""

    slot: int
    blockhash: str
    parent_slot: int
    previous_blockhash: str
    block_time: int | None
    credits: tuple[Credit, ...]
    notices: tuple[Notice, ...]
    transactions: int
    signatures_digest: bytes = b""  # of all transactions, to compare with another node's list

    @property
    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint that holds once this block's credits are committed."""
        return Checkpoint(self.slot, self.blockhash)


class Link(enum.Enum):
    """How a block relates to the checkpoint."""

    NEXT = "next"
    GAP = "gap"  # blocks between the checkpoint and this one were not shown to us
    CONTRADICTION = "contradiction"  # it does not descend from the checkpoint


def link_of(checkpoint: Checkpoint, block: ScannedBlock) -> Link:
    """Say whether a block may follow the checkpoint; only NEXT may (D2).

    NEXT is proof by parent link: parentSlot and previousBlockhash are the checkpoint. A larger parentSlot
    is a GAP, whatever a node says about skipped slots. Everything else is a CONTRADICTION.
    """
    if block.parent_slot == checkpoint.slot and block.previous_blockhash == checkpoint.blockhash:
        return Link.NEXT
    return Link.GAP if block.parent_slot > checkpoint.slot else Link.CONTRADICTION
