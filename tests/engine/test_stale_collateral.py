"""R17, R19: what has a stale index carries nothing new and keeps nobody from what does not need it."""

from __future__ import annotations

import pytest

from engine import commands as cm
from engine import events as ev
from engine.apply import Accepted, Rejected
from engine.borrowing import max_borrow_units
from engine.margin import margin_of
from engine.rejects import RejectReason
from engine.withdrawals import withdrawable_units
from tests.engine.conftest import DOLLAR_E8, SOL, USDC, Exchange

BTC = 10**8


@pytest.fixture
def late(exchange: Exchange) -> Exchange:
    """Give an exchange where 1/0 has 1 BTC and $100, 2/0 $100,000, BTC's index being 61 s old."""
    exchange.must(cm.SetLending, "1/0", 0, 1, 1)
    exchange.must(cm.SetLending, "2/0", 0, 1, 1)
    exchange.deposit("1/0", BTC, "BTC")
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("2/0", 100_000 * USDC)
    exchange.wait(61)
    fresh(exchange)
    return exchange


def fresh(exchange: Exchange, dollars: int = 150) -> None:
    price_e8 = dollars * DOLLAR_E8
    exchange.must(cm.UpdatePrices, (("SOL", price_e8),), (("SOL-PERP", price_e8),))


def refusal(outcome: object) -> tuple[RejectReason, str]:
    assert isinstance(outcome, Rejected)
    return outcome.reason, outcome.detail


def test_r17_stale_collateral_is_told_apart(late: Exchange) -> None:
    """R17: 1 BTC at 60,000 weighs 0.95 / (1 + 0.004): it stays in net equity and is named as stale."""
    margin = margin_of(late.state, "1/0")
    assert margin.stale_collateral_usd6 == margin.net_equity_usd6 - 100 * USDC > 0
    late.prices(150)
    again = margin_of(late.state, "1/0")
    assert again.stale_collateral_usd6 == 0 and again.net_equity_usd6 == margin.net_equity_usd6


def test_r19_what_other_collateral_carries_needs_no_stale_price(late: Exchange) -> None:
    """R19: $100 carry 33.3 SOL at 150 and 2%; one lot more would need BTC's price."""
    assert isinstance(late.trade("1/0", "2/0", 33 * SOL, 150), Accepted)
    assert refusal(late.trade("1/0", "2/0", SOL, 150)) == (RejectReason.STALE_PRICE, "BTC")
    late.prices(150)
    assert isinstance(late.trade("1/0", "2/0", SOL, 150), Accepted)


def test_r19_with_too_little_collateral_even_at_the_last_index_margin_is_what_is_missing(
    late: Exchange,
) -> None:
    """R19: the order of refusals: initial margin before a stale price, on either side of a block trade."""
    too_much = 100_000 * SOL
    assert refusal(late.trade("1/0", "2/0", too_much, 150))[0] is RejectReason.INSUFFICIENT_INITIAL_MARGIN
    assert refusal(late.order("1/0", "buy", too_much, 150))[0] is RejectReason.INSUFFICIENT_INITIAL_MARGIN
    # 100 SOL need $300: 1/0 has them with BTC counted, 3/0 has $100 and nothing else.
    late.open("3/0")
    late.deposit("3/0", 100 * USDC)
    refused = refusal(late.trade("1/0", "3/0", 100 * SOL, 150))
    assert refused == (RejectReason.INSUFFICIENT_INITIAL_MARGIN, "3/0")


def test_r19_closing_is_possible_whatever_is_stale(late: Exchange) -> None:
    """R19: nothing worse takes stale collateral at its last index: a position can be reduced."""
    assert isinstance(late.trade("1/0", "2/0", 33 * SOL, 150), Accepted)
    fresh(late, 140)
    assert margin_of(late.state, "1/0").net_equity_usd6 > 0
    assert refusal(late.order("1/0", "buy", SOL, 140)) == (RejectReason.STALE_PRICE, "BTC")
    late.order("2/0", "buy", 10 * SOL, 140)
    assert isinstance(late.order("1/0", "sell", 10 * SOL, 140), Accepted)
    assert late.base("1/0") == 23 * SOL


