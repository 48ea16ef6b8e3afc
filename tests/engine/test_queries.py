"""What can be asked for display: open interest, totals of a pool, where a liquidation would begin."""

from __future__ import annotations

import pytest

from engine import commands as cm
from engine.margin import margin_of, meets_maintenance_margin
from engine.markets import open_interest_units
from engine.pool import pool_lent_units, pool_owed_units
from engine.snapshot import state_hash
from engine.zero_price import liquidation_price_e8

from .conftest import DOLLAR_E8, SOL, USDC, Exchange


@pytest.fixture
def exchange() -> Exchange:
    made = Exchange()
    made.open("1/0", "2/0", "3/0")
    for name in ("1/0", "2/0", "3/0"):
        made.deposit(name, 10_000 * USDC)
    made.prices(150)
    return made


def test_r7_open_interest_is_what_is_held_long(exchange: Exchange) -> None:
    assert open_interest_units(exchange.state, "SOL-PERP") == 0
    exchange.trade("1/0", "2/0", 10 * SOL, 150)
    exchange.trade("3/0", "2/0", 5 * SOL, 150)
    assert open_interest_units(exchange.state, "SOL-PERP") == 15 * SOL
    exchange.trade("2/0", "1/0", 10 * SOL, 150)
    assert open_interest_units(exchange.state, "SOL-PERP") == 5 * SOL
    assert open_interest_units(exchange.state, "BTC-PERP") == 0
    with pytest.raises(KeyError):
        open_interest_units(exchange.state, "DOGE-PERP")


def test_r9_the_totals_of_a_pool_round_against_those_who_have_it(exchange: Exchange) -> None:
    state = exchange.state
    assert (pool_lent_units(state, "USDC"), pool_owed_units(state, "USDC")) == (0, 0)
    exchange.must(cm.Lend, "1/0", "USDC", 8_000 * USDC)
    exchange.must(cm.Borrow, "2/0", "USDC", 1_000 * USDC)
    exchange.wait(3_600)
    exchange.tick()
    pool = state.pools["USDC"]
    lent, owed = pool_lent_units(state, "USDC"), pool_owed_units(state, "USDC")
    assert lent == pool.lent_shares * pool.lend_index_e18 // 10**18
    assert owed == -(-pool.borrowed_shares * pool.borrow_index_e18 // 10**18)
    assert owed == exchange.owed("2/0") > 1_000 * USDC
    assert owed < lent


@pytest.mark.parametrize(("name", "away"), [("1/0", -1), ("2/0", 1)])
def test_r20_the_liquidation_price_is_the_first_mark_that_fails(
    exchange: Exchange, name: str, away: int
) -> None:
    exchange.trade("1/0", "2/0", 900 * SOL, 150)
    before = state_hash(exchange.state)
    begins_e8 = liquidation_price_e8(exchange.state, name, "SOL-PERP")
    assert state_hash(exchange.state) == before
    assert (begins_e8 - 150 * DOLLAR_E8) * away > 0
    for mark_e8, good in ((begins_e8 - away, True), (begins_e8, False)):
        exchange.must(cm.UpdatePrices, (), (("SOL-PERP", mark_e8),))
        # Who fails is in liquidation at once: the last good mark, then the first bad one.
        assert (name not in exchange.state.liquidations) is good
    assert liquidation_price_e8(exchange.state, name, "SOL-PERP") == begins_e8
    assert not meets_maintenance_margin(margin_of(exchange.state, name))


def test_r20_without_any_such_mark_the_liquidation_price_is_0(exchange: Exchange) -> None:
    exchange.trade("1/0", "2/0", 10 * SOL, 150)
    # 10,000 dollars carry a long of 1,500 down to nothing; a short has no end above.
    assert liquidation_price_e8(exchange.state, "1/0", "SOL-PERP") == 0
    assert liquidation_price_e8(exchange.state, "2/0", "SOL-PERP") > 1_000 * DOLLAR_E8
    with pytest.raises(KeyError):
        liquidation_price_e8(exchange.state, "3/0", "SOL-PERP")
