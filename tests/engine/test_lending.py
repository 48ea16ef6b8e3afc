"""R9, R10: rates, interest, lending, redeeming, the throttle. Every number is worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, localcontext

import pytest

from engine import commands as cm
from engine.apply import Accepted, Rejected, apply
from engine.balances import LedgerError
from engine.events import Borrowed, InterestAccrued, Lent, Redeemed
from engine.invariants import check, check_totals
from engine.ledger import post
from engine.params import LendingParams, Params, default_params, params_faults
from engine.pool import (
    accrual,
    borrow_rate_e18,
    borrow_rate_ppm,
    borrowable_units,
    lend_rate_ppm,
    redeemable_units,
    utilization_ppm,
)
from engine.rejects import RejectReason
from engine.snapshot import dump_state, load_state
from engine.state import LendingPool, State
from engine.units import E18, YEAR_NS
from tests.engine.conftest import SECOND, SOL, USDC, Exchange

YEAR_S = 365 * 86_400


def by_hand() -> Params:
    """Give parameters with which nothing happens by itself."""
    return replace(default_params(), auto_lend_default=0, auto_borrow_default=0, auto_repay_default=0)


def pool_of(lent: int, borrowed: int) -> LendingPool:
    return LendingPool(lent_shares=lent, borrowed_shares=borrowed)


@pytest.fixture
def pool() -> Exchange:
    """Give an exchange in which 2/0 has lent 100 SOL and 1/0 has $100,000; SOL is at $150."""
    made = Exchange(by_hand())
    made.open("1/0", "2/0", "3/0")
    made.prices(150)
    made.deposit("1/0", 100_000 * USDC)
    made.deposit("2/0", 100 * SOL, "SOL")
    made.must(cm.Lend, "2/0", "SOL", 100 * SOL)
    return made


@pytest.mark.parametrize(
    ("borrowed", "rate_ppm"),
    [(0, 0), (45, 40_000), (89, 79_112), (90, 80_000), (91, 172_000), (95, 540_000), (100, 1_000_000)],
)
def test_r9_the_published_points_of_the_curve(borrowed: int, rate_ppm: int) -> None:
    """R9: 0% at nothing, 8% at 90%, 100% at everything, straight lines between; rounded up."""
    rate_e18 = borrow_rate_e18(LendingParams(), pool_of(100, borrowed))
    assert -(-rate_e18 // 10**12) == rate_ppm


def test_r9_the_rate_at_zero_is_where_the_curve_begins() -> None:
    lending = LendingParams(rate_at_zero_ppm=10_000, rate_at_optimal_ppm=70_000)
    points = [borrow_rate_e18(lending, pool_of(90, borrowed)) // 10**12 for borrowed in (0, 27, 81, 90)]
    # 27/90 = 30% is a third of the way to 90%.
    assert points == [10_000, 30_000, 70_000, 1_000_000]


def test_r9_lenders_earn_borrow_rate_times_utilization_less_the_fee(pool: Exchange) -> None:
    pool.must(cm.Borrow, "1/0", "SOL", 90 * SOL)
    assert utilization_ppm(pool.state, "SOL") == 900_000
    assert borrow_rate_ppm(pool.state, "SOL") == 80_000
    # 80,000 x 0.9 x 0.9
    assert lend_rate_ppm(pool.state, "SOL") == 64_800
    assert lend_rate_ppm(pool.state, "BTC") == 0


def test_r9_a_year_at_the_kink_to_the_unit() -> None:
    """R9: 900 of 1,000 USDC borrowed at 10%: 90 USDC interest, 81 to the lenders, 9 to `fees`."""
    made = Exchange(by_hand())
    made.open("1/0", "2/0")
    made.prices(150)
    made.deposit("1/0", 100 * SOL, "SOL")
    made.deposit("2/0", 1_000 * USDC)
    made.must(cm.Lend, "2/0", "USDC", 1_000 * USDC)
    made.must(cm.Borrow, "1/0", "USDC", 900 * USDC)
    made.wait(YEAR_S)
    (accrued,) = made.tick()
    assert accrued == InterestAccrued(
        "USDC", 900_000, 100_000, 1_100_000_000_000_000_000, 1_081_000_000_000_000_000, 8_325_624
    )
    assert made.owed("1/0") == 990 * USDC
    assert made.lent("2/0") == 1_081 * USDC
    # 8,325,624 shares x 1.081 = 8,999,999.5
    assert made.lent("fees") == 8_999_999
    assert made.cash("lending_pool") == 100 * USDC
    assert made.tick() == ()


def test_r9_compounding_stays_between_the_closed_forms() -> None:
    """R9: 8,760 hourly accruals lie between compounding at the first and at the last rate."""
    lending = LendingParams()
    pool = pool_of(10**15, 45 * 10**13)
    first = borrow_rate_e18(lending, pool)
    for hour in range(1, 8_761):
        due = accrual(lending, pool, hour * YEAR_NS // 8_760)
        assert due is not None
        # I6: neither index falls.
        assert due.borrow_index_e18 > pool.borrow_index_e18
        assert due.lend_index_e18 > pool.lend_index_e18
        pool.borrow_index_e18, pool.lend_index_e18 = due.borrow_index_e18, due.lend_index_e18
        pool.lent_shares += due.fee_shares
        pool.accrued_ns = hour * YEAR_NS // 8_760
    last = borrow_rate_e18(lending, pool)
    assert first < last
    with localcontext() as context:
        context.prec = 60
        low, high = [(1 + Decimal(rate) / E18 / 8_760) ** 8_760 for rate in (first, last)]
        assert low <= Decimal(pool.borrow_index_e18) / E18 <= high * (1 + Decimal(10) ** -14)
    # Nothing is lost but residues: the borrower's interest is the lenders' and the operator's gain.
    owned = 55 * 10**13 * E18 + pool.borrowed_shares * pool.borrow_index_e18
    spare = owned - pool.lent_shares * pool.lend_index_e18
    # Per hour less than one share for the fee and less than 10^-18 of a unit per lent share.
    assert 0 <= spare < 8_760 * (pool.lend_index_e18 + pool.lent_shares)


def test_r9_nobody_earns_or_pays_for_time_in_which_he_was_not_there(pool: Exchange) -> None:
    """R9: whoever lends a second before the tick earns for a second; a loan of a second costs a second."""
    pool.must(cm.Borrow, "1/0", "SOL", 90 * SOL)
    pool.deposit("3/0", 100 * SOL, "SOL")
    pool.wait(9)
    accrued, lent = pool.must(cm.Lend, "3/0", "SOL", 100 * SOL)
    assert isinstance(accrued, InterestAccrued) and isinstance(lent, Lent)
    early = pool.lent("2/0", "SOL") - 100 * SOL
    # 90 SOL x 8% x 9 s / year x 90% = 1,849.3 units
    assert early == 1_849
    pool.wait(1)
    pool.tick()
    # The pool is 45% used now: 4% on 90 SOL for a second, to 200 SOL: 51.4 units each.
    assert pool.lent("2/0", "SOL") - 100 * SOL == 1_849 + 51
    assert pool.lent("3/0", "SOL") - 100 * SOL in (50, 51)
    borrowed_at = pool.owed("1/0", "SOL")
    pool.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    pool.wait(1)
    pool.must(cm.Repay, "1/0", "SOL", 10 * SOL)
    assert pool.owed("1/0", "SOL") > borrowed_at


def test_r9_roundings_are_against_who_acts(pool: Exchange) -> None:
    """R9: at indices that divide badly every step leaves something in the pool, never takes it (I6)."""
    pool.must(cm.Borrow, "1/0", "SOL", 50 * SOL)
    pool.wait(86_400)
    pool.prices(150)
    pool.tick()
    lend_index = pool.state.pools["SOL"].lend_index_e18
    borrow_index = pool.state.pools["SOL"].borrow_index_e18
    assert lend_index > E18 and borrow_index > lend_index
    pool.deposit("3/0", 7 * SOL, "SOL")
    (lent,) = pool.must(cm.Lend, "3/0", "SOL", 7 * SOL)
    assert lent.shares == 7 * SOL * E18 // lend_index
    assert pool.lent("3/0", "SOL") in (7 * SOL - 1, 7 * SOL)
    (redeemed,) = pool.must(cm.Redeem, "3/0", "SOL", SOL)
    assert redeemed.shares == -(-SOL * E18 // lend_index)
    (borrowed,) = pool.must(cm.Borrow, "1/0", "SOL", SOL)
    assert borrowed.shares == -(-SOL * E18 // borrow_index)
    (repaid,) = pool.must(cm.Repay, "1/0", "SOL", SOL)
    assert repaid.shares == SOL * E18 // borrow_index
    # All that is owed frees all shares; all that is lent takes all shares.
    pool.deposit("1/0", SOL, "SOL")
    (last,) = pool.must(cm.Repay, "1/0", "SOL", 2**63)
    assert (last.owed_units, pool.state.subaccounts["1/0"].borrowed) == (0, {})
    pool.must(cm.Redeem, "3/0", "SOL", pool.lent("3/0", "SOL"))
    assert pool.state.subaccounts["3/0"].lent == {}


def test_i6_an_index_cannot_fall(pool: Exchange) -> None:
    with pytest.raises(LedgerError, match="would fall"):
        post(pool.state, InterestAccrued("SOL", 0, 0, E18 - 1, E18, 0))
    with pytest.raises(LedgerError, match="would fall"):
        post(pool.state, InterestAccrued("SOL", 0, 0, E18, E18 - 1, 0))


def test_r10_the_throttle_and_the_maximum_to_the_unit(pool: Exchange) -> None:
    """R10: at 92% exactly one may still borrow, up to 95% exactly; above 92% both pause."""
    pool.must(cm.Borrow, "1/0", "SOL", 92 * SOL)
    assert utilization_ppm(pool.state, "SOL") == 920_000
    outcome = pool.send(cm.Borrow, "1/0", "SOL", 3 * SOL + 1)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.would_pass_units) == (
        RejectReason.UTILIZATION_ABOVE_MAXIMUM,
        3 * SOL,
    )
    pool.must(cm.Borrow, "1/0", "SOL", 3 * SOL)
    assert utilization_ppm(pool.state, "SOL") == 950_000
    for outcome in (pool.send(cm.Borrow, "1/0", "SOL", SOL), pool.send(cm.Redeem, "2/0", "SOL", 1)):
        assert isinstance(outcome, Rejected)
        assert outcome.reason is RejectReason.UTILIZATION_ABOVE_THROTTLE


def test_r10_redeeming_stops_at_the_maximum_to_the_unit(pool: Exchange) -> None:
    """R10: 92 of 100 are borrowed; 92 / 0.95 = 96.842105264 must stay."""
    pool.must(cm.Borrow, "1/0", "SOL", 92 * SOL)
    lender = pool.state.subaccounts["2/0"]
    assert redeemable_units(pool.state, lender, "SOL") == 3_157_894_736
    outcome = pool.send(cm.Redeem, "2/0", "SOL", 3_157_894_737)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.would_pass_units) == (
        RejectReason.UTILIZATION_ABOVE_MAXIMUM,
        3_157_894_736,
    )
    pool.must(cm.Redeem, "2/0", "SOL", 3_157_894_736)
    outcome = pool.send(cm.Redeem, "2/0", "SOL", 1)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.UTILIZATION_ABOVE_THROTTLE
    pool.must(cm.Repay, "1/0", "SOL", 10 * SOL)
    assert redeemable_units(pool.state, lender, "SOL") > 0


def test_r10_one_unit_above_the_throttle_pauses(pool: Exchange) -> None:
    pool.must(cm.Borrow, "1/0", "SOL", 92 * SOL + 1)
    outcome = pool.send(cm.Borrow, "1/0", "SOL", SOL)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.UTILIZATION_ABOVE_THROTTLE


def test_r10_the_throttle_is_judged_with_interest_up_to_now(pool: Exchange) -> None:
    """R10: a pool at 92% exactly is above it a minute later, although no tick has come."""
    pool.must(cm.Borrow, "1/0", "SOL", 92 * SOL)
    pool.wait(60)
    outcome = pool.send(cm.Redeem, "2/0", "SOL", 1)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.UTILIZATION_ABOVE_THROTTLE
    assert utilization_ppm(pool.state, "SOL") == 920_000


def test_r10_a_wash_at_the_throttle_gains_nothing() -> None:
    """R10: lending and borrowing the same asset against oneself costs the reserve fee, at any utilization."""
    made = Exchange(by_hand())
    made.open("1/0", "2/0", "3/0")
    made.prices(150)
    made.deposit("1/0", 1_000_000 * USDC)
    made.deposit("2/0", 100 * SOL, "SOL")
    made.deposit("3/0", 100 * SOL, "SOL")
    made.must(cm.Lend, "2/0", "SOL", 100 * SOL)

    def worth() -> int:
        return made.cash("1/0", "SOL") + made.lent("1/0", "SOL") - made.owed("1/0", "SOL")

    before = worth()
    for _ in range(5):
        room = borrowable_units(made.state, "SOL")
        outcome = made.send(cm.Borrow, "1/0", "SOL", room)
        if isinstance(outcome, Accepted):
            made.must(cm.Lend, "1/0", "SOL", made.cash("1/0", "SOL"))
        made.wait(86_400)
        made.tick()
        made.prices(150)
        assert worth() < before
    honest = made.lent("2/0", "SOL")
    # The one who was lent to gained what the wash paid; nothing came out of nothing.
    assert honest > 100 * SOL
    assert worth() + honest - 100 * SOL + made.lent("fees", "SOL") <= before


def test_r10_leverage_by_looping_ends_at_initial_margin(pool: Exchange) -> None:
    """R10, R11: borrow, lend, borrow against it: each turn costs the weight and initial margin."""
    pool.must(cm.Redeem, "2/0", "SOL", 100 * SOL)
    pool.deposit("2/0", 20_000 * SOL, "SOL")
    pool.must(cm.Lend, "2/0", "SOL", 20_000 * SOL)
    for _ in range(200):
        if isinstance(pool.send(cm.Borrow, "1/0", "SOL", 100 * SOL), Rejected):
            break
        pool.must(cm.Lend, "1/0", "SOL", 100 * SOL)
    # $100,000 of equity; per $15,000 borrowed at least 10% weight and 10% margin are lost.
    assert 100 * SOL <= pool.owed("1/0", "SOL") <= 3_400 * SOL
    outcome = pool.send(cm.Borrow, "1/0", "SOL", 100 * SOL)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.INSUFFICIENT_INITIAL_MARGIN


def test_r10_the_first_borrower_finds_the_cash_that_waits(exchange: Exchange) -> None:
    """R10, R11: auto_lend is on by default, but cash stays cash until somebody borrows the asset."""
    exchange.open("3/0")
    exchange.deposit("1/0", 10_000 * USDC)
    exchange.deposit("2/0", 60 * SOL, "SOL")
    exchange.deposit("3/0", 40 * SOL, "SOL")
    exchange.must(cm.SetLending, "3/0", 0, 1, 1)
    exchange.tick()
    assert (exchange.cash("2/0", "SOL"), exchange.lent("2/0", "SOL")) == (60 * SOL, 0)
    events = exchange.must(cm.Borrow, "1/0", "SOL", 6 * SOL)
    assert events == (Lent("2/0", "SOL", 60 * SOL, 60 * SOL), Borrowed("1/0", "SOL", 6 * SOL, 6 * SOL))
    exchange.deposit("2/0", 5 * SOL, "SOL")
    exchange.must(cm.SetLending, "3/0", 1, 1, 1)
    exchange.wait(10)
    exchange.tick()
    assert (exchange.cash("2/0", "SOL"), exchange.cash("3/0", "SOL")) == (0, 0)
    # The borrower's own units are not lent, and dollars nobody borrows stay.
    assert (exchange.cash("1/0", "SOL"), exchange.cash("1/0")) == (6 * SOL, 10_000 * USDC)


def test_r10_dollars_of_traders_and_dust_stay_cash(exchange: Exchange) -> None:
    exchange.open("3/0", "4/0")
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    exchange.deposit("3/0", 100 * SOL, "SOL")
    exchange.deposit("4/0", 500 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", SOL, 150), Accepted)
    exchange.must(cm.Borrow, "3/0", "USDC", 100 * USDC)
    # 1/0 and 2/0 hold a position.
    assert (exchange.lent("1/0"), exchange.lent("2/0"), exchange.lent("4/0")) == (0, 0, 500 * USDC)
    exchange.deposit("4/0", 100_000)
    exchange.tick()
    assert exchange.cash("4/0") == 0
    exchange.must(cm.Redeem, "4/0", "USDC", 99_999)
    exchange.tick()
    assert exchange.cash("4/0") == 99_999


def test_r10_an_order_locks_what_cannot_be_lent(exchange: Exchange) -> None:
    """R7, R10: cash that a resting spot order has locked is neither lent nor redeemable."""
    exchange.deposit("1/0", 10 * SOL, "SOL")
    order = ("SOL/USDC", "sell", "limit", 4 * SOL, 160 * 10**8)
    exchange.must(cm.PlaceOrder, "1/0", *order)
    outcome = exchange.send(cm.Lend, "1/0", "SOL", 6 * SOL + 1)
    assert isinstance(outcome, Rejected) and outcome.would_pass_units == 6 * SOL
    exchange.must(cm.Lend, "1/0", "SOL", 6 * SOL)
    assert exchange.cash("1/0", "SOL") == 4 * SOL


def test_r30_a_withdrawal_redeems_what_is_lent_as_the_pool_allows(pool: Exchange) -> None:
    pool.deposit("2/0", SOL, "SOL")
    pool.must(cm.Borrow, "1/0", "SOL", 90 * SOL)
    pool.state.params = replace(pool.params, velocity_floor_ppm=0)
    pool.attest()
    # 1 SOL of cash and 100 - 90 / 0.95 = 5.263157894 SOL.
    outcome = pool.withdraw("2/0", 6_263_157_895, "SOL")
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.would_pass_units) == (
        RejectReason.INSUFFICIENT_SETTLED_CASH,
        6_263_157_894,
    )
    outcome = pool.withdraw("2/0", 6_263_157_894, "SOL")
    assert isinstance(outcome, Accepted)
    assert isinstance(outcome.events[0], Redeemed) and outcome.events[0].units == 5_263_157_894
    assert pool.cash("2/0", "SOL") == 0


def test_r32_lending_moves_nothing_out_of_the_pool_that_the_guards_watch(pool: Exchange) -> None:
    """R32, R33a: what is lent or borrowed is still on chain: level and liabilities do not move."""
    before = pool.state.totals.cash_units["SOL"]
    pool.must(cm.Borrow, "1/0", "SOL", 90 * SOL)
    assert pool.state.totals.cash_units["SOL"] == before
    pool.must(cm.Repay, "1/0", "SOL", 90 * SOL)
    assert pool.state.totals.cash_units["SOL"] == before


def test_r5_lending_survives_a_snapshot(pool: Exchange) -> None:
    pool.must(cm.SetLending, "3/0", 1, 0, 1)
    pool.deposit("3/0", SOL, "SOL")
    pool.must(cm.Borrow, "1/0", "SOL", 45 * SOL)
    pool.wait(10)
    pool.tick()
    again = load_state(dump_state(pool.state))
    assert dump_state(again) == dump_state(pool.state)
    assert again.pools == pool.state.pools
    assert (again.borrowers, again.idle) == (pool.state.borrowers, pool.state.idle)
    assert again.subaccounts["3/0"].auto_lend and not again.subaccounts["3/0"].auto_borrow


@pytest.mark.parametrize(
    "bad",
    [
        {"optimal_utilization_ppm": 0},
        {"optimal_utilization_ppm": 10**6, "throttle_utilization_ppm": 10**6, "max_utilization_ppm": 10**6},
        {"throttle_utilization_ppm": 899_999},
        {"max_utilization_ppm": 919_999},
        {"max_utilization_ppm": 1_000_001},
        {"rate_at_zero_ppm": -1},
        {"rate_at_optimal_ppm": 1_000_001},
        {"rate_at_full_ppm": 10**8 + 1},
        {"reserve_fee_ppm": 1_000_001},
        {"base_mmf_ppm": 100_001},
        {"borrow_limit_units": 2**64},
    ],
)
def test_lending_parameters_have_limits(bad: dict[str, int]) -> None:
    params = default_params()
    assets = list(params.assets)
    assets[1] = replace(assets[1], lending=replace(LendingParams(borrow_limit_units=1), **bad))
    assert params_faults(replace(params, assets=tuple(assets)))


def test_time_is_not_counted_before_anything_is_owed(pool: Exchange) -> None:
    """R9: a pool that stood for a year without borrowers charges the first one from his own first moment."""
    pool.wait(YEAR_S)
    pool.prices(150)
    pool.must(cm.Borrow, "1/0", "SOL", 90 * SOL)
    assert pool.state.pools["SOL"].accrued_ns == pool.now_ns
    pool.wait(1)
    (accrued,) = pool.tick()
    # 8% / 31,536,000 s
    assert accrued.borrow_index_e18 - E18 == -(-80_000 * 10**12 * SECOND // YEAR_NS)


def _unfund(state: State) -> None:
    state.subaccounts["lending_pool"].cash["SOL"] -= 60 * SOL


def _forgive(state: State) -> None:
    state.pools["SOL"].borrowed_shares -= SOL


def _invent_interest(state: State) -> None:
    state.pools["SOL"].lend_index_e18 += 10**16


def _hoard(state: State) -> None:
    state.pools["SOL"].borrow_index_e18 += 10**17


def _fall(state: State) -> None:
    state.pools["BTC"].lend_index_e18 -= 1


@pytest.mark.parametrize("break_it", [_unfund, _forgive, _invent_interest, _hoard, _fall])
def test_i6_breaches_are_found_in_totals_alone(pool: Exchange, break_it: Callable[[State], None]) -> None:
    """I6: a pool short of its lenders, more than roundings left over, an index that fell: all are seen."""
    pool.must(cm.Borrow, "1/0", "SOL", 50 * SOL)
    assert check_totals(pool.state) == [] == check(pool.state)
    break_it(pool.state)
    assert "I6" in {breach.invariant for breach in check_totals(pool.state)}


@pytest.mark.parametrize(("name", "kind"), [("2/0", "lent"), ("1/0", "borrowed")])
def test_i6_shares_must_add_up_to_the_pools(pool: Exchange, name: str, kind: str) -> None:
    pool.must(cm.Borrow, "1/0", "SOL", 50 * SOL)
    getattr(pool.state.subaccounts[name], kind)["SOL"] += 1
    assert "totals" in {breach.invariant for breach in check(pool.state)}
    pool.state.borrowers.clear()
    assert "indices" in {breach.invariant for breach in check(pool.state)}


def test_r10_in_liquidation_nobody_lends_or_borrows(pool: Exchange) -> None:
    """R10, R11: what a liquidation needs is not put away meanwhile.

    1/0 is long 5,000 SOL from 150; at 134 it has 100,000 + 150 x 0.8991 - 80,000 = 20,134.87 of 670,000 x
    37.5 x 10^-6 x root = 20,565.
    """
    pool.deposit("1/0", SOL, "SOL")
    pool.deposit("3/0", 1_000_000 * USDC)
    assert isinstance(pool.trade("1/0", "3/0", 5_000 * SOL, 150), Accepted)
    pool.prices(150, mark_usd=134)
    assert list(pool.state.liquidations) == ["1/0"]
    # $600 more are above maintenance, but not 105% of it: it goes on.
    pool.deposit("1/0", 600 * USDC)
    for kind in (cm.Lend, cm.Borrow):
        outcome = pool.send(kind, "1/0", "SOL", SOL)
        assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.IN_LIQUIDATION


def test_r10_r5_idle_cash_is_lent_in_the_order_of_the_assets_also_after_a_snapshot(
    exchange: Exchange,
) -> None:
    """R10, R5: SOL stands before USDC or behind it in a dump; the answer of a tick must not depend on it."""
    exchange.open("3/0", "4/0")
    for name in ("1/0", "2/0"):
        exchange.must(cm.SetLending, name, 0, 0, 0)
    exchange.deposit("1/0", 10_000 * USDC)
    exchange.deposit("1/0", 100 * SOL, "SOL")
    exchange.deposit("2/0", 100 * SOL, "SOL")
    exchange.must(cm.Lend, "1/0", "SOL", 2 * SOL)
    exchange.must(cm.Lend, "1/0", "USDC", 200 * USDC)
    exchange.must(cm.Borrow, "2/0", "SOL", SOL)
    exchange.must(cm.Borrow, "2/0", "USDC", 100 * USDC)
    exchange.deposit("3/0", 10 * SOL, "SOL")
    exchange.deposit("4/0", 500 * USDC)
    copy = load_state(dump_state(exchange.state))
    tick = cm.Tick("tick", exchange.now_ns)
    answers = [apply(state, tick) for state in (exchange.state, copy)]
    assert answers[0] == answers[1]
    lent = [(one.asset, one.subaccount) for one in answers[0].events if isinstance(one, Lent)]
    assert lent == [("USDC", "4/0"), ("SOL", "3/0")]
    assert dump_state(exchange.state) == dump_state(copy)


def test_r9_utilization_is_one_when_something_is_owed_and_nothing_lent() -> None:
    """R9: residues can outlive the last lender's shares: who still owes them pays the rate at full."""
    lending = LendingParams()
    assert borrow_rate_e18(lending, pool_of(0, 5)) == lending.rate_at_full_ppm * 10**12
    assert borrow_rate_e18(lending, pool_of(0, 0)) == lending.rate_at_zero_ppm * 10**12
