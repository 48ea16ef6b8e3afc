"""What the auditor expects of an order book: price-time priority, trades, fees, locks (R12, R15, R19)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from engine import commands as c
from engine import events as e
from engine.params import MarketParams
from engine.rejects import RejectReason as R
from engine.units import SETTLEMENT_ASSET

from . import formulas as f
from .books import Resting
from .ledger import Change, Ledger, Risk
from .lending import Lending


@dataclass(slots=True)
class Plan:
    """What an order would do: events in book order, what is left of it and why, what each side becomes."""

    order_id: int
    events: list[e.Event] = field(default_factory=list)
    left: int = 0
    traded: int = 0
    ended: str = ""
    changes: defaultdict[str, Change] = field(default_factory=lambda: defaultdict(Change))

    @property
    def trades(self) -> list[e.Traded | e.SpotTraded]:
        """Give the trades alone."""
        return [one for one in self.events if isinstance(one, e.Traded | e.SpotTraded)]


@dataclass(frozen=True, slots=True)
class Taker:
    """Who trades now, how much and how far."""

    name: str
    market: MarketParams
    is_buy: bool
    units: int
    limit_e8: int | None
    reduce_only: bool = False
    forced: bool = False

    @property
    def sign(self) -> int:
        """1 for a buyer, -1 for a seller."""
        return 1 if self.is_buy else -1


@dataclass(slots=True)
class Matcher:
    """Matches orders against the books that the events tell of."""

    ledger: Ledger
    lending: Lending

    def visible(self, market: str, is_buy: bool, limit_e8: int) -> int:
        """R22: units resting at the limit or better; of reduce-only orders what they could reduce."""
        total, reducing = 0, defaultdict[str, int](int)
        for order in self.opposite(market, is_buy, limit_e8):
            if order.reduce_only:
                reducing[order.subaccount] += order.units
            else:
                total += order.units
        for name, units in reducing.items():
            base = self.ledger.books.base[name, market]
            total += min(units, max(0, base if is_buy else -base))
        return total

    def opposite(self, market: str, is_buy: bool, limit_e8: int | None) -> list[Resting]:
        """Give what an order may meet: best price first, then oldest."""
        sign = 1 if is_buy else -1
        found = [
            order
            for order in self.ledger.books.resting.values()
            if order.market == market
            and order.is_buy != is_buy
            and (limit_e8 is None or sign * order.price_e8 <= sign * limit_e8)
        ]
        return sorted(found, key=lambda order: (sign * order.price_e8, order.order_id))

    # -- forced orders

    def take(self, name: str, market: str, is_buy: bool, units: int, limit_e8: int) -> int:
        """R22: trade at once at the limit or better, without a fee and a margin check; units traded."""
        params = self.ledger.market(market)
        if self.state_of(params) in ("closed", "post_only"):
            return 0
        plan = self.plan(Taker(name, params, is_buy, units, limit_e8, forced=True))
        self._emit(name, plan)
        return plan.traded

    def _emit(self, taker: str, plan: Plan) -> None:
        """Post a plan; what came in repays a borrow of it (R11), once for each order that traded."""
        total: defaultdict[str, int] = defaultdict(int)  # the taker's
        for event in plan.events:
            self.ledger.emit(event)
            if not isinstance(event, e.SpotTraded):
                continue
            asset = self.ledger.market(event.market).asset
            if event.taker_is_buy:
                total[asset] += event.units
                came = SETTLEMENT_ASSET, event.notional_usd6 - event.maker_fee_usd6
            else:
                total[SETTLEMENT_ASSET] += event.notional_usd6 - event.taker_fee_usd6
                came = asset, event.units
            self.lending.auto_repay(event.maker, *came)
        for asset, units in total.items():
            self.lending.auto_repay(taker, asset, units)

    def state_of(self, market: MarketParams) -> str:
        """R12: the state that counts: a stale market is reduce-only, unless closed."""
        state = self.ledger.books.market_states.get(market.symbol, "open")
        return "reduce_only" if state != "closed" and self.ledger.is_market_stale(market) else state

    # -- walking the book

    def plan(self, taker: Taker) -> Plan:
        """R12: meet the opposite side in order, at each resting order's price."""
        market = taker.market
        plan = Plan(self.ledger.books.last_order_id[market.symbol] + 1, left=taker.units)
        stop = None if taker.forced else self.stop(market, taker.is_buy)
        for order in self.opposite(market.symbol, taker.is_buy, taker.limit_e8):
            if plan.left == 0:
                break
            if stop is not None and taker.sign * order.price_e8 > taker.sign * stop:
                plan.ended = "price_band"
                break
            if not taker.forced and order.subaccount.split("/")[0] == taker.name.split("/")[0]:
                plan.ended = "self_trade"
                break
            wanted = plan.left
            if taker.reduce_only:
                wanted = min(wanted, self._reducible(taker.name, market.symbol, taker.is_buy, plan))
                if wanted == 0:
                    plan.ended = "nothing_to_reduce"
                    break
            self._meet(taker, order, wanted, plan)
        return plan

    def _meet(self, taker: Taker, order: Resting, wanted: int, plan: Plan) -> None:
        market = taker.market.symbol
        units = min(wanted, order.units)
        reason = ""
        if order.reduce_only:
            units = min(units, self._reducible(order.subaccount, market, order.is_buy, plan))
            reason = "" if units else "nothing_to_reduce"
        trade = self._trade(taker, order, units, plan.order_id)
        if not reason:
            reason = self._maker_fault(taker, order, trade, plan)
        if reason:
            plan.events.append(
                e.OrderCancelled(market, order.order_id, order.subaccount, order.units, reason)
            )
            return
        plan.events.append(trade)
        plan.left -= units
        plan.traded += units
        self._add(plan.changes[taker.name], trade, taker.sign, trade.taker_fee_usd6)
        self._add(plan.changes[order.subaccount], trade, -taker.sign, trade.maker_fee_usd6, order)
        if units < min(wanted, order.units):  # R12: nothing is left to reduce, and the taker goes on
            rest = order.units - units
            plan.events.append(
                e.OrderCancelled(market, order.order_id, order.subaccount, rest, "nothing_to_reduce")
            )

    def _reducible(self, name: str, market: str, is_buy: bool, plan: Plan) -> int:
        base = self.ledger.books.base[name, market] + plan.changes[name].trades.get(market, (0, 0))[0]
        return max(0, -base if is_buy else base)

    def _trade(self, taker: Taker, order: Resting, units: int, order_id: int) -> e.Traded | e.SpotTraded:
        market = taker.market
        notional = self._notional(market, units, order.price_e8)
        resting = self._notional(market, order.units, order.price_e8)
        maker_rate = Fraction(market.maker_fee_ppm, f.PPM)
        maker_fee = ceil(resting * maker_rate) - ceil((resting - notional) * maker_rate)
        taker_fee = 0 if taker.forced else ceil(notional * Fraction(market.taker_fee_ppm, f.PPM))
        kind = e.SpotTraded if market.is_spot else e.Traded
        return kind(
            market=market.symbol,
            maker=order.subaccount,
            maker_order_id=order.order_id,
            taker=taker.name,
            taker_order_id=order_id,
            taker_is_buy=taker.is_buy,
            units=units,
            price_e8=order.price_e8,
            notional_usd6=notional,
            # R12: a rebate comes out of the taker's fee.
            maker_fee_usd6=max(maker_fee, -taker_fee),
            taker_fee_usd6=taker_fee,
        )

    def _notional(self, market: MarketParams, units: int, price_e8: int) -> int:
        """R12: exact for whole lots; less than a lot, left by a block trade, is rounded down."""
        return floor(f.value(units, price_e8, self.ledger.decimals(market.asset)))

    def _add(
        self,
        change: Change,
        trade: e.Traded | e.SpotTraded,
        sign: int,
        fee_usd6: int,
        order: Resting | None = None,
    ) -> None:
        """Add a trade to what a side becomes; what a resting order traded is open no more."""
        money = -sign * trade.notional_usd6 - fee_usd6
        if isinstance(trade, e.SpotTraded):
            asset = self.ledger.market(trade.market).asset
            change.add_cash(asset, sign * trade.units)
            change.add_cash(SETTLEMENT_ASSET, money)
            return
        base, quote = change.trades.get(trade.market, (0, 0))
        change.trades[trade.market] = (base + sign * trade.units, quote + money)
        if order is not None and not order.reduce_only:
            buys, sells = change.orders.get(trade.market, (0, 0))
            gone = (buys - trade.units, sells) if order.is_buy else (buys, sells - trade.units)
            change.orders[trade.market] = gone

    def _maker_fault(self, taker: Taker, order: Resting, trade: e.Traded | e.SpotTraded, plan: Plan) -> str:
        """R12: a maker who could not carry it is passed over."""
        after = plan.changes[order.subaccount].copy()
        self._add(after, trade, -taker.sign, trade.maker_fee_usd6, order)
        cash = self.ledger.books.cash
        if any(cash[order.subaccount, asset] + units < 0 for asset, units in after.cash.items()):
            return "insufficient_cash"
        return "insufficient_margin" if self.margin_fault(order.subaccount, after) else ""

    def margin_fault(self, name: str, change: Change) -> R | None:
        """R19: vouched equity meets initial margin afterwards, or nothing is worse than before."""
        before, after = self.ledger.risk(name), self.ledger.risk(name, change)
        if after.vouched_equity >= after.initial or _is_no_worse(before, after):
            return None
        return R.STALE_PRICE if after.net_equity >= after.initial else R.INSUFFICIENT_INITIAL_MARGIN

    def stop(self, market: MarketParams, is_buy: bool) -> int | None:
        """R15: mark (of a spot market: index) +- the impact band, rounded toward it."""
        reference = self.ledger.reference(market)
        band = Fraction(market.impact_band_ppm, f.PPM)
        if reference == 0:
            return None
        return floor(reference * (1 + band)) if is_buy else ceil(reference * (1 - band))

    # -- orders of customers

    def faults(self, order: c.PlaceOrder) -> list[R]:
        """R12: everything that is wrong with an order whose sender is known."""
        market = next((one for one in self.ledger.params.markets if one.symbol == order.market), None)
        if market is None:
            return [R.UNKNOWN_MARKET]
        found = [*self._entry_faults(order, market), *self._terms_faults(order, market)]
        # What follows is asked about an order that could be planned.
        if not found and order.subaccount in self.ledger.books.on_debt:
            found += self._condition_faults(order, market)
        return found

    def _entry_faults(self, order: c.PlaceOrder, market: MarketParams) -> list[R]:
        books, found = self.ledger.books, []
        mine = [
            one
            for one in books.resting.values()
            if (one.subaccount, one.market) == (order.subaccount, market.symbol)
        ]
        if order.client_order_id and any(one.client_order_id == order.client_order_id for one in mine):
            found.append(R.CLIENT_ORDER_ID_IN_USE)
        if order.kind in ("limit", "post_only") and len(mine) >= self.ledger.params.max_open_orders:
            found.append(R.TOO_MANY_OPEN_ORDERS)
        state = self.state_of(market)
        if state == "closed":
            found.append(R.MARKET_CLOSED)
        if state == "post_only" and order.kind != "post_only":
            found.append(R.MARKET_POST_ONLY)
        if state == "reduce_only" and not order.reduce_only:
            found.append(R.MARKET_REDUCE_ONLY)
        return found

    def _terms_faults(self, order: c.PlaceOrder, market: MarketParams) -> list[R]:
        found = list(f.amount_faults(order.base_units))
        if (order.kind == "market") != (order.price_e8 == 0) or not 0 <= order.price_e8 <= f.MAX_PRICE_E8:
            found.append(R.PRICE_OUT_OF_RANGE)
        if order.base_units % market.lot_units:
            found.append(R.NOT_A_WHOLE_LOT)
        if order.price_e8 % market.tick_e8:
            found.append(R.NOT_A_WHOLE_TICK)
        index = self.ledger.index(market.asset)
        if index == 0 or self.ledger.reference(market) == 0:
            found.append(R.PRICE_UNAVAILABLE)
        elif order.kind != "market":
            floor_, ceiling = market.price_floor_ppm, market.price_ceiling_ppm
            if not index * floor_ <= order.price_e8 * f.PPM <= index * ceiling:
                found.append(R.PRICE_OUTSIDE_LIMITS)
        base = self.ledger.books.base[order.subaccount, market.symbol]
        if order.reduce_only and (market.is_spot or (base >= 0 if order.side == "buy" else base <= 0)):
            found.append(R.NOTHING_TO_REDUCE)
        return found

    def taker_of(self, order: c.PlaceOrder) -> Taker:
        """Read an order as the one who trades now."""
        limit = None if order.kind == "market" else order.price_e8
        market = self.ledger.market(order.market)
        units = order.base_units
        if order.reduce_only:
            units = min(units, abs(self.ledger.books.base[order.subaccount, market.symbol]))
        return Taker(order.subaccount, market, order.side == "buy", units, limit, bool(order.reduce_only))

    def fillable(self, order: c.PlaceOrder) -> int:
        """R12: how much of an order would trade at once."""
        return self.plan(self.taker_of(order)).traded

    def _condition_faults(self, order: c.PlaceOrder, market: MarketParams) -> list[R]:
        found = []
        taker = self.taker_of(order)
        if order.kind == "post_only" and self.opposite(market.symbol, taker.is_buy, taker.limit_e8):
            return [R.POST_ONLY_WOULD_TRADE]
        plan = self.plan(taker)
        if order.kind == "fok" and plan.traded < taker.units:
            return [R.FILL_OR_KILL_UNFILLED]
        name, books = order.subaccount, self.ledger.books
        if name in books.liquidations:
            found.append(R.IN_LIQUIDATION)
        if name in books.bankrupt:
            found.append(R.OUTSTANDING_NEGATIVE_EQUITY)
        change = plan.changes[name].copy()
        rest = self.rest_of(order, plan)
        if market.is_spot:
            _, borrowed = self.raised(order, taker, plan)
            if borrowed is None:
                return [*found, R.INSUFFICIENT_SETTLED_CASH]
            change.add_cash(self.paid_in(taker), borrowed)
            change.owed[self.paid_in(taker)] = borrowed
        elif rest and not order.reduce_only:
            change.orders[market.symbol] = (rest, 0) if taker.is_buy else (0, rest)
        fault = self.margin_fault(name, change)
        if fault is not None:
            found.append(R.OUTSTANDING_NEGATIVE_EQUITY if self.ledger.risk(name).account_value < 0 else fault)
        return found

    # -- spot margin (R11)

    def paid_in(self, taker: Taker) -> str:
        """R12: what a spot order gives away."""
        return SETTLEMENT_ASSET if taker.is_buy else taker.market.asset

    def raised(self, order: c.PlaceOrder, taker: Taker, plan: Plan) -> tuple[int, int | None]:
        """R11: (units redeemed, units borrowed) for what free cash lacks; None: it cannot be borrowed."""
        ledger, lending, name, asset = self.ledger, self.lending, taker.name, self.paid_in(taker)
        lacking = -plan.changes[name].cash.get(asset, 0) - ledger.free(name, asset)
        rest = self.rest_of(order, plan)
        if rest:
            resting = Resting(taker.market.symbol, 0, name, taker.is_buy, order.price_e8, rest, False, "")
            lacking += ledger.lock_of(resting)[1]
        if lacking <= 0:
            return 0, 0
        pool, shares = lending.now(asset), ledger.books.lent[name, asset]
        redeemed = min(lacking, pool.redeemable(shares))
        if redeemed:
            pool = pool.without(redeemed, shares)
        lacking -= redeemed
        if lacking == 0:
            return redeemed, 0
        stale = ledger.rests_on_stale(name) or (asset != SETTLEMENT_ASSET and ledger.is_index_stale(asset))
        if rest or stale or not lending.settings(name)[1] or pool.borrowable() < lacking:
            return redeemed, None
        return redeemed, lacking if lending.is_within_limit(name, asset, lacking) else None

    def rest_of(self, order: c.PlaceOrder, plan: Plan) -> int:
        """What will stand on the book."""
        return 0 if plan.ended or order.kind not in ("limit", "post_only") else plan.left

    def post(self, order: c.PlaceOrder) -> None:
        """Expect what an accepted order posts."""
        taker = self.taker_of(order)
        plan = self.plan(taker) if order.kind != "post_only" else self._new_plan(taker)
        if taker.market.is_spot:
            redeemed, borrowed = self.raised(order, taker, plan)
            self.lending.redeem(taker.name, self.paid_in(taker), redeemed)
            if borrowed:
                self.lending.borrow(taker.name, self.paid_in(taker), borrowed)
        self._emit(taker.name, plan)
        if plan.left == 0:
            return
        rest = self.rest_of(order, plan)
        if rest:
            self.ledger.emit(
                e.OrderRested(
                    order.market,
                    plan.order_id,
                    order.subaccount,
                    taker.is_buy,
                    order.price_e8,
                    rest,
                    bool(order.reduce_only),
                    order.client_order_id,
                )
            )
            return
        reason = plan.ended or "immediate_or_cancel"
        self.ledger.emit(e.OrderCancelled(order.market, plan.order_id, order.subaccount, plan.left, reason))

    def _new_plan(self, taker: Taker) -> Plan:
        return Plan(self.ledger.books.last_order_id[taker.market.symbol] + 1, left=taker.units)


def _is_no_worse(before: Risk, after: Risk) -> bool:
    """R19: margins no higher; equity no lower, or less margin and no less equity for each unit of it."""
    if after.initial > before.initial or after.maintenance > before.maintenance:
        return False
    if after.net_equity >= before.net_equity:
        return True
    if after.maintenance == before.maintenance or after.net_equity < 0:
        return False
    ratio = Fraction(before.net_equity, before.maintenance)
    return after.maintenance == 0 or Fraction(after.net_equity, after.maintenance) >= ratio
