"""The whole state of the exchange.

Owns: the shape of what is remembered (its dump: engine/snapshot.py). Balances change only through
engine/ledger.py. Rules: every dict that is iterated is either sorted first or kept in an order that is itself
part of the dump; derived indices and running totals are not in it. Must not know rules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from engine.book import Book, Order
from engine.commands import Command
from engine.fixed import notional_up_usd6, ppm_of_up
from engine.outcome import Outcome
from engine.params import AssetParams, MarketParams, Params
from engine.units import (
    E18,
    SETTLEMENT_ASSET,
    SYSTEM_ACCOUNTS,
    OrderKey,
    SubaccountId,
    order_key,
)

# A withdrawal whose units are still set aside.
OPEN_STATUSES = ("queued", "reserved")


@dataclass(slots=True)
class Position:
    """A position in one perpetual market (R7): signed base, signed cash flows not yet realized.

    entry_cost is the sum of units x price_e8 of what is open, undivided, for display: the average entry price
    is entry_cost / |base_units|. No rule rests on it.
    """

    base_units: int = 0
    quote_usd6: int = 0
    entry_cost: int = 0


@dataclass(slots=True)
class OpenOrders:
    """What a subaccount's resting orders of one market could add to its position (R18): not reduce-only."""

    buy_units: int = 0
    sell_units: int = 0


@dataclass(slots=True)
class Premium:
    """What a market's mark and funding remember (R13, R14).

    smoothed_e8 is the moving average of book mid - index, priced_ns the time of the market's last price.
    premium_ppm is (mark - index) / index since sampled_ns; weighted_ppm_ns over elapsed_ns is its average of
    this hour so far.
    """

    smoothed_e8: int = 0
    sampled_ns: int = 0
    premium_ppm: int = 0
    weighted_ppm_ns: int = 0
    elapsed_ns: int = 0
    priced_ns: int = 0


@dataclass(slots=True)
class Subaccount:
    """A margin silo (R6, R7). `cash` holds no zero entries, `positions` none that are zero in both parts."""

    id: SubaccountId
    order: OrderKey
    on_debt: str = "apply"
    unsettled_usd6: int = 0
    cash: dict[str, int] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    # Derived from the books: per perpetual market, what open orders could add; per asset, what resting spot
    # orders have locked (R7).
    open_orders: dict[str, OpenOrders] = field(default_factory=dict)
    locked: dict[str, int] = field(default_factory=dict)
    open_order_count: int = 0
    # Shares of the lending pools (R9), no zero entries; what happens by itself (R10, R11).
    lent: dict[str, int] = field(default_factory=dict)
    borrowed: dict[str, int] = field(default_factory=dict)
    auto_lend: bool = False
    auto_borrow: bool = False
    auto_repay: bool = False

    @property
    def is_system(self) -> bool:
        """Tell a system account (R8) from a customer's."""
        return self.order[0] == 1


@dataclass(slots=True)
class LendingPool:
    """The lending pool of one asset (R9): its shares, what one share is worth, when interest last accrued.

    Its cash is in the system account `lending_pool`. `roundings` counts the postings that may have left a
    residue in the pool (I6, I9).
    """

    lent_shares: int = 0
    borrowed_shares: int = 0
    lend_index_e18: int = E18
    borrow_index_e18: int = E18
    accrued_ns: int = 0
    roundings: int = 0


@dataclass(slots=True)
class Withdrawal:
    """A payout and where it stands: queued -> reserved -> paid | returned; queued -> returned (I10)."""

    withdrawal_id: str
    subaccount: SubaccountId
    asset: str
    units: int
    destination: str
    status: str
    gate: str
    until_ns: int
    held_deposit_id: str


@dataclass(slots=True)
class HeldDeposit:
    """A deposit parked by R29: a liability, nobody's collateral."""

    deposit_id: str
    subaccount: SubaccountId
    asset: str
    units: int
    sender: str


@dataclass(slots=True)
class Price:
    """A price and when it was set (R13); `stale` when its sources became too few, whatever its age."""

    price_e8: int
    time_ns: int
    stale: bool = False


@dataclass(slots=True)
class Liquidation:
    """A subaccount in liquidation (R20): its stage, when its next step is due, and its sizes at entry.

    used_stages are those that R25 has counted it in.
    """

    stage: str
    since_ns: int
    next_step_ns: int
    idle_steps: int = 0
    entry_units: dict[str, int] = field(default_factory=dict)
    used_stages: list[str] = field(default_factory=list)


@dataclass(slots=True)
class BackstopCapacity:
    """What a provider takes in one market, and what it took in the present minute and hour (R23), in usd6.

    A window that has not begun yet begins at 0.
    """

    per_minute_usd6: int
    per_hour_usd6: int
    minute_since_ns: int = 0
    minute_used_usd6: int = 0
    hour_since_ns: int = 0
    hour_used_usd6: int = 0


