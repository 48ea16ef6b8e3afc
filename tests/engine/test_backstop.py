"""R23: providers, their capacities, what they are given and at what price; figures worked out by hand."""

from __future__ import annotations

from typing import Any

from engine import commands as cm
from engine.apply import Accepted
from engine.backstop import provider_capacities
from engine.events import AutoDeleveraged, BackstopFilled, LiquidationEnded, LiquidationStageChanged
from engine.margin import margin_of, margin_with
from engine.zero_price import bankruptcy_price_e8
from tests.engine.conftest import SOL, USDC, Exchange

CENT_E8 = 10**6


def mark(exchange: Exchange, cents: int) -> tuple[Any, ...]:
    return exchange.must(cm.UpdatePrices, (("SOL", cents * CENT_E8),), (("SOL-PERP", cents * CENT_E8),))


def of(events: tuple[Any, ...], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def provider(
    exchange: Exchange, name: str, per_minute: int, per_hour: int = 10**9, usdc: int = 10**5
) -> None:
    exchange.open(name)
    exchange.deposit(name, usdc * USDC)
    exchange.must(cm.RegisterBackstop, name)
    exchange.must(cm.SetBackstopCapacity, name, "SOL-PERP", per_minute * USDC, per_hour * USDC)


def long_100(exchange: Exchange) -> Exchange:
    """Give 1/0 with $1,000 long 100 SOL at $150 against 2/0."""
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 20_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    return exchange


def test_r23_zero_price_two_thirds_and_one_third(exchange: Exchange) -> None:
    """R23: at 140.5 the equity is 50 of 1,000, maintenance 189.675: below half. The zero price is 140."""
    long_100(exchange)
    provider(exchange, "9/0", 100_000)
    events = mark(exchange, 140_50)
    assert of(events, LiquidationStageChanged) == [LiquidationStageChanged("1/0", "backstop", "below_acmf")]
    (filled,) = of(events, BackstopFilled)
    assert (filled.provider, filled.base_units, filled.mark_price_e8, filled.price_e8) == (
        "9/0",
        -100 * SOL,
        140_50 * CENT_E8,
        140 * 10**8,
    )
    assert (filled.released_usd6, filled.provider_usd6, filled.fund_usd6) == (
        50 * USDC,
        33_333_333,
        16_666_667,
    )
    assert (filled.quote_usd6, filled.provider_quote_usd6) == (14_000 * USDC, -14_050 * USDC + 33_333_333)
    assert events[-1] == LiquidationEnded("1/0", "closed")
    assert (exchange.cash("1/0"), exchange.base("9/0")) == (0, 100 * SOL)
    assert exchange.unsettled("insurance_fund") == 16_666_667
    assert margin_of(exchange.state, "9/0").net_equity_usd6 == 100_033_333_333
    exchange.tick()
    assert exchange.cash("insurance_fund") == 16_666_667
    assert exchange.cash("9/0") == 100_033_333_333


def test_r23_shorts_likewise(exchange: Exchange) -> None:
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 20_000 * USDC)
    assert isinstance(exchange.trade("2/0", "1/0", 100 * SOL, 150), Accepted)
    provider(exchange, "9/0", 100_000)
    (filled,) = of(mark(exchange, 159_40), BackstopFilled)
    assert (filled.base_units, filled.price_e8, filled.released_usd6) == (100 * SOL, 160 * 10**8, 60 * USDC)
    assert exchange.base("9/0") == -100 * SOL


def test_r23_at_or_below_zero_at_mark(exchange: Exchange) -> None:
    """R23: equity is exactly 0 at 140: nothing to release, and no debt."""
    long_100(exchange)
    provider(exchange, "9/0", 100_000)
    events = mark(exchange, 140_00)
    (filled,) = of(events, BackstopFilled)
    assert (filled.price_e8, filled.released_usd6, filled.quote_usd6) == (140 * 10**8, 0, 14_000 * USDC)
    assert events[-1] == LiquidationEnded("1/0", "closed") and not exchange.state.debts


def test_r23_pro_rata_to_remaining_capacity(exchange: Exchange) -> None:
    """R23: 20,000 to 10,000 is two to one: 66.666666667 and 33.333333333 SOL of 100."""
    long_100(exchange)
    provider(exchange, "9/0", 10_000)
    provider(exchange, "8/0", 20_000)
    filled = of(mark(exchange, 140_50), BackstopFilled)
    assert [(one.provider, one.base_units) for one in filled] == [
        ("8/0", -66_666_666_667),
        ("9/0", -33_333_333_333),
    ]
    # Each part releases its part of 50, rounded down; what is left over stays with the customer.
    assert [one.released_usd6 for one in filled] == [33_333_333, 16_666_666]
    assert exchange.cash("1/0") == 1


