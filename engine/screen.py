"""Who might be endangered (R33): a columnar float64 mirror that gives false alarms but never a miss.

Owns: the mirror, its bound and its upkeep. Floats and numpy live here and nowhere else in the engine, and
nothing in the engine imports this file: a host calls `attach`, `engine.danger` asks, the exact integers
decide. The mirror is no part of the state; it is derived from it and may be dropped or rebuilt at any
time.

What is mirrored. R20 fails if maintenance margin > 0 and net_equity - maintenance_margin <= 0, or if
account_value < 0. As weights are at most 1, account_value >= net_equity. So with

    health = net_equity - maintenance_margin = fixed + sum of terms,     fixed = USDC + quotes + unsettled,

and one term per position, per borrow and per collateral, "endangered" implies health <= 0 if there is a
position or a borrow and health < 0 if there is none. The mirror holds h with h <= health, and h <= health
- 1 if there is a position or a borrow. Everybody with h < 0 is named. Hence never a miss.

Why h <= health (u = 2^-53, all operations round to nearest, D = 10^(decimals + 2)):

1. *Sums are exact.* Every part that enters h is a whole number of usd6 of magnitude at most 2^51, held in
   a float64, and |h| <= 2^52 or h = -inf. So h + (new part - old part) is a sum of whole numbers of at most
   2^53 in magnitude: no rounding in any order, and no drift after any number of updates. Nothing has to
   be counted or repaired. What is larger is pushed to the safe side: a part above 2^51 (2.2 billion
   dollars) becomes 2^51, an h above 2^52 becomes 2^52 (both only lower h), a part below -2^51 or an h
   below -2^52 makes h -inf, which is an alarm until the subaccount is mirrored anew (when it changes, and
   every _REVIEW_EVERY asks). The fixed part comes first, onto 0: beyond 2^53 it may be rounded, but then
   it is beyond 2^52 and treated as said.
2. *Position.* The exact term is floor(x) - MM with x = base x mark / D, MM = ceil(E x R / 10^6), E =
   ceil(|x|), R = max(B, ceil(f x sqrt_up(E) / 10^9)). With e = 1: floor(x) > x - e, E < |x| + e,
   sqrt_up(E) < sqrt(|x|) + sqrt(e) + 1, hence R / 10^6 < r(|x|) = max(B / 10^6, g sqrt(|x|) + g (sqrt(e)
   + 1) + 10^-6), g = f / 10^15, and term > x - e - (|x| + e) r(|x|) - 1.
3. *Borrow.* The same with x = -shares x borrow index / 10^18 x index / D; units owed and liability both
   round up, so E < |x| + e with e = index / D + 1.
4. *Collateral.* The exact term is floor(floor(units x index / D) x weight / 10^6) > x - 2 with x = units
   x weight x index / (D x 10^6), and never negative. The weight is the exact integer. Lent units are
   taken as they were when mirrored, n: the lend index never falls (I6, the ledger refuses it), so they can
   only grow, to n', and n x exact real weight grows with them. The weight's roundings take less than 3 ppm
   (two from its root, one from its floor). Of a subaccount that lends the weight is taken 16 ppm lower:
   enough while 3 n' <= 16 n, and when a lend index has doubled (n' <= 2 n + 2 <= 4 n) everybody is mirrored
   anew.
5. *Floats.* A coefficient (base, shares, units x weight) has one rounding, a price factor at most 5,
   their product one: v = x (1 + 8u) at worst. Coefficients are stored with _DOWN = 2^-46 = 128u of their
   magnitude subtracted, so v <= x - 118u |x|, |v| >= |x| (1 - 138u). (|v| + e) r(|v|) has at most 12 more
   roundings, and loses at most 1.5 x 138u to |v|; g, B, e and the ppm are taken larger by _UP = 2^-44 =
   512u, so it exceeds (|x| + e) r(|x|) by at least 200u of itself. The two subtractions that follow lose
   at most 2u of the sum of magnitudes, less than what 118u and 200u left over. At last 3 is subtracted
   where 1 is due, and floor is exact: part <= term - 1.

A false alarm needs a health within about 2 ppm of exposure + a few usd6 per term of zero (R's ceiling is
the 1 ppm).

Cost. Per market, borrow and collateral a column holds the places of its holders (sorted), their
coefficients and their parts. A price that moved re-values its column only: O(holders), independent of all
others. What a subaccount receives and pays in dollars is a difference added to h. Only a changed base,
collateral or borrow makes a subaccount be mirrored anew: the affected columns are copied once per ask,
whatever the number of changes.

"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.collateral import SETTLEMENT_PRICE_E8
from engine.fixed import weight_down_ppm
from engine.params import Params
from engine.pool import balance_units
from engine.state import State, Subaccount
from engine.units import E18, PPM, SETTLEMENT_ASSET, SubaccountId

Floats: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]
# ("position", market), ("borrow", asset) or ("collateral", asset).
ColumnName: TypeAlias = tuple[str, str]
# What moves all terms of a column at once: a price_e8, 0 while there is none, and an index_e18.
Factor: TypeAlias = tuple[int, int]

# The proof above rests on these five.
_PART_CAP: Final = 2.0**51
_HEALTH_CAP: Final = 2.0**52
_DOWN: Final = 2.0**-46
_UP: Final = 1.0 + 2.0**-44
_LENT_SLACK_PPM: Final = 16

# Entries valued at a time: the scratch space stays in the processor's cache.
_CHUNK: Final = 16_384
_REVIEW_EVERY: Final = 1_024


class Column:
    """The terms of one market, borrowed asset or collateral, holder by holder, each as its lower bound.

    places are sorted and occur once. A coefficient is base, -borrowed shares, or units x weight_ppm, lowered
    as in 5.
    """

    __slots__ = (
        "_base", "_divisor", "_e", "_g", "_is_borrow", "_is_collateral", "_k", "_price",
        "coefficients", "factor", "parts", "places",
    )  # fmt: skip

    def __init__(self, kind: str, decimals: int, base_mmf_ppm: int = 0, mmf_factor_e12: int = 0) -> None:
        """Make an empty column without a price; the ratios are R18's, none for collateral."""
        self.places: Places = np.empty(0, dtype=np.int64)
        self.coefficients: Floats = np.empty(0)
        self.parts: Floats = np.empty(0)
        self.factor: Factor = (0, E18)
        self._is_borrow, self._is_collateral = kind == "borrow", kind == "collateral"
        self._divisor = float(10 ** (decimals + 2)) * (PPM if self._is_collateral else 1)
        self._base = base_mmf_ppm / PPM * _UP
        self._g = mmf_factor_e12 / 10**15 * _UP
        self._price = self._e = self._k = 0.0
        self.set_factor(self.factor)

    def set_factor(self, factor: Factor) -> None:
        """Take a new price and index; parts are stale until they are valued again."""
        price_e8, index_e18 = factor
        self.factor = factor
        unit_usd6 = price_e8 / self._divisor
        self._price = unit_usd6 * (index_e18 / E18)
        self._e = (unit_usd6 + 1.0 if self._is_borrow else 1.0) * _UP
        self._k = (self._g * (float(np.sqrt(self._e)) + 1.0) + 1e-6) * _UP

    def value(self, coefficients: Floats, scratch: Floats) -> Floats:
        """Bound the terms of coefficients from below (2-5 of the proof); uses three rows of scratch."""
        size = len(coefficients)
        value = np.multiply(coefficients, self._price, out=scratch[0, :size])
        if self._is_collateral:
            value -= 2.0
            np.floor(value, out=value)
            return np.clip(value, 0.0, _PART_CAP, out=value)
        amount = np.abs(value, out=scratch[1, :size])
        ratio = np.sqrt(amount, out=scratch[2, :size])
        ratio *= self._g
        ratio += self._k
        np.maximum(ratio, self._base, out=ratio)
        amount += self._e
        ratio *= amount
        value -= ratio
        value -= self._e + 3.0
        np.floor(value, out=value)
        return np.minimum(value, _PART_CAP, out=value)

    def replace(self, changed: Places, places: Places, coefficients: Floats, parts: Floats) -> None:
        """Forget the entries of changed holders and put others in their place; both sorted."""
        at = np.searchsorted(self.places, changed)
        if len(self.places):
            np.minimum(at, len(self.places) - 1, out=at)
            at = at[self.places[at] == changed]
        else:
            at = at[:0]
        if len(at) == len(places) and (self.places[at] == places).all():
            self.coefficients[at], self.parts[at] = coefficients, parts
            return
        kept = np.ones(len(self.places), dtype=bool)
        kept[at] = False
        left = self.places[kept]
        at = np.searchsorted(left, places)
        self.places = np.insert(left, at, places)
        self.coefficients = np.insert(self.coefficients[kept], at, coefficients)
        self.parts = np.insert(self.parts[kept], at, parts)


