"""How fast is the question who might be endangered, after one market moved and after all moved (R33)?

A million subaccounts, twenty markets, each subaccount in about three of them, every third with SOL as
collateral; leverage is log-normal around 3x and at most 60% of what maintenance allows. The columns are
given whole (`Screen.of_columns`), because a million Python objects would measure the machine's memory; what
is timed is `reprice` and `named`, the code that answers for a state too. The alternative is the exact integer
loop over the same subaccounts: timed on a sample that is materialized in a real state, and scaled to all.

Every named subaccount and the sample are also decided exactly: a miss in the sample stops the run, false
alarms are counted among all that were named. The last rows say what keeping the mirror costs.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from pathlib import Path

import numpy as np

from engine import balances
from engine.danger import endangered
from engine.fixed import weight_down_ppm
from engine.margin import margin_with, meets_maintenance_margin
from engine.screen import ColumnName, Factor, Floats, Places, Screen, attach
from engine.state import Price, State, add_subaccount
from engine.units import E18

from .margin import MARKETS, price_e8_of, priced_state, wide_params
from .report import Row, median_seconds

HOLDS_A_MARKET = 3 / MARKETS
_SOL_PRICE_E8 = 150 * 10**8


class Population:
    """A million portfolios as arrays; any of them can be made a real subaccount."""

    def __init__(self, subaccounts: int, seed: int = 33) -> None:
        """Draw the portfolios."""
        rng = np.random.default_rng(seed)
        self.size = subaccounts
        self.params = wide_params()
        self.places: list[Places] = []
        self.bases: list[Floats] = []
        entry_usd6, exposure_usd6 = np.zeros(subaccounts), np.zeros(subaccounts)
        for market in range(MARKETS):
            places = np.flatnonzero(rng.random(subaccounts) < HOLDS_A_MARKET).astype(np.int64)
            notional = np.rint(np.exp(rng.normal(np.log(2_000), 1.5, len(places)))) * 1e6
            base = np.rint(
                rng.choice((-1.0, 1.0), len(places)) * np.maximum(notional * 1e11 / price_e8_of(market), 1)
            )
            value = np.floor(base * (price_e8_of(market) / 1e11))
            entry_usd6[places] += value
            exposure_usd6[places] += np.abs(value)
            self.places.append(places)
            self.bases.append(base)
        leverage = np.minimum(np.exp(rng.normal(np.log(3), 0.8, subaccounts)), 0.6 / 0.0135)
        self.sol_places = np.flatnonzero(rng.random(subaccounts) < 1 / 3).astype(np.int64)
        self.sol_units = np.rint(np.exp(rng.normal(np.log(3e9), 1.0, len(self.sol_places))))
        # USDC + quotes + unsettled: equity less what the positions are worth.
        self.fixed_usd6 = np.rint(np.maximum(exposure_usd6, 1e9) / leverage - entry_usd6)
        self.holders = int(sum(map(len, self.places)))
        self.names = [f"{number}/0" for number in range(subaccounts)]

    def screen(self) -> Screen:
        """Return the screen of all portfolios."""
        sol = self.params.assets[1]
        weighed = [
            units * weight_down_ppm(sol.base_weight_ppm, sol.weight_penalty_ppm, units, sol.decimals)
            for units in map(int, self.sol_units)
        ]
        holdings: dict[ColumnName, tuple[Places, Floats]] = {
            ("position", f"M{market}-PERP"): (self.places[market], self.bases[market])
            for market in range(MARKETS)
        }
        holdings["collateral", "SOL"] = (self.sol_places, np.array(weighed, dtype=np.float64))
        made = Screen.of_columns(self.params, self.names, self.fixed_usd6, holdings)
        made.reprice({("collateral", "SOL"): (_SOL_PRICE_E8, E18)})
        return made

    def state_of(self, wanted: Places, prices: dict[ColumnName, Factor]) -> State:
        """Return a real state with some of the subaccounts, at the prices a screen was given."""
        state = priced_state(self.params)
        for (kind, symbol), (price_e8, _) in prices.items():
            if kind == "position":
                state.mark_prices[symbol] = Price(price_e8, 0)
        state.index_prices["SOL"] = Price(_SOL_PRICE_E8, 0)
        for place in wanted.tolist():
            one = add_subaccount(state, self.names[place], "apply")
            # Where the dollars stand makes no difference to net equity.
            balances.change_unsettled(state, one.id, int(self.fixed_usd6[place]))
        for market in range(MARKETS):
            self._enter(state, wanted, self.places[market], self.bases[market], f"M{market}-PERP")
        self._enter(state, wanted, self.sol_places, self.sol_units, "")
        return state

    def _enter(self, state: State, wanted: Places, places: Places, amounts: Floats, market: str) -> None:
        _, _, at = np.intersect1d(wanted, places, assume_unique=True, return_indices=True)
        for place, amount in zip(places[at].tolist(), amounts[at].tolist(), strict=True):
            if market:
                balances.change_position(state, self.names[place], market, int(amount), 0, 1)
            else:
                balances.change_cash(state, self.names[place], "SOL", int(amount))


def _moved(fraction: float, markets: range) -> dict[ColumnName, Factor]:
    return {("position", f"M{n}-PERP"): (int(price_e8_of(n) * (1 + fraction)), E18) for n in markets}


def _exact_seconds(state: State) -> float:
    """Return the seconds an exact check of one subaccount takes, asking all of a state."""
    ones = [one for one in state.subaccounts.values() if not one.is_system]

    def loop() -> None:
        for one in ones:
            meets_maintenance_margin(margin_with(state, one))

    return median_seconds(loop, 3) / len(ones)


def _screening(population: Population, sample: int) -> list[Row]:
    screen = population.screen()
    prices = _moved(0.0, range(MARKETS))
    screen.reprice(prices)
    size = population.size
    some = np.sort(np.random.default_rng(1).choice(size, sample, replace=False)).astype(np.int64)
    rows = []
    for label, markets, aim_ms in (("one market moved", range(7, 8), 30), ("all moved", range(MARKETS), 150)):
        fractions = iter([step / 1_000 for step in (-5, 4, -12, 9, -20, 14, -30)])

        def ask(markets: range = markets, fractions: object = fractions) -> None:
            moved = _moved(next(fractions), markets)  # type: ignore[call-overload]
            prices.update(moved)
            screen.reprice(moved)
            screen.named()

        ours = median_seconds(ask, 6)
        named = np.array([int(name.partition("/")[0]) for name in screen.named()], dtype=np.int64)
        found = endangered(population.state_of(named, prices))
        in_sample = population.state_of(some, prices)
        missed = {one.id for one in endangered(in_sample)} - set(screen.named())
        if missed:
            raise RuntimeError(f"the screen missed {missed}")
        affected = len(population.places[7]) if len(markets) == 1 else size
        exact = _exact_seconds(in_sample) * affected
        rows.append(
            Row(
                question=f"screen of {size:,} subaccounts, {label}",
                workload=(
                    f"{MARKETS} markets, {population.holders:,} positions, {len(population.sol_places):,} "
                    f"with SOL; {affected:,} affected, {len(named):,} named, {len(named) - len(found):,} "
                    f"of them false alarms, {len(found):,} endangered"
                ),
                figure=ours * 1e3,
                unit="ms",
                alternative=f"the exact integer loop (timed on {sample:,}, scaled)",
                alternative_figure=exact * 1e3,
                ratio=exact / ours,
                aim=f"< {aim_ms} ms at 1,000,000",
            )
        )
    rows.append(
        Row(
            question="memory of the screen per subaccount",
            workload=f"columns of {size:,} subaccounts with {population.holders / size:.1f} positions each",
            figure=screen.memory_bytes() / size,
            unit="bytes",
        )
    )
    return rows


def _upkeep(population: Population, subaccounts: int, changes: int) -> list[Row]:
    """Say what an ask costs when subaccounts changed since the last, in a real state with a screen."""
    prices = _moved(0.0, range(MARKETS))
    tracemalloc.start()
    state = population.state_of(np.arange(subaccounts, dtype=np.int64), prices)
    bytes_each = tracemalloc.get_traced_memory()[0] / subaccounts
    tracemalloc.stop()
    screen = attach(state)
    screen.candidates(state)
    rng = random.Random(2)
    rows = []
    for label in ("received or paid dollars", "traded"):
        taken = []
        for _ in range(7):
            for number in rng.sample(range(subaccounts), changes):
                if label == "traded":
                    market = f"M{rng.randrange(MARKETS)}-PERP"
                    balances.change_position(state, f"{number}/0", market, rng.randint(1, 10**6), -1, 1)
                else:
                    balances.change_unsettled(state, f"{number}/0", rng.randint(1, 1_000))
            begun = time.perf_counter()
            screen.candidates(state)
            taken.append(time.perf_counter() - begun)
        rows.append(
            Row(
                question=f"screen kept up to date, {changes:,} subaccounts {label}",
                workload=f"real state of {subaccounts:,} subaccounts; one ask, no price moved",
                figure=sorted(taken)[3] * 1e3,
                unit="ms",
            )
        )
    held = sum(len(one.positions) for one in state.subaccounts.values())
    rows.append(
        Row(
            question="memory of the engine per subaccount",
            workload=f"{subaccounts:,} subaccounts, {held / subaccounts:.1f} positions each, no answers kept",
            figure=bytes_each,
            unit="bytes",
        )
    )
    return rows


def run(quick: bool, block: Path | None) -> list[Row]:
    population = Population(20_000 if quick else 1_000_000)
    rows = _screening(population, 500 if quick else 10_000)
    return rows + _upkeep(population, 2_000 if quick else 20_000, 200 if quick else 1_000)
