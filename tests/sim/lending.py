"""What the auditor expects of the lending pools: interest, shares, the throttle (R9-R11)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor

from engine import events as e
from engine.params import LendingParams
from engine.units import E18, INSURANCE_FUND, LENDING_POOL, SETTLEMENT_ASSET, SYSTEM_ACCOUNTS, YEAR_NS

from . import formulas as f
from .ledger import Change, Ledger, Risk

E12 = 10**12  # a rate in ppm, times this, is a rate x 10^18


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool of one asset: all shares, what a share is worth, what is in it."""

    params: LendingParams
    lent: int
    borrowed: int
    lend_index: int
    borrow_index: int
    cash: int

    # -- units and shares (R9): every rounding is against who asks

    def lent_units(self, shares: int) -> int:
        """What lent shares are worth, downward."""
        return floor(Fraction(shares * self.lend_index, E18))

    def owed_units(self, shares: int) -> int:
        """What borrowed shares owe, upward."""
        return ceil(Fraction(shares * self.borrow_index, E18))

    def shares_for_lending(self, units: int) -> int:
        """Shares that lending gives, downward."""
        return floor(Fraction(units * E18, self.lend_index))

    def shares_for_redeeming(self, units: int, of: int) -> int:
        """Shares that redeeming takes, upward; all of them when the units are all."""
        return of if units == self.lent_units(of) else ceil(Fraction(units * E18, self.lend_index))

    def shares_for_borrowing(self, units: int) -> int:
        """Shares that borrowing adds, upward."""
        return ceil(Fraction(units * E18, self.borrow_index))

    def shares_for_repaying(self, units: int, of: int) -> int:
        """Shares that repaying frees, downward; all of them when the units are all."""
        return of if units == self.owed_units(of) else floor(Fraction(units * E18, self.borrow_index))

    # -- how much of it is used (R9, R10)

    def utilization(self) -> Fraction:
        """R9: min(1, what is owed / what is lent), 0 when nothing is borrowed."""
        owed = self.borrowed * self.borrow_index
        return min(Fraction(1), Fraction(owed, max(1, self.lent * self.lend_index))) if owed else Fraction(0)

    def is_throttled(self) -> bool:
        """R10: above the throttle; the edge passes."""
        return self.utilization() > Fraction(self.params.throttle_utilization_ppm, f.PPM)

    def most_to_borrow(self) -> int:
        """R10: units that bring it no further than the maximum; no more than there is."""
        most = Fraction(self.params.max_utilization_ppm, f.PPM)
        spare = floor(self.lent * self.lend_index * most / self.borrow_index) - self.borrowed
        return max(0, min(floor(Fraction(spare * self.borrow_index, E18)), self.cash))

    def most_to_redeem(self, shares: int) -> int:
        """R10: units that a holder of so many shares may take without going above the maximum."""
        most = Fraction(self.params.max_utilization_ppm, f.PPM)
        spare = self.lent - ceil(self.borrowed * self.borrow_index / (most * self.lend_index))
        units = self.lent_units(shares)
        if shares > spare:
            units = min(floor(Fraction(spare * self.lend_index, E18)), units - 1)
        return max(0, min(units, self.cash))

    def redeemable(self, shares: int) -> int:
        """R10: what the pool lets one redeem now: nothing above the throttle."""
        return 0 if self.is_throttled() else self.most_to_redeem(shares)

    def borrowable(self) -> int:
        """R10: what the pool lets one borrow now: nothing above the throttle."""
        return 0 if self.is_throttled() else self.most_to_borrow()

    def with_lent(self, units: int) -> Pool:
        """Give it with more lent."""
        return replace(self, lent=self.lent + self.shares_for_lending(units), cash=self.cash + units)

    def without(self, units: int, of: int) -> Pool:
        """Give it after a redemption by one who has `of` shares."""
        return replace(self, lent=self.lent - self.shares_for_redeeming(units, of), cash=self.cash - units)