class Screen:
    """The mirror of one exchange. Make it with `attach`, or with `of_columns` from arrays."""

    def __init__(self, params: Params) -> None:
        """Mirror nobody yet."""
        decimals = {one.symbol: one.decimals for one in params.assets}
        self._columns: dict[ColumnName, Column] = {}
        for market in [one for one in params.markets if not one.is_spot]:
            self._columns["position", market.symbol] = Column(
                "position", decimals[market.asset], market.base_mmf_ppm, market.mmf_factor_e12
            )
        for asset in params.assets:
            self._columns["borrow", asset.symbol] = Column(
                "borrow", asset.decimals, asset.lending.base_mmf_ppm, asset.lending.mmf_factor_e12
            )
            if asset.symbol != SETTLEMENT_ASSET:
                self._columns["collateral", asset.symbol] = Column("collateral", asset.decimals)
        self._names: Sequence[SubaccountId] = []
        self._places: dict[SubaccountId, int] | None = {}
        self._health: Floats = np.zeros(0)
        self._scratch: Floats = np.empty((4, _CHUNK))
        self._asked = 0
        self._lend_indices = {one.symbol: E18 for one in params.assets}

    @classmethod
    def of_columns(
        cls,
        params: Params,
        names: Sequence[SubaccountId],
        fixed_usd6: Floats,
        holdings: Mapping[ColumnName, tuple[Places, Floats]],
    ) -> Screen:
        """Mirror whole columns at once, for loads too large to pass one by one.

        fixed_usd6 are whole numbers below 2^51 in magnitude; a holding lists sorted places and the
        coefficients there: base_units, -borrowed shares, or units x weight_ppm (weights as in R16). Until
        `reprice`, nobody's terms count.
        """
        made = cls(params)
        made._names, made._places = names, None
        made._health = fixed_usd6.copy()
        for name, (places, coefficients) in holdings.items():
            column = made._columns[name]
            column.places, column.coefficients = places.copy(), _lowered(coefficients)
            column.parts = np.zeros(len(places))
        return made

    def candidates(self, state: State) -> list[SubaccountId]:
        """Name everyone who might fail R20 now: whoever does, and few others (R33). No order."""
        self._asked += 1
        self._review(state)
        self.reprice(_factors(state))
        self._absorb(state)
        return self.named()

    def named(self) -> list[SubaccountId]:
        """Name whoever the mirror sees below zero as it stands."""
        names = self._names
        return [names[place] for place in np.flatnonzero(self._health[: len(names)] < 0.0).tolist()]

    def health_usd6(self, subaccount: SubaccountId) -> float:
        """Give the lower bound of net equity - maintenance margin as it stands; -inf is "look closely".

        Raises KeyError for a subaccount that is not mirrored (a system account, or one that never held
        anything).
        """
        return float(self._health[self._place_of()[subaccount]])

    def reprice(self, factors: Mapping[ColumnName, Factor]) -> None:
        """Take prices and indices: value again the columns that moved, and only these."""
        for name, factor in factors.items():
            column = self._columns[name]
            if factor != column.factor:
                column.set_factor(factor)
                self._revalue(column)

    def memory_bytes(self) -> int:
        """Give the size of all columns, without the names."""
        columns = [
            one.places.nbytes + one.coefficients.nbytes + one.parts.nbytes for one in self._columns.values()
        ]
        return sum(columns) + self._health.nbytes

    def _revalue(self, column: Column) -> None:
        for start in range(0, len(column.places), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            value = column.value(column.coefficients[chunk], self._scratch)
            places, parts = column.places[chunk], column.parts[chunk]
            if value.min() < -_PART_CAP:
                self._health[places[value < -_PART_CAP]] = -np.inf
                np.maximum(value, -_PART_CAP, out=value)
            change = np.subtract(value, parts, out=self._scratch[1, : len(value)])
            parts[:] = value
            self._add(places, change)

    def _add(self, places: Places, change: Floats) -> None:
        """Add whole numbers to the health of places that occur once (1 of the proof)."""
        health = np.take(self._health, places, out=self._scratch[3, : len(places)])
        health += change
        np.minimum(health, _HEALTH_CAP, out=health)
        if health.min(initial=0.0) < -_HEALTH_CAP:
            health[health < -_HEALTH_CAP] = -np.inf
        self._health[places] = health

    def _absorb(self, state: State) -> None:
        """Take in what the ledger noted since the last ask: differences in dollars, and new shapes."""
        changes, reshaped = state.equity_changes, state.reshaped
        known = self._place_of()
        places, amounts = [], []
        for name, usd6 in changes.items():
            if usd6 and name not in reshaped:
                place = known.get(name)
                if place is None or not -_PART_CAP <= usd6 <= _PART_CAP:
                    reshaped[name] = None
                else:
                    places.append(place)
                    amounts.append(float(usd6))
        for start in range(0, len(places), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            self._add(np.array(places[chunk], dtype=np.int64), np.array(amounts[chunk]))
        if reshaped:
            ones = [state.subaccounts[name] for name in reshaped]
            self._reshape(state, [one for one in ones if not one.is_system])
        changes.clear()
        reshaped.clear()

    def _reshape(self, state: State, ones: list[Subaccount]) -> None:
        """Mirror subaccounts anew at the prices the columns have."""
        if not ones:
            return
        known = self._place_of()
        by_place = sorted([(known.get(one.id, -1), one) for one in ones], key=lambda pair: pair[0])
        by_place = [(self._new_place(one.id) if place < 0 else place, one) for place, one in by_place]
        by_place.sort(key=lambda pair: pair[0])
        entries: dict[ColumnName, tuple[list[int], list[int]]] = {name: ([], []) for name in self._columns}
        fixed = [_shape(state, one, place, entries) for place, one in by_place]
        changed = np.array([place for place, _ in by_place], dtype=np.int64)
        self._health[changed] = 0.0
        for start in range(0, len(fixed), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            self._add(changed[chunk], np.array(fixed[chunk]))
        for name, (places, coefficients) in entries.items():
            column = self._columns[name]
            if places or len(column.places):
                self._replace(
                    column, changed, np.array(places, dtype=np.int64), np.array([*map(float, coefficients)])
                )

    def _replace(self, column: Column, changed: Places, places: Places, coefficients: Floats) -> None:
        """Give a column the entries of changed subaccounts, whose health counts nothing of it yet."""
        lowered, parts = _lowered(coefficients), np.empty(len(places))
        for start in range(0, len(places), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            parts[chunk] = column.value(lowered[chunk], self._scratch)
        if parts.min(initial=0.0) < -_PART_CAP:
            self._health[places[parts < -_PART_CAP]] = -np.inf
            np.maximum(parts, -_PART_CAP, out=parts)
        for start in range(0, len(places), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            self._add(places[chunk], parts[chunk])
        column.replace(changed, places, lowered, parts)

    def _review(self, state: State) -> None:
        """Now and then have mirrored anew who was once too large; everybody when a lend index has doubled."""
        names = self._names
        if self._asked % _REVIEW_EVERY == 0:
            vast = np.flatnonzero(np.isneginf(self._health[: len(names)]))
            state.reshaped.update(dict.fromkeys([names[place] for place in vast.tolist()]))
        for asset, pool in state.pools.items():
            if pool.lend_index_e18 > 2 * self._lend_indices[asset]:
                self._lend_indices[asset] = pool.lend_index_e18
                state.reshaped.update(dict.fromkeys(state.subaccounts))

    def _place_of(self) -> dict[SubaccountId, int]:
        if self._places is None:
            self._names = list(self._names)
            self._places = {name: place for place, name in enumerate(self._names)}
        return self._places

    def _new_place(self, name: SubaccountId) -> int:
        known = self._place_of()
        place = known[name] = len(known)
        self._names.append(name)  # type: ignore[attr-defined]
        if place == len(self._health):
            self._health = np.concatenate([self._health, np.zeros(max(1_024, place))])
        return place


def attach(state: State) -> Screen:
    """Give a state a screen that mirrors everybody, in place of the one it has; outcomes are the same."""
    made = Screen(state.params)
    state.reshaped.update(dict.fromkeys(state.subaccounts))
    state.screen = made
    return made


def _lowered(coefficients: Floats) -> Floats:
    """Lower coefficients by 2^-46 of their magnitude, so that all roundings together stay below (5)."""
    return coefficients - _DOWN * np.abs(coefficients)


def _factors(state: State) -> dict[ColumnName, Factor]:
    """Gather what the columns are valued at: marks, indices of assets, borrow indices."""
    factors: dict[ColumnName, Factor] = {
        ("position", market): (price.price_e8, E18)
        for market, price in state.mark_prices.items()
        if not state.markets[market].is_spot
    }
    for asset, price in state.index_prices.items():
        factors["collateral", asset] = (price.price_e8, E18)
        factors["borrow", asset] = (price.price_e8, state.pools[asset].borrow_index_e18)
    factors["borrow", SETTLEMENT_ASSET] = (
        SETTLEMENT_PRICE_E8,
        state.pools[SETTLEMENT_ASSET].borrow_index_e18,
    )
    return factors


def _shape(
    state: State, one: Subaccount, place: int, entries: dict[ColumnName, tuple[list[int], list[int]]]
) -> float:
    """Add a subaccount's terms to the entries; give its fixed part: USDC held and lent, quotes, unsettled."""
    fixed_usd6 = one.unsettled_usd6 + balance_units(state, one, SETTLEMENT_ASSET)
    terms: list[tuple[ColumnName, int]] = [(("borrow", asset), -owed) for asset, owed in one.borrowed.items()]
    for market, position in one.positions.items():
        fixed_usd6 += position.quote_usd6
        if position.base_units:
            terms.append((("position", market), position.base_units))
    for asset in dict.fromkeys((*one.cash, *one.lent)) if one.lent else one.cash:
        if asset == SETTLEMENT_ASSET:
            continue
        params, units = state.assets[asset], balance_units(state, one, asset)
        weight = weight_down_ppm(params.base_weight_ppm, params.weight_penalty_ppm, units, params.decimals)
        slack = _LENT_SLACK_PPM if asset in one.lent else 0
        terms.append((("collateral", asset), units * max(0, weight - slack)))
    for name, coefficient in terms:
        places, coefficients = entries[name]
        places.append(place)
        coefficients.append(coefficient)
    return float(fixed_usd6)
