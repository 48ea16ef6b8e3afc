"""What the auditor expects of a settlement, a closing and a bankruptcy (R20, R26, R27), step by step."""

from __future__ import annotations

from engine import events as e
from engine.units import FEES

from . import formulas as f
from .ledger import ROUNDING, SETTLEMENT_ASSET, Ledger


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


def collect(ledger: Ledger, name: str) -> None:
    """R26: a realized loss is paid from USDC cash, then queued withdrawals, then assets, cheapest first."""
    collect_dollars(ledger, name)
    if ledger.books.unsettled[name] >= 0:
        return
    cancel_queued(ledger, name)
    collect_dollars(ledger, name)
    # The smallest haircut first: what costs the customer least; ties by symbol.
    for asset in sorted(ledger.params.assets, key=lambda one: (one.haircut_ppm, one.symbol)):
        debt = -ledger.books.unsettled[name]
        if debt <= 0 or asset.symbol == SETTLEMENT_ASSET:
            continue
        rate = ledger.conversion_rate(asset.symbol)
        held = ledger.books.cash[name, asset.symbol]
        if rate == 0 or held == 0:
            continue
        units, usd6 = f.conversion(asset, held, rate, debt)
        if usd6:
            paid, owed = ledger.fund_pays(usd6)
            ledger.emit(e.CollateralConverted(name, asset.symbol, units, usd6, rate, paid, owed))


def collect_dollars(ledger: Ledger, name: str) -> None:
    debt = -ledger.books.unsettled[name]
    units = min(debt, ledger.books.cash[name, SETTLEMENT_ASSET])
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
        winners = [one for one in ledger.customers() if ledger.books.unsettled[one] > 0]
        claims = [ledger.books.unsettled[one] for one in winners]
        amount = min(debt, sum(claims))
        if amount == 0:
            continue
        parts = f.pro_rata(amount, claims)
        cuts = tuple((one, part) for one, part in zip(winners, parts, strict=True) if part)
        ledger.emit(e.LossSocialized(name, amount, cuts))


def end_debts(ledger: Ledger) -> None:
    """R27: a debt that is gone is announced."""
    for name in ledger.debts_oldest_first():
        if ledger.books.unsettled[name] >= 0:
            ledger.emit(e.DebtEnded(name))
