"""The screen may give false alarms, never a miss (R33): every bound against the exact integers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.apply import apply
from engine.danger import endangered
from engine.journal import encode_outcome
from engine.margin import margin_of
from engine.outcome import Accepted
from engine.pool import balance_units
from engine.screen import Screen, attach
from engine.snapshot import state_hash
from engine.state import State, new_state
from tests.sim.generator import Generator, RandomChooser
from tests.sim.run import new_run

from .portfolios import (
    AT_THE_EDGE,
    EXTREME_BITS,
    ORDINARY_BITS,
    SMALL_BITS,
    Portfolios,
    health_of,
    is_at_risk,
    random_portfolios,
)
from .worlds import CHOICES, world_after

SIZES = st.sampled_from([ORDINARY_BITS, EXTREME_BITS])


def exact_endangered(state: State) -> list[str]:
    """Ask everybody, by the exact integers alone."""
    screen, state.screen = state.screen, None
    try:
        return [one.id for one in endangered(state)]
    finally:
        state.screen = screen


def assert_never_a_miss(state: State, screen: Screen) -> set[str]:
    """Assert the bound for everybody and that whoever is endangered is named; give who is named."""
    named = set(screen.candidates(state))
    assert_columns_are_sound(screen)
    for name, one in state.subaccounts.items():
        if one.is_system:
            assert name not in named
            continue
        try:
            bound = screen.health_usd6(name)
        except KeyError:
            assert not (one.cash or one.lent or one.borrowed or one.positions or one.unsettled_usd6)
            continue
        # An int and a float compare exactly in Python.
        exact = health_of(margin_of(state, name))
        assert bound <= exact - (1 if is_at_risk(state, name) else 0), name
        assert (bound < 0) == (name in named)
    assert set(exact_endangered(state)) <= named
    assert [one.id for one in endangered(state)] == exact_endangered(state)
    return named


def assert_columns_are_sound(screen: Screen) -> None:
    """Assert what the proof rests on: whole numbers inside the caps, places in order, sums that add up."""
    health = screen._health
    finite = health[np.isfinite(health)]
    assert np.array_equal(finite, np.rint(finite))
    assert not len(finite) or np.abs(finite).max() <= 2.0**52
    assert not np.isnan(health).any()
    for column in screen._columns.values():
        assert (np.diff(column.places) > 0).all()
        assert len(column.places) == len(column.parts) == len(column.coefficients)
        assert np.array_equal(column.parts, np.rint(column.parts))
        assert not len(column.parts) or np.abs(column.parts).max() <= 2.0**51


def looseness_usd6(state: State, name: str) -> float:
    """Say how far below the exact health a bound may lie.

    3 ppm of exposure (ratios are whole ppm), what the roots lose, 17 ppm of an asset that is lent, and a few
    units for each term.
    """
    one, margin = state.subaccounts[name], margin_of(state, name)
    risks = [state.markets[market].mmf_factor_e12 for market in one.positions]
    risks += [state.assets[asset].lending.mmf_factor_e12 for asset in one.borrowed]
    units = [
        state.index_prices[asset].price_e8 / 10 ** (state.assets[asset].decimals + 2)
        for asset in one.borrowed
        if asset != "USDC"
    ]
    unit = 2.0 + max(units, default=0.0)
    root = max(risks, default=0) / 1e15 * (math.sqrt(unit) + 3.0)
    terms = len(one.positions) + len(one.borrowed) + len(one.cash) + len(one.lent)
    lent = sum(
        state.index_prices[asset].price_e8
        * balance_units(state, one, asset)
        / 10 ** (2 + state.assets[asset].decimals)
        for asset in one.lent
        if asset != "USDC"
    )
    gross = abs(margin.net_equity_usd6) + margin.exposure_usd6 + margin.maintenance_margin_usd6
    return (
        margin.exposure_usd6 * (3e-6 + root)
        + terms * (10 + 4 * unit * (2 + root))
        + 17e-6 * lent
        + gross * 2.0**-40
    )


def is_small(state: State, name: str) -> bool:
    """Tell whether no number of a subaccount comes near the columns' caps."""
    one, margin = state.subaccounts[name], margin_of(state, name)
    sizes = [margin.net_equity_usd6, margin.exposure_usd6, margin.maintenance_margin_usd6]
    sizes += [one.unsettled_usd6, *(held.quote_usd6 for held in one.positions.values())]
    sizes += [one.cash.get("USDC", 0), margin.account_value_usd6]
    return all(abs(size) < 2**49 for size in sizes)


@given(CHOICES, SIZES)
@settings(max_examples=150)
def test_r33_never_a_miss_at_the_edge(rng: random.Random, bits: int) -> None:
    """R33: health exactly 0, one unit to either side, for any amounts up to u64 and prices 1 to 10^18."""
    made = random_portfolios(rng, bits)
    screen = attach(made.state)
    for name in made.names:
        made.steer(name, rng.choice(AT_THE_EDGE))
    assert_never_a_miss(made.state, screen)


def test_r33_the_bound_is_tight_and_safe_over_many_portfolios() -> None:
    """R33: 2,000 ordinary portfolios at health -2 to 2: all bounds hold, and none is loose."""
    seen = dict.fromkeys(AT_THE_EDGE, 0)
    for seed in range(500):
        rng = random.Random(seed)
        made = random_portfolios(rng, ORDINARY_BITS)
        targets = {name: rng.choice(AT_THE_EDGE) for name in made.names}
        for name, target in targets.items():
            made.steer(name, target)
        screen = attach(made.state)
        assert_never_a_miss(made.state, screen)
        for name, target in targets.items():
            if is_small(made.state, name) and is_at_risk(made.state, name):
                seen[target] += 1
                assert target - screen.health_usd6(name) <= looseness_usd6(made.state, name)
    assert min(seen.values()) > 100, seen


