"""The float is never promised twice (W7): claims against what is held, to the lamport."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.hot_wallet import SIGNATURE_FEE_LAMPORTS, Funds, claim_of, free_of, shortage
from chain.payouts import Alarm, AlarmBoard, AlarmKind
from chain.preparing import Route
from chain.submission import PayoutRecord, PayoutRequest, PayoutState

from .test_submission import attempt

S = PayoutState
WALLET = "11111111111111111111111111111112"


def record(state: PayoutState, mint: str | None, lamports: int, units: int) -> PayoutRecord:
    request = PayoutRequest("w", "USDC" if mint else "SOL", mint, 1, WALLET)
    return PayoutRecord(
        request, state, (attempt(),), reserved_lamports=lamports, reserved_units=units, failure="why"
    )


def test_w7_a_claim_is_the_most_a_payout_can_cost() -> None:
    assert SIGNATURE_FEE_LAMPORTS == 5_000
    sol, usdc = PayoutRequest("a", "SOL", None, 70, WALLET), PayoutRequest("b", "USDC", "m", 80, WALLET)
    assert claim_of(sol, Route(WALLET), 300) == Funds(5_370, 0)
    assert claim_of(usdc, Route(WALLET, rent_lamports=2_000), 300) == Funds(7_300, 80)


@pytest.mark.parametrize(
    ("state", "is_claimed"),
    [(S.REQUESTED, False), (S.RESERVED, True), (S.SIGNED, True), (S.SENT, True), (S.CONFIRMED, True),
     (S.EXPIRED, True), (S.MANUAL_REVIEW, True), (S.FINALIZED, False), (S.FAILED, False)],
)  # fmt: skip
def test_w7_a_claim_stands_from_reserve_to_the_final_statement(state: PayoutState, is_claimed: bool) -> None:
    left = free_of(Funds(1_000, 100), "m", [record(state, "m", 10, 7)])
    assert left == (Funds(990, 93) if is_claimed else Funds(1_000, 100))


def test_w7_tokens_of_another_mint_are_not_claimed_but_lamports_always_are() -> None:
    others = [record(S.SENT, "n", 10, 7), record(S.SENT, None, 20, 0)]
    assert free_of(Funds(1_000, 100), "m", others) == Funds(970, 100)
    assert free_of(Funds(1_000, 0), None, others) == Funds(970, 0)


AMOUNT = st.integers(0, 50)
ROW = st.tuples(st.sampled_from(list(S)), st.sampled_from(["m", "n", None]), AMOUNT, AMOUNT)


@given(st.lists(ROW), AMOUNT, AMOUNT)
def test_w7_what_is_free_and_what_is_claimed_is_what_is_held(
    rows: list[tuple[PayoutState, str | None, int, int]], lamports: int, units: int
) -> None:
    held = Funds(lamports, units)
    left = free_of(held, "m", [record(*row) for row in rows])
    claimed = [row for row in rows if row[0] not in {S.REQUESTED, S.FINALIZED, S.FAILED}]
    assert left.lamports + sum(row[2] for row in claimed) == lamports
    assert left.token_units + sum(row[3] for row in claimed if row[1] == "m") == units


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (Funds(0, 0), ""),
        (Funds(-1, 5), "1 lamports"),
        (Funds(3, -2), "2 units of USDC"),
        (Funds(-4, -5), "4 lamports and 5 units of USDC"),
    ],
)
def test_w7_a_shortage_says_what_is_missing(left: Funds, words: str) -> None:
    assert shortage(left, "USDC") == words


def test_an_alarm_is_told_once_until_it_changes_or_was_calm() -> None:
    told: list[Alarm] = []
    board = AlarmBoard(told.append)
    for text in ("a", "a", "b", "b"):
        board.raise_(AlarmKind.FLOAT_LOW, "SOL", text)
    board.raise_(AlarmKind.FLOAT_LOW, "USDC", "b")
    board.calm(AlarmKind.FLOAT_LOW, "SOL")
    board.calm(AlarmKind.FLOAT_LOW, "SOL")
    board.raise_(AlarmKind.FLOAT_LOW, "SOL", "b")
    assert [(alarm.about, alarm.text) for alarm in told] == [
        ("SOL", "a"), ("SOL", "b"), ("USDC", "b"), ("SOL", "b")
    ]  # fmt: skip
    AlarmBoard().raise_(AlarmKind.FLOAT_LOW, "SOL", "nobody listens")
