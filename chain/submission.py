"""Life of a payout, from request to a final statement: pure data and pure decisions.

Owns: the records of payouts and their attempts, and the table of transitions. What is decided from what
endpoints say is in `evidence`. Must not know: sockets, clocks, keys, stores.

Theory of operation
-------------------
A transaction on Solana is bytes with a signature. Whoever holds the bytes can send them, any number of times,
and they land at most once, until the chain is more than ~150 blocks past their blockhash. Three facts follow,
and the rest is their consequence:

1. Before the first send, everything needed to recognize the bytes is durable (signature, last valid height,
   the bytes). After a crash the SAME bytes are sent again: a second copy is a no-op.
2. New bytes for the same payout would be a second payment. They are signed only after the old bytes are
   provably dead, and "dead" is a statement about the chain, never about a clock or an error message: an
   endpoint's finalized height is past the last valid height, its ledger reaches back to before the signing,
   it no longer accepts the blockhash, and then, asked with its whole history, it does not know the
   signature. Two endpoints must say so. The old signature is remembered for ever and watched for.
3. "Landed" is as final as "dead" and asks for as many endpoints.

Whatever contradicts itself is not decided here: it goes to manual review, and the money stays reserved.

             reserve          sign           send          see_confirmed         see_finalized
  requested ---------> reserved -----> signed -----> sent ---------------> confirmed -----------> FINALIZED
      |  ^   release    |                ^             |  <---------------     |
      |  +--------------+                |             |   lose_confirmation   |   see_failed
      |                 |        sign    |  prove_dead |                       +--------------> FAILED
      | refuse          | refuse    +----+-- expired <-+
      +------> FAILED <-+-----------+
  every open state --- doubt ---> manual_review --- an operator rules ---> finalized, failed, or back again

`refuse` is open only where no living bytes exist (requested, reserved, expired). A failure with bytes is a
finalized error: it cost a fee, and it cannot land any more, because a signature is processed once.
Source: W1-W3.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, replace
from typing import Any

import msgspec

U64_MAX = 2**64 - 1
LONGEST_SENTENCE = 256  # what a command of the engine may carry as a text


class PayoutState(enum.StrEnum):
    """Where a payout is in its life (W1)."""

    REQUESTED = "requested"
    RESERVED = "reserved"
    SIGNED = "signed"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"
    FAILED = "failed"
    EXPIRED = "expired"
    MANUAL_REVIEW = "manual_review"


class PayoutEvent(enum.StrEnum):
    """What can happen to a payout; each is one durable step."""

    RESERVE = "reserve"
    RELEASE = "release"
    REFUSE = "refuse"
    SIGN = "sign"
    SEND = "send"
    SEE_CONFIRMED = "see_confirmed"
    LOSE_CONFIRMATION = "lose_confirmation"
    SEE_FINALIZED = "see_finalized"
    SEE_FAILED = "see_failed"
    PROVE_DEAD = "prove_dead"
    DOUBT = "doubt"
    RULE_LANDED = "rule_landed"
    RULE_FAILED = "rule_failed"
    RULE_WATCH_AGAIN = "rule_watch_again"
    RULE_START_AGAIN = "rule_start_again"


_S, _E = PayoutState, PayoutEvent

TRANSITIONS: dict[PayoutState, dict[PayoutEvent, PayoutState]] = {
    _S.REQUESTED: {
        _E.RESERVE: _S.RESERVED,
        _E.REFUSE: _S.FAILED,
        _E.DOUBT: _S.MANUAL_REVIEW,
    },
    _S.RESERVED: {
        _E.SIGN: _S.SIGNED,
        _E.RELEASE: _S.REQUESTED,
        _E.REFUSE: _S.FAILED,
        _E.DOUBT: _S.MANUAL_REVIEW,
    },
    # Signed bytes may have been sent by a life of this process that ended before it could say so: everything
    # that can be seen of a sent transaction can be seen of a signed one.
    _S.SIGNED: {
        _E.SEND: _S.SENT,
        _E.SEE_CONFIRMED: _S.CONFIRMED,
        _E.SEE_FINALIZED: _S.FINALIZED,
        _E.SEE_FAILED: _S.FAILED,
        _E.PROVE_DEAD: _S.EXPIRED,
        _E.DOUBT: _S.MANUAL_REVIEW,
    },
    _S.SENT: {
        _E.SEE_CONFIRMED: _S.CONFIRMED,
        _E.SEE_FINALIZED: _S.FINALIZED,
        _E.SEE_FAILED: _S.FAILED,
        _E.PROVE_DEAD: _S.EXPIRED,
        _E.DOUBT: _S.MANUAL_REVIEW,
    },
    # A confirmed transaction is never declared dead in one step: first the chain must be seen to have
    # dropped it.
    _S.CONFIRMED: {
        _E.LOSE_CONFIRMATION: _S.SENT,
        _E.SEE_FINALIZED: _S.FINALIZED,
        _E.SEE_FAILED: _S.FAILED,
        _E.DOUBT: _S.MANUAL_REVIEW,
    },
    _S.EXPIRED: {
        _E.SIGN: _S.SIGNED,
        _E.REFUSE: _S.FAILED,
        _E.DOUBT: _S.MANUAL_REVIEW,
    },
    _S.MANUAL_REVIEW: {
        _E.RULE_LANDED: _S.FINALIZED,
        _E.RULE_FAILED: _S.FAILED,
        _E.RULE_WATCH_AGAIN: _S.SENT,
        _E.RULE_START_AGAIN: _S.REQUESTED,
    },
    _S.FINALIZED: {},
    _S.FAILED: {},
}

START = _S.REQUESTED
FINAL_STATES = frozenset({_S.FINALIZED, _S.FAILED})
IN_FLIGHT_STATES = frozenset({_S.SIGNED, _S.SENT, _S.CONFIRMED})
# From reserve to the final statement the money of a payout counts against the hot wallet.
RESERVING_STATES = frozenset(_S) - FINAL_STATES - {_S.REQUESTED}


class IllegalTransition(Exception):
    """A step that the table does not have: our bug, never the chain's; says what was expected."""

    def __init__(self, record: PayoutRecord, event: PayoutEvent, why: str = "") -> None:
        allowed = ", ".join(TRANSITIONS[record.state]) or "nothing, the payout is over"
        reason = f"; {why}" if why else f"; expected one of: {allowed}"
        super().__init__(
            f"payout {record.id!r} is {record.state.value}: {event.value!r} is not possible{reason}"
        )
        self.state = record.state
        self.event = event


