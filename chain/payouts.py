"""What stands around a payer: its store, its options, its alarms, an operator's rulings.

Owns: the values and the protocol that callers of `payer` need. Must not know: how paying works.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chain.submission import PayoutEvent, PayoutRecord


class PayoutStore(Protocol):
    """Where payouts are kept; the only memory a payer has across crashes."""

    def load_open(self) -> list[PayoutRecord]:
        """Return every record that is not finalized or failed, oldest first."""
        ...

    def load(self, payout_id: str) -> PayoutRecord | None:
        """Return the record of an id, finished ones too: an id is never paid twice."""
        ...

    async def save(self, record: PayoutRecord) -> None:
        """Replace the record of that id; when this returns, a power cut does not undo it."""
        ...


@dataclass(frozen=True, slots=True)
class PayerOptions:
    """How a payer behaves. `low_float_units` is per symbol: below it an alarm asks for a refill (W7)."""

    interval_s: float = 1.5
    request_timeout_s: float = 5.0
    longest_retry_s: float = 30.0
    prepare_at_once: int = 8
    largest_priority_fee_lamports: int = 200_000
    simulations_at_most: int = 5
    attempts_at_most: int = 10
    skip_preflight: bool = False
    allow_single_endpoint_expiry: bool = False
    single_endpoint_gap_blocks: int = 32
    low_float_units: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("interval_s", "request_timeout_s", "longest_retry_s", "prepare_at_once"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("simulations_at_most", "attempts_at_most", "single_endpoint_gap_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.largest_priority_fee_lamports < 0:
            raise ValueError("largest_priority_fee_lamports cannot be negative")


class AlarmKind(enum.StrEnum):
    """What an operator should hear of."""

    HOT_WALLET_LOW = "hot_wallet_low"
    FLOAT_LOW = "float_low"
    PREPARING = "preparing"
    WATCHING = "watching"
    ENDPOINT = "endpoint"
    REORGANIZED = "reorganized"
    MANUAL_REVIEW = "manual_review"


@dataclass(frozen=True, slots=True)
class Alarm:
    """About a payout (its id), an endpoint (its name) or a symbol; repeated only when the text changes."""

    kind: AlarmKind
    about: str
    text: str


class AlarmBoard:
    """Alarms that are on; each is told once, and again only with another text or after it was calm."""

    def __init__(self, tell: Callable[[Alarm], None] | None = None) -> None:
        self._tell = tell
        self._on: dict[tuple[AlarmKind, str], str] = {}

    def raise_(self, kind: AlarmKind, about: str, text: str) -> None:
        """Turn an alarm on."""
        if self._on.get((kind, about)) != text:
            self._on[kind, about] = text
            if self._tell is not None:
                self._tell(Alarm(kind, about, text))

    def calm(self, kind: AlarmKind, about: str) -> None:
        """Turn an alarm off."""
        self._on.pop((kind, about), None)


class Ruling(enum.Enum):
    """What an operator can decide about a payout in manual review."""

    LANDED = PayoutEvent.RULE_LANDED
    FAILED = PayoutEvent.RULE_FAILED
    WATCH_AGAIN = PayoutEvent.RULE_WATCH_AGAIN
    START_AGAIN = PayoutEvent.RULE_START_AGAIN

    @property
    def event(self) -> PayoutEvent:
        """The step of the table that carries the ruling out."""
        return self.value
