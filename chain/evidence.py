"""What endpoints say of a payout's bytes, and what follows from it: pure decisions.

Owns: observations, the rules of proof, and `next_action`, which names a driver's next step. The table of
steps is in `submission`; the reasons are told there. Must not know: sockets, clocks, keys, stores.
Rules: a final statement (landed or dead) needs as many endpoints as `SubmissionPolicy` says; statements that
cannot all be true go to manual review; an error or silence is never evidence. Source: W1-W3.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chain.submission import Attempt, PayoutRecord, PayoutState

_S = PayoutState


class Seen(enum.StrEnum):
    """What an endpoint knows of a signature."""

    UNKNOWN = "unknown"
    PROCESSED = "processed"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"


@dataclass(frozen=True, slots=True)
class SignatureSeen:
    """One signature as one endpoint sees it; `error` is the raw JSON of the transaction's error or ""."""

    signature: str
    seen: Seen
    slot: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one endpoint said in one round.

    The heights are read BEFORE the statuses: what could still land at the time of the height would be in the
    statuses. `context_slot` is the slot the statuses were answered at; behind one address there may be
    several nodes, and an answer from a slot before `finalized_slot` proves nothing.
    """

    endpoint: str
    finalized_block_height: int
    finalized_slot: int
    context_slot: int
    statuses: tuple[SignatureSeen, ...]
    searched_history: bool
    # Asked only once the height is past the last valid one.
    first_available_slot: int | None = None
    blockhash_accepted: bool | None = None

    def of(self, signature: str) -> SignatureSeen | None:
        return next((status for status in self.statuses if status.signature == signature), None)


@dataclass(frozen=True, slots=True)
class SubmissionPolicy:
    """How much evidence a final statement needs.

    With one endpoint there is no second opinion. `allow_single_endpoint_expiry` then accepts two statements
    of that one endpoint, at least `single_endpoint_gap_blocks` finalized blocks apart: weaker, because one
    broken node can make both. Without it such a payout goes to manual review.
    """

    configured_endpoints: int
    death_endpoints: int = 2
    landed_endpoints: int = 2
    allow_single_endpoint_expiry: bool = False
    single_endpoint_gap_blocks: int = 32  # one finality depth of a supermajority, so not one stale answer
    attempts_at_most: int = 10

    @property
    def landed_needed(self) -> int:
        return min(self.landed_endpoints, self.configured_endpoints)


class ActionKind(enum.StrEnum):
    """What a driver does next."""

    NOTHING = "nothing"
    RESERVE = "reserve"
    SIGN = "sign"
    SEND = "send"
    REBROADCAST = "rebroadcast"
    WAIT = "wait"
    CONFIRM = "confirm"
    UNCONFIRM = "unconfirm"
    FINALIZE = "finalize"
    FAIL = "fail"
    EXPIRE = "expire"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Action:
    """A decision and the reason for it, in a sentence for operators."""

    kind: ActionKind
    why: str = ""
    slot: int | None = None
    error: str = ""


def proves_dead(observation: Observation, attempt: Attempt) -> bool:
    """True if by this endpoint's word the bytes of `attempt` never landed and never will. Source: W3.

    Nodes take a blockhash for one block longer than the last valid height they promise. A finalized height
    above that height covers the one block: whatever it held is final too, and would be in the statuses.
    """
    status = observation.of(attempt.signature)
    return (
        status is not None
        and status.seen is Seen.UNKNOWN
        and observation.searched_history
        and observation.finalized_block_height > attempt.last_valid_block_height
        and observation.context_slot >= max(observation.finalized_slot, attempt.signed_slot)
        and observation.first_available_slot is not None
        and observation.first_available_slot <= attempt.signed_slot
        and observation.blockhash_accepted is False
    )


def next_action(
    record: PayoutRecord, observations: Sequence[Observation], policy: SubmissionPolicy
) -> Action:
    """Decide the next step of a payout from what endpoints said, oldest observation first. Source: W1-W3."""
    match record.state:
        case _S.FINALIZED | _S.FAILED | _S.MANUAL_REVIEW:
            return Action(ActionKind.NOTHING)
        case _S.REQUESTED:
            return Action(ActionKind.RESERVE)
        case _S.RESERVED:
            return Action(ActionKind.SIGN, "first bytes")
        case _S.EXPIRED:
            return _after_expiry(record, observations, policy)
        case _:
            return _in_flight(record, observations, policy)


def _after_expiry(
    record: PayoutRecord, observations: Sequence[Observation], policy: SubmissionPolicy
) -> Action:
    risen = _risen(record.attempts, observations)
    if risen:
        return Action(ActionKind.REVIEW, risen)
    if len(record.attempts) >= policy.attempts_at_most:
        return Action(
            ActionKind.REVIEW, f"{len(record.attempts)} sets of bytes died without landing; that is the limit"
        )
    return Action(ActionKind.SIGN, f"attempt {len(record.attempts)} is proven dead")


def _in_flight(record: PayoutRecord, observations: Sequence[Observation], policy: SubmissionPolicy) -> Action:
    attempt = record.attempts[-1]
    latest = tuple({observation.endpoint: observation for observation in observations}.values())
    dead = [observation for observation in observations if proves_dead(observation, attempt)]
    contradiction = _risen(record.attempts[:-1], observations) or _contradiction(attempt, latest, dead)
    if contradiction:
        return Action(ActionKind.REVIEW, contradiction)

    known = [
        (observation, status)
        for observation in latest
        if (status := observation.of(attempt.signature)) is not None and status.seen is not Seen.UNKNOWN
    ]
    finalized = [status for _, status in known if status.seen is Seen.FINALIZED]
    if finalized and len(finalized) >= policy.landed_needed:
        kind = ActionKind.FAIL if finalized[0].error else ActionKind.FINALIZE
        return Action(kind, f"finalized on {len(finalized)}", finalized[0].slot, finalized[0].error)
    confirmed = [
        status for _, status in known if status.seen in {Seen.CONFIRMED, Seen.FINALIZED} and not status.error
    ]
    if confirmed and record.state is not _S.CONFIRMED:
        return Action(ActionKind.CONFIRM, "seen confirmed", confirmed[0].slot)
    if record.state is _S.CONFIRMED and not known and _has_dropped(record, latest):
        return Action(ActionKind.UNCONFIRM, "the block that held it is gone")
    if known:
        return Action(
            ActionKind.REBROADCAST, f"known to {len(known)} endpoint(s), not finalized on enough of them"
        )
    if dead and record.state is not _S.CONFIRMED:
        return _on_death(attempt, dead, policy)
    past = [o for o in latest if o.finalized_block_height > attempt.last_valid_block_height]
    if latest and len(past) == len(latest):
        return Action(ActionKind.WAIT, "past its last valid block height, not yet proven dead")
    if record.state is _S.SIGNED:
        return Action(ActionKind.SEND)
    return Action(ActionKind.REBROADCAST, "not seen yet")


def _on_death(attempt: Attempt, dead: Sequence[Observation], policy: SubmissionPolicy) -> Action:
    endpoints = {observation.endpoint for observation in dead}
    why = (
        f"unknown to {', '.join(sorted(endpoints))} at finalized height "
        f"{max(o.finalized_block_height for o in dead)}, past {attempt.last_valid_block_height}"
    )
    if policy.configured_endpoints > 1:
        if len(endpoints) >= policy.death_endpoints:
            return Action(ActionKind.EXPIRE, why)
        return Action(ActionKind.WAIT, f"{why}; a proof of death needs {policy.death_endpoints} endpoints")
    if not policy.allow_single_endpoint_expiry:
        return Action(
            ActionKind.REVIEW,
            f"{why}; with one endpoint configured that is no proof (allow_single_endpoint_expiry is off)",
        )
    heights = [observation.finalized_block_height for observation in dead]
    if max(heights) - min(heights) >= policy.single_endpoint_gap_blocks:
        return Action(ActionKind.EXPIRE, f"{why}; one endpoint, twice")
    return Action(
        ActionKind.WAIT,
        f"{why}; asking again {policy.single_endpoint_gap_blocks} blocks after the first time",
    )


def _risen(old: Iterable[Attempt], observations: Iterable[Observation]) -> str:
    """Say which bytes, once proven dead, an endpoint now knows; "" if none."""
    signatures = {attempt.signature: attempt.number for attempt in old}
    for observation in observations:
        for status in observation.statuses:
            if status.signature in signatures and status.seen is not Seen.UNKNOWN:
                return (
                    f"attempt {signatures[status.signature]} ({status.signature}) was proven dead, yet "
                    f"{observation.endpoint} now calls it {status.seen.value}"
                )
    return ""


def _contradiction(attempt: Attempt, latest: Iterable[Observation], dead: Sequence[Observation]) -> str:
    """Say what about the current bytes cannot be true at once; "" if all can."""
    finalized = [
        (observation, status)
        for observation in latest
        if (status := observation.of(attempt.signature)) is not None and status.seen is Seen.FINALIZED
    ]
    if not finalized:
        return ""
    one, its = finalized[0]
    if dead:
        return (
            f"{one.endpoint} calls {attempt.signature} finalized, {dead[0].endpoint} proves it never landed"
        )
    for observation, status in finalized:
        if status.slot is None or status.slot > observation.context_slot:
            return f"{observation.endpoint} calls {attempt.signature} finalized in a slot it has not reached"
        if status.slot != its.slot or bool(status.error) != bool(its.error):
            return (
                f"{one.endpoint} and {observation.endpoint} disagree on {attempt.signature}: "
                f"slot {its.slot}, error {its.error or 'none'}; "
                f"slot {status.slot}, error {status.error or 'none'}"
            )
    return ""


def _has_dropped(record: PayoutRecord, latest: Sequence[Observation]) -> bool:
    """True if an endpoint that has reached the slot of the confirmation does not know the signature."""
    slot = record.confirmed_slot
    return slot is not None and any(
        observation.context_slot >= slot and observation.searched_history for observation in latest
    )
