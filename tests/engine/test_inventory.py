"""R26, R28: losses are sold on the spot book first, and the insurance fund sells what it was paid with."""

from __future__ import annotations

from typing import Any

from engine import commands as cm
from engine.apply import Accepted
from engine.events import CollateralConverted, DepositApplied, LossCollected, SpotTraded
from engine.lending import take_over_borrow
from tests.engine.conftest import SOL, USDC, Exchange

CENT_E8 = 10**6


def of(events: tuple[Any, ...], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def bid(exchange: Exchange, sol: int, cents: int, name: str = "3/0", side: str = "buy") -> None:
    exchange.must(cm.PlaceOrder, name, "SOL/USDC", side, "post_only", sol * SOL, cents * CENT_E8)


def market_maker(exchange: Exchange) -> None:
    exchange.open("3/0")
    exchange.must(cm.SetLending, "3/0", 0, 0, 0)
    exchange.deposit("3/0", 100_000 * USDC)
    exchange.deposit("3/0", 100 * SOL, "SOL")


def fund_with_sol(exchange: Exchange, sol: int) -> None:
    exchange.deposit("insurance_fund", sol * SOL, "SOL")


def test_r26_the_book_pays_before_the_fund_converts(exchange: Exchange) -> None:
    """R26: a loss of 300 against 5 SOL at 150: 1 SOL is bid at 149, inside the band of 148.5; 148.49 is not.
    149 are collected; 151 are converted at 142.5.
    """
    market_maker(exchange)
    exchange.deposit("1/0", 5 * SOL, "SOL")
    exchange.deposit("2/0", 10_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    bid(exchange, 1, 149_00)
    bid(exchange, 50, 148_49)
    exchange.must(cm.UpdatePrices, (("SOL", 150 * 10**8),), (("SOL-PERP", 120 * 10**8),))
    events = exchange.tick()
    assert [(one.units, one.price_e8, one.taker, one.taker_fee_usd6) for one in of(events, SpotTraded)] == [
        (SOL, 149 * 10**8, "1/0", 0)
    ]
    assert [one.units for one in of(events, LossCollected)] == [149 * USDC]
    # ceil(151 / 142.5) of a SOL.
    assert [(one.units, one.usd6) for one in of(events, CollateralConverted)] == [(1_059_649_123, 151 * USDC)]
    assert exchange.cash("1/0", "SOL") == 4 * SOL - 1_059_649_123


def test_r26_no_more_is_sold_than_the_loss_needs(exchange: Exchange) -> None:
    """R26: 30 / 148.5 = 0.20202 SOL, up to whole lots of 0.01: 0.21 SOL at 150 bring 31.5; 1.5 stay cash."""
    market_maker(exchange)
    exchange.deposit("1/0", 5 * SOL, "SOL")
    exchange.deposit("2/0", 10_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    bid(exchange, 50, 150_00)
    assert exchange.state.markets["SOL/USDC"].lot_units == 10**7
    exchange.must(cm.UpdatePrices, (("SOL", 150 * 10**8),), (("SOL-PERP", 147 * 10**8),))
    events = exchange.tick()
    assert [one.units for one in of(events, SpotTraded)] == [21 * 10**7]
    assert not of(events, CollateralConverted)
    assert (exchange.cash("1/0"), exchange.unsettled("1/0")) == (1_500_000, 0)


def test_r28_the_fund_sells_in_small_steps_inside_the_band(exchange: Exchange) -> None:
    """R28: 20 SOL: 2 SOL a second, at most a quarter of what is bid at 148.5 or better."""
    market_maker(exchange)
    bid(exchange, 1_00, 148_49)
    bid(exchange, 30, 148_50)
    exchange.wait(1)
    fund_with_sol(exchange, 20)
    traded = of(exchange.prices(150), SpotTraded)
    assert [(one.taker, one.units, one.price_e8) for one in traded] == [
        ("insurance_fund", 2 * SOL, 148_50 * CENT_E8)
    ]
    # The fund bears the slippage: 148.5, not 150. No fee is taken from it.
    assert exchange.cash("insurance_fund") == 297 * USDC
    assert not of(exchange.prices(150), SpotTraded)  # in the same second no step is due
    for _ in range(9):
        exchange.wait(1)
        assert [one.units for one in of(exchange.prices(150), SpotTraded)] == [2 * SOL]
    assert (exchange.cash("insurance_fund", "SOL"), exchange.cash("insurance_fund")) == (0, 2_970 * USDC)


def test_r28_the_size_at_entry_follows_what_comes_in(exchange: Exchange) -> None:
    """R28: 10% of what was held when it last rose."""
    market_maker(exchange)
    bid(exchange, 400, 150_00)
    fund_with_sol(exchange, 20)
    exchange.wait(1)
    assert [one.units for one in of(exchange.prices(150), SpotTraded)] == [2 * SOL]
    exchange.wait(1)
    assert [one.units for one in of(exchange.prices(150), SpotTraded)] == [2 * SOL]
    fund_with_sol(exchange, 34)  # 16 + 34 = 50
    exchange.wait(1)
    assert [one.units for one in of(exchange.prices(150), SpotTraded)] == [5 * SOL]
    for left in (40, 35, 30, 25, 20, 15, 10, 5, 0):
        exchange.wait(1)
        exchange.prices(150)
        assert exchange.cash("insurance_fund", "SOL") == left * SOL
    exchange.wait(1)
    exchange.prices(150)
    assert exchange.state.inventory == {}


def test_r28_settle_first_deposits_become_dollars(indebted: Exchange) -> None:
    """R28: 1/0 pays its debt of 1,000 with 10 SOL at 130 x 0.95 = 123.5: 8.097165992 SOL go to the fund. It
    owes the pool for them until it has sold them; then 2/0 has its claim.
    """
    market_maker(indebted)
    indebted.prices(130)
    bid(indebted, 300, 129_50)
    applied = of(indebted.must(cm.Deposit, "1/0", "SOL", 10 * SOL, "wallet"), DepositApplied)[0]
    assert (applied.applied_units, applied.applied_usd6) == (8_097_165_992, 1_000 * USDC)
    assert indebted.unsettled("insurance_fund") == -1_000 * USDC
    for _ in range(12):
        indebted.wait(1)
        indebted.prices(130)
        indebted.tick()
    # 0.01 SOL is the lot: 8.09 SOL at 129.5 are 1,047.655; what is left is dust below a lot.
    assert indebted.cash("insurance_fund", "SOL") == 7_165_992
    assert indebted.cash("insurance_fund") == 47_655_000
    assert (indebted.cash("2/0"), indebted.unsettled("2/0")) == (3_000 * USDC, 0)


def test_r28_the_fund_waits_while_the_index_is_stale(exchange: Exchange) -> None:
    """R28: one source is too few: who bids near the last index gets nothing until it is back."""
    market_maker(exchange)
    fund_with_sol(exchange, 100)
    bid(exchange, 400, 149_00)
    exchange.must(cm.UpdateQuotes, "SOL", (("a", "s", 300 * 10**8, exchange.now_ns),))
    sold = of(exchange.tick(), SpotTraded)
    exchange.wait(61)
    sold += of(exchange.tick(), SpotTraded)
    assert sold == []
    exchange.wait(1)
    assert [one.units for one in of(exchange.prices(150), SpotTraded)] == [10 * SOL]


def test_r28_the_last_of_what_the_fund_owes_is_bought_back_with_a_whole_lot(exchange: Exchange) -> None:
    """R28: 0.004 SOL owed, the lot is 0.01: one lot is bought, the debt ends, 0.006 are left over."""
    market_maker(exchange)
    exchange.deposit("insurance_fund", 1_000 * USDC)
    exchange.must(cm.Lend, "3/0", "SOL", 10 * SOL)
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.must(cm.Borrow, "1/0", "SOL", 4_000_000)
    bid(exchange, 1, 150_00, side="sell")
    # The fund takes the borrow over as from a bankrupt.
    out: list[Any] = []
    take_over_borrow(exchange.state, exchange.state.subaccounts["1/0"], "SOL", 4_000_000, 150 * 10**8, out)
    assert exchange.owed("insurance_fund", "SOL") == 4_000_000
    exchange.wait(1)
    bought = of(exchange.prices(150), SpotTraded)
    assert [(one.taker, one.units) for one in bought] == [("insurance_fund", SOL // 100)]
    exchange.tick()
    assert exchange.owed("insurance_fund", "SOL") == 0
    assert exchange.cash("insurance_fund", "SOL") in (5_999_999, 6_000_000)
