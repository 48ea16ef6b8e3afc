"""What the auditor says of an amount: may so much leave, be lent, redeemed, borrowed, repaid (R10, R11, R30).

The same questions, asked about another amount, tell what a refusal may say that would pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import singledispatchmethod
from typing import TypeAlias

from engine import commands as c
from engine.rejects import RejectReason as R
from engine.units import SETTLEMENT_ASSET

from .ledger import Change, Ledger
from .lending import Lending

Loan: TypeAlias = c.Lend | c.Redeem | c.Borrow | c.Repay
Amount: TypeAlias = Loan | c.Transfer | c.RequestWithdrawal


@dataclass(slots=True)
class Conditions:
    """Lists what the condition of a subaccount and of a pool has against an amount, its terms being good."""

    ledger: Ledger
    lending: Lending

    @singledispatchmethod
    def faults(self, command: Amount) -> Iterator[R]:
        """List every reason, in any order."""
        raise AssertionError(f"no amount in {command!r}")

    @faults.register
    def _(self, command: c.Transfer) -> Iterator[R]:
        yield from self._leave(command.source, command.asset, command.units)

    @faults.register
    def _(self, command: c.RequestWithdrawal) -> Iterator[R]:
        yield from self._leave(command.subaccount, command.asset, command.units)

    def _leave(self, name: str, asset: str, units: int) -> Iterator[R]:
        """R30."""
        books, ledger, risk = self.ledger.books, self.ledger, self.ledger.risk(name)
        if name in books.liquidations or 0 < risk.maintenance >= risk.net_equity:
            yield R.IN_LIQUIDATION
        if risk.account_value < 0:
            yield R.OUTSTANDING_NEGATIVE_EQUITY
        if books.unsettled[name] < 0:
            yield R.UNCOLLECTED_LOSS
        if ledger.rests_on_stale(name):
            yield R.STALE_PRICE
        redeemable = self.lending.now(asset).redeemable(books.lent[name, asset])
        redeemable = min(redeemable, ledger.lent_units(name, asset))
        if units > ledger.free(name, asset) + redeemable:
            yield R.INSUFFICIENT_SETTLED_CASH
        after = ledger.risk(name, Change(cash={asset: -units}))
        if after.initial == 0 and not ledger.has_position(name) and not ledger.owes(name):
            return  # whoever has no positions and no borrows needs no price and no margin
        if after.withdrawal_equity < after.initial:
            yield R.INSUFFICIENT_INITIAL_MARGIN
        elif after.withdrawal_equity - after.stale_collateral < after.initial:
            yield R.STALE_PRICE

    @faults.register
    def _(self, command: c.Lend) -> Iterator[R]:
        if command.subaccount in self.ledger.books.liquidations:
            yield R.IN_LIQUIDATION
        if command.units > self.ledger.free(command.subaccount, command.asset):
            yield R.INSUFFICIENT_SETTLED_CASH

    @faults.register
    def _(self, command: c.Redeem) -> Iterator[R]:
        name, asset = command.subaccount, command.asset
        pool, shares = self.lending.now(asset), self.ledger.books.lent[name, asset]
        if command.units > self.ledger.lent_units(name, asset):
            yield R.INSUFFICIENT_LENT_BALANCE
        if pool.is_throttled():
            yield R.UTILIZATION_ABOVE_THROTTLE
        if command.units > pool.most_to_redeem(shares):
            yield R.UTILIZATION_ABOVE_MAXIMUM

    @faults.register
    def _(self, command: c.Borrow) -> Iterator[R]:
        name, asset, units = command.subaccount, command.asset, command.units
        books, ledger, risk = self.ledger.books, self.ledger, self.ledger.risk(command.subaccount)
        if ledger.index(asset) == 0:
            yield R.PRICE_UNAVAILABLE
        if name in books.liquidations or 0 < risk.maintenance >= risk.net_equity:
            yield R.IN_LIQUIDATION
        if risk.account_value < 0 or name in books.bankrupt:
            yield R.OUTSTANDING_NEGATIVE_EQUITY
        after = self.lending.risk_after(name, asset, units)
        if after.net_equity < after.initial:
            yield R.INSUFFICIENT_INITIAL_MARGIN
        if not self.lending.is_within_limit(name, asset, units):
            yield R.BORROW_LIMIT_EXCEEDED
        if self._has_stale(command) or after.vouched_equity < after.initial:
            yield R.STALE_PRICE
        if self.lending.now(asset).borrowable() < units:
            # R11: a pool that is too small is asked again with all idle cash in it.
            pool, _ = self.lending.drawn(name, asset)
            if pool.is_throttled():
                yield R.UTILIZATION_ABOVE_THROTTLE
            if pool.most_to_borrow() < units:
                yield R.UTILIZATION_ABOVE_MAXIMUM

    @faults.register
    def _(self, command: c.Repay) -> Iterator[R]:
        name, asset, ledger = command.subaccount, command.asset, self.ledger
        if not ledger.books.borrowed[name, asset]:
            yield R.NOTHING_BORROWED
        wanted = min(command.units, ledger.owed_units(name, asset))
        if wanted > ledger.free(name, asset) + ledger.lent_units(name, asset):
            yield R.INSUFFICIENT_SETTLED_CASH

    def _has_stale(self, command: Amount) -> bool:
        """R11, R30: a price is stale without which no amount passes."""
        name = command.source if isinstance(command, c.Transfer) else command.subaccount
        of_borrow = isinstance(command, c.Borrow) and command.asset != SETTLEMENT_ASSET
        return self.ledger.rests_on_stale(name) or (of_borrow and self.ledger.is_index_stale(command.asset))

    # -- what would pass

    def misnamed(self, command: Amount, reason: R, units: int | None) -> str:
        """Say what is wrong with the amount that a refusal names: it has to pass, and one more must not."""
        if (units is not None) != self._names_an_amount(command, reason):
            return f"{units} is named"
        if units is None:
            return ""
        if not 0 <= units < command.units:
            return f"{units} of {command.units} asked for"
        if units and not self._passes(command, units):
            return f"{units} would not pass"
        return f"{units} would pass, but so would one more" if self._passes(command, units + 1) else ""

    def _names_an_amount(self, command: Amount, reason: R) -> bool:
        """R11, R30: refusals for cash or margin do, unless nothing passes because of a stale price."""
        stale = isinstance(command, c.Borrow | c.Transfer | c.RequestWithdrawal) and self._has_stale(command)
        return reason in _ABOUT_AMOUNTS and not stale

    def _passes(self, command: Amount, units: int) -> bool:
        return not list(self.faults(replace(command, units=units)))


_ABOUT_AMOUNTS = (
    R.INSUFFICIENT_SETTLED_CASH,
    R.INSUFFICIENT_INITIAL_MARGIN,
    R.BORROW_LIMIT_EXCEEDED,
    R.INSUFFICIENT_LENT_BALANCE,
    R.STALE_PRICE,
    R.UTILIZATION_ABOVE_MAXIMUM,
)
