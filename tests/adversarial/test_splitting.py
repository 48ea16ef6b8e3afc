"""One position in many subaccounts: what R18's growth with size asks then, and what bounds it (R6, R18)."""

from __future__ import annotations

from engine.events import AutoDeleveraged, DebtCovered
from engine.margin import margin_of
from engine.outcome import Accepted, Rejected
from engine.rejects import RejectReason
from tests.engine.conftest import SOL, USDC, Exchange


def _initial_margin(exchange: Exchange, name: str) -> int:
    return margin_of(exchange.state, name).initial_margin_usd6


def _open(exchange: Exchange, name: str, sol: int, deposit_usd6: int) -> int:
    """Give the initial margin of a long at 150 against 80/0 that is opened with no more than a deposit."""
    if name not in exchange.state.subaccounts:
        exchange.open(name)
    exchange.deposit(name, deposit_usd6)
    assert isinstance(exchange.trade(name, "80/0", sol, 150), Accepted)
    return _initial_margin(exchange, name)


def test_r18_splitting_a_position_over_subaccounts_ends_at_the_base_ratios(exchange: Exchange) -> None:
    """R18, R6: margin grows with the root of a subaccount's exposure, and subaccounts cost nothing.

    66,600 SOL are $9,990,000: 75 x 10^-6 x root = 23.7053% (2,368,159) in one subaccount; in a hundred of
    666 SOL the root of $99,900 asks 2.3706% of each (236,822.94 together): a tenth. A thousand of 66.6 SOL
    pay the base ratio of 2% (199,800), and so do ten thousand: below that nobody comes, 50 times leverage
    is the end.
    """
    exchange.deposit("80/0", 100_000_000 * USDC)
    whole_usd6 = _open(exchange, "1/0", 66_600 * SOL, 2_400_000 * USDC)
    assert whole_usd6 // USDC == 2_368_159
    parts = [_open(exchange, f"2/{number}", 666 * SOL, 2_400 * USDC) for number in range(100)]
    assert len(set(parts)) == 1
    assert sum(parts) == 236_822_940_000
    assert 1_000 * _open(exchange, "3/0", 666 * SOL // 10, 200 * USDC) == 199_800 * USDC
    # Ten times smaller again: the same 2%, to the unit, and one unit less is refused.
    assert 10_000 * _open(exchange, "3/1", 666 * SOL // 100, 19_980_000) == 199_800 * USDC
    exchange.open("3/2")
    exchange.deposit("3/2", 19_979_999)
    refused = exchange.trade("3/2", "80/0", 666 * SOL // 100, 150)
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.INSUFFICIENT_INITIAL_MARGIN


def test_r24_a_split_position_that_gaps_costs_winners_not_the_fund(exchange: Exchange) -> None:
    """R24: ten longs of 100 SOL with 2% each; SOL falls by 4%: each is $300 below zero.

    Without a provider, auto-deleveraging takes the $3,000 from the profit of who was short; the fund pays
    nothing although each subaccount alone is beyond its margin.
    """
    for number in range(10):
        _open(exchange, f"1/{number}", 100 * SOL, 300 * USDC)
    fund = exchange.cash("insurance_fund")
    exchange.wait(1)
    events = exchange.prices(144)
    taken = [one for one in events if isinstance(one, AutoDeleveraged)]
    assert [one.counterparty for one in taken] == ["80/0"] * 10
    assert sum(one.forgone_usd6 for one in taken) == 3_000 * USDC
    events = exchange.tick()
    assert not [one for one in events if isinstance(one, DebtCovered)]
    assert exchange.cash("insurance_fund") == fund and exchange.state.debts == {}