@dataclass(slots=True)
class Lending:
    """The pools of all assets; emits what moves in and out of them, with interest up to the moment."""

    ledger: Ledger
    accrued_ns: dict[str, int] = field(default_factory=dict)

    # -- interest (R9)

    def last(self, asset: str) -> Pool:
        """Give a pool as of its last accrual."""
        books = self.ledger.books
        return Pool(
            params=self.ledger.asset(asset).lending,
            lent=sum(shares for (_, held), shares in books.lent.items() if held == asset),
            borrowed=sum(shares for (_, held), shares in books.borrowed.items() if held == asset),
            lend_index=self.ledger.lend_index(asset),
            borrow_index=self.ledger.borrow_index(asset),
            cash=books.cash[LENDING_POOL, asset],
        )

    def now(self, asset: str) -> Pool:
        """Give a pool with interest up to now."""
        pool, event = self.last(asset), self._interest(asset)
        if event is None:
            return pool
        return replace(
            pool,
            lent=pool.lent + event.fee_shares,
            lend_index=event.lend_index_e18,
            borrow_index=event.borrow_index_e18,
        )

    def accrue(self, asset: str) -> None:
        """R9: on every tick and before any change of a pool's shares."""
        event = self._interest(asset)
        if event is not None:
            self.ledger.emit(event)
            self.accrued_ns[asset] = self.ledger.now_ns

    def _interest(self, asset: str) -> e.InterestAccrued | None:
        """R9: the indices and the fee for the time since it last accrued."""
        pool = self.last(asset)
        elapsed = self.ledger.now_ns - self.accrued_ns.get(asset, self.ledger.now_ns)
        if pool.borrowed == 0 or elapsed == 0:
            return None
        used = pool.utilization()
        rate = _rate_e18(pool.params, used)
        rise = ceil(Fraction(pool.borrow_index * rate * elapsed, E18 * YEAR_NS))
        interest = pool.borrowed * rise
        fee, lend_index = pool.params.reserve_fee_ppm, pool.lend_index
        if pool.lent:
            lend_index += floor(Fraction(interest * (f.PPM - fee), f.PPM * pool.lent))
        return e.InterestAccrued(
            asset=asset,
            utilization_ppm=ceil(used * f.PPM),
            borrow_rate_ppm=ceil(Fraction(rate, E12)),
            borrow_index_e18=pool.borrow_index + rise,
            lend_index_e18=lend_index,
            fee_shares=floor(Fraction(interest * fee, f.PPM * lend_index)),
        )

    # -- what moves

    def lend(self, name: str, asset: str, units: int) -> None:
        """R10: cash goes into the pool."""
        self.accrue(asset)
        self.ledger.emit(e.Lent(name, asset, units, self.last(asset).shares_for_lending(units)))

    def redeem(self, name: str, asset: str, units: int) -> None:
        """R10: lent units come back."""
        if units <= 0:
            return
        self.accrue(asset)
        shares = self.last(asset).shares_for_redeeming(units, self.ledger.books.lent[name, asset])
        self.ledger.emit(e.Redeemed(name, asset, units, shares))

    def redeem_forced(self, name: str, asset: str, wanted: int | None = None) -> None:
        """R10: asks neither throttle nor maximum, only the pool's cash; all that is lent by default."""
        if not self.ledger.books.lent[name, asset]:
            return
        self.accrue(asset)
        units = min(self.ledger.lent_units(name, asset), self.last(asset).cash)
        self.redeem(name, asset, units if wanted is None else min(units, wanted))

    def borrow(self, name: str, asset: str, units: int) -> None:
        """R11: units come out of the pool; a pool that nobody borrowed from begins to count time."""
        self.accrue(asset)
        pool = self.last(asset)
        if pool.borrowed == 0:
            self.accrued_ns[asset] = self.ledger.now_ns
        self.ledger.emit(e.Borrowed(name, asset, units, pool.shares_for_borrowing(units)))

    def repay(self, name: str, asset: str, units: int, *, from_lent: bool = True) -> int:
        """R11: pays from free cash, then from what is lent of the asset; gives the units paid."""
        books, ledger = self.ledger.books, self.ledger
        if not books.borrowed[name, asset] or units <= 0:
            return 0
        self.accrue(asset)
        pool = self.last(asset)
        owed = pool.owed_units(books.borrowed[name, asset])
        of_cash = min(units, owed, max(0, ledger.free(name, asset)))
        of_lent = min(units, owed) - of_cash
        of_lent = min(of_lent, pool.lent_units(books.lent[name, asset])) if from_lent else 0
        shares = pool.shares_for_repaying(of_cash + of_lent, books.borrowed[name, asset])
        if not shares:
            return 0
        left = books.borrowed[name, asset] - shares
        lent_shares = pool.shares_for_redeeming(of_lent, books.lent[name, asset]) if of_lent else 0
        ledger.emit(e.Repaid(name, asset, of_cash, of_lent, lent_shares, shares, pool.owed_units(left)))
        return of_cash + of_lent

    def repay_all(self, name: str, asset: str) -> int:
        """R21, R22: as much as cash, then lent units, can pay."""
        if self.ledger.books.borrowed[name, asset]:
            self.accrue(asset)
        return self.repay(name, asset, self.ledger.owed_units(name, asset))

    def take_over(
        self, name: str, asset: str, rate: int, shares: int | None = None, usd6: int | None = None
    ) -> None:
        """R27: the fund takes over a borrow, or a part of it, at a rate."""
        self.accrue(asset)
        shares = self.ledger.books.borrowed[name, asset] if shares is None else shares
        units = self.last(asset).owed_units(shares)
        usd6 = ceil(f.value(units, rate, self.ledger.decimals(asset))) if usd6 is None else usd6
        self.ledger.emit(e.BorrowTakenOver(name, asset, units, shares, usd6, rate))

    # -- what happens by itself

    def settings(self, name: str) -> tuple[bool, bool, bool]:
        """R10, R11: auto_lend, auto_borrow, auto_repay."""
        params = self.ledger.params
        usual = (params.auto_lend_default, params.auto_borrow_default, params.auto_repay_default)
        return self.ledger.books.auto.get(name, (bool(usual[0]), bool(usual[1]), bool(usual[2])))

    def auto_repay(self, name: str, asset: str, incoming: int) -> None:
        """R11: units of a borrowed asset that come in repay it, from cash only."""
        if name not in SYSTEM_ACCOUNTS and self.settings(name)[2]:
            self.repay(name, asset, incoming, from_lent=False)

    def auto_lend(self) -> None:
        """R10: at the end of a tick idle cash of every asset that anybody borrows is lent."""
        for asset in self.ledger.params.assets:
            if self.last(asset.symbol).borrowed:
                for name, units in self.idle(asset.symbol):
                    self.lend(name, asset.symbol, units)

    def idle(self, asset: str) -> list[tuple[str, int]]:
        """R10: who would lend how much now, in canonical order."""
        ledger, found = self.ledger, []
        if self.has_hole(asset):
            return []
        for name in ledger.customers():
            if not self.settings(name)[0] or ledger.books.borrowed[name, asset]:
                continue
            if name in ledger.books.liquidations or (asset == SETTLEMENT_ASSET and ledger.has_position(name)):
                continue
            units = ledger.free(name, asset)
            if units >= ledger.asset(asset).minimum_deposit_units:
                found.append((name, units))
        return found

    def has_hole(self, asset: str) -> bool:
        """R10: the fund owes the pool, and all it holds at index is less than all it owes."""
        ledger, fund = self.ledger, INSURANCE_FUND
        if not ledger.books.borrowed[fund, asset]:
            return False
        return ledger.risk(fund).account_value - max(0, ledger.books.unsettled[fund]) < 0

    def drawn(self, name: str, asset: str) -> tuple[Pool, list[tuple[str, int]]]:
        """R11: the pool as if all idle cash of others were in it, and whose it is."""
        pool, lenders = self.now(asset), [one for one in self.idle(asset) if one[0] != name]
        for _, units in lenders:
            pool = pool.with_lent(units)
        return pool, lenders

    # -- what a borrow would make of a subaccount

    def risk_after(self, name: str, asset: str, units: int) -> Risk:
        """R11: units come and are owed."""
        return self.ledger.risk(name, Change(cash={asset: units}, owed={asset: units}))

    def is_within_limit(self, name: str, asset: str, units: int) -> bool:
        """R11: what one subaccount may owe at most when it borrows."""
        limit = self.ledger.asset(asset).lending.borrow_limit_units
        return self.ledger.owed_units(name, asset) + units <= limit


def _rate_e18(params: LendingParams, used: Fraction) -> int:
    """R9: two slopes with a kink at the optimal utilization, upward."""
    zero, optimal, full = params.rate_at_zero_ppm, params.rate_at_optimal_ppm, params.rate_at_full_ppm
    kink = Fraction(params.optimal_utilization_ppm, f.PPM)
    if used <= kink:
        return zero * E12 + ceil((optimal - zero) * E12 * used / kink)
    return optimal * E12 + ceil((full - optimal) * E12 * (used - kink) / (1 - kink))


__all__ = ["Lending", "Pool"]
