"""The auditor's own view of the exchange: its books, what else is remembered, what follows.

Plain and slow on purpose: everything is recomputed from the balances whenever it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from engine import events as e
from engine.params import AssetParams, MarketParams, Params
from engine.units import E18, INSURANCE_FUND, ROUNDING, SETTLEMENT_ASSET, SETTLEMENT_POOL, SYSTEM_ACCOUNTS

from . import formulas as f
from .books import Books, Resting


@dataclass(frozen=True, slots=True)
class Risk:
    """R17, R18 for one subaccount, in usd6."""

    net_equity: int
    account_value: int
    withdrawal_equity: int
    stale_collateral: int  # R17: what vouched equity leaves out
    exposure: int
    initial: int
    maintenance: int

    @property
    def vouched_equity(self) -> int:
        """R17: net equity less the collateral whose index is stale."""
        return self.net_equity - self.stale_collateral


@dataclass(slots=True)
class Change:
    """What a subaccount would become.

    Added are units of cash and owed, (base, quote) and open (buys, sells). What is redeemed changes nothing:
    cash and lent units count alike.
    """

    cash: dict[str, int] = field(default_factory=dict)
    trades: dict[str, tuple[int, int]] = field(default_factory=dict)
    orders: dict[str, tuple[int, int]] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Change:
        """Give a change that may be added to."""
        return Change(dict(self.cash), dict(self.trades), dict(self.orders), dict(self.owed))

    def add_cash(self, asset: str, units: int) -> None:
        """Add units of cash."""
        self.cash[asset] = self.cash.get(asset, 0) + units


@dataclass(slots=True)
class Ledger:
    """Books, prices with their times, debts with their ages; emits the events it expects and posts them."""

    params: Params
    books: Books = field(default_factory=Books)
    expected: list[e.Event] = field(default_factory=list)
    now_ns: int = 0
    index_time_ns: dict[str, int] = field(default_factory=dict)
    mark_time_ns: dict[str, int] = field(default_factory=dict)
    debt_since_ns: dict[str, int] = field(default_factory=dict)
    last_deficit_ns: int | None = None
    _assets: dict[str, AssetParams] = field(init=False)
    _markets: dict[str, MarketParams] = field(init=False)
    _perpetuals: list[MarketParams] = field(init=False)

    def __post_init__(self) -> None:
        self._assets = {one.symbol: one for one in self.params.assets}
        self._markets = {one.symbol: one for one in self.params.markets}
        self._perpetuals = [one for one in self.params.markets if not one.is_spot]

    def emit(self, event: e.Event) -> None:
        """Expect an event, and post it."""
        self.expected.append(event)
        self.books.post(event)
        if isinstance(event, e.SubaccountBankrupt):
            self.debt_since_ns[event.subaccount] = self.now_ns
            self.last_deficit_ns = self.now_ns
        elif isinstance(event, e.DebtEnded):
            del self.debt_since_ns[event.subaccount]

    # -- who

    def customers(self) -> list[str]:
        """List open customers' subaccounts in canonical order: numerically by account, then index."""
        return sorted(self.books.on_debt, key=lambda name: tuple(map(int, name.split("/"))))

    def perpetuals(self) -> list[MarketParams]:
        """List the perpetual markets in the order of the parameters."""
        return self._perpetuals

    def everyone(self) -> list[str]:
        """List customers, then system accounts by name."""
        return self.customers() + sorted(SYSTEM_ACCOUNTS)

    def is_open(self, name: str) -> bool:
        """Tell whether a subaccount exists; system accounts always do."""
        return name in self.books.on_debt or name in SYSTEM_ACCOUNTS

    # -- what it is worth

    def index(self, asset: str) -> int:
        """Give the index price, 10^8 for USDC by definition (R1), 0 when it was never set."""
        return 10**8 if asset == SETTLEMENT_ASSET else self.books.index_prices.get(asset, 0)

    def decimals(self, asset: str) -> int:
        """Give the decimals of an asset."""
        return self.asset(asset).decimals

    def asset(self, symbol: str) -> AssetParams:
        """Give the parameters of an asset."""
        return self._assets[symbol]

    def position_value(self, market: str, base: int) -> int:
        """R17: base x mark, rounded down."""
        if base == 0:
            return 0
        scale: int = 10 ** (self.decimals(self.market(market).asset) + 2)
        return base * self.books.mark_prices[market] // scale

    def notional_up(self, market: str, units: int) -> int:
        """R18: the exposure of a number of units at mark, rounded up."""
        if units == 0:
            return 0
        scale: int = 10 ** (self.decimals(self.market(market).asset) + 2)
        return -(-units * self.books.mark_prices[market] // scale)

    def market(self, symbol: str) -> MarketParams:
        """Give the parameters of a market."""
        return self._markets[symbol]

    def spot_market(self, asset: str) -> MarketParams | None:
        """Give the first spot market of an asset (R26)."""
        return next((one for one in self.params.markets if one.is_spot and one.asset == asset), None)

    def is_mark_stale(self, market: str) -> bool:
        """R13: older than stale_after_ns."""
        return self.now_ns - self.mark_time_ns[market] > self.params.stale_after_ns

    def is_index_stale(self, asset: str) -> bool:
        """R13: never set, too old, or its sources became too few."""
        set_ns = self.index_time_ns.get(asset)
        old = set_ns is None or self.now_ns - set_ns > self.params.stale_after_ns
        return old or asset in self.books.stale_assets

    def waits_for_index(self, asset: str) -> bool:
        """R22, R26: stale, but not for so long that nobody waits for it any more."""
        if asset == SETTLEMENT_ASSET or not self.is_index_stale(asset):
            return False
        set_ns = self.index_time_ns.get(asset)
        return set_ns is None or self.now_ns - set_ns <= self.params.write_off_after_ns

    def is_market_stale(self, market: MarketParams) -> bool:
        """R12: its mark or its index is stale."""
        if market.symbol not in self.mark_time_ns and not market.is_spot:
            return False
        if market.asset not in self.index_time_ns:
            return False
        return self.is_index_stale(market.asset) or (not market.is_spot and self.is_mark_stale(market.symbol))

    def reference(self, market: MarketParams) -> int:
        """R13: the mark; of a spot market the index; 0 when it was never set."""
        if market.is_spot:
            return self.index(market.asset)
        return self.books.mark_prices.get(market.symbol, 0)

    # -- locks (R7, R12)

    def lock_of(self, order: Resting) -> tuple[str, int]:
        """R12: what a resting spot order locks: a sell its units, a buy its notional and its maker fee."""
        market = self.market(order.market)
        if not order.is_buy:
            return market.asset, order.units
        notional = ceil(f.value(order.units, order.price_e8, self.decimals(market.asset)))
        fee = ceil(notional * Fraction(market.maker_fee_ppm, f.PPM))
        return SETTLEMENT_ASSET, notional + max(0, fee)

    def spot_orders(self, name: str, asset: str) -> list[Resting]:
        """List the resting spot orders that lock an asset, by market in the order listed, oldest first."""
        found = []
        for market in self.params.markets:
            mine = [one for one in self.books.resting.values() if one.subaccount == name]
            mine = [one for one in mine if market.is_spot and one.market == market.symbol]
            found += [one for one in mine if self.lock_of(one)[0] == asset]
        return found

    def locked(self, name: str, asset: str) -> int:
        """R7: what resting spot orders have locked."""
        return sum(self.lock_of(one)[1] for one in self.spot_orders(name, asset))

    def free(self, name: str, asset: str) -> int:
        """R12: cash that is not locked."""
        return self.books.cash[name, asset] - self.locked(name, asset)

    def unlock(self, name: str, asset: str) -> None:
        """R26: cancel the spot orders that lock an asset."""
        for one in self.spot_orders(name, asset):
            self.emit(e.OrderCancelled(one.market, one.order_id, name, one.units, "needed_for_losses"))

    def open_orders(self, name: str, market: str) -> tuple[int, int]:
        """R18: units that resting orders could buy and sell; reduce-only ones add nothing."""
        mine = [
            one
            for one in self.books.resting.values()
            if one.subaccount == name and one.market == market and not one.reduce_only
        ]
        buys = sum(one.units for one in mine if one.is_buy)
        return buys, sum(one.units for one in mine) - buys

    def cancel_orders(self, name: str, reason: str, only: str = "") -> None:
        """R12, R21: cancel every resting order (of one market): markets as listed, oldest first."""
        for market in self.params.markets:
            if only not in ("", market.symbol):
                continue
            mine = [
                one
                for one in self.books.resting.values()
                if one.subaccount == name and one.market == market.symbol
            ]
            for one in sorted(mine, key=lambda order: order.order_id):
                self.emit(e.OrderCancelled(market.symbol, one.order_id, name, one.units, reason))

    # -- lending

    def lent_units(self, name: str, asset: str) -> int:
        """R9: shares x lend index, rounded down."""
        return self.books.lent[name, asset] * self.lend_index(asset) // E18

    def owed_units(self, name: str, asset: str) -> int:
        """R9: shares x borrow index, rounded up."""
        return -(-self.books.borrowed[name, asset] * self.borrow_index(asset) // E18)

    def lend_index(self, asset: str) -> int:
        """Give the lend index, 10^18 at first."""
        return self.books.lend_index_e18.get(asset, E18)

    def borrow_index(self, asset: str) -> int:
        """Give the borrow index, 10^18 at first."""
        return self.books.borrow_index_e18.get(asset, E18)

    def balance(self, name: str, asset: str) -> int:
        """R10: cash and lent units together are collateral."""
        return self.books.cash[name, asset] + self.lent_units(name, asset)

    def liability(self, name: str, asset: str, more: int = 0) -> int:
        """R17: what is owed at index, rounded up; `more` units are added."""
        owed = self.owed_units(name, asset) + more
        scale: int = 10 ** (self.decimals(asset) + 2)
        return -(-owed * self.index(asset) // scale)

    def owes(self, name: str) -> bool:
        """Tell whether a subaccount has borrowed anything."""
        return any(self.books.borrowed[name, asset.symbol] for asset in self.params.assets)

    def has_base(self, name: str) -> bool:
        """Tell whether a subaccount holds a position."""
        return any(self.books.base[name, market.symbol] for market in self.perpetuals())

    def has_position(self, name: str) -> bool:
        """Tell whether it holds one, or has closed one that is not settled yet."""
        return self.has_base(name) or any(self.books.quote[name, one.symbol] for one in self.perpetuals())

    def rests_on_stale(self, name: str, *, ignored: str = "") -> bool:
        """R11, R30: the mark of a position or the index of a borrow is stale."""
        books = self.books
        # A position that was closed rests on its mark until what it left in quote is settled.
        markets = [
            one.symbol
            for one in self.perpetuals()
            if books.base[name, one.symbol] or books.quote[name, one.symbol]
        ]
        borrows = [one.symbol for one in self.params.assets if books.borrowed[name, one.symbol]]
        stale = [
            one for one in borrows if one not in (SETTLEMENT_ASSET, ignored) and self.is_index_stale(one)
        ]
        return bool(stale) or any(self.is_mark_stale(market) for market in markets)

    def risk(self, name: str, change: Change | None = None) -> Risk:
        """R17, R18, after a change if one is given; a // b rounds down, -(-a // b) up."""
        change, books = change or Change(), self.books
        full = weighted = pnl = exposure_sum = initial = maintenance = liabilities = stale = 0
        for asset in self.params.assets:
            symbol = asset.symbol
            units = self.balance(name, symbol) + change.cash.get(symbol, 0)
            if units:
                worth = units * self.index(symbol) // 10 ** (asset.decimals + 2)
                value = worth * f.weight_ppm(asset, units) // f.PPM
                full, weighted = full + worth, weighted + value
                if symbol != SETTLEMENT_ASSET and self.is_index_stale(symbol):
                    stale += value
            owed = self.liability(name, symbol, change.owed.get(symbol, 0))
            if owed:
                liabilities += owed
                exposure_sum += owed
                initial += f.part_up(owed, f.borrow_initial_ppm(asset.lending, owed))
                maintenance += f.part_up(owed, f.borrow_maintenance_ppm(asset.lending, owed))
        for market in self.perpetuals():
            key = name, market.symbol
            more_base, more_quote = change.trades.get(market.symbol, (0, 0))
            base = books.base[key] + more_base
            pnl += self.position_value(market.symbol, base) + books.quote[key] + more_quote
            buys, sells = self.open_orders(name, market.symbol)
            more_buys, more_sells = change.orders.get(market.symbol, (0, 0))
            worst = max(abs(base + buys + more_buys), abs(base - sells - more_sells))
            if worst:
                exposure = self.notional_up(market.symbol, abs(base))
                maintenance += f.part_up(exposure, f.maintenance_ratio_ppm(market, exposure))
                exposure_sum += exposure
                exposure = self.notional_up(market.symbol, worst)
                initial += f.part_up(exposure, f.initial_ratio_ppm(market, exposure))
        profit = pnl + books.unsettled[name]
        return Risk(
            net_equity=weighted + profit - liabilities,
            account_value=full + profit - liabilities,
            # Profit that is not cash yet does not count; losses do, realized or not.
            withdrawal_equity=weighted + min(0, profit) - liabilities,
            stale_collateral=stale,
            exposure=exposure_sum,
            initial=initial,
            maintenance=maintenance,
        )

    def maintenance_of(self, name: str, market: str) -> int:
        """R18: the maintenance margin of one position."""
        exposure = self.notional_up(market, abs(self.books.base[name, market]))
        return f.part_up(exposure, f.maintenance_ratio_ppm(self.market(market), exposure))

    def borrow_maintenance_of(self, name: str, asset: str) -> int:
        """R18: the maintenance margin of one borrow."""
        owed = self.liability(name, asset)
        return f.part_up(owed, f.borrow_maintenance_ppm(self.asset(asset).lending, owed))

    def outstanding(self, name: str) -> int:
        """R28: max(0, -account value)."""
        return max(0, -self.risk(name).account_value)

    def is_failing(self, name: str) -> bool:
        """R20: maintenance margin > 0 and net equity not above it, or account value below zero."""
        risk = self.risk(name)
        return 0 < risk.maintenance >= risk.net_equity or risk.account_value < 0

    def debts_oldest_first(self) -> list[str]:
        """R27: outstanding debts in the order in which they arose."""
        return list(self.debt_since_ns)

    def turn_back(self, withdrawal_id: str, reason: str) -> None:
        """Return a queued withdrawal to its cash; it was never ordered, so the chain cost nothing."""
        payout = self.books.payouts[withdrawal_id]
        self.emit(
            e.WithdrawalReturned(
                withdrawal_id, payout.subaccount, payout.asset, payout.units, reason, "", 0, 0
            )
        )

    def total_outstanding(self) -> int:
        """R31: the sum over bankrupt subaccounts."""
        return sum(self.outstanding(name) for name in self.debt_since_ns)

    # -- money of the exchange

    def fund_cash(self) -> int:
        """Give the insurance fund's USDC."""
        return self.books.cash[INSURANCE_FUND, SETTLEMENT_ASSET]

    def fund_has(self) -> int:
        """R29: what the fund has for debts: its USDC less what it owes of it."""
        owed = self.owed_units(INSURANCE_FUND, SETTLEMENT_ASSET)
        return max(0, self.fund_cash() + min(0, self.books.unsettled[INSURANCE_FUND]) - owed)

    def pool_cash(self) -> int:
        """Give the settlement pool's USDC."""
        return self.books.cash[SETTLEMENT_POOL, SETTLEMENT_ASSET]

    def fund_pays(self, usd6: int) -> tuple[int, int]:
        """R26: the fund buys collateral: (paid from its cash, owed to the pool)."""
        paid = min(usd6, self.fund_cash())
        return paid, usd6 - paid

    def conversion_rate(self, asset: str) -> int:
        """R28: index less the haircut; 0 without an index."""
        return f.discounted_e8(self.index(asset), self.asset(asset).haircut_ppm)


__all__ = ["INSURANCE_FUND", "ROUNDING", "SETTLEMENT_ASSET", "SETTLEMENT_POOL", "Ledger", "Risk"]
