"""What traders and the operator can order: orders, block trades, lending, backstop, quotes and prices.

Owns: from requests to commands, and an order's result out of its events. Rules: a request's id is the
command's id, so the same request again gets the first answer (R4); what can be refused by looking at the
request alone never comes to the journal. Must not know: HTTP, the rules of a market.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from daemon.answers import chosen, listed, price_e8, refusal, run
from daemon.api import bodies
from daemon.api import market_bodies as mb
from daemon.inbox import Prices, update_prices, update_quotes
from daemon.runner import Runner
from engine import commands as cm
from engine.fixed import price_distance_down_e8
from engine.params import Params

SIDES: Final = ("buy", "sell")
KINDS: Final = ("limit", "post_only", "ioc", "market", "fok")
STATES: Final = ("open", "post_only", "reduce_only", "closed")
_LENDING: Final[dict[str, type[cm.Lend | cm.Redeem | cm.Borrow | cm.Repay]]] = {
    "lend": cm.Lend,
    "redeem": cm.Redeem,
    "borrow": cm.Borrow,
    "repay": cm.Repay,
}


@dataclass(frozen=True, slots=True)
class Trading:
    """Commands about markets and pools."""

    runner: Runner
    params: Params

    # -- orders --

    async def place(self, request: mb.OrderRequest) -> mb.OrderDoneBody:
        """Place an order; the answer says what became of it at once (R12)."""
        market = self._market(request.market)
        chosen(request.side, "side", SIDES)
        chosen(request.kind, "kind", KINDS)
        if (request.price is None) != (request.kind == "market"):
            right = "leave it out" if request.price is not None else 'give one such as "150.25"'
            raise refusal("malformed_request", f"price: {request.kind} order; {right}", 400)
        limit_e8 = 0 if request.price is None else price_e8(request.price, "price")
        done = await run(
            self.runner,
            lambda now: cm.PlaceOrder(
                request.id,
                now,
                request.subaccount,
                request.market,
                request.side,
                request.kind,
                request.base_units,
                limit_e8,
                int(request.reduce_only),
                request.client_order_id,
            ),
        )
        decimals = next(one.decimals for one in self.params.assets if one.symbol == market.asset)
        return mb.OrderDoneBody(done.sequence, done.events, order_result(request, done.events, decimals))

    async def cancel(self, request: mb.CancelRequest) -> bodies.DoneBody:
        """Cancel a resting order."""
        self._market(request.market)
        if (request.order_id is None) == (request.client_order_id == ""):
            raise refusal("malformed_request", "give either order_id or client_order_id", 400)
        if request.order_id is not None and request.order_id <= 0:
            raise refusal("malformed_request", "order_id: order ids begin at 1", 400)
        return await run(
            self.runner,
            lambda now: cm.CancelOrder(
                request.id,
                now,
                request.subaccount,
                request.market,
                request.order_id or 0,
                request.client_order_id,
            ),
        )

    async def cancel_all(self, request: mb.CancelAllRequest) -> bodies.DoneBody:
        """Cancel all resting orders of a subaccount; none to cancel is fine."""
        if request.market:
            self._market(request.market)
        return await run(
            self.runner,
            lambda now: cm.CancelAllOrders(request.id, now, request.subaccount, request.market),
        )

    async def block_trade(self, request: bodies.TradeRequest) -> bodies.DoneBody:
        """Book a block trade (R19)."""
        agreed_e8 = price_e8(request.price, "price")
        return await run(
            self.runner,
            lambda now: cm.BlockTrade(
                request.id,
                now,
                request.market,
                request.buyer,
                request.seller,
                request.base_units,
                agreed_e8,
                tuple(request.consents),
            ),
        )

    # -- the operator's --

    async def set_market_state(self, request: mb.MarketStateRequest) -> bodies.DoneBody:
        """Set what a market lets in (R12)."""
        self._market(request.market)
        chosen(request.state, "state", STATES)
        return await run(
            self.runner, lambda now: cm.SetMarketState(request.id, now, request.market, request.state)
        )

    async def quotes(self, request: mb.QuotesRequest) -> bodies.DoneBody:
        """Bring quotes; index and marks follow, or go stale (R13)."""
        self._asset(request.asset)
        try:
            update_quotes(request.asset, request.quotes, 0, 1)
        except ValueError as error:
            raise refusal("malformed_command", str(error), 400) from error
        first = await self.runner.ask(lambda state: state.clockwork_answers.get(request.id))

        def build(now: int) -> cm.UpdateQuotes:
            # A repetition is the same request: quotes without a time keep that of the first time.
            default_ns = now if first is None else first[0].time_ns
            return update_quotes(request.asset, request.quotes, default_ns, now, request.id)

        return await run(self.runner, build)

    async def prices(self, request: bodies.PricesRequest) -> bodies.DoneBody:
        """Set index and mark prices."""
        prices = Prices(request.index, request.mark)
        try:
            update_prices(prices, 1)
        except ValueError as error:
            raise refusal("malformed_command", str(error), 400) from error
        return await run(self.runner, lambda now: update_prices(prices, now, request.id))

    # -- lending and borrowing --

    async def move_lending(self, what: str, request: mb.LendingRequest) -> bodies.DoneBody:
        """Lend, redeem, borrow or repay (R10, R11)."""
        self._asset(request.asset)
        kind = _LENDING[what]
        return await run(
            self.runner, lambda now: kind(request.id, now, request.subaccount, request.asset, request.units)
        )

    async def set_lending(self, request: mb.SwitchesRequest) -> bodies.DoneBody:
        """Choose what happens by itself (R10, R11)."""
        return await run(
            self.runner,
            lambda now: cm.SetLending(
                request.id,
                now,
                request.subaccount,
                int(request.auto_lend),
                int(request.auto_borrow),
                int(request.auto_repay),
            ),
        )

    # -- backstop providers --

    async def register_backstop(self, request: bodies.BackstopRequest) -> bodies.DoneBody:
        """Make a subaccount a backstop provider, with no capacity yet (R23)."""
        who = request.subaccount
        return await run(self.runner, lambda now: cm.RegisterBackstop(f"backstop:{who}:{now}", now, who))

    async def set_backstop_capacity(self, request: bodies.BackstopCapacityRequest) -> bodies.DoneBody:
        """Say how much a backstop provider takes in a market (R23)."""
        who, market = request.subaccount, request.market
        return await run(
            self.runner,
            lambda now: cm.SetBackstopCapacity(
                f"backstop:{who}:{market}:{now}",
                now,
                who,
                market,
                request.per_minute_usd6,
                request.per_hour_usd6,
            ),
        )

    async def leave_backstop(self, request: bodies.BackstopRequest) -> bodies.DoneBody:
        """Take no more positions over; what was taken stays (R23)."""
        who = request.subaccount
        return await run(self.runner, lambda now: cm.LeaveBackstop(f"leave-backstop:{who}:{now}", now, who))

    # -- shared --

    def _market(self, name: str) -> Any:
        markets = {one.symbol: one for one in self.params.markets}
        return markets[listed(name, "market", markets)]

    def _asset(self, name: str) -> str:
        return listed(name, "asset", [one.symbol for one in self.params.assets])


def order_result(request: mb.OrderRequest, events: list[dict[str, Any]], decimals: int) -> mb.OrderResult:
    """Read what became of an order out of the events of its answer.

    Every accepted order is named by its last event that concerns it: a trade, its rest, or what was cancelled
    of it. A resting order of the same subaccount is never cancelled by it: it would end there (R12).
    """
    filled = notional_usd6 = fee_usd6 = resting = cancelled = order_id = 0
    ended = "filled"
    for event in events:
        match event["type"]:
            case "Traded" | "SpotTraded":
                order_id = event["taker_order_id"]
                filled += event["units"]
                notional_usd6 += event["notional_usd6"]
                fee_usd6 += event["taker_fee_usd6"]
            case "OrderRested":
                order_id, resting, ended = event["order_id"], event["units"], "rests"
            case "OrderCancelled" if event["subaccount"] == request.subaccount:
                order_id, cancelled, ended = event["order_id"], event["units"], event["reason"]
            case _:
                pass
    average_e8 = price_distance_down_e8(notional_usd6, filled, decimals) if filled else None
    return mb.OrderResult(
        market=request.market,
        order_id=order_id,
        client_order_id=request.client_order_id,
        ended=ended,
        filled_units=filled,
        average_price_e8=average_e8,
        notional_usd6=notional_usd6,
        fee_usd6=fee_usd6,
        resting_units=resting,
        cancelled_units=cancelled,
        cut_units=request.base_units - filled - resting - cancelled,
    )


def told_trade(event: Mapping[str, Any]) -> tuple[int, int, str | None]:
    """Give (units, price_e8, side of the taker) of an event that moves base."""
    units = event["units"] if "units" in event else abs(event["base_units"])
    price = event["price_e8"] if "price_e8" in event else event["mark_price_e8"]
    if "taker_is_buy" not in event:
        return units, price, None
    return units, price, "buy" if event["taker_is_buy"] else "sell"
