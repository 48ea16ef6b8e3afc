"""Books kept from events alone (R5): the postings that engine/events.py promises, and no rule.

Imports the vocabulary only. If these books and the state differ, an event lied about the units it posted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from typing import Any

from engine import events as e
from engine.units import (
    FEES,
    INSURANCE_FUND,
    LENDING_POOL,
    NETWORK_FEE_ASSET,
    ROUNDING,
    SETTLEMENT_ASSET,
    SETTLEMENT_POOL,
)

Key = tuple[str, str]


def _counter() -> defaultdict[Key, int]:
    return defaultdict(int)


@dataclass(frozen=True, slots=True)
class Payout:
    """A withdrawal or returned deposit as the events tell it; status queued | reserved | paid | returned."""

    subaccount: str
    asset: str
    units: int
    destination: str
    status: str
    held_deposit_id: str = ""


@dataclass(frozen=True, slots=True)
class HeldDeposit:
    """A parked deposit: nobody's collateral."""

    subaccount: str
    asset: str
    units: int
    sender: str


@dataclass(slots=True)
class Resting:
    """An order on a book, as the events tell it."""

    market: str
    order_id: int
    subaccount: str
    is_buy: bool
    price_e8: int
    units: int
    reduce_only: bool
    client_order_id: str


@dataclass(slots=True)
class Books:
    """Every balance, by (subaccount, asset or market); zeros may be absent."""

    cash: defaultdict[Key, int] = field(default_factory=_counter)
    base: defaultdict[Key, int] = field(default_factory=_counter)
    quote: defaultdict[Key, int] = field(default_factory=_counter)
    unsettled: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    pending: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    held: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    arrived: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))  # on chain, ever
    left: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))  # on chain, ever
    network_fees_owed_units: int = 0
    on_debt: dict[str, str] = field(default_factory=dict)
    index_prices: dict[str, int] = field(default_factory=dict)
    mark_prices: dict[str, int] = field(default_factory=dict)
    payouts: dict[str, Payout] = field(default_factory=dict)
    held_deposits: dict[str, HeldDeposit] = field(default_factory=dict)
    bankrupt: set[str] = field(default_factory=set)
    lent: defaultdict[Key, int] = field(default_factory=_counter)  # shares
    borrowed: defaultdict[Key, int] = field(default_factory=_counter)  # shares
    lend_index_e18: dict[str, int] = field(default_factory=dict)
    borrow_index_e18: dict[str, int] = field(default_factory=dict)
    auto: dict[str, tuple[bool, bool, bool]] = field(default_factory=dict)  # lend, borrow, repay
    # Every resting order by (market, order id); a dict keeps the order of arrival, which is time priority.
    resting: dict[tuple[str, int], Resting] = field(default_factory=dict)
    last_order_id: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    market_states: dict[str, str] = field(default_factory=dict)
    stale_assets: set[str] = field(default_factory=set)
    liquidations: dict[str, str] = field(default_factory=dict)  # stage, in order of entry
    backstops: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)

    def post_all(self, events: Iterable[e.Event]) -> None:
        """Post events in order."""
        for event in events:
            self.post(event)

    def balances(self) -> dict[str, Mapping[Any, int]]:
        """Give every balance that is not zero, for comparison by ==."""
        kinds: dict[str, Mapping[Any, int]] = {}
        plain = (
            "cash",
            "base",
            "quote",
            "unsettled",
            "pending",
            "held",
            "arrived",
            "left",
            "lent",
            "borrowed",
        )
        for name in plain:
            kinds[name] = {key: value for key, value in getattr(self, name).items() if value}
        kinds["network_fees_owed"] = {"": self.network_fees_owed_units}
        kinds["resting"] = {key: order.units for key, order in self.resting.items()}
        return kinds

    @singledispatchmethod
    def post(self, event: object) -> None:
        """Post one event exactly as its docstring says."""
        raise AssertionError(f"an event that these books do not know: {event!r}")

    @post.register
    def _(self, event: e.SubaccountOpened) -> None:
        assert event.subaccount not in self.on_debt, event
        self.on_debt[event.subaccount] = event.on_debt

    @post.register
    def _(self, event: e.OnDebtSet) -> None:
        self.on_debt[event.subaccount] = event.on_debt

    @post.register
    def _(self, event: e.PricesUpdated) -> None:
        self.index_prices.update(event.index_prices)
        self.stale_assets -= {asset for asset, _ in event.index_prices}
        self.mark_prices.update(event.mark_prices)

    @post.register
    def _(self, event: e.BlockTraded) -> None:
        market = event.market
        self.base[event.buyer, market] += event.base_units
        self.quote[event.buyer, market] += event.buyer_quote_usd6
        self.base[event.seller, market] -= event.base_units
        self.quote[event.seller, market] += event.seller_quote_usd6
        self.quote[ROUNDING, market] += event.rounding_usd6

    @post.register
    def _(self, event: e.PnlSettled) -> None:
        self.quote[event.subaccount, event.market] -= event.pnl_usd6
        self.unsettled[event.subaccount] += event.pnl_usd6

    @post.register
    def _(self, event: e.LossCollected) -> None:
        self.cash[event.subaccount, SETTLEMENT_ASSET] -= event.units
        self.unsettled[event.subaccount] += event.units
        self.cash[SETTLEMENT_POOL, SETTLEMENT_ASSET] += event.units
        assert -self.unsettled[event.subaccount] == event.remaining_usd6, event

    @post.register
    def _(self, event: e.CollateralConverted) -> None:
        self.cash[event.subaccount, event.asset] -= event.units
        self.unsettled[event.subaccount] += event.usd6
        self._fund_takes(event.asset, event.units, event.fund_paid_usd6, event.fund_owed_usd6)
        assert event.fund_paid_usd6 + event.fund_owed_usd6 == event.usd6, event

    @post.register
    def _(self, event: e.SubaccountBankrupt) -> None:
        assert event.subaccount not in self.bankrupt, event
        self.bankrupt.add(event.subaccount)

    @post.register
    def _(self, event: e.DebtEnded) -> None:
        self.bankrupt.remove(event.subaccount)

    @post.register
    def _(self, event: e.DebtCovered) -> None:
        self.unsettled[event.subaccount] += event.units
        self.cash[INSURANCE_FUND, SETTLEMENT_ASSET] -= event.units
        self.cash[SETTLEMENT_POOL, SETTLEMENT_ASSET] += event.units
        assert -self.unsettled[event.subaccount] == event.remaining_usd6, event

    @post.register
    def _(self, event: e.ClaimPaid) -> None:
        self.cash[event.subaccount, SETTLEMENT_ASSET] += event.units
        self.unsettled[event.subaccount] -= event.units
        self.cash[SETTLEMENT_POOL, SETTLEMENT_ASSET] -= event.units
        assert self.unsettled[event.subaccount] == event.remaining_usd6, event

    @post.register
    def _(self, event: e.LossSocialized) -> None:
        self.unsettled[event.subaccount] += event.extinguished_usd6
        for winner, cut_usd6 in event.cuts:
            assert cut_usd6 > 0, event
            self.unsettled[winner] -= cut_usd6
        assert sum(cut for _, cut in event.cuts) == event.extinguished_usd6, event

    @post.register
    def _(self, event: e.DepositApplied) -> None:
        asset = event.asset
        assert event.deposited_units == event.applied_units + event.credited_units, event
        if event.was_held:
            held = self.held_deposits.pop(event.deposit_id)
            assert held.units == event.deposited_units, event
            self.held[asset] -= event.deposited_units
        else:
            self.arrived[asset] += event.deposited_units
        self.cash[event.subaccount, asset] += event.credited_units - event.network_fees_collected_units
        self.network_fees_owed_units -= event.network_fees_collected_units
        self.cash[LENDING_POOL, asset] += event.repaid_units
        self.borrowed[event.subaccount, asset] -= event.repaid_shares
        units, usd6 = event.applied_units - event.repaid_units, event.applied_usd6 - event.repaid_usd6
        self.unsettled[event.subaccount] += usd6
        if asset == SETTLEMENT_ASSET:
            assert units == usd6, event
            self.cash[SETTLEMENT_POOL, asset] += units
        else:
            self._fund_takes(asset, units, event.fund_paid_usd6, event.fund_owed_usd6)
            assert event.fund_paid_usd6 + event.fund_owed_usd6 == usd6, event

    @post.register
    def _(self, event: e.DepositHeld) -> None:
        self.arrived[event.asset] += event.units
        self.held[event.asset] += event.units
        assert event.deposit_id not in self.held_deposits, event
        self.held_deposits[event.deposit_id] = HeldDeposit(
            event.subaccount, event.asset, event.units, event.sender
        )

    @post.register
    def _(self, event: e.DepositReturned) -> None:
        deposit = self.held_deposits.pop(event.deposit_id)
        assert (deposit.units, deposit.asset) == (event.units + event.charged_units, event.asset), event
        self.held[event.asset] -= event.units + event.charged_units
        self.pending[event.asset] += event.units
        self.cash[FEES, event.asset] += event.charged_units - event.network_fees_collected_units
        self.network_fees_owed_units -= event.network_fees_collected_units
        self._new_payout(
            event.withdrawal_id,
            Payout(
                event.subaccount, event.asset, event.units, event.destination, "reserved", event.deposit_id
            ),
        )

    @post.register
    def _(self, event: e.TransferMade) -> None:
        self.cash[event.source, event.asset] -= event.units
        self.cash[event.target, event.asset] += event.units

    @post.register
    def _(self, event: e.WithdrawalQueued) -> None:
        self.cash[event.subaccount, event.asset] -= event.units
        self.pending[event.asset] += event.units
        self._new_payout(
            event.withdrawal_id,
            Payout(event.subaccount, event.asset, event.units, event.destination, "queued"),
        )

    @post.register
    def _(self, event: e.WithdrawalReserved) -> None:
        reserved = Payout(event.subaccount, event.asset, event.units, event.destination, "reserved")
        if event.was_queued:
            self._move_payout(event.withdrawal_id, reserved, "queued")
            return
        self.cash[event.subaccount, event.asset] -= event.units
        self.pending[event.asset] += event.units
        self._new_payout(event.withdrawal_id, reserved)

    @post.register
    def _(self, event: e.WithdrawalPaid) -> None:
        self.pending[event.asset] -= event.units
        self.left[event.asset] += event.units
        self._network_fee(event.network_fee_units, event.network_fee_owed_units)
        paid = replace(
            self.payouts[event.withdrawal_id],
            subaccount=event.subaccount,
            asset=event.asset,
            units=event.units,
            destination=event.destination,
            status="paid",
        )
        self._move_payout(event.withdrawal_id, paid, "reserved")

    @post.register
    def _(self, event: e.WithdrawalReturned) -> None:
        before = self.payouts[event.withdrawal_id]
        self.pending[event.asset] -= event.units
        if event.held_deposit_id:
            self.held[event.asset] += event.units
            self.held_deposits[event.held_deposit_id] = HeldDeposit(
                event.subaccount, event.asset, event.units, before.destination
            )
        else:
            self.cash[event.subaccount, event.asset] += event.units
        self._network_fee(event.network_fee_units, event.network_fee_owed_units)
        returned = replace(
            before, subaccount=event.subaccount, asset=event.asset, units=event.units, status="returned"
        )
        assert before.held_deposit_id == event.held_deposit_id, event
        # What was only queued was never ordered, so it may go back without the chain's word.
        self._move_payout(event.withdrawal_id, returned, "reserved", "queued")

    @post.register
    def _(self, event: e.NetworkFeePaid) -> None:
        assert 0 <= event.network_fee_owed_units <= event.network_fee_units, event
        self._network_fee(event.network_fee_units, event.network_fee_owed_units)

    @post.register
    def _(self, event: e.ReservesAttested) -> None:
        assert {asset for asset, _ in event.holdings} <= {asset for asset, _ in event.surplus_units}, event

    # -- markets (R12-R14)

    @post.register
    def _(self, event: e.OrderRested) -> None:
        key = event.market, event.order_id
        assert key not in self.resting, event
        self._new_order_id(event.market, event.order_id)
        self.resting[key] = Resting(
            event.market,
            event.order_id,
            event.subaccount,
            event.is_buy,
            event.price_e8,
            event.units,
            event.reduce_only,
            event.client_order_id,
        )

    @post.register
    def _(self, event: e.OrderCancelled) -> None:
        order = self.resting.pop((event.market, event.order_id), None)
        if order is None:  # it never rested
            self._new_order_id(event.market, event.order_id)
            return
        assert (order.subaccount, order.units) == (event.subaccount, event.units), event

    @post.register
    def _(self, event: e.Traded) -> None:
        sign = 1 if event.taker_is_buy else -1
        sides = ((event.taker, sign, event.taker_fee_usd6), (event.maker, -sign, event.maker_fee_usd6))
        for name, side, fee_usd6 in sides:
            self.base[name, event.market] += side * event.units
            self.quote[name, event.market] -= side * event.notional_usd6 + fee_usd6
        self.quote[FEES, event.market] += event.maker_fee_usd6 + event.taker_fee_usd6
        self._maker_filled(event)

    @post.register
    def _(self, event: e.SpotTraded) -> None:
        asset = event.market.partition("/")[0]
        sign = 1 if event.taker_is_buy else -1
        sides = ((event.taker, sign, event.taker_fee_usd6), (event.maker, -sign, event.maker_fee_usd6))
        for name, side, fee_usd6 in sides:
            self.cash[name, asset] += side * event.units
            self.cash[name, SETTLEMENT_ASSET] -= side * event.notional_usd6 + fee_usd6
        self.cash[FEES, SETTLEMENT_ASSET] += event.maker_fee_usd6 + event.taker_fee_usd6
        self._maker_filled(event)

    def _maker_filled(self, event: e.Traded | e.SpotTraded) -> None:
        """R12: at the resting order's price, on its side, not more than it has."""
        key = event.market, event.maker_order_id
        order = self.resting[key]
        assert (order.subaccount, order.is_buy) == (event.maker, not event.taker_is_buy), event
        assert order.price_e8 == event.price_e8 and 0 < event.units <= order.units, event
        order.units -= event.units
        if order.units == 0:
            del self.resting[key]
        self._new_order_id(event.market, event.taker_order_id)

    def _new_order_id(self, market: str, order_id: int) -> None:
        assert order_id >= self.last_order_id[market], f"order {order_id} of {market} is older than the last"
        self.last_order_id[market] = order_id

    @post.register
    def _(self, event: e.MarketStateSet) -> None:
        self.market_states[event.market] = event.market_state

    @post.register
    def _(self, event: e.QuotesTaken) -> None:
        if event.stale:
            self.stale_assets.add(event.asset)

    @post.register
    def _(self, event: e.FundingPaid) -> None:
        for name, usd6 in event.payments:
            self.quote[name, event.market] += usd6
        self.quote[ROUNDING, event.market] += event.rounding_usd6
        assert sum(usd6 for _, usd6 in event.payments) + event.rounding_usd6 == 0, event

    # -- liquidation (R20-R24)

    @post.register
    def _(self, event: e.LiquidationStarted) -> None:
        assert event.subaccount not in self.liquidations, event
        self.liquidations[event.subaccount] = "book"

    @post.register
    def _(self, event: e.LiquidationStageChanged) -> None:
        steps = {"book": ("backstop",), "backstop": ("adl",), "adl": ()}
        assert event.stage in steps[self.liquidations[event.subaccount]], event
        self.liquidations[event.subaccount] = event.stage

    @post.register
    def _(self, event: e.LiquidationEnded) -> None:
        del self.liquidations[event.subaccount]

    @post.register
    def _(self, event: e.BackstopFilled) -> None:
        sides = (event.quote_usd6, event.provider_quote_usd6)
        self._pass_on(event, event.provider, sides)
        self.unsettled[INSURANCE_FUND] += event.fund_usd6
        assert event.released_usd6 == event.provider_usd6 + event.fund_usd6, event
        assert sum(sides) + event.rounding_usd6 + event.fund_usd6 == 0, event

    @post.register
    def _(self, event: e.PositionsNetted) -> None:
        sides = (event.quote_usd6, event.counterparty_quote_usd6)
        self._pass_on(event, event.counterparty, sides)
        assert sum(sides) + event.rounding_usd6 == 0, event

    @post.register
    def _(self, event: e.AutoDeleveraged) -> None:
        sides = (event.quote_usd6, event.counterparty_quote_usd6)
        self._pass_on(event, event.counterparty, sides)
        assert sum(sides) + event.rounding_usd6 == 0, event

    def _pass_on(
        self,
        event: e.BackstopFilled | e.PositionsNetted | e.AutoDeleveraged,
        other: str,
        quotes: tuple[int, int],
    ) -> None:
        """Move base from one to the other; it may only make the position smaller."""
        market = event.market
        before = self.base[event.subaccount, market]
        assert before * event.base_units < 0 and abs(event.base_units) <= abs(before), event
        self.base[event.subaccount, market] += event.base_units
        self.quote[event.subaccount, market] += quotes[0]
        self.base[other, market] -= event.base_units
        self.quote[other, market] += quotes[1]
        self.quote[ROUNDING, market] += event.rounding_usd6
        assert self.base[event.subaccount, market] == event.base_left_units, event

    @post.register
    def _(self, event: e.BackstopRegistered) -> None:
        assert event.subaccount not in self.backstops, event
        self.backstops[event.subaccount] = {}

    @post.register
    def _(self, event: e.BackstopCapacitySet) -> None:
        self.backstops[event.subaccount][event.market] = (event.per_minute_usd6, event.per_hour_usd6)

    @post.register
    def _(self, event: e.BackstopLeft) -> None:
        del self.backstops[event.subaccount]

    # -- lending (R9-R11)

    @post.register
    def _(self, event: e.LendingSet) -> None:
        self.auto[event.subaccount] = (event.auto_lend, event.auto_borrow, event.auto_repay)

    @post.register
    def _(self, event: e.InterestAccrued) -> None:
        asset = event.asset
        assert event.borrow_index_e18 >= self.borrow_index_e18.get(asset, 10**18), f"I6: {event}"
        assert event.lend_index_e18 >= self.lend_index_e18.get(asset, 10**18), f"I6: {event}"
        self.borrow_index_e18[asset] = event.borrow_index_e18
        self.lend_index_e18[asset] = event.lend_index_e18
        self.lent[FEES, asset] += event.fee_shares

    @post.register
    def _(self, event: e.Lent) -> None:
        self._pool_moves(event.subaccount, event.asset, event.units)
        self.lent[event.subaccount, event.asset] += event.shares

    @post.register
    def _(self, event: e.Redeemed) -> None:
        self._pool_moves(event.subaccount, event.asset, -event.units)
        self.lent[event.subaccount, event.asset] -= event.shares

    @post.register
    def _(self, event: e.Borrowed) -> None:
        self._pool_moves(event.subaccount, event.asset, -event.units)
        self.borrowed[event.subaccount, event.asset] += event.shares

    @post.register
    def _(self, event: e.Repaid) -> None:
        self._pool_moves(event.subaccount, event.asset, event.cash_units)
        self.lent[event.subaccount, event.asset] -= event.lent_shares
        self.borrowed[event.subaccount, event.asset] -= event.shares

    @post.register
    def _(self, event: e.BorrowTakenOver) -> None:
        self.borrowed[event.subaccount, event.asset] -= event.shares
        self.borrowed[INSURANCE_FUND, event.asset] += event.shares
        self.unsettled[event.subaccount] -= event.usd6
        self.unsettled[INSURANCE_FUND] += event.usd6

    @post.register
    def _(self, event: e.LentConverted) -> None:
        self.lent[event.subaccount, event.asset] -= event.shares
        self.lent[INSURANCE_FUND, event.asset] += event.shares
        self.unsettled[event.subaccount] += event.usd6
        self._fund_takes(SETTLEMENT_ASSET, 0, event.fund_paid_usd6, event.fund_owed_usd6)
        assert event.fund_paid_usd6 + event.fund_owed_usd6 == event.usd6, event

    def _pool_moves(self, name: str, asset: str, units: int) -> None:
        """Move cash of a subaccount into the lending pool (or out, below zero)."""
        self.cash[name, asset] -= units
        self.cash[LENDING_POOL, asset] += units

    def _fund_takes(self, asset: str, units: int, fund_paid_usd6: int, fund_owed_usd6: int) -> None:
        self.cash[INSURANCE_FUND, asset] += units
        self.cash[INSURANCE_FUND, SETTLEMENT_ASSET] -= fund_paid_usd6
        self.unsettled[INSURANCE_FUND] -= fund_owed_usd6
        self.cash[SETTLEMENT_POOL, SETTLEMENT_ASSET] += fund_paid_usd6

    def _network_fee(self, spent_units: int, owed_units: int) -> None:
        self.cash[FEES, NETWORK_FEE_ASSET] -= spent_units - owed_units
        self.network_fees_owed_units += owed_units
        self.left[NETWORK_FEE_ASSET] += spent_units

    def _new_payout(self, withdrawal_id: str, payout: Payout) -> None:
        assert withdrawal_id not in self.payouts, f"I10: {withdrawal_id} was ordered before"
        self.payouts[withdrawal_id] = payout

    def _move_payout(self, withdrawal_id: str, payout: Payout, *came_from: str) -> None:
        before = self.payouts[withdrawal_id]
        step = f"I10: {withdrawal_id} goes from {before.status} to {payout.status}"
        assert before.status in came_from, step
        assert replace(before, status=payout.status) == payout, f"{withdrawal_id} changed its terms"
        self.payouts[withdrawal_id] = payout