def test_r23_capacity_exhausted_goes_on_to_r24(exchange: Exchange) -> None:
    """R23, R24: 6,000 at 140.5 are 42.704626334 SOL; the rest is deleveraged against 2/0."""
    long_100(exchange)
    provider(exchange, "9/0", 6_000)
    events = mark(exchange, 140_50)
    assert [one.base_units for one in of(events, BackstopFilled)] == [-42_704_626_334]
    assert LiquidationStageChanged("1/0", "adl", "backstop_exhausted") in events
    assert [(one.counterparty, one.base_units) for one in of(events, AutoDeleveraged)] == [
        ("2/0", -57_295_373_666)
    ]


def test_r23_the_minute_and_the_hour_run_out_and_begin_anew(exchange: Exchange) -> None:
    """R23: what is used is the notional rounded up; a minute begins with its first fill and lasts 60 s."""
    long_100(exchange)
    provider(exchange, "9/0", 6_000, 10_000)
    mark(exchange, 140_50)

    def left() -> tuple[int, int]:
        (capacity,) = provider_capacities(exchange.state, exchange.now_ns)
        return capacity.left_in_minute_usd6, capacity.left_in_hour_usd6

    # 42.704626334 x 140.5 = 5,999.999999927, rounded up.
    assert left() == (0, 4_000 * USDC)
    exchange.wait(59)
    assert left() == (0, 4_000 * USDC)
    exchange.wait(1)
    assert left() == (6_000 * USDC, 4_000 * USDC)
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.prices(150)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    # The hour has 4,000 left: 28.469750889 SOL.
    assert [one.base_units for one in of(mark(exchange, 140_50), BackstopFilled)] == [-28_469_750_889]
    assert left() == (2_000 * USDC, 0)
    exchange.wait(3_539)
    assert left() == (6_000 * USDC, 0)
    exchange.wait(1)
    assert left() == (6_000 * USDC, 10_000 * USDC)
    exchange.must(cm.SetBackstopCapacity, "9/0", "SOL-PERP", 1 * USDC, 2 * USDC)
    assert left() == (1 * USDC, 2 * USDC)


def test_r23_nobody_is_given_more_than_initial_margin_allows(exchange: Exchange) -> None:
    """R23: with $100 a provider can hold $5,000 at 2%: 35.587188612 SOL at 140.5."""
    long_100(exchange)
    provider(exchange, "9/0", 1_000_000, usdc=100)
    filled = of(mark(exchange, 140_50), BackstopFilled)
    assert [one.base_units for one in filled] == [-35_587_188_612]
    held = exchange.state.subaccounts["9/0"]
    exact = margin_with(exchange.state, held, market="SOL-PERP")
    # It was judged at mark, without its share of what was released (11.86).
    assert exact.initial_margin_usd6 == 100 * USDC and exact.net_equity_usd6 == 111_862_396
    more = margin_with(exchange.state, held, market="SOL-PERP", base_units=1_000)
    assert more.initial_margin_usd6 > 100 * USDC


def test_r23_a_provider_in_liquidation_or_gone_takes_nothing(exchange: Exchange) -> None:
    long_100(exchange)
    provider(exchange, "9/0", 100_000)
    provider(exchange, "8/0", 100_000, usdc=400)
    assert isinstance(exchange.trade("8/0", "2/0", 100 * SOL, 150), Accepted)
    exchange.must(cm.LeaveBackstop, "9/0")
    # 8/0 (equity 400 - 950) is a provider that fails itself; 9/0 has left.
    events = mark(exchange, 140_50)
    assert not of(events, BackstopFilled)
    assert not exchange.state.backstops.get("9/0") and exchange.base("9/0") == 0
    assert {(one.subaccount, one.counterparty) for one in of(events, AutoDeleveraged)} == {
        ("1/0", "2/0"),
        ("8/0", "2/0"),
    }