def test_r12_a_maker_on_stale_collateral_is_passed_over(exchange: Exchange) -> None:
    """R12, R17: the order rested while the price was fresh; met later, nobody vouches for it."""
    exchange.deposit("1/0", BTC, "BTC")
    exchange.deposit("2/0", 100_000 * USDC)
    assert isinstance(exchange.order("1/0", "buy", 100 * SOL, 150), Accepted)
    exchange.wait(61)
    fresh(exchange)
    outcome = exchange.order("2/0", "sell", 100 * SOL, 150)
    assert isinstance(outcome, Accepted)
    cancelled = [one for one in outcome.events if isinstance(one, ev.OrderCancelled)]
    assert [(one.subaccount, one.reason) for one in cancelled] == [("1/0", "insufficient_margin")]
    assert exchange.base("1/0") == exchange.base("2/0") == 0


def test_r11_a_borrow_on_stale_collateral_names_what_would_pass(late: Exchange) -> None:
    """R11, R17: $100 carry a borrow of some SOL; what BTC would have to carry is refused as stale."""
    late.deposit("2/0", 100 * SOL, "SOL")
    late.must(cm.Lend, "2/0", "SOL", 100 * SOL)
    most = max_borrow_units(late.state, "1/0", "SOL")
    outcome = late.send(cm.Borrow, "1/0", "SOL", 50 * SOL)
    assert refusal(outcome) == (RejectReason.STALE_PRICE, "BTC")
    assert isinstance(outcome, Rejected) and outcome.would_pass_units == most
    assert refusal(late.send(cm.Borrow, "1/0", "SOL", most + 1)) == (RejectReason.STALE_PRICE, "BTC")
    assert isinstance(late.send(cm.Borrow, "1/0", "SOL", most), Accepted)


def test_r11_a_borrow_needs_the_price_of_what_is_owed(late: Exchange) -> None:
    """R11: what is owed cannot count as nothing: with SOL owed and its index stale no more is borrowed."""
    late.deposit("2/0", 100 * SOL, "SOL")
    late.must(cm.Lend, "2/0", "SOL", 100 * SOL)
    late.must(cm.Lend, "2/0", "USDC", 1_000 * USDC)
    late.must(cm.Borrow, "1/0", "SOL", SOL)
    late.wait(61)
    late.must(cm.UpdatePrices, (("BTC", 60_000 * DOLLAR_E8),), ())
    assert refusal(late.send(cm.Borrow, "1/0", "USDC", USDC)) == (RejectReason.STALE_PRICE, "SOL")
    late.attest()
    assert refusal(late.withdraw("1/0", USDC)) == (RejectReason.STALE_PRICE, "SOL")


def test_r30_dust_of_a_coin_without_a_feed_holds_nobody(late: Exchange) -> None:
    """R30: anybody can send a coin to an address; its silent feed must not stop the owner's dollars."""
    late.deposit("2/0", 10**4, "BTC")
    assert isinstance(late.trade("2/0", "1/0", SOL, 150), Accepted)
    late.attest()
    units = withdrawable_units(late.state, "2/0", "USDC")
    assert units == 100_000 * USDC - 3 * USDC
    assert isinstance(late.withdraw("2/0", units), Accepted)


def test_r23_a_provider_on_stale_collateral_takes_nothing(exchange: Exchange) -> None:
    """R23, R17: its $600 are BTC with an index of 61 s; the liquidated long goes to ADL instead."""
    exchange.backstop()
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 20_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    exchange.wait(61)
    fresh(exchange, 140)
    assert exchange.base("90/0") == 0
    assert exchange.base("1/0") == exchange.base("2/0") == 0
