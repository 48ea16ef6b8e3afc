"""What the auditor expects of a settlement, a closing and a bankruptcy (R20, R26, R27), step by step."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from engine import events as e
from engine.params import AssetParams
from engine.units import FEES, INSURANCE_FUND

from . import formulas as f
from .ledger import ROUNDING, SETTLEMENT_ASSET, Ledger
from .matching import Matcher


def realize(ledger: Ledger, name: str) -> None:
    """R26: for every position pnl = floor(base x mark) + quote moves into unsettled."""
    for market in ledger.perpetuals():
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


def collect(ledger: Ledger, matcher: Matcher, name: str) -> None:
    """R26: a realized loss is paid from USDC cash, then queued withdrawals, then assets, cheapest first."""
    collect_dollars(ledger, name)
    if ledger.books.unsettled[name] >= 0:
        return
    ledger.unlock(name, SETTLEMENT_ASSET)
    collect_dollars(ledger, name)
    if ledger.books.unsettled[name] >= 0:
        return
    cancel_queued(ledger, name)
    collect_dollars(ledger, name)
    # The smallest haircut first: what costs the customer least; ties by symbol.
    for asset in sorted(ledger.params.assets, key=lambda one: (one.haircut_ppm, one.symbol)):
        rate = ledger.conversion_rate(asset.symbol)
        if asset.symbol == SETTLEMENT_ASSET or rate == 0:
            continue
        _unlock_if_needed(ledger, name, asset, rate)
        _sell_for_loss(ledger, matcher, name, asset, rate)
        _convert(ledger, name, asset, rate)


def _unlock_if_needed(ledger: Ledger, name: str, asset: AssetParams, rate: int) -> None:
    """R26: when the loss takes more than is not locked, the orders that lock the asset go first."""
    debt, held = -ledger.books.unsettled[name], ledger.books.cash[name, asset.symbol]
    units = f.conversion(asset, held, rate, debt)[0]
    if units > ledger.free(name, asset.symbol):
        ledger.unlock(name, asset.symbol)


def _sell_for_loss(ledger: Ledger, matcher: Matcher, name: str, asset: AssetParams, rate: int) -> None:
    """R26: free cash of an asset is sold on its spot market first, inside the band and above the rate."""
    debt, free = -ledger.books.unsettled[name], ledger.free(name, asset.symbol)
    market = next((one for one in ledger.params.markets if one.is_spot and one.asset == asset.symbol), None)
    if debt <= 0 or free <= 0 or market is None:
        return
    band = Fraction(market.liquidation_band_ppm, f.PPM)
    limit = max(ceil(ledger.index(asset.symbol) * (1 - band)), rate)
    lot = market.lot_units
    units = ceil(Fraction(debt * 10 ** (asset.decimals + 2), limit * lot)) * lot
    units = min(units, f.lots(free, lot))
    if units > 0 and matcher.take(name, market.symbol, False, units, limit):
        collect_dollars(ledger, name)


def _convert(ledger: Ledger, name: str, asset: AssetParams, rate: int) -> None:
    debt, held = -ledger.books.unsettled[name], ledger.books.cash[name, asset.symbol]
    if debt <= 0 or held == 0:
        return
    units, usd6 = f.conversion(asset, held, rate, debt)
    if not usd6:
        return
    paid, owed = ledger.fund_pays(usd6)
    ledger.emit(e.CollateralConverted(name, asset.symbol, units, usd6, rate, paid, owed))


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


def redeem_and_repay(ledger: Ledger, name: str) -> None:
    """R21: what is lent comes back as the pool allows; borrows are repaid from cash of the same asset."""


def declare_bankrupt(ledger: Ledger, name: str) -> None:
    """R27: a realized debt, no positions and no collateral left."""
    books = ledger.books
    if name in books.bankrupt or books.unsettled[name] >= 0:
        return
    if any(books.base[name, m.symbol] or books.quote[name, m.symbol] for m in ledger.perpetuals()):
        return
    for asset in ledger.params.assets:
        held = books.cash[name, asset.symbol]
        rate = ledger.conversion_rate(asset.symbol)
        # Dust that is worth less than a micro-dollar at the conversion rate is nothing.
        if held and (rate == 0 or f.value(held, rate, asset.decimals) >= 1):
            return
    ledger.cancel_orders(name, "bankruptcy")
    ledger.emit(e.SubaccountBankrupt(name, -books.unsettled[name]))


def cover(ledger: Ledger) -> None:
    """R27: the fund pays debts, oldest first, as far as it has dollars."""
    for name in ledger.debts_oldest_first():
        debt = -ledger.books.unsettled[name]
        units = min(debt, ledger.fund_cash())
        if units > 0:
            ledger.emit(e.DebtCovered(name, units, debt - units))


def pay_claims(ledger: Ledger) -> None:
    """R26: `rounding` first, then customers pro rata by largest remainder when the pool is short."""
    _pay(ledger, ROUNDING, min(ledger.pool_cash(), ledger.books.unsettled[ROUNDING]))
    winners = [name for name in ledger.customers() if ledger.books.unsettled[name] > 0]
    claims = [ledger.books.unsettled[name] for name in winners]
    amount = min(ledger.pool_cash(), sum(claims))
    for name, part in zip(winners, f.pro_rata(amount, claims), strict=True):
        _pay(ledger, name, part)
    _pay(ledger, INSURANCE_FUND, min(ledger.pool_cash(), ledger.books.unsettled[INSURANCE_FUND]))
    _pay(ledger, FEES, min(ledger.pool_cash(), ledger.books.unsettled[FEES]))


def _pay(ledger: Ledger, name: str, units: int) -> None:
    if units > 0:
        ledger.emit(e.ClaimPaid(name, units, ledger.books.unsettled[name] - units))


def write_off(ledger: Ledger) -> None:
    """R27: a debt of write_off_after_ns is extinguished; the claims behind it are cut pro rata."""
    for name in ledger.debts_oldest_first():
        debt = -ledger.books.unsettled[name]
        if debt <= 0 or ledger.now_ns - ledger.debt_since_ns[name] < ledger.params.write_off_after_ns:
            continue
        of_fees = min(debt, max(0, ledger.books.unsettled[FEES]))
        winners = [one for one in ledger.customers() if ledger.books.unsettled[one] > 0]
        claims = [ledger.books.unsettled[one] for one in winners]
        amount = min(debt - of_fees, sum(claims))
        if of_fees + amount == 0:
            continue
        parts = f.pro_rata(amount, claims)
        cuts = [(one, part) for one, part in zip(winners, parts, strict=True) if part]
        if of_fees:
            cuts.insert(0, (FEES, of_fees))
        amount += of_fees
        ledger.emit(e.LossSocialized(name, amount, tuple(cuts)))


def end_debts(ledger: Ledger) -> None:
    """R27: a debt that is gone is announced."""
    for name in ledger.debts_oldest_first():
        if ledger.books.unsettled[name] >= 0:
            ledger.emit(e.DebtEnded(name))
