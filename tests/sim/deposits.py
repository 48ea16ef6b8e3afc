"""What the auditor expects of a deposit: debt first, then a borrow, the rest is credited (R28, R29)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from engine import commands as c
from engine import events as e
from engine.params import AssetParams
from engine.units import FEES, INSURANCE_FUND, NETWORK_FEE_ASSET, SETTLEMENT_ASSET, SYSTEM_ACCOUNTS

from . import formulas as f
from . import settling
from .ledger import Ledger
from .lending import Lending


@dataclass(frozen=True, slots=True)
class Arrival:
    """Units that came in, by whose wish."""

    deposit_id: str
    name: str
    asset: AssetParams
    units: int
    sender: str
    was_held: bool


@dataclass(slots=True)
class Applied:
    """What a deposit pays: of a debt by conversion, of a borrow of the same asset, and what is taken over."""

    units: int = 0
    usd6: int = 0
    repaid_units: int = 0
    repaid_usd6: int = 0
    repaid_shares: int = 0
    others_usd6: int = 0


@dataclass(slots=True)
class Depositor:
    """Posts deposits, and releases held ones when the debt is gone."""

    ledger: Ledger
    lending: Lending

    def take(self, command: c.Deposit) -> None:
        """R28, R29: hold it or apply it."""
        owed = self._asked_of(command.subaccount, command.asset)
        name, asset, units = command.subaccount, command.asset, command.units
        if owed and self.ledger.books.on_debt.get(name) == "hold":
            self.ledger.emit(e.DepositHeld(command.id, name, asset, units, command.sender, owed))
            return
        of = self.ledger.asset(asset)
        self._apply(Arrival(command.id, name, of, units, command.sender, was_held=False))
        self.release_held()

    def accept(self, deposit_id: str) -> None:
        """R29: a held deposit is applied."""
        self._apply_held(deposit_id)
        self.release_held()

    def release_held(self) -> None:
        """R29: a held deposit is credited once the debt is gone."""
        for deposit_id, held in list(self.ledger.books.held_deposits.items()):
            if not self.ledger.outstanding(held.subaccount):
                self._apply_held(deposit_id)

    def _apply_held(self, deposit_id: str) -> None:
        held = self.ledger.books.held_deposits[deposit_id]
        asset = self.ledger.asset(held.asset)
        self._apply(Arrival(deposit_id, held.subaccount, asset, held.units, held.sender, was_held=True))

    def _asked_of(self, name: str, asset: str) -> int:
        """R28: outstanding negative equity; of the fund, in dollars, what it owes the pool for assets."""
        if name == INSURANCE_FUND:
            return max(0, -self.ledger.books.unsettled[name]) if asset == SETTLEMENT_ASSET else 0
        return 0 if name in SYSTEM_ACCOUNTS else self.ledger.outstanding(name)

    def _apply(self, arrival: Arrival) -> None:
        ledger, name, symbol = self.ledger, arrival.name, arrival.asset.symbol
        owed = self._asked_of(name, symbol)
        # R26: nobody vouches for a stale index; such a coin is credited, and collected when it is fresh.
        waits = symbol != SETTLEMENT_ASSET and ledger.is_index_stale(symbol)
        rate = 0 if waits else ledger.conversion_rate(symbol)
        applied = Applied()
        if owed:
            # Nothing is realized for a deposit that pays nothing.
            if self._pays(arrival, owed, rate).usd6:
                settling.realize(ledger, name)
            applied = self._pays(arrival, owed, rate)
        credited = arrival.units - applied.units
        converted = applied.usd6 - applied.repaid_usd6
        paid, lacking = (0, 0) if symbol == SETTLEMENT_ASSET else ledger.fund_pays(converted)
        collected = 0
        if name == FEES and symbol == NETWORK_FEE_ASSET:
            collected = min(credited, ledger.books.network_fees_owed_units)
        if applied.repaid_units:
            self.lending.accrue(symbol)
        # What is credited counts at index afterwards.
        worth = floor(f.value(credited, ledger.index(symbol), arrival.asset.decimals))
        receipt = e.DepositApplied(
            deposit_id=arrival.deposit_id,
            subaccount=name,
            asset=symbol,
            sender=arrival.sender,
            deposited_units=arrival.units,
            applied_units=applied.units,
            applied_usd6=applied.usd6,
            rate_e8=rate,
            credited_units=credited,
            outstanding_before_usd6=owed,
            outstanding_after_usd6=max(0, owed - applied.usd6 - worth),
            fund_paid_usd6=paid,
            fund_owed_usd6=lacking,
            network_fees_collected_units=collected,
            was_held=arrival.was_held,
            repaid_units=applied.repaid_units,
            repaid_usd6=applied.repaid_usd6,
            repaid_shares=applied.repaid_shares,
        )
        ledger.emit(receipt)
        if name not in SYSTEM_ACCOUNTS:
            self._hand_over(name, applied.others_usd6)
        self.lending.auto_repay(name, symbol, credited)
        settling.end_debts(ledger)

    def _pays(self, arrival: Arrival, outstanding: int, rate: int) -> Applied:
        """R28: the unsettled debt, then a borrow of the same asset, then the other borrows."""
        ledger, name, asset = self.ledger, arrival.name, arrival.asset
        debt = outstanding
        if name not in SYSTEM_ACCOUNTS:
            pnl = sum(
                ledger.position_value(one.symbol, ledger.books.base[name, one.symbol])
                + ledger.books.quote[name, one.symbol]
                for one in ledger.perpetuals()
            )
            debt = max(0, min(outstanding, -ledger.books.unsettled[name] - pnl))
        done = Applied()
        done.units, done.usd6 = f.conversion(asset, arrival.units, rate, debt)
        if name in SYSTEM_ACCOUNTS:
            return done
        self._repay_same(arrival, outstanding, done)
        others = sum(ledger.liability(name, one.symbol) for one in ledger.params.assets if one is not asset)
        wanted = min(outstanding - done.usd6, others)
        units, usd6 = f.conversion(asset, arrival.units - done.units, rate, wanted)
        done.units, done.usd6, done.others_usd6 = done.units + units, done.usd6 + usd6, usd6
        return done

    def _repay_same(self, arrival: Arrival, outstanding: int, done: Applied) -> None:
        """R28: a borrow of the same asset is repaid directly, at index, without haircut."""
        name, asset, price = arrival.name, arrival.asset, self.ledger.index(arrival.asset.symbol)
        shares = self.ledger.books.borrowed[name, asset.symbol]
        pool, left = self.lending.now(asset.symbol), arrival.units - done.units
        if not price:
            return
        wanted = ceil(Fraction((outstanding - done.usd6) * 10 ** (asset.decimals + 2), price))
        units = min(left, pool.owed_units(shares), wanted)
        usd6 = min(outstanding - done.usd6, floor(f.value(units, price, asset.decimals)))
        freed = pool.shares_for_repaying(units, shares) if units > 0 else 0
        if usd6 <= 0 or freed <= 0:
            return
        done.units, done.usd6 = done.units + units, done.usd6 + usd6
        done.repaid_units, done.repaid_usd6, done.repaid_shares = units, usd6, freed

    def _hand_over(self, name: str, usd6: int) -> None:
        """R28: with what paid for other borrows the fund takes over as much of them, by symbol, at index."""
        for symbol in sorted(one.symbol for one in self.ledger.params.assets):
            shares, price = self.ledger.books.borrowed[name, symbol], self.ledger.index(symbol)
            if usd6 <= 0 or not shares or not price:
                continue
            pool = self.lending.last(symbol)
            units = floor(Fraction(usd6 * 10 ** (self.ledger.decimals(symbol) + 2), price))
            units = min(units, pool.owed_units(shares))
            freed = pool.shares_for_repaying(units, shares)
            if freed:
                before = self.ledger.books.unsettled[name]
                self.lending.take_over(name, symbol, price, freed)
                usd6 -= before - self.ledger.books.unsettled[name]