@given(CHOICES, SIZES)
@settings(max_examples=60)
def test_r33_never_a_miss_after_long_sequences_of_updates(rng: random.Random, bits: int) -> None:
    """R33: balances and prices change again and again, in any order, between any number of asks; at the end
    the mirror kept up to date says no more than a new one.
    """
    made = random_portfolios(rng, bits)
    screen = attach(made.state)
    for _ in range(rng.randint(1, 40)):
        for _ in range(rng.randint(0, 4)):
            made.change()
        for _ in range(rng.randint(0, 3)):
            made.move()
        if rng.randint(0, 1):
            made.steer(rng.choice(made.names), rng.choice(AT_THE_EDGE))
        assert_never_a_miss(made.state, screen)
    assert_no_higher_than_a_new_one(made, screen)


@pytest.mark.parametrize("bits", [SMALL_BITS, ORDINARY_BITS, EXTREME_BITS])
def test_r33_never_a_miss_over_many_histories(bits: int) -> None:
    """R33: 300 seeded histories of changes and moves, most subaccounts at the edge at every ask."""
    at_the_edge = 0
    for seed in range(300):
        rng = random.Random(seed)
        made = random_portfolios(rng, bits)
        screen = attach(made.state)
        for _ in range(rng.randint(1, 12)):
            for _ in range(rng.randint(0, 4)):
                made.change()
            for _ in range(rng.randint(0, 3)):
                made.move()
            steered = [name for name in made.names if rng.randint(0, 1)]
            for name in steered:
                made.steer(name, rng.choice(AT_THE_EDGE))
            assert_never_a_miss(made.state, screen)
            at_the_edge += sum(math.isfinite(screen.health_usd6(name)) for name in steered)
    assert at_the_edge > 1_500


def test_r33_no_drift_after_ten_thousand_moves() -> None:
    """R33: sums of whole numbers in float64 are exact: the mirror kept up to date through 10,000 asks equals
    a new one to the last unit, and never has to be repaired.
    """
    made = random_portfolios(random.Random(33), SMALL_BITS, count=12)
    screen = attach(made.state)
    for _ in range(10_000):
        made.move()
        if made.rng.randint(0, 9) == 0:
            made.change()
        screen.candidates(made.state)
    assert_never_a_miss(made.state, screen)
    before = {name: screen.health_usd6(name) for name in made.names}
    fresh = attach(made.state)
    fresh.candidates(made.state)
    assert all(math.isfinite(bound) for bound in before.values())
    for name in made.names:
        if not made.state.subaccounts[name].lent:
            assert before[name] == fresh.health_usd6(name)
        else:
            assert before[name] <= fresh.health_usd6(name)


def assert_no_higher_than_a_new_one(made: Portfolios, kept: Screen) -> None:
    """A cap (1 of the proof) and lent units seen when they were fewer only ever lower a bound.

    Only of who is near no cap now: a new one is held down by the caps too, by other amounts when its parts
    come in another order. That either is below the exact health is asserted for everybody at every ask.
    """
    state = made.state
    fresh = attach(state)
    fresh.candidates(state)
    for name in made.names:
        one = state.subaccounts[name]
        if (one.cash or one.lent or one.borrowed or one.positions) and is_small(state, name):
            assert kept.health_usd6(name) <= fresh.health_usd6(name)
    state.screen = kept


@given(st.data())
@settings(max_examples=40)
def test_r33_outcomes_do_not_depend_on_the_screen(data: st.DataObject) -> None:
    """R33: the same journal without a screen, with one from the start, and with one attached on the way gives
    the same answers and hashes, through crashes too.
    """
    run = world_after(data, 60, crashes=data.draw(st.booleans()), strange_percent=5).run
    middle = data.draw(st.integers(0, len(run.commands)))
    plain, screened, later = (new_state(run.params) for _ in range(3))
    attach(screened)
    for number, command in enumerate(run.commands):
        if number == middle:
            attach(later)
        answers = {encode_outcome(apply(state, command)) for state in (plain, screened, later)}
        assert len(answers) == 1, command
    assert state_hash(plain) == state_hash(screened) == state_hash(later) == state_hash(run.state)
    assert isinstance(screened.screen, Screen)
    assert_never_a_miss(screened, screened.screen)


@pytest.mark.parametrize("seed", range(6))
def test_r33_seeded_crashes_do_not_depend_on_the_screen(seed: int) -> None:
    """R33: 500 commands full of crashes: the same answers to each, the same hash, liquidations among them."""
    run = new_run()
    generator = Generator(RandomChooser(random.Random(seed)), run.params, run.books, 3)
    generator.big_trade_percent, generator.crash_percent = 60, 40
    screened = new_state(run.params)
    screen = attach(screened)
    happened: set[str] = set()
    for command in [*generator.opening(), *range(500)]:
        drawn = generator.next() if isinstance(command, int) else command
        outcome = run.apply(drawn)
        assert encode_outcome(apply(screened, drawn)) == encode_outcome(outcome), drawn
        if isinstance(outcome, Accepted):
            happened.update(type(event).__name__ for event in outcome.events)
    assert state_hash(screened) == state_hash(run.state)
    assert {"LiquidationStarted", "LiquidationEnded"} <= happened
    assert_never_a_miss(screened, screen)
