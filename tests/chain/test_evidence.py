"""What counts as proof that a payout landed or died (W2, W3), and what is left to a person."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.evidence import (
    Action,
    ActionKind,
    Observation,
    Seen,
    SignatureSeen,
    SubmissionPolicy,
    next_action,
    proves_dead,
)
from chain.submission import Attempt, PayoutRecord, PayoutRequest, PayoutState

S, K = PayoutState, ActionKind
REQUEST = PayoutRequest("w1", "SOL", None, 5, "11111111111111111111111111111112")
OLD = Attempt(1, "old", b"1", "h1", 150, 90)
NOW = Attempt(2, "now", b"2", "h2", 300, 240)
SENT = PayoutRecord(REQUEST, S.SENT, (OLD, NOW))
TWO = SubmissionPolicy(configured_endpoints=2)
ONE = SubmissionPolicy(configured_endpoints=1, allow_single_endpoint_expiry=True)


def seen(signature: str, what: Seen, slot: int | None = None, error: str = "") -> SignatureSeen:
    return SignatureSeen(signature, what, slot, error)


def says(
    endpoint: str,
    what: Seen = Seen.UNKNOWN,
    *,
    slot: int | None = None,
    error: str = "",
    height: int = 280,
    old: Seen = Seen.UNKNOWN,
) -> Observation:
    return Observation(
        endpoint,
        height,
        height + 10,
        height + 40,
        (seen("old", old), seen("now", what, slot, error)),
        True,
    )


def dead(endpoint: str, height: int = 301) -> Observation:
    return replace(says(endpoint, height=height), first_available_slot=0, blockhash_accepted=False)


def decide(*observations: Observation, record: PayoutRecord = SENT, policy: SubmissionPolicy = TWO) -> Action:
    return next_action(record, observations, policy)


@pytest.mark.parametrize(
    ("state", "kind"),
    [(S.REQUESTED, K.RESERVE), (S.RESERVED, K.SIGN), (S.FINALIZED, K.NOTHING), (S.FAILED, K.NOTHING),
     (S.MANUAL_REVIEW, K.NOTHING), (S.EXPIRED, K.SIGN), (S.SIGNED, K.SEND), (S.SENT, K.REBROADCAST),
     (S.CONFIRMED, K.REBROADCAST)],
)  # fmt: skip
def test_w1_without_any_word_of_the_chain(state: PayoutState, kind: ActionKind) -> None:
    attempts = () if state in {S.REQUESTED, S.RESERVED} else (OLD, NOW)
    record = PayoutRecord(REQUEST, state, attempts, failure="why")
    assert next_action(record, (), TWO).kind is kind


def test_w2_the_same_bytes_again_until_finalized() -> None:
    assert decide(says("a"), says("b")).kind is K.REBROADCAST
    assert decide(says("a", Seen.PROCESSED, slot=250), says("b")).kind is K.REBROADCAST
    confirmed = replace(SENT, state=S.CONFIRMED, confirmed_slot=250)
    assert decide(says("a", Seen.CONFIRMED, slot=250), record=confirmed).kind is K.REBROADCAST


def test_w2_one_endpoint_is_enough_to_call_it_confirmed_but_not_finalized() -> None:
    assert decide(says("a", Seen.CONFIRMED, slot=250)) == Action(K.CONFIRM, "seen confirmed", 250)
    lonely = decide(says("a", Seen.FINALIZED, slot=250), says("b"))
    assert lonely.kind is K.CONFIRM
    assert decide(says("a", Seen.FINALIZED, slot=250), says("b", Seen.FINALIZED, slot=250)) == Action(
        K.FINALIZE, "finalized on 2", 250
    )
    assert decide(says("a", Seen.FINALIZED, slot=250), policy=ONE).kind is K.FINALIZE


def test_w3_a_finalized_error_is_a_failure_and_a_confirmed_one_is_nothing_yet() -> None:
    error = '{"InstructionError":[1,{"Custom":1}]}'
    both = [says(name, Seen.FINALIZED, slot=250, error=error) for name in "ab"]
    assert decide(*both) == Action(K.FAIL, "finalized on 2", 250, error)
    assert decide(says("a", Seen.CONFIRMED, slot=250, error=error)).kind is K.REBROADCAST


def test_a_reorganization_takes_a_confirmation_back() -> None:
    confirmed = replace(SENT, state=S.CONFIRMED, confirmed_slot=250)
    assert decide(says("a"), record=confirmed).kind is K.UNCONFIRM
    # An endpoint that has not reached the slot yet says nothing about it.
    behind = says("a", height=205)
    assert behind.context_slot < 250
    assert decide(behind, record=confirmed).kind is K.REBROADCAST


def test_w3_death_needs_two_endpoints() -> None:
    assert decide(dead("a"), says("b")).kind is K.WAIT
    assert decide(dead("a"), dead("a", 400)).kind is K.WAIT, "one endpoint twice is still one"
    assert decide(dead("a"), dead("b")).kind is K.EXPIRE


def test_w3_death_of_a_confirmed_payout_goes_through_the_loss_of_its_confirmation() -> None:
    confirmed = replace(SENT, state=S.CONFIRMED, confirmed_slot=250)
    assert decide(dead("a"), dead("b"), record=confirmed).kind is K.UNCONFIRM


@pytest.mark.parametrize(
    "weaker",
    [
        {"finalized_block_height": 300},  # the last valid height itself may still hold it
        {"searched_history": False},
        {"context_slot": 310},  # answered by a node behind the one that told the height (311)
        {"first_available_slot": None},
        {"first_available_slot": 241},  # its ledger begins after the signing
        {"blockhash_accepted": None},
        {"blockhash_accepted": True},
        {"statuses": (seen("old", Seen.UNKNOWN), seen("now", Seen.PROCESSED, 250))},
        {"statuses": (seen("old", Seen.UNKNOWN),)},
    ],
)
def test_w3_each_part_of_the_proof_is_needed(weaker: dict[str, object]) -> None:
    assert proves_dead(dead("a"), NOW)
    assert not proves_dead(replace(dead("a"), **weaker), NOW)  # type: ignore[arg-type]
    assert decide(replace(dead("a"), **weaker), dead("b")).kind is not K.EXPIRE  # type: ignore[arg-type]


def test_w3_with_one_endpoint_death_is_two_statements_apart_and_only_if_allowed() -> None:
    assert decide(dead("a"), policy=ONE).kind is K.WAIT
    assert decide(dead("a", 301), dead("a", 332), policy=ONE).kind is K.WAIT
    assert decide(dead("a", 301), dead("a", 333), policy=ONE).kind is K.EXPIRE  # 32 blocks apart
    strict = replace(ONE, allow_single_endpoint_expiry=False)
    action = decide(dead("a", 301), dead("a", 400), policy=strict)
    assert action.kind is K.REVIEW
    assert "allow_single_endpoint_expiry" in action.why


@pytest.mark.parametrize(
    ("observations", "words"),
    [
        ((says("a", Seen.FINALIZED, slot=250), dead("b")), "a calls now finalized, b proves it never landed"),
        (
            (says("a", Seen.FINALIZED, slot=250), says("b", Seen.FINALIZED, slot=251)),
            "a and b disagree on now: slot 250, error none; slot 251, error none",
        ),
        (
            (says("a", Seen.FINALIZED, slot=250), says("b", Seen.FINALIZED, slot=250, error="x")),
            "slot 250, error none; slot 250, error x",
        ),
        ((says("a", Seen.FINALIZED, slot=9_999),), "a slot it has not reached"),
        ((says("a", Seen.FINALIZED),), "a slot it has not reached"),
        (
            (says("a", old=Seen.PROCESSED),),
            r"attempt 1 \(old\) was proven dead, yet a now calls it processed",
        ),
        ((dead("a"), dead("b"), says("c", old=Seen.FINALIZED)), "proven dead, yet c"),
    ],
)
def test_w3_any_contradiction_goes_to_review(observations: tuple[Observation, ...], words: str) -> None:

    action = next_action(SENT, observations, replace(TWO, configured_endpoints=3))
    assert action.kind is K.REVIEW
    assert re.search(words, action.why), action.why


def test_w3_an_old_signature_is_watched_for_while_waiting_to_sign_again() -> None:
    expired = replace(SENT, state=S.EXPIRED)
    assert decide(says("a"), record=expired).kind is K.SIGN
    risen = replace(says("a"), statuses=(seen("old", Seen.CONFIRMED, 140), seen("now", Seen.UNKNOWN)))
    assert decide(risen, record=expired).kind is K.REVIEW


def test_attempts_have_a_limit_and_then_a_person_looks() -> None:
    action = decide(record=replace(SENT, state=S.EXPIRED), policy=replace(TWO, attempts_at_most=2))
    assert action.kind is K.REVIEW
    assert "2 sets of bytes died" in action.why


SEEN_BY = st.builds(
    Observation,
    endpoint=st.sampled_from("abc"),
    finalized_block_height=st.integers(280, 400),
    finalized_slot=st.integers(280, 400),
    context_slot=st.integers(280, 440),
    statuses=st.builds(
        lambda old, now, slot, error: (seen("old", old), seen("now", now, slot, error)),
        st.sampled_from([Seen.UNKNOWN, Seen.UNKNOWN, Seen.UNKNOWN, Seen.PROCESSED]),
        st.sampled_from(list(Seen)),
        st.sampled_from([250, 251]),
        st.sampled_from(["", "", "x"]),
    ),
    searched_history=st.booleans(),
    first_available_slot=st.sampled_from([None, 0, 260]),
    blockhash_accepted=st.sampled_from([None, False, True]),
)


@given(
    st.lists(SEEN_BY, max_size=6),
    st.sampled_from([S.SIGNED, S.SENT, S.CONFIRMED]),
    st.integers(1, 3),
    st.booleans(),
)
def test_w3_whatever_endpoints_say_final_statements_rest_on_enough_of_them(
    observations: list[Observation], state: PayoutState, configured: int, is_allowed: bool
) -> None:
    record = replace(SENT, state=state, confirmed_slot=250 if state is S.CONFIRMED else None)
    policy = SubmissionPolicy(configured, allow_single_endpoint_expiry=is_allowed)
    action = next_action(record, observations, policy)
    latest = {observation.endpoint: observation for observation in observations}
    landed = {name for name, o in latest.items() if o.statuses[1].seen is Seen.FINALIZED}
    died = {o.endpoint for o in observations if proves_dead(o, NOW)}
    if action.kind in {K.FINALIZE, K.FAIL}:
        assert len(landed) >= min(2, configured)
        assert not died
    if action.kind is K.EXPIRE:
        assert not landed
        assert state is not S.CONFIRMED
        assert len(died) >= 2 or (configured == 1 and is_allowed)
    if landed and died:
        assert action.kind is K.REVIEW
    if any(o.statuses[0].seen is not Seen.UNKNOWN for o in observations):
        assert action.kind is K.REVIEW