@dataclass(frozen=True, slots=True)
class PayoutRequest:
    """What is to be paid: `units` of `symbol` (lamports if `mint` is None) to the wallet `destination`.

    With a `note` nothing is paid: the transaction is a memo with this very text, 0 units, and costs its fee.
    """

    id: str
    symbol: str
    mint: str | None
    units: int
    destination: str
    allow_off_curve: bool = False  # the customer's explicit consent to an address without a private key
    note: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a payout needs an id: it is what makes paying it twice impossible")
        if self.note and (self.units or self.mint is not None):
            raise ValueError(f"payout {self.id!r}: a note pays nothing, not {self.units} units")
        if not self.note and not 0 < self.units <= U64_MAX:
            raise ValueError(
                f"payout {self.id!r}: {self.units} units of {self.symbol} cannot be paid; "
                f"the amount must be between 1 and {U64_MAX}"
            )

    @property
    def memo(self) -> str:
        """Text that makes the bytes of this payout its own: its note, else sha256 of the id, 32 hex digits.

        Two payouts of one amount to one wallet on one blockhash would otherwise be the same message with the
        same signature: one of them would land and both would look paid.
        """
        return self.note or hashlib.sha256(self.id.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One set of signed bytes. `signed_slot` is the slot at which an endpoint gave the blockhash."""

    number: int
    signature: str
    signed_bytes: bytes
    blockhash: str
    last_valid_block_height: int
    signed_slot: int


@dataclass(frozen=True, slots=True)
class PayoutRecord:
    """All that is known of a payout. Immutable; `advance` makes the next one."""

    request: PayoutRequest
    state: PayoutState = START
    attempts: tuple[Attempt, ...] = ()
    reserved_lamports: int = 0
    reserved_units: int = 0
    confirmed_slot: int | None = None
    finalized_slot: int | None = None
    network_fee_units: int = 0
    failure_code: str = ""
    failure: str = ""
    ruling: str = ""  # what an operator decided in manual review, and why

    def __post_init__(self) -> None:
        numbers = [attempt.number for attempt in self.attempts]
        if numbers != list(range(1, len(numbers) + 1)):
            raise ValueError(f"payout {self.id!r}: attempts are numbered {numbers}, not 1, 2, ...")
        if len({attempt.signature for attempt in self.attempts}) != len(numbers):
            raise ValueError(f"payout {self.id!r}: two attempts share one signature")
        if self.state in IN_FLIGHT_STATES | {_S.EXPIRED} and not self.attempts:
            raise ValueError(f"payout {self.id!r} is {self.state.value} but holds no signed bytes")
        if self.state in {_S.FAILED, _S.MANUAL_REVIEW} and not self.failure:
            raise ValueError(f"payout {self.id!r} is {self.state.value} but does not say why")

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def attempt(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def signature(self) -> str | None:
        return self.attempts[-1].signature if self.attempts else None

    @property
    def signed_bytes(self) -> bytes | None:
        return self.attempts[-1].signed_bytes if self.attempts else None

    @property
    def last_valid_block_height(self) -> int | None:
        return self.attempts[-1].last_valid_block_height if self.attempts else None

    @property
    def signatures(self) -> tuple[str, ...]:
        """Every signature this payout ever had, oldest first."""
        return tuple(attempt.signature for attempt in self.attempts)

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES


def advance(record: PayoutRecord, event: PayoutEvent, **changes: Any) -> PayoutRecord:
    """Return the record after `event`, with `changes` to its other fields.

    Raises IllegalTransition for a step the table does not have, for new bytes that reuse a signature, and for
    starting again after something was signed. Source: W1.
    """
    target = TRANSITIONS[record.state].get(event)
    if target is None:
        raise IllegalTransition(record, event)
    if event is _E.SIGN:
        added = changes.get("attempts", ())[len(record.attempts) :]
        if len(added) != 1 or changes["attempts"][:-1] != record.attempts:
            raise IllegalTransition(
                record, event, "expected the old attempts, unchanged, and exactly one new one"
            )
        if added[0].signature in record.signatures:
            raise IllegalTransition(
                record,
                event,
                f"the new bytes have the old signature {added[0].signature}; expected a new blockhash",
            )
    elif "attempts" in changes:
        raise IllegalTransition(record, event, "attempts change only by signing")
    if event is _E.RULE_START_AGAIN and record.attempts:
        raise IllegalTransition(
            record, event, "bytes were signed for it; expected rule_watch_again, rule_landed or rule_failed"
        )
    if event is _E.RULE_WATCH_AGAIN and not record.attempts:
        raise IllegalTransition(record, event, "nothing was ever signed for it; expected rule_start_again")
    return replace(record, state=target, **changes)


def plain_sentence(text: str) -> str:
    """Return `text` as printable ASCII of at most 256 characters; what does not fit ends in "..."."""
    plain = "".join(c if c.isprintable() else " " for c in text).encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= LONGEST_SENTENCE else plain[: LONGEST_SENTENCE - 3] + "..."


def encode_record(record: PayoutRecord) -> bytes:
    """Encode a record as JSON (bytes in base64) for a store."""
    return msgspec.json.encode(record)


def decode_record(data: bytes) -> PayoutRecord:
    """Decode what `encode_record` made. Raises ValueError if it is no consistent record."""
    try:
        return msgspec.json.decode(data, type=PayoutRecord)
    except msgspec.MsgspecError as error:
        raise ValueError(f"a stored payout cannot be read: {error}") from error
