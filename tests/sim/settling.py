"""What the auditor expects of a settlement, a closing and a bankruptcy (R20, R26, R27), step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from engine import events as e
from engine.params import AssetParams
from engine.units import FEES, INSURANCE_FUND

from . import formulas as f
from .ledger import ROUNDING, SETTLEMENT_ASSET, Ledger
from .lending import Lending
from .matching import Matcher


def realize(ledger: Ledger, name: str) -> None:
    """R26: for every position pnl = floor(base x mark) + quote moves into unsettled."""
    for market in sorted(ledger.perpetuals(), key=lambda one: one.symbol):
        base, quote = ledger.books.base[name, market.symbol], ledger.books.quote[name, market.symbol]
        pnl = ledger.position_value(market.symbol, base) + quote
        if pnl:
            mark = ledger.books.mark_prices[market.symbol]
            ledger.emit(e.PnlSettled(name, market.symbol, pnl, mark))


def realize_rounding(ledger: Ledger) -> None:
    """I4: `rounding` takes over what rounding left, so that per market the quotes add up to zero."""
    for market in ledger.perpetuals():
        left = sum(ledger.books.quote[name, market.symbol] for name in ledger.everyone())
        if left:
            mark = ledger.books.mark_prices[market.symbol]
            ledger.emit(e.PnlSettled(ROUNDING, market.symbol, left, mark))


@dataclass(slots=True)
class Settler:
    """Collects realized losses, finds who is bankrupt; redeems and borrows where that is needed."""

    ledger: Ledger
    lending: Lending
    matcher: Matcher
    shortfalls: list[tuple[int, int]] = field(default_factory=list)  # R27: the fund's, (when, usd6), in a row

    def settle(self) -> None:
        """R26: all profit and loss is realized; the fund, then `rounding`, then everybody pays losses."""
        ledger = self.ledger
        realize(ledger, FEES)
        for market in ledger.perpetuals():
            for name in ledger.customers():
                if ledger.books.base[name, market.symbol] or ledger.books.quote[name, market.symbol]:
                    realize(ledger, name)
        realize_rounding(ledger)
        collect_dollars(ledger, INSURANCE_FUND)
        collect_dollars(ledger, ROUNDING)
        for name in ledger.customers():
            self.collect(name)

    def collect(self, name: str) -> None:
        """R26: paid from cash, queued withdrawals, what is lent, a borrow, then from other assets."""
        ledger = self.ledger
        collect_dollars(ledger, name)
        if ledger.books.unsettled[name] >= 0:
            return
        ledger.unlock(name, SETTLEMENT_ASSET)
        collect_dollars(ledger, name)
        if ledger.books.unsettled[name] >= 0:
            return
        cancel_queued(ledger, name)
        collect_dollars(ledger, name)
        if ledger.books.unsettled[name] >= 0:
            return
        self.lending.redeem_forced(name, SETTLEMENT_ASSET, -ledger.books.unsettled[name])
        collect_dollars(ledger, name)
        if self._may_borrow(name, -ledger.books.unsettled[name]):
            self.lending.borrow(name, SETTLEMENT_ASSET, -ledger.books.unsettled[name])
            collect_dollars(ledger, name)
        # The smallest haircut first: what costs the customer least; ties by symbol.
        for asset in sorted(ledger.params.assets, key=lambda one: (one.haircut_ppm, one.symbol)):
            rate = ledger.conversion_rate(asset.symbol)
            if rate and ledger.books.unsettled[name] < 0:
                self._take(name, asset, rate)

    def _may_borrow(self, name: str, debt: int) -> bool:
        """R26: auto_borrow, the whole rest or nothing."""
        ledger, lending, dollars = self.ledger, self.lending, SETTLEMENT_ASSET
        if debt <= 0 or not lending.settings(name)[1]:
            return False
        if name in ledger.books.liquidations or name in ledger.books.bankrupt:
            return False
        if not lending.is_within_limit(name, dollars, debt) or lending.now(dollars).borrowable() < debt:
            return False
        after = lending.risk_after(name, dollars, debt)
        return not ledger.rests_on_stale(name) and after.vouched_equity >= after.initial

    def _take(self, name: str, asset: AssetParams, rate: int) -> None:
        """R26: one asset pays: lent units come back as they are needed, the book first, then conversion."""
        ledger, symbol = self.ledger, asset.symbol
        if symbol != SETTLEMENT_ASSET and ledger.is_index_stale(symbol):
            return  # nobody vouches for the price, and nobody may bid a better one
        debt, held = -ledger.books.unsettled[name], ledger.balance(name, symbol)
        units = f.conversion(asset, held, rate, debt)[0]
        if units > ledger.free(name, symbol):
            ledger.unlock(name, symbol)
        lacking = units - ledger.free(name, symbol)
        if lacking > 0:
            self.lending.redeem_forced(name, symbol, lacking)
        if symbol != SETTLEMENT_ASSET:
            self._sell(name, asset, rate)
            self._convert(name, asset, rate)
        self._convert_lent(name, asset, rate)

    def _sell(self, name: str, asset: AssetParams, rate: int) -> None:
        """R26: free cash of an asset is sold on its spot market first, inside the band and above the rate."""
        ledger = self.ledger
        debt, free = -ledger.books.unsettled[name], ledger.free(name, asset.symbol)
        market = ledger.spot_market(asset.symbol)
        if debt <= 0 or free <= 0 or market is None:
            return
        band = Fraction(market.liquidation_band_ppm, f.PPM)
        limit = max(ceil(ledger.index(asset.symbol) * (1 - band)), rate)
        lot = market.lot_units
        units = ceil(Fraction(debt * 10 ** (asset.decimals + 2), limit * lot)) * lot
        units = min(units, f.lots(free, lot))
        if units > 0 and self.matcher.take(name, market.symbol, False, units, limit):
            collect_dollars(ledger, name)

    def _convert(self, name: str, asset: AssetParams, rate: int) -> None:
        ledger = self.ledger
        held = ledger.books.cash[name, asset.symbol]
        units, usd6 = f.conversion(asset, held, rate, -ledger.books.unsettled[name])
        if usd6:
            paid, owed = ledger.fund_pays(usd6)
            ledger.emit(e.CollateralConverted(name, asset.symbol, units, usd6, rate, paid, owed))

    def _convert_lent(self, name: str, asset: AssetParams, rate: int) -> None:
        """R26: what the pool has no cash for, the fund takes as lent shares."""
        ledger, symbol = self.ledger, asset.symbol
        if ledger.books.unsettled[name] >= 0 or not ledger.books.lent[name, symbol]:
            return
        self.lending.accrue(symbol)
        if self.lending.has_hole(symbol):
            return
        held = ledger.lent_units(name, symbol)
        units, usd6 = f.conversion(asset, held, rate, -ledger.books.unsettled[name])
        if usd6:
            paid, owed = ledger.fund_pays(usd6)
            shares = self.lending.last(symbol).shares_for_redeeming(units, ledger.books.lent[name, symbol])
            ledger.emit(e.LentConverted(name, symbol, units, shares, usd6, rate, paid, owed))

    def redeem_and_repay(self, name: str) -> None:
        """R21: what is lent comes back as the pool allows; borrows are repaid from cash, then lent units."""
        symbols = sorted(one.symbol for one in self.ledger.params.assets)
        for symbol in symbols:
            self.lending.redeem_forced(name, symbol)
        for symbol in symbols:
            self.lending.repay_all(name, symbol)

    def declare_bankrupt(self, name: str) -> None:
        """R27: a debt, no positions and no collateral left; the fund takes over what is still borrowed."""
        ledger, books = self.ledger, self.ledger.books
        borrows = sum(ledger.liability(name, one.symbol) for one in ledger.params.assets)
        if name in books.bankrupt or books.unsettled[name] >= borrows:
            return
        if any(books.base[name, m.symbol] or books.quote[name, m.symbol] for m in ledger.perpetuals()):
            return
        owed = [one.symbol for one in ledger.params.assets if books.borrowed[name, one.symbol]]
        if any(ledger.waits_for_index(symbol) for symbol in owed) or self._has_collateral(name):
            return
        ledger.cancel_orders(name, "bankruptcy")
        for symbol in sorted(one.symbol for one in ledger.params.assets):
            if books.borrowed[name, symbol]:
                self.lending.take_over(name, symbol, ledger.index(symbol))
        ledger.emit(e.SubaccountBankrupt(name, -books.unsettled[name]))

    def _has_collateral(self, name: str) -> bool:
        """R26: more than dust; of coins that wait for an index, a hundredth of the debt."""
        ledger, waiting = self.ledger, 0
        for asset in ledger.params.assets:
            symbol = asset.symbol
            rate, lent = ledger.conversion_rate(symbol), ledger.lent_units(name, symbol)
            redeemable = min(lent, self.lending.last(symbol).cash)
            if self.lending.has_hole(symbol):
                lent = redeemable
            parts = (ledger.books.cash[name, symbol] + redeemable, lent - redeemable)
            if symbol == SETTLEMENT_ASSET or not ledger.is_index_stale(symbol):
                # Dust that is worth less than a micro-dollar at the conversion rate is nothing.
                if any(f.value(part, rate, asset.decimals) >= 1 for part in parts):
                    return True
            elif ledger.waits_for_index(symbol):
                if rate == 0 and any(parts):
                    return True
                waiting += floor(f.value(sum(parts), rate, asset.decimals))
        debt = max(-ledger.books.unsettled[name], ledger.outstanding(name))
        return waiting > 0 and waiting * 100 >= debt

    def fund_repays(self) -> None:
        """R26: the fund repays what it owes from cash, then lent, and redeems what it lends."""
        books = self.ledger.books
        symbols = sorted(one.symbol for one in self.ledger.params.assets)
        for symbol in symbols:
            self.lending.repay(INSURANCE_FUND, symbol, self.ledger.owed_units(INSURANCE_FUND, symbol))
        for symbol in symbols:
            units = self.lending.now(symbol).redeemable(books.lent[INSURANCE_FUND, symbol])
            self.lending.redeem(INSURANCE_FUND, symbol, units)

    def write_off_shortfall(self) -> None:
        """R27: the least that the fund was short at every tick for write_off_after_ns is written off."""
        ledger = self.ledger
        self._note_shortfall()
        if self.shortfalls and ledger.now_ns - self.shortfalls[0][0] >= ledger.params.write_off_after_ns:
            _extinguish(ledger, INSURANCE_FUND, min(usd6 for _, usd6 in self.shortfalls))
            self.shortfalls.clear()
            self._note_shortfall()

    def _note_shortfall(self) -> None:
        """R27: what the fund would still owe the pool after selling all it holds at index."""
        worth = self.ledger.risk(INSURANCE_FUND).account_value
        usd6 = min(max(0, -worth), max(0, -self.ledger.books.unsettled[INSURANCE_FUND]))
        if usd6:
            self.shortfalls.append((self.ledger.now_ns, usd6))
        else:
            self.shortfalls.clear()

    def pay_claims(self) -> None:
        """R26: `rounding` first, then customers pro rata by largest remainder when the pool is short."""
        ledger = self.ledger
        _pay(ledger, ROUNDING, min(ledger.pool_cash(), ledger.books.unsettled[ROUNDING]))
        winners = [name for name in ledger.customers() if ledger.books.unsettled[name] > 0]
        claims = [ledger.books.unsettled[name] for name in winners]
        amount = min(ledger.pool_cash(), sum(claims))
        for name, part in zip(winners, f.pro_rata(amount, claims), strict=True):
            _pay(ledger, name, part)
            self.lending.auto_repay(name, SETTLEMENT_ASSET, part)
        _pay(ledger, INSURANCE_FUND, min(ledger.pool_cash(), ledger.books.unsettled[INSURANCE_FUND]))
        _pay(ledger, FEES, min(ledger.pool_cash(), ledger.books.unsettled[FEES]))


def collect_dollars(ledger: Ledger, name: str) -> None:
    """R26: from USDC cash that is not locked."""
    debt = -ledger.books.unsettled[name]
    units = min(debt, ledger.free(name, SETTLEMENT_ASSET))
    if units > 0:
        ledger.emit(e.LossCollected(name, units, debt - units))


def cancel_queued(ledger: Ledger, name: str) -> None:
    """R26: what is only queued was never ordered, so it is still there to pay a loss."""
    for withdrawal_id, payout in list(ledger.books.payouts.items()):
        if payout.status == "queued" and payout.subaccount == name:
            ledger.turn_back(withdrawal_id, "needed_for_losses")


def cover(ledger: Ledger) -> None:
    """R27: the fund pays debts, oldest first, as far as it has dollars."""
    for name in ledger.debts_oldest_first():
        debt = -ledger.books.unsettled[name]
        units = min(debt, ledger.fund_cash())
        if units > 0:
            ledger.emit(e.DebtCovered(name, units, debt - units))


def _pay(ledger: Ledger, name: str, units: int) -> None:
    if units > 0:
        ledger.emit(e.ClaimPaid(name, units, ledger.books.unsettled[name] - units))


def write_off(ledger: Ledger) -> None:
    """R27: a debt of write_off_after_ns is extinguished; the claims behind it are cut."""
    for name in ledger.debts_oldest_first():
        if ledger.now_ns - ledger.debt_since_ns[name] >= ledger.params.write_off_after_ns:
            _extinguish(ledger, name, -ledger.books.unsettled[name])


def _extinguish(ledger: Ledger, name: str, debt: int) -> None:
    """R27: the claim of `fees` is cut first, then the fund's, then those of customers pro rata."""
    cuts: list[tuple[str, int]] = []
    claims, left = ledger.books.unsettled, debt
    for one in (FEES, INSURANCE_FUND):
        cut = max(0, min(left, claims[one]))
        cuts, left = [*cuts, (one, cut)], left - cut
    winners = [one for one in ledger.customers() if claims[one] > 0]
    amount = min(left, sum(claims[one] for one in winners))
    if amount > 0:
        cuts += zip(winners, f.pro_rata(amount, [claims[one] for one in winners]), strict=True)
    cuts = [(one, cut) for one, cut in cuts if cut]
    if cuts:
        ledger.emit(e.LossSocialized(name, sum(cut for _, cut in cuts), tuple(cuts)))


def end_debts(ledger: Ledger) -> None:
    """R27: a debt that is gone is announced."""
    for name in ledger.debts_oldest_first():
        if ledger.books.unsettled[name] >= 0:
            ledger.emit(e.DebtEnded(name))
