"""What each lending event must be by itself (R9-R11, R27, I6), in fractions.

Where borrow-lend is in play the auditor does not say whole answers beforehand (yet). It folds what was
posted, and asks of every event what R9 and R10 ask of it: shares, interest, utilization, lenders covered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

from engine import events as e
from engine.params import LendingParams
from engine.units import E18, LENDING_POOL, YEAR_NS

from . import formulas as f
from .ledger import Ledger


@dataclass(slots=True)
class Lending:
    """Judges lending events before they are folded; knows when interest last accrued."""

    ledger: Ledger
    accrued_ns: dict[str, int] = field(default_factory=dict)

    def judge(self, event: e.Event) -> None:
        """Ask of an event what R9 and R10 say; raises AssertionError."""
        rule: Callable[[Lending, Any], None] | None = _RULES.get(type(event))
        if rule is not None:
            rule(self, event)

    def shares(self, kind: str, asset: str) -> int:
        """Sum the shares of everybody in a pool."""
        return sum(shares for (_, held), shares in getattr(self.ledger.books, kind).items() if held == asset)

    def utilization(self, asset: str) -> Fraction:
        """R9: min(1, what is owed / what is lent), 0 when nothing is borrowed."""
        owed = self.shares("borrowed", asset) * self.ledger.borrow_index(asset)
        lent = self.shares("lent", asset) * self.ledger.lend_index(asset)
        return min(Fraction(1), Fraction(owed, max(1, lent))) if owed else Fraction(0)

    def surplus_e18(self, asset: str) -> int:
        """I6: what a pool has beyond what its lenders may ask for."""
        ledger = self.ledger
        owns = ledger.books.cash[LENDING_POOL, asset] * E18
        owns += self.shares("borrowed", asset) * ledger.borrow_index(asset)
        return owns - self.shares("lent", asset) * ledger.lend_index(asset)

    def _params(self, asset: str) -> LendingParams:
        return next(one.lending for one in self.ledger.params.assets if one.symbol == asset)

    def _is_current(self, event: Any) -> None:
        """R9: interest accrues before any change of a pool's shares."""
        if self.shares("borrowed", event.asset):
            assert self.accrued_ns[event.asset] == self.ledger.now_ns, f"R9: stale interest at {event}"

    def _interest(self, event: e.InterestAccrued) -> None:
        """R9: the indices and the fee, with the rate of the two-slope curve."""
        asset, lending, ledger = event.asset, self._params(event.asset), self.ledger
        used = self.utilization(asset)
        optimal = Fraction(lending.optimal_utilization_ppm, f.PPM)
        scale = 10**12
        if used <= optimal:
            slope = (lending.rate_at_optimal_ppm - lending.rate_at_zero_ppm) * used / optimal
            rate = lending.rate_at_zero_ppm * scale + ceil(slope * scale)
        else:
            slope = (
                (lending.rate_at_full_ppm - lending.rate_at_optimal_ppm) * (used - optimal) / (1 - optimal)
            )
            rate = lending.rate_at_optimal_ppm * scale + ceil(slope * scale)
        elapsed = ledger.now_ns - self.accrued_ns[asset]
        index, lent = ledger.borrow_index(asset), self.shares("lent", asset)
        rise = ceil(Fraction(index * rate * elapsed, E18 * YEAR_NS))
        interest = self.shares("borrowed", asset) * rise
        kept = f.PPM - lending.reserve_fee_ppm
        lend_index = ledger.lend_index(asset)
        lend_index += floor(Fraction(interest * kept, f.PPM * lent)) if lent else 0
        assert elapsed > 0 and interest > 0, event
        assert event.borrow_index_e18 == index + rise, event
        assert event.lend_index_e18 == lend_index, event
        assert event.fee_shares == floor(Fraction(interest * lending.reserve_fee_ppm, f.PPM * lend_index)), (
            event
        )
        assert event.utilization_ppm == ceil(used * f.PPM), event
        assert event.borrow_rate_ppm == ceil(Fraction(rate, scale)), event
        self.accrued_ns[asset] = ledger.now_ns

    def _lent(self, event: e.Lent) -> None:
        self._is_current(event)
        assert event.shares == floor(Fraction(event.units * E18, self.ledger.lend_index(event.asset))), event
        assert 0 < event.units <= self.ledger.free(event.subaccount, event.asset), event

    def _redeemed(self, event: e.Redeemed) -> None:
        self._is_current(event)
        assert event.shares == self._shares_for(event.subaccount, event.asset, event.units), event

    def _shares_for(self, name: str, asset: str, units: int) -> int:
        """R9: redeeming takes ceil(units / index), or all shares when units is all."""
        if units == self.ledger.lent_units(name, asset):
            return self.ledger.books.lent[name, asset]
        return ceil(Fraction(units * E18, self.ledger.lend_index(asset)))

    def _borrowed(self, event: e.Borrowed) -> None:
        """R10: not above the throttle before, not above the maximum afterwards."""
        asset, lending = event.asset, self._params(event.asset)
        self._is_current(event)
        if not self.shares("borrowed", asset):
            self.accrued_ns[asset] = self.ledger.now_ns
        assert event.shares == ceil(Fraction(event.units * E18, self.ledger.borrow_index(asset))), event
        assert self.utilization(asset) <= Fraction(lending.throttle_utilization_ppm, f.PPM), event
        owed = (self.shares("borrowed", asset) + event.shares) * self.ledger.borrow_index(asset)
        lent = self.shares("lent", asset) * self.ledger.lend_index(asset)
        assert owed * f.PPM <= lent * lending.max_utilization_ppm, event
        assert (
            self.ledger.owed_units(event.subaccount, asset) + event.units <= lending.borrow_limit_units + 1
        ), event

    def _repaid(self, event: e.Repaid) -> None:
        self._is_current(event)
        name, asset, ledger = event.subaccount, event.asset, self.ledger
        units, owed = event.cash_units + event.lent_units, ledger.owed_units(name, asset)
        assert 0 < units <= owed, event
        due = floor(Fraction(units * E18, ledger.borrow_index(asset)))
        assert event.shares == (ledger.books.borrowed[name, asset] if units == owed else due), event
        set_off = self._shares_for(name, asset, event.lent_units) if event.lent_units else 0
        assert event.lent_shares == set_off, event
        left = ledger.books.borrowed[name, asset] - event.shares
        assert event.owed_units == ceil(Fraction(left * ledger.borrow_index(asset), E18)), event

    def _taken_over(self, event: e.BorrowTakenOver) -> None:
        owed = ceil(Fraction(event.shares * self.ledger.borrow_index(event.asset), E18))
        assert event.units == owed, event
        assert 0 < event.shares <= self.ledger.books.borrowed[event.subaccount, event.asset], event

    def _lent_converted(self, event: e.LentConverted) -> None:
        assert event.shares == self._shares_for(event.subaccount, event.asset, event.units), event


_RULES: dict[type[e.Event], Callable[[Lending, Any], None]] = {
    e.InterestAccrued: Lending._interest,
    e.Lent: Lending._lent,
    e.Redeemed: Lending._redeemed,
    e.Borrowed: Lending._borrowed,
    e.Repaid: Lending._repaid,
    e.BorrowTakenOver: Lending._taken_over,
    e.LentConverted: Lending._lent_converted,
}