def test_r23_a_provider_funds_itself_and_takes_its_money_out_again(exchange: Exchange) -> None:
    """R23: it is an ordinary subaccount: deposits, withdrawals and trades are its own business."""
    provider(exchange, "9/0", 100_000)
    exchange.attest()
    assert isinstance(exchange.withdraw("9/0", 50_000 * USDC), Accepted)
    exchange.must(cm.LeaveBackstop, "9/0")
    exchange.must(cm.RegisterBackstop, "9/0")
    assert provider_capacities(exchange.state, exchange.now_ns) == ()


def test_r23_equity_is_shared_by_maintenance_margin(exchange: Exchange) -> None:
    """R23: two markets; the larger maintenance margin goes first, and BTC's share stays behind BTC."""
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("2/0", 10_000 * USDC)
    exchange.backstop()
    assert isinstance(exchange.trade("1/0", "2/0", 20 * SOL, 150), Accepted)
    assert isinstance(exchange.trade("1/0", "2/0", 10**6, 60_000, "BTC-PERP"), Accepted)
    # Loss of 80: equity 20; maintenance 20 x 146 x 1.35% = 39.42 and 600 x 0.667% = 4.002: below half.
    events = mark(exchange, 146_00)
    filled = of(events, BackstopFilled)
    # floor(20 x 39.42 / 43.422) = 18.156694, then what is left is 1.843306.
    assert [(one.market, one.released_usd6) for one in filled] == [
        ("SOL-PERP", 18_156_694),
        ("BTC-PERP", 1_843_306),
    ]
    assert events[-1] == LiquidationEnded("1/0", "closed")


def test_r23_bankruptcy_price_of_a_short_and_of_one_that_cannot_be_used_up(exchange: Exchange) -> None:
    long_100(exchange)
    # 1/0: 1,000 over 100 SOL: 10 each. 2/0: 20,000: 200 each.
    assert bankruptcy_price_e8(exchange.state, "1/0", "SOL-PERP") == 140 * 10**8
    assert bankruptcy_price_e8(exchange.state, "2/0", "SOL-PERP") == 350 * 10**8
    exchange.deposit("1/0", 14_000 * USDC)
    assert bankruptcy_price_e8(exchange.state, "1/0", "SOL-PERP") == 0


def test_r23_a_provider_in_liquidation_takes_nothing(exchange: Exchange) -> None:
    """R23: 9/0, long 50 SOL with $200, enters at 147.90 with 95 of 99.8325; $100,000 come before its next
    step.

    They would carry 1/0's 100 SOL at 140.50, but who is in liquidation is not able: 2/0 is deleveraged.
    """
    long_100(exchange)
    provider(exchange, "9/0", 100_000, usdc=200)
    assert isinstance(exchange.trade("9/0", "2/0", 50 * SOL, 150), Accepted)
    mark(exchange, 147_90)
    assert list(exchange.state.liquidations) == ["9/0"]
    exchange.deposit("9/0", 100_000 * USDC)
    exchange.now_ns += 1
    events = mark(exchange, 140_50)
    assert not of(events, BackstopFilled)
    assert [one.counterparty for one in of(events, AutoDeleveraged)] == ["2/0"]
    assert [one.active for one in provider_capacities(exchange.state, exchange.now_ns)] == [False]
    exchange.wait(1)
    assert LiquidationEnded("9/0", "recovered") in mark(exchange, 140_50)
    assert [one.active for one in provider_capacities(exchange.state, exchange.now_ns)] == [True]


def test_r23_a_bankrupt_provider_takes_nothing(indebted: Exchange) -> None:
    """R23, R27: 1/0 owes 1,000; 100,000 from a sibling would carry anything, but its debt ends at the tick
    only.
    """
    indebted.must(cm.LeaveBackstop, "90/0")
    indebted.open("1/1", "3/0", "4/0")
    for name, dollars in (("1/1", 100_000), ("3/0", 1_000), ("4/0", 20_000)):
        indebted.deposit(name, dollars * USDC)
    indebted.must(cm.RegisterBackstop, "1/0")
    indebted.must(cm.SetBackstopCapacity, "1/0", "SOL-PERP", 10**6 * USDC, 10**7 * USDC)
    assert isinstance(indebted.trade("3/0", "4/0", 100 * SOL, 130), Accepted)
    indebted.must(cm.Transfer, "1/1", "1/0", "USDC", 100_000 * USDC)
    # 3/0: 50 of 100 x 120.5 x 1.35% = 162.675, less than half.
    events = mark(indebted, 120_50)
    assert not of(events, BackstopFilled)
    assert [one.counterparty for one in of(events, AutoDeleveraged)] == ["4/0"]
    assert indebted.base("1/0") == 0
