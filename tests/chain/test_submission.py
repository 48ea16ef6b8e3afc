"""The table of a payout's life (W1) and what the record refuses to be."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chain.submission as submission
from chain.submission import (
    FINAL_STATES,
    IN_FLIGHT_STATES,
    RESERVING_STATES,
    START,
    TRANSITIONS,
    Attempt,
    IllegalTransition,
    PayoutEvent,
    PayoutRecord,
    PayoutRequest,
    PayoutState,
    advance,
    decode_record,
    encode_record,
    plain_sentence,
)

S, E = PayoutState, PayoutEvent
REQUEST = PayoutRequest("w1", "SOL", None, 5, "11111111111111111111111111111112")


def attempt(number: int = 1, signature: str | None = None) -> Attempt:
    return Attempt(number, signature or f"sig{number}", b"\x00bytes\xff", f"hash{number}", 100 + number, 50)


def record_in(state: PayoutState) -> PayoutRecord:
    attempts = (attempt(),) if state in IN_FLIGHT_STATES | {S.EXPIRED, S.FINALIZED} else ()
    failure = "why" if state in {S.FAILED, S.MANUAL_REVIEW} else ""
    return PayoutRecord(REQUEST, state, attempts, failure=failure)


def changes_for(event: PayoutEvent, record: PayoutRecord) -> dict[str, object]:
    if event is E.SIGN:
        return {"attempts": (*record.attempts, attempt(len(record.attempts) + 1))}
    if event in {E.REFUSE, E.DOUBT, E.SEE_FAILED, E.RULE_FAILED}:
        return {"failure": "why"}
    return {}


def test_w1_the_table_names_every_state_and_uses_every_event() -> None:
    assert set(TRANSITIONS) == set(S)
    assert {event for row in TRANSITIONS.values() for event in row} == set(E)


def test_w1_every_state_can_be_reached_and_every_open_state_can_end() -> None:
    reached, frontier = {START}, [START]
    while frontier:
        for target in TRANSITIONS[frontier.pop()].values():
            if target not in reached:
                reached.add(target)
                frontier.append(target)
    assert reached == set(S)
    for state in set(S) - FINAL_STATES:
        seen, todo = {state}, [state]
        while todo:
            new = set(TRANSITIONS[todo.pop()].values()) - seen
            seen |= new
            todo += new
        assert seen & FINAL_STATES, f"{state} cannot end"
        assert S.FINALIZED in seen, f"{state} cannot end well"


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("event", list(E))
def test_w1_each_pair_of_state_and_event_does_what_the_table_says(
    state: PayoutState, event: PayoutEvent
) -> None:
    record = record_in(state)
    if event in {E.RULE_WATCH_AGAIN} and state is S.MANUAL_REVIEW:
        record = dataclasses.replace(record, attempts=(attempt(),))
    changes = changes_for(event, record)
    target = TRANSITIONS[state].get(event)
    if target is None:
        with pytest.raises(IllegalTransition) as caught:
            advance(record, event, **changes)
        text = str(caught.value)
        assert "'w1'" in text
        assert state.value in text
        assert event.value in text
        for expected in TRANSITIONS[state]:
            assert expected.value in text, "the error says what was expected"
    else:
        assert advance(record, event, **changes).state is target


def test_w1_dead_is_never_declared_of_what_is_confirmed_and_nothing_leaves_a_final_state() -> None:
    assert E.PROVE_DEAD not in TRANSITIONS[S.CONFIRMED]
    assert all(not TRANSITIONS[state] for state in FINAL_STATES)


def test_w1_new_bytes_are_possible_only_before_the_first_or_after_a_proven_death() -> None:
    assert {state for state, row in TRANSITIONS.items() if E.SIGN in row} == {S.RESERVED, S.EXPIRED}
    assert {state for state, row in TRANSITIONS.items() if E.REFUSE in row} == {
        S.REQUESTED,
        S.RESERVED,
        S.EXPIRED,
    }


def test_w3_signing_adds_exactly_one_attempt_and_never_reuses_a_signature() -> None:
    expired = record_in(S.EXPIRED)
    again = advance(expired, E.SIGN, attempts=(*expired.attempts, attempt(2)))
    assert again.signatures == ("sig1", "sig2"), "the old signature is remembered"
    assert again.signature == "sig2"
    assert again.last_valid_block_height == 102
    with pytest.raises(IllegalTransition, match="old signature sig1; expected a new blockhash"):
        advance(expired, E.SIGN, attempts=(*expired.attempts, attempt(2, "sig1")))
    for wrong in ((), expired.attempts, (attempt(2),), (*expired.attempts, attempt(2), attempt(3))):
        with pytest.raises((IllegalTransition, ValueError)):
            advance(expired, E.SIGN, attempts=wrong)
    with pytest.raises(IllegalTransition, match="attempts change only by signing"):
        advance(record_in(S.SENT), E.SEE_CONFIRMED, attempts=())


def test_w1_a_ruling_fits_what_was_signed() -> None:
    unsigned = record_in(S.MANUAL_REVIEW)
    signed = dataclasses.replace(unsigned, attempts=(attempt(),))
    assert advance(unsigned, E.RULE_START_AGAIN).state is S.REQUESTED
    assert advance(signed, E.RULE_WATCH_AGAIN).state is S.SENT
    with pytest.raises(IllegalTransition, match="bytes were signed"):
        advance(signed, E.RULE_START_AGAIN)
    with pytest.raises(IllegalTransition, match="nothing was ever signed"):
        advance(unsigned, E.RULE_WATCH_AGAIN)


def test_money_counts_against_the_hot_wallet_from_reserve_to_the_final_statement() -> None:
    assert set(S) - {S.REQUESTED, S.FINALIZED, S.FAILED} == RESERVING_STATES


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": S.SENT}, "holds no signed bytes"),
        ({"state": S.EXPIRED}, "holds no signed bytes"),
        ({"state": S.FAILED}, "does not say why"),
        ({"state": S.MANUAL_REVIEW}, "does not say why"),
        ({"attempts": (attempt(2),)}, r"numbered \[2\]"),
        ({"attempts": (attempt(1, "x"), attempt(2, "x"))}, "share one signature"),
    ],
)
def test_a_record_that_makes_no_sense_cannot_exist(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PayoutRecord(REQUEST, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("units", [0, -1, 2**64])
def test_a_request_is_for_an_amount_that_can_exist(units: int) -> None:
    with pytest.raises(ValueError, match="must be between 1 and 18446744073709551615"):
        PayoutRequest("w1", "SOL", None, units, "x")
    with pytest.raises(ValueError, match="needs an id"):
        PayoutRequest("", "SOL", None, 1, "x")


def test_the_memo_is_the_payouts_own() -> None:
    twin = dataclasses.replace(REQUEST, id="w2")
    assert REQUEST.memo != twin.memo
    assert re.fullmatch("[0-9a-f]{32}", REQUEST.memo)


@given(
    st.lists(st.sampled_from(list(E)), max_size=30),
    st.integers(min_value=1, max_value=2**64 - 1),
    st.text(min_size=1),
)
def test_any_walk_through_the_table_stores_and_loads_as_it_was(
    events: list[PayoutEvent], units: int, payout_id: str
) -> None:
    record = PayoutRecord(dataclasses.replace(REQUEST, id=payout_id, units=units))
    for event in events:
        try:
            record = advance(record, event, **changes_for(event, record))
        except IllegalTransition:
            continue
        assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", encode_record(record_in(S.SENT)).replace(b"sent", b"lost"), b"\xff"]
)
def test_a_stored_record_that_cannot_be_read_is_a_clear_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="a stored payout cannot be read"):
        decode_record(data)


@given(st.text(max_size=600))
def test_sentences_are_printable_ascii_of_at_most_256_characters(text: str) -> None:
    plain = plain_sentence(text)
    assert len(plain) <= 256
    assert plain.isascii()
    assert plain.isprintable()


def test_the_theory_of_operation_names_every_state_and_step_of_the_road() -> None:
    theory = (submission.__doc__ or "").lower()
    for state in S:
        assert state.value.replace("_", " ") in theory or state.value in theory, state
    for event in E:
        if not event.value.startswith("rule_"):
            assert event.value in theory, event
