"""R16-R19: what a subaccount is worth, what it must hold, what it may do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine import commands as cm
from engine.apply import Accepted, Rejected
from engine.margin import (
    compare_margin_fractions,
    initial_ratio_ppm,
    is_recovered,
    maintenance_ratio_ppm,
    margin_of,
    may_become,
    meets_maintenance_margin,
    outstanding_negative_equity_usd6,
)
from engine.params import default_params
from engine.rejects import RejectReason
from tests.engine.conftest import DOLLAR_E8, SOL, USDC, Exchange


def test_r17_empty_subaccount_is_worth_nothing(exchange: Exchange) -> None:
    margin = margin_of(exchange.state, "1/0")
    assert set(vars_of(margin)) == {0}
    assert meets_maintenance_margin(margin)
    with pytest.raises(KeyError):
        margin_of(exchange.state, "9/9")


def vars_of(margin: object) -> list[int]:
    return [getattr(margin, name) for name in margin.__dataclass_fields__]  # type: ignore[attr-defined]


def test_r16_r17_collateral_is_weighted_in_net_equity_only(exchange: Exchange) -> None:
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("1/0", 100 * SOL, "SOL")
    margin = margin_of(exchange.state, "1/0")
    assert margin.account_value_usd6 == 100 * USDC + 15_000 * USDC
    # weight of 100 SOL is 891089 ppm (test_fixed)
    assert margin.net_equity_usd6 == 100 * USDC + 13_366_335_000


def test_r17_r18_position_at_mark(exchange: Exchange) -> None:
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.prices(160)
    long, short = margin_of(exchange.state, "1/0"), margin_of(exchange.state, "2/0")
    assert (long.net_equity_usd6, short.net_equity_usd6) == (1_100 * USDC, 900 * USDC)
    assert (long.unrealized_pnl_usd6, short.unrealized_pnl_usd6) == (100 * USDC, -100 * USDC)
    # Positive unrealized profit is no equity for withdrawals; a loss is.
    assert (long.withdrawal_equity_usd6, short.withdrawal_equity_usd6) == (1_000 * USDC, 900 * USDC)
    assert long.exposure_usd6 == short.exposure_usd6 == 1_600 * USDC
    assert long.initial_margin_usd6 == 32 * USDC
    assert long.maintenance_margin_usd6 == 21_600_000
    assert compare_margin_fractions(short, long) < 0


@pytest.mark.parametrize(
    ("exposure_usd", "initial_ppm", "maintenance_ppm"),
    [
        (1, 20_000, 13_500),
        (71_110, 20_000, 13_500),  # 7.5e-5 x 266.665 = 0.019999875
        (71_111, 20_001, 13_500),
        (1_000_000, 75_000, 37_500),
        (100_000_000, 750_000, 375_000),
    ],
)
def test_r18_ratios_of_sol_grow_with_size(exposure_usd: int, initial_ppm: int, maintenance_ppm: int) -> None:
    market = default_params().markets[0]
    assert initial_ratio_ppm(market, exposure_usd * USDC) == initial_ppm
    assert maintenance_ratio_ppm(market, exposure_usd * USDC) == maintenance_ppm


def test_r18_leverage_bounds_the_ratio_of_btc() -> None:
    market = default_params().markets[1]
    # 1/75 = 1.3333..% is above the base of 1.333%
    assert initial_ratio_ppm(market, USDC) == 13_334
    assert maintenance_ratio_ppm(market, USDC) == 6_670


def test_r19_initial_margin_to_the_unit(make_exchange: type[Exchange]) -> None:
    """R19: 10 SOL at 150 need 2% of 1500 = 30 USDC; one unit less is refused."""
    for units, passes in ((30 * USDC, True), (30 * USDC - 1, False)):
        exchange = make_exchange()
        exchange.open("1/0", "2/0")
        exchange.prices(150)
        exchange.deposit("1/0", units)
        exchange.deposit("2/0", 1_000 * USDC)
        outcome = exchange.trade("1/0", "2/0", 10 * SOL, 150)
        if passes:
            assert isinstance(outcome, Accepted)
        else:
            assert isinstance(outcome, Rejected)
            assert (outcome.reason, outcome.detail) == (RejectReason.INSUFFICIENT_INITIAL_MARGIN, "1/0")
            assert exchange.base("1/0") == exchange.base("2/0") == 0


def test_r19_below_initial_margin_only_steps_that_make_nothing_worse(exchange: Exchange) -> None:
    exchange.deposit("1/0", 31 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    # 149.40: equity 25, initial 29.88, maintenance 20.169: below the one, above the other.
    mark_e8 = 14_940_000_000
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", mark_e8),))
    margin = margin_of(exchange.state, "1/0")
    assert margin.maintenance_margin_usd6 < margin.net_equity_usd6 < margin.initial_margin_usd6

    def trade(buyer: str, seller: str, price_e8: int) -> Accepted | Rejected:
        return exchange.send(cm.BlockTrade, "SOL-PERP", buyer, seller, SOL, price_e8, ("1/0", "2/0"))

    more = trade("1/0", "2/0", mark_e8)
    assert isinstance(more, Rejected) and more.reason is RejectReason.INSUFFICIENT_INITIAL_MARGIN
    # A tenth less needs 2.0169 less maintenance margin; equity may fall by as large a part, 25/10 = 2.50.
    less_at_a_loss = trade("2/0", "1/0", mark_e8 - 251_000_000)
    assert isinstance(less_at_a_loss, Rejected)
    assert isinstance(trade("2/0", "1/0", mark_e8 - 249_000_000), Accepted)
    assert exchange.base("1/0") == 9 * SOL


def test_r19_no_worse_is_about_both_numbers() -> None:
    exchange = Exchange()
    exchange.open("1/0")
    base = margin_of(exchange.state, "1/0")
    short = replace(base, net_equity_usd6=5, initial_margin_usd6=10, maintenance_margin_usd6=4)
    assert may_become(short, short)
    assert may_become(short, replace(short, net_equity_usd6=10, maintenance_margin_usd6=5))
    assert not may_become(short, replace(short, net_equity_usd6=4))
    assert not may_become(short, replace(short, maintenance_margin_usd6=5))
    # Less equity only for less maintenance margin, and for no worse a ratio: 5/4 = 3.75/3.
    assert may_become(short, replace(short, net_equity_usd6=4, maintenance_margin_usd6=3))
    assert not may_become(short, replace(short, net_equity_usd6=3, maintenance_margin_usd6=3))
    assert not may_become(short, replace(short, net_equity_usd6=-1, maintenance_margin_usd6=0))
    assert not may_become(short, replace(short, net_equity_usd6=6, initial_margin_usd6=11))


def test_r20_boundaries_of_maintenance() -> None:
    exchange = Exchange()
    exchange.open("1/0")
    base = margin_of(exchange.state, "1/0")

    def at(net: int, maintenance: int, value: int = 1_000) -> bool:
        margin = replace(
            base, net_equity_usd6=net, maintenance_margin_usd6=maintenance, account_value_usd6=value
        )
        return meets_maintenance_margin(margin)

    assert at(101, 100) and not at(100, 100) and not at(0, 100) and not at(-1, 100)
    assert at(0, 0) and at(-5, 0, value=0) and not at(5, 0, value=-1)
    assert is_recovered(exchange.state, replace(base, net_equity_usd6=105, maintenance_margin_usd6=100))
    assert not is_recovered(exchange.state, replace(base, net_equity_usd6=104, maintenance_margin_usd6=100))


def test_r28_outstanding_counts_everything_at_full_value(indebted: Exchange) -> None:
    state = indebted.state
    assert outstanding_negative_equity_usd6(state, "1/0") == 1_000 * USDC
    assert outstanding_negative_equity_usd6(state, "2/0") == 0
    with pytest.raises(KeyError):
        outstanding_negative_equity_usd6(state, "9/9")


def test_r2_buyer_pays_rounded_up_seller_gets_rounded_down(exchange: Exchange) -> None:
    """R2, I9: 1 lamport at $150 is 0.15 usd6: the buyer owes 1, the seller is given 0, `rounding` holds 1."""
    exchange.deposit("1/0", USDC)
    exchange.deposit("2/0", USDC)
    outcome = exchange.trade("1/0", "2/0", 1, 150)
    assert isinstance(outcome, Accepted)
    event = outcome.events[0]
    assert (event.buyer_quote_usd6, event.seller_quote_usd6, event.rounding_usd6) == (-1, 0, 1)
    exchange.tick()
    # After the tick: both marked (long 0, short -1), and what is left in quote is zero in sum.
    quotes = {
        n: p.quote_usd6
        for n in ("1/0", "2/0", "rounding")
        for p in exchange.state.subaccounts[n].positions.values()
    }
    assert sum(quotes.values()) == 0
    total = sum(exchange.cash(name) for name in ("1/0", "2/0", "rounding"))
    assert total == 2 * USDC


def test_r19_block_trade_band_edges(exchange: Exchange) -> None:
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)

    def at(price_e8: int) -> Accepted | Rejected:
        return exchange.send(cm.BlockTrade, "SOL-PERP", "1/0", "2/0", 10**7, price_e8, ("1/0", "2/0"))

    mark = 150 * DOLLAR_E8
    band = mark // 20
    for price in (mark - band, mark + band):
        assert isinstance(at(price), Accepted)
    for price in (mark - band - 1, mark + band + 1):
        outcome = at(price)
        assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.PRICE_OUTSIDE_BAND


def test_r19_a_transfer_is_judged_like_a_withdrawal(exchange: Exchange) -> None:
    """R19: no unrealized profit leaves through a sibling subaccount."""
    exchange.open("1/1")
    exchange.deposit("1/0", 30 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.prices(160)
    outcome = exchange.send(cm.Transfer, "1/0", "1/1", "USDC", 1)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.would_pass_units) == (RejectReason.INSUFFICIENT_INITIAL_MARGIN, 0)
    exchange.tick()
    # Now $100 of profit is cash; initial margin at 160 is 32.
    exchange.must(cm.Transfer, "1/0", "1/1", "USDC", 98 * USDC)
    assert exchange.cash("1/1") == 98 * USDC
    assert isinstance(exchange.send(cm.Transfer, "1/0", "1/1", "USDC", 1), Rejected)


def test_r19_a_block_trade_respects_the_state_of_its_market(exchange: Exchange) -> None:
    """R12, R13, R19: closed and post-only let none in, reduce-only only what closes on both sides."""
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 2 * SOL, 150), Accepted)
    for market_state, reason in (
        ("closed", RejectReason.MARKET_CLOSED),
        ("post_only", RejectReason.MARKET_POST_ONLY),
        ("reduce_only", RejectReason.MARKET_REDUCE_ONLY),
    ):
        exchange.must(cm.SetMarketState, "SOL-PERP", market_state)
        outcome = exchange.trade("1/0", "2/0", SOL, 150)
        assert isinstance(outcome, Rejected) and outcome.reason is reason
    # 3 SOL would turn both positions round; 2 close them.
    outcome = exchange.trade("2/0", "1/0", 3 * SOL, 150)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.MARKET_REDUCE_ONLY
    assert isinstance(exchange.trade("2/0", "1/0", 2 * SOL, 150), Accepted)
    assert exchange.base("1/0") == exchange.base("2/0") == 0


def test_r13_a_stale_index_makes_block_trades_reduce_only(exchange: Exchange) -> None:
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", SOL, 150), Accepted)
    exchange.must(cm.UpdateQuotes, "SOL", (("a", "s", 150 * DOLLAR_E8, exchange.now_ns),))
    outcome = exchange.trade("1/0", "2/0", SOL, 150)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.MARKET_REDUCE_ONLY
    assert isinstance(exchange.trade("2/0", "1/0", SOL, 150), Accepted)


def test_r19_a_debt_that_has_not_ended_forbids_block_trades_and_orders(indebted: Exchange) -> None:
    """R19, R27: 1/0 owes 1,000; 2,000 from a sibling make it solvent, but the debt ends at the tick."""
    indebted.open("1/1")
    indebted.deposit("1/1", 2_000 * USDC)
    indebted.must(cm.Transfer, "1/1", "1/0", "USDC", 2_000 * USDC)
    assert margin_of(indebted.state, "1/0").account_value_usd6 == 1_000 * USDC
    for outcome in (indebted.trade("1/0", "2/0", SOL, 130), indebted.order("1/0", "buy", SOL, 130)):
        assert isinstance(outcome, Rejected)
        assert outcome.reason is RejectReason.OUTSTANDING_NEGATIVE_EQUITY
    indebted.tick()
    assert (indebted.cash("1/0"), indebted.state.debts) == (1_000 * USDC, {})
    assert isinstance(indebted.trade("1/0", "2/0", SOL, 130), Accepted)
    assert isinstance(indebted.order("1/0", "buy", SOL, 130), Accepted)


def test_r18_reduce_only_orders_need_no_margin(exchange: Exchange) -> None:
    """R18: long 10 SOL with $31, 20 SOL offered: the worst side is |10 - 20| = 10, $30 of initial margin.

    10 more reduce-only change nothing; 10 more of any other kind would make the worst side 20: $60.
    """
    exchange.deposit("1/0", 31 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    assert isinstance(exchange.order("1/0", "sell", 20 * SOL, 160), Accepted)
    refused = exchange.order("1/0", "sell", 10 * SOL, 161)
    assert isinstance(refused, Rejected) and refused.reason is RejectReason.INSUFFICIENT_INITIAL_MARGIN
    assert isinstance(exchange.order("1/0", "sell", 10 * SOL, 161, reduce_only=1), Accepted)
    assert margin_of(exchange.state, "1/0").initial_margin_usd6 == 30 * USDC
