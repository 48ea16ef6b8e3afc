"""R33, piece by piece: terms, caps, upkeep, and that the engine does not need the screen."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine import balances
from engine import commands as cm
from engine import screen as sc
from engine.danger import endangered
from engine.fixed import margin_ratio_up_ppm, notional_down_usd6, notional_up_usd6, ppm_of_up, scale_up
from engine.margin import margin_of
from engine.params import MarketParams, default_params
from engine.screen import Column, Screen, attach
from engine.snapshot import dump_state, load_state, state_hash
from engine.state import Price, State, add_subaccount, new_state
from engine.units import E18

USDC, SOL = 10**6, 10**9
CAP = 2**51


def _maintenance(exposure_usd6: int, base_ppm: int, factor_e12: int) -> int:
    return ppm_of_up(exposure_usd6, max(base_ppm, margin_ratio_up_ppm(factor_e12, exposure_usd6)))


def _value_of(column: Column, numbers: list[int], price_e8: int, index_e18: int = E18) -> list[float]:
    column.set_factor((price_e8, index_e18))
    scratch = np.empty((4, len(numbers)))
    return column.value(sc._lowered(np.array(numbers, dtype=np.float64)), scratch).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("decimals", [0, 6, 18])
def test_r33_every_term_is_bounded_up_to_the_cap(seed: int, decimals: int) -> None:
    """R33: positions, borrows and collateral whose values reach 2^51, at prices and ratios of any size, where
    float64 can no longer tell neighbors apart: the part is never above the exact term."""
    rng = random.Random(seed)
    divisor = 10 ** (decimals + 2)
    for _ in range(12):
        price_e8 = rng.randint(1, 10 ** rng.randint(1, 18))
        index_e18 = E18 + rng.randint(0, 10 ** rng.randint(1, 20))
        base_ppm, factor_e12 = rng.randint(1, 10**6), rng.choice((0, 10**6, 37_500_000, 10**9, 10**12))
        largest = max(1, CAP * divisor // price_e8)
        units = [rng.randint(1, max(1, largest >> rng.choice((0, 0, 0, 1, 5, 20)))) for _ in range(60)]

        signed = [rng.choice((-1, 1)) * size for size in units]
        parts = _value_of(Column("position", decimals, base_ppm, factor_e12), signed, price_e8)
        for base, part in zip(signed, parts, strict=True):
            exposure = notional_up_usd6(abs(base), price_e8, decimals)
            exact = notional_down_usd6(base, price_e8, decimals) - _maintenance(
                exposure, base_ppm, factor_e12
            )
            assert part <= exact - 1

        parts = _value_of(
            Column("borrow", decimals, base_ppm, factor_e12), [-size for size in units], price_e8, index_e18
        )
        for shares, part in zip(units, parts, strict=True):
            owed = scale_up(shares, index_e18, E18)
            liability = notional_up_usd6(owed, price_e8, decimals)
            assert part <= -liability - _maintenance(liability, base_ppm, factor_e12) - 1

        weights = [rng.choice((10**6, rng.randint(0, 10**6))) for _ in units]
        weighed = [size * weight for size, weight in zip(units, weights, strict=True)]
        parts = _value_of(Column("collateral", decimals), weighed, price_e8)
        for size, weight, part in zip(units, weights, parts, strict=True):
            assert 0 <= part <= notional_down_usd6(size, price_e8, decimals) * weight // 10**6


def test_r33_a_root_that_outgrows_everything_is_bounded() -> None:
    """R33: the largest factor: maintenance of thousands of percent, all of it from the root."""
    rng = random.Random(5)
    units = [rng.randint(10**9, 10**12) for _ in range(4_000)]
    parts = _value_of(Column("position", 6, 1, 10**12), units, 10**8)
    for base, part in zip(units, parts, strict=True):
        assert part <= base - _maintenance(base, 1, 10**12) - 1


def _many_markets(count: int) -> State:
    """Give a state with many markets of SOL at $1 (mark 10^8), ratios of 1 ppm, and a subaccount 1/0."""
    base = default_params()
    markets = [MarketParams(f"M{n}", "SOL", 50, 1, 0, 1, 0, 50_000) for n in range(count)]
    state = new_state(replace(base, markets=tuple(markets)))
    for market in state.markets:
        state.mark_prices[market] = Price(10**8, 0)
    add_subaccount(state, "1/0", "apply")
    return state


def _health(state: State) -> int:
    margin = margin_of(state, "1/0")
    return margin.net_equity_usd6 - margin.maintenance_margin_usd6


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("usd6", [CAP - 10**10, CAP + 10**10, 2**53 + 1, 2**60 + 1])
def test_r33_what_is_too_large_for_the_columns_errs_toward_an_alarm(sign: int, count: int, usd6: int) -> None:
    """R33: values around 2^51 and beyond, one or a dozen: the bound holds, also while they move, and a
    subaccount that became too negative is looked at until it is mirrored anew."""
    state = _many_markets(count)
    for market in state.markets:
        balances.change_position(state, "1/0", market, sign * usd6 * 1_000, 0, 10**8)
    screen = attach(state)
    for step in range(20):
        named = screen.candidates(state)
        assert screen.health_usd6("1/0") <= _health(state) - 1
        assert (sign < 0) == ("1/0" in named)
        state.mark_prices["M0"] = Price(10**8 + 10**7 * (step % 3), 0)
    if sign < 0 and usd6 > CAP:
        assert screen.health_usd6("1/0") == -np.inf


def test_r33_an_alarm_over_size_ends_when_it_is_mirrored_anew() -> None:
    """R33: a short that a price spike made larger than a column holds is named until the next review."""
    state = _many_markets(1)
    balances.change_position(state, "1/0", "M0", -SOL, 0, 10**8)
    balances.change_cash(state, "1/0", "USDC", 10 * USDC)
    screen = attach(state)
    assert screen.candidates(state) == []
    state.mark_prices["M0"] = Price(10**18, 0)
    assert screen.candidates(state) == ["1/0"]
    state.mark_prices["M0"] = Price(10**8, 0)
    assert endangered(state) == []
    asks = 3
    while screen.candidates(state) == ["1/0"]:
        asks += 1
    assert asks == sc._REVIEW_EVERY - 1


@pytest.mark.parametrize("usd6", [-(2**53) - 1, -(2**52), 2**52, 2**53 + 1, 2**70 + 1])
def test_r33_a_difference_too_large_for_a_float_is_not_added(usd6: int) -> None:
    """R33: a change in dollars beyond 2^51 mirrors the subaccount anew instead of being rounded into it."""
    state = _many_markets(1)
    balances.change_cash(state, "1/0", "USDC", 2**52)
    screen = attach(state)
    screen.candidates(state)
    assert screen.health_usd6("1/0") == 2**52
    balances.change_unsettled(state, "1/0", usd6)
    screen.candidates(state)
    assert screen.health_usd6("1/0") <= 2**52 + usd6


def test_r33_whoever_needs_no_margin_is_no_candidate() -> None:
    """R33: empty subaccounts, cash, collateral and exactly nothing are not named; one unit of loss is."""
    state = _many_markets(1)
    state.index_prices["SOL"] = Price(10**8, 0)
    screen = attach(state)
    assert screen.candidates(state) == []
    balances.change_cash(state, "1/0", "SOL", 1)
    assert screen.candidates(state) == []
    balances.change_unsettled(state, "1/0", -1)
    assert screen.candidates(state) == ["1/0"]
    assert [one.id for one in endangered(state)] == ["1/0"]
    balances.change_unsettled(state, "1/0", 1)
    assert screen.candidates(state) == []


def test_r33_lent_units_may_be_seen_smaller_but_not_for_ever() -> None:
    """R33: what is lent counts as when it was mirrored, 16 ppm lower; when the index has doubled, anew."""
    state = _many_markets(1)
    state.index_prices["SOL"] = Price(10**10, 0)
    balances.change_lent(state, "1/0", "SOL", 1_000 * SOL)
    screen = attach(state)
    screen.candidates(state)
    first = screen.health_usd6("1/0")
    assert 0 < _health(state) - first <= 100_000 * USDC * 17 // 10**6
    state.pools["SOL"].lend_index_e18 = 2 * E18
    screen.candidates(state)
    assert screen.health_usd6("1/0") == first < _health(state)
    state.pools["SOL"].lend_index_e18 = 2 * E18 + 1
    screen.candidates(state)
    assert first < screen.health_usd6("1/0") <= _health(state)


@pytest.mark.parametrize("seed", range(40))
def test_r33_lent_units_that_grow_never_beat_the_exact_weight(seed: int) -> None:
    """R33: over a doubling of the lend index, with any penalty, the bound made at its start holds."""
    rng = random.Random(seed)
    base = default_params()
    sol = replace(
        base.assets[1], base_weight_ppm=rng.randint(1, 10**6), weight_penalty_ppm=rng.randint(0, 10**6)
    )
    state = new_state(replace(base, assets=(base.assets[0], sol, base.assets[2])))
    state.index_prices["SOL"] = Price(rng.randint(1, 10**12), 0)
    add_subaccount(state, "1/0", "apply")
    balances.change_lent(state, "1/0", "SOL", rng.randint(1, 10 ** rng.randint(1, 17)))
    screen = attach(state)
    screen.candidates(state)
    for step in range(1, 200):
        state.pools["SOL"].lend_index_e18 = E18 + E18 * step // 199
        assert screen.health_usd6("1/0") <= _health(state)


class _Counting(Screen):
    """A screen that tells which columns it valued again."""

    def __init__(self, *values: Any) -> None:
        super().__init__(*values)
        self.valued: list[int] = []

    def _revalue(self, column: Column) -> None:
        self.valued.append(len(column.places))
        super()._revalue(column)


def test_r33_only_the_market_that_moved_is_looked_at() -> None:
    """R33: cost grows with the holders of the market that moved, however many others there are."""
    state = _many_markets(3)
    for number in range(2, 200):
        add_subaccount(state, f"{number}/0", "apply")
        balances.change_cash(state, f"{number}/0", "USDC", 100 * USDC)
        balances.change_position(state, f"{number}/0", f"M{number % 3}", SOL, -USDC, 10**8)
    screen = state.screen = _Counting(state.params)
    state.reshaped.update(dict.fromkeys(state.subaccounts))
    screen.candidates(state)
    screen.valued.clear()
    screen.candidates(state)
    assert screen.valued == []
    state.mark_prices["M1"] = Price(2 * 10**8, 0)
    screen.candidates(state)
    assert screen.valued == [66]


def test_r33_a_settlement_changes_no_shape_and_no_health(exchange: Any) -> None:
    """R33: a tick moves profit between quote, unsettled and cash; nobody is mirrored anew for it."""
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    exchange.trade("1/0", "2/0", 10 * SOL, 150)
    screen = attach(exchange.state)
    screen.candidates(exchange.state)
    exchange.wait(10)
    exchange.prices(140)
    before = {name: screen.health_usd6(name) for name in ("1/0", "2/0")}
    exchange.tick()
    assert "1/0" not in exchange.state.reshaped
    assert "2/0" not in exchange.state.reshaped
    screen.candidates(exchange.state)
    assert {name: screen.health_usd6(name) for name in before} == before


def test_r33_columns_given_whole_say_what_subaccounts_say() -> None:
    """R33: `of_columns` and `attach` make the same mirror of the same holdings."""
    rng = random.Random(9)
    state = _many_markets(4)
    state.index_prices["SOL"] = Price(123 * 10**8, 0)
    names = [f"{number}/0" for number in range(1, 300)]
    fixed, held = [], {f"M{n}": ([], []) for n in range(4)}  # type: ignore[var-annotated]
    collateral: tuple[list[int], list[int]] = ([], [])
    for place, name in enumerate(names):
        if name not in state.subaccounts:
            add_subaccount(state, name, "apply")
        fixed.append(rng.randint(1, 300 * USDC))
        balances.change_cash(state, name, "USDC", fixed[-1])
        for market in rng.sample(range(4), 2):
            base = rng.randint(-200 * SOL, 200 * SOL)
            balances.change_position(state, name, f"M{market}", base, 0, 10**8)
            held[f"M{market}"][0].append(place)
            held[f"M{market}"][1].append(base)
        units = rng.randint(1, SOL)
        balances.change_cash(state, name, "SOL", units)
        weight = sc.weight_down_ppm(900_000, 1_000, units, 9)
        collateral[0].append(place)
        collateral[1].append(units * weight)
    holdings = {("position", market): held[market] for market in held} | {("collateral", "SOL"): collateral}
    whole = Screen.of_columns(
        state.params,
        names,
        np.array(fixed, dtype=np.float64),
        {
            name: (np.array(at), np.array(coefficients, dtype=np.float64))
            for name, (at, coefficients) in holdings.items()
        },
    )
    whole.reprice(sc._factors(state))
    attached = attach(state)
    assert sorted(attached.candidates(state)) == sorted(whole.named())
    assert 20 < len(whole.named()) < 280
    for name in names:
        assert whole.health_usd6(name) == attached.health_usd6(name)


def test_r33_the_screen_is_no_part_of_the_state(exchange: Any) -> None:
    """R33: dump and hash do not know it; a loaded state has none; it can be dropped and rebuilt."""
    exchange.deposit("1/0", 1_000 * USDC)
    plain, digest = dump_state(exchange.state), state_hash(exchange.state)
    attach(exchange.state).candidates(exchange.state)
    assert dump_state(exchange.state) == plain
    assert state_hash(exchange.state) == digest
    loaded = load_state(plain)
    assert loaded.screen is None
    assert dump_state(loaded) == plain
    exchange.state.screen = None
    exchange.deposit("1/0", 5 * USDC)
    rebuilt = attach(exchange.state)
    rebuilt.candidates(exchange.state)
    assert rebuilt.health_usd6("1/0") == 1_005 * USDC
    with pytest.raises(KeyError):
        rebuilt.health_usd6("insurance_fund")


def test_r20_r33_whoever_is_closed_is_the_same_with_a_screen(make_exchange: Any) -> None:
    """R20, R33: a crash through `apply`, with and without a screen: the same bytes."""
    entries = []
    for with_screen in (False, True):
        exchange = make_exchange()
        if with_screen:
            attach(exchange.state)
        names = [f"{number}/0" for number in range(1, 9)]
        exchange.open(*names)
        exchange.prices(150)
        for name in names:
            exchange.deposit(name, 1_000 * USDC)
        for number in range(1, 5):
            exchange.trade(f"{number}/0", f"{number + 4}/0", 10 * number * SOL, 150)
        for price in (140, 131, 124, 110, 140):
            exchange.wait(10)
            exchange.prices(price)
            exchange.tick()
        entries.append(exchange.entries)
    assert entries[0] == entries[1]


def test_r33_the_engine_runs_without_numpy() -> None:
    """R33: with numpy missing everything but the screen imports, and `apply` closes who is endangered."""
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        "import engine.apply, engine.journal, engine.danger, engine.invariants\n"
        "from engine import commands as cm\n"
        "from engine.params import default_params\n"
        "from engine.state import new_state\n"
        "state = new_state(default_params())\n"
        "assert type(engine.apply.apply(state, cm.Tick('t', 1))).__name__ == 'Accepted'\n"
        "assert 'engine.screen' not in sys.modules\n"
        "try:\n import engine.screen\n"
        "except ImportError: print('no screen')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "no screen\n"


def test_r33_commands_feed_the_screen_by_themselves(exchange: Any) -> None:
    """R33: deposits, trades, prices and withdrawals reach the mirror through the ledger's notes alone."""
    screen = attach(exchange.state)
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    exchange.deposit("1/0", 2 * SOL, "SOL")
    exchange.trade("1/0", "2/0", 40 * SOL, 150)
    exchange.prices(149)
    exchange.attest(USDC=10**9, SOL=10**12)
    exchange.must(cm.RequestWithdrawal, "2/0", "USDC", 100 * USDC, "destination")
    screen.candidates(exchange.state)
    for name in ("1/0", "2/0"):
        margin = margin_of(exchange.state, name)
        exact = margin.net_equity_usd6 - margin.maintenance_margin_usd6
        assert exact - 1 >= screen.health_usd6(name) >= exact - 40_000  # 6,000 dollars of exposure, 6 ppm
