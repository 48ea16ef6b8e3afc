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
from engine.units import FEES, INSURANCE_FUND, NETWORK_FEE_ASSET, ROUNDING, SETTLEMENT_ASSET, SETTLEMENT_POOL

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

    def post_all(self, events: Iterable[e.Event]) -> None:
        """Post events in order."""
        for event in events:
            self.post(event)

    def balances(self) -> dict[str, Mapping[Any, int]]:
        """Give every balance that is not zero, for comparison by ==."""
        kinds: dict[str, Mapping[Any, int]] = {}
        for name in ("cash", "base", "quote", "unsettled", "pending", "held", "arrived", "left"):
            kinds[name] = {key: value for key, value in getattr(self, name).items() if value}
        kinds["network_fees_owed"] = {"": self.network_fees_owed_units}
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
    def _(self, event: e.PositionClosed) -> None:
        market = event.market
        self.base[event.subaccount, market] += event.base_units
        self.quote[event.subaccount, market] += event.quote_usd6
        self.base[event.counterparty, market] -= event.base_units
        self.quote[event.counterparty, market] += event.counterparty_quote_usd6
        self.quote[ROUNDING, market] += event.rounding_usd6
        assert self.base[event.subaccount, market] == event.base_left_units, event

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
        self.unsettled[event.subaccount] += event.applied_usd6
        if asset == SETTLEMENT_ASSET:
            assert event.applied_units == event.applied_usd6, event
            self.cash[SETTLEMENT_POOL, asset] += event.applied_units
        else:
            self._fund_takes(asset, event.applied_units, event.fund_paid_usd6, event.fund_owed_usd6)
            assert event.fund_paid_usd6 + event.fund_owed_usd6 == event.applied_usd6, event

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
    def _(self, event: e.ReservesAttested) -> None:
        assert {asset for asset, _ in event.holdings} <= {asset for asset, _ in event.surplus_units}, event

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