@dataclass(slots=True)
class StageTotals:
    """What one stage of liquidation did (R25): since start, and (start_ns, notional, fills, subaccounts) per
    bucket.
    """

    notional_usd6: int = 0
    fills: int = 0
    subaccounts: int = 0
    buckets: list[tuple[int, int, int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Attestation:
    """The last attestation of reserves (R33a): surplus of holdings over what is owed to customers, per
    asset.
    """

    slot: int
    time_ns: int
    surplus_units: dict[str, int]


@dataclass(slots=True)
class Average:
    """Level history of one asset's pool (R32): (start_ns, end_ns, integral) per bucket, and the open
    interval.
    """

    level_units: int
    since_ns: int
    buckets: list[tuple[int, int, int]]


@dataclass(slots=True)
class Totals:
    """Running sums over all subaccounts, kept by the ledger, so that the invariants cost O(assets +
    markets).
    """

    cash_units: dict[str, int]
    pending_units: dict[str, int]
    held_units: dict[str, int]
    base_units: dict[str, int]
    quote_usd6: dict[str, int]
    unsettled_usd6: int = 0
    # Of those in State.debts alone: what they owe.
    debts_usd6: int = 0


class Screening(Protocol):
    """What may be asked who might be endangered (R33): a superset, without order, of who is."""

    def candidates(self, state: State) -> Iterable[SubaccountId]:
        """Name everyone who might fail R20 now."""


@dataclass(slots=True)
class State:
    """Everything `apply` reads and writes."""

    params: Params
    assets: dict[str, AssetParams]
    markets: dict[str, MarketParams]
    subaccounts: dict[SubaccountId, Subaccount]
    totals: Totals
    books: dict[str, Book] = field(default_factory=dict)
    # Markets whose state is not "open" (R12).
    market_states: dict[str, str] = field(default_factory=dict)
    premiums: dict[str, Premium] = field(default_factory=dict)
    last_funding_ns: int = 0
    index_prices: dict[str, Price] = field(default_factory=dict)
    mark_prices: dict[str, Price] = field(default_factory=dict)
    # Outstanding negative equity (R27): subaccount -> since when, oldest first.
    debts: dict[SubaccountId, int] = field(default_factory=dict)
    # In liquidation (R20), in order of entry; backstop providers (R23) and their capacities per market.
    liquidations: dict[SubaccountId, Liquidation] = field(default_factory=dict)
    backstops: dict[SubaccountId, dict[str, BackstopCapacity]] = field(default_factory=dict)
    stages: dict[str, StageTotals] = field(default_factory=dict)
    # The fund's sale (R28): per asset what it held when that last rose, and what it held after the last step.
    inventory: dict[str, tuple[int, int]] = field(default_factory=dict)
    next_inventory_step_ns: int = 0
    # The fund's shortfall (R27): the first of the ticks that found one in a row, 0 for none; the least of it.
    fund_short_since_ns: int = 0
    fund_short_usd6: int = 0
    held: dict[str, HeldDeposit] = field(default_factory=dict)
    withdrawals: dict[str, Withdrawal] = field(default_factory=dict)
    attestation: Attestation | None = None
    pools: dict[str, LendingPool] = field(default_factory=dict)
    averages: dict[str, Average] = field(default_factory=dict)
    # What crossed the chain's border, per asset (I1). Network fees are lamports.
    deposited_units: dict[str, int] = field(default_factory=dict)
    withdrawn_units: dict[str, int] = field(default_factory=dict)
    network_fees_paid_units: int = 0
    network_fees_owed_units: int = 0
    rounding_postings: int = 0
    last_time_ns: int = 0
    last_tick_ns: int = 0
    last_deficit_ns: int | None = None
    sequence: int = 0
    # R4: acceptances of what moved money, kept for ever (deposits have ids of their own, given by the chain),
    # the last other answers, and the last ones of ticks, prices and attestations, oldest first.
    deposit_answers: dict[str, tuple[Command, Outcome]] = field(default_factory=dict)
    answers: dict[str, tuple[Command, Outcome]] = field(default_factory=dict)
    order_answers: dict[str, tuple[Command, Outcome]] = field(default_factory=dict)
    recent_answers: dict[str, tuple[Command, Outcome]] = field(default_factory=dict)
    clockwork_answers: dict[str, tuple[Command, Outcome]] = field(default_factory=dict)
    # Derived, rebuilt on load. Ids in order_answers of a subaccount, oldest first.
    order_ids: dict[SubaccountId, deque[str]] = field(default_factory=dict)
    holders: dict[str, dict[SubaccountId, None]] = field(default_factory=dict)
    unsettled_holders: dict[SubaccountId, None] = field(default_factory=dict)
    # Withdrawals that wait, oldest first; the same for each subaccount that has any.
    queued: dict[str, None] = field(default_factory=dict)
    queued_of: dict[SubaccountId, dict[str, None]] = field(default_factory=dict)
    # Who owes units of a lending pool; per asset, who has cash that is to be lent by itself (R10).
    borrowers: dict[SubaccountId, None] = field(default_factory=dict)
    idle: dict[str, dict[SubaccountId, None]] = field(default_factory=dict)
    # For the screen (R33), in no dump: net change of USDC cash, quotes and unsettled since it last looked,
    # and whose base, other cash or borrows changed.
    screen: Screening | None = field(default=None, compare=False, repr=False)
    equity_changes: dict[SubaccountId, int] = field(default_factory=dict, compare=False, repr=False)
    reshaped: dict[SubaccountId, None] = field(default_factory=dict, compare=False, repr=False)

    def ordered(self, ids: dict[SubaccountId, None] | dict[SubaccountId, int]) -> list[Subaccount]:
        """List subaccounts in canonical order: customers numerically, then system accounts by name."""
        return sorted((self.subaccounts[one] for one in ids), key=by_order)

    def next_settlement_ns(self) -> int:
        """Say when the next settlement tick is due (R26), now when it is late; 0 before the first."""
        if not self.last_tick_ns:
            return 0
        return max(self.last_tick_ns + self.params.settlement_interval_ns, self.last_time_ns)


def new_state(params: Params) -> State:
    """Make an empty exchange with its system accounts (R8)."""
    assets = {asset.symbol: asset for asset in params.assets}
    markets = {market.symbol: market for market in params.markets}
    state = State(
        params=params,
        assets=assets,
        markets=markets,
        subaccounts={},
        totals=Totals(
            cash_units=dict.fromkeys(assets, 0),
            pending_units=dict.fromkeys(assets, 0),
            held_units=dict.fromkeys(assets, 0),
            base_units=dict.fromkeys(markets, 0),
            quote_usd6=dict.fromkeys(markets, 0),
        ),
        deposited_units=dict.fromkeys(assets, 0),
        withdrawn_units=dict.fromkeys(assets, 0),
        holders={market: {} for market in markets},
        pools={asset: LendingPool() for asset in assets},
        idle={asset: {} for asset in assets},
        books={market: Book() for market in markets},
    )
    for name in SYSTEM_ACCOUNTS:
        add_subaccount(state, name, "apply")
    return state


def add_subaccount(state: State, subaccount: SubaccountId, on_debt: str) -> Subaccount:
    """Put an empty subaccount into the state; the identifier must be valid and new."""
    order = order_key(subaccount)
    if order is None or subaccount in state.subaccounts:
        raise ValueError(f"cannot add subaccount {subaccount!r}")
    made = Subaccount(subaccount, order, on_debt)
    if not made.is_system:
        made.auto_lend, made.auto_borrow, made.auto_repay = auto_defaults(state.params)
    state.subaccounts[subaccount] = made
    return made


def count_open_order(state: State, market: str, order: Order, units: int) -> None:
    """Keep the sums derived from resting orders when units of one come to the book, or leave it (negative).

    Must be called after the order's own units have changed, so that a lock is the one of what is left.
    """
    one = state.subaccounts[order.subaccount]
    params = state.markets[market]
    if params.is_spot:
        asset = SETTLEMENT_ASSET if order.is_buy else params.asset
        locked = one.locked.get(asset, 0)
        locked += lock_units(state, params, order, order.units) - lock_units(
            state, params, order, order.units - units
        )
        if locked:
            one.locked[asset] = locked
        else:
            one.locked.pop(asset, None)
    elif not order.reduce_only:
        counted = one.open_orders.get(market)
        if counted is None:
            counted = one.open_orders[market] = OpenOrders()
        if order.is_buy:
            counted.buy_units += units
        else:
            counted.sell_units += units
        if not counted.buy_units and not counted.sell_units:
            del one.open_orders[market]


def queue_withdrawal(state: State, withdrawal: Withdrawal) -> None:
    """Put a withdrawal behind all others that wait."""
    state.queued[withdrawal.withdrawal_id] = None
    state.queued_of.setdefault(withdrawal.subaccount, {})[withdrawal.withdrawal_id] = None


def lock_units(state: State, params: MarketParams, order: Order, units: int) -> int:
    """Give what units of a resting spot order lock (R7): the asset itself, or USDC for the price and the fee.

    ceil(units x price) + max(0, ceil(that x maker fee)).
    """
    if not order.is_buy:
        return units
    notional_usd6 = notional_up_usd6(units, order.price_e8, state.assets[params.asset].decimals)
    return notional_usd6 + max(0, ppm_of_up(notional_usd6, params.maker_fee_ppm))


def auto_defaults(params: Params) -> tuple[bool, bool, bool]:
    """Give auto_lend, auto_borrow, auto_repay of a subaccount just opened (R10, R11)."""
    return bool(params.auto_lend_default), bool(params.auto_borrow_default), bool(params.auto_repay_default)


def by_order(subaccount: Subaccount) -> OrderKey:
    """Give the key of the canonical order."""
    return subaccount.order
