"""The story of a crash: series over time, totals, receipts.

Rules: what happened is folded from events alone (liquidations, debts, deposits, gate decisions, trades);
levels that are nobody's event (claims, the fund's cash, utilization, account values) are read through the
engine's public queries at every sample. At the end the two have to agree, to the unit (`agreements`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from daemon.crash.exchange import Exchange
from daemon.crash.population import Cast, scale_of
from daemon.crash.prices import Prices
from engine import events as ev
from engine.margin import margin_of
from engine.pool import balances_units, owed_units, utilization_ppm
from engine.prices import is_stale
from engine.stages import STAGES, stage_shares
from engine.units import INSURANCE_FUND, SETTLEMENT_ASSET

# Series have at most this many points: more than a screen has.
MOST_POINTS = 1_200
# Account values are asked of so many customers, drawn once: enough for the percentiles shown.
SAMPLED_CUSTOMERS = 800
VALUE_SAMPLES = 90
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two figures that have to agree; the engine's may be up to `room` more."""

    what: str
    folded: int
    told: int
    room: int = 0

    @property
    def holds(self) -> bool:
        """Tell whether they do."""
        return self.folded <= self.told <= self.folded + self.room


@dataclass(slots=True)
class Liquidated:
    """A subaccount that was in liquidation: since when, how often, what of its positions was closed where."""

    second: int
    # At its first entry, positions at mark.
    account_value_usd6: int
    entries: int = 0
    outcome: str = "open"
    last_second: int = 0
    owed_usd6: int = 0
    usd6: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))


class Recorder:
    """Listens to an exchange and samples it."""

    def __init__(self, exchange: Exchange, prices: Prices, duration_s: int) -> None:
        self.exchange, self.prices = exchange, prices
        self.step_s = max(1, duration_s // MOST_POINTS)
        self.value_step_s = max(self.step_s, duration_s // VALUE_SAMPLES // self.step_s * self.step_s)
        self.seconds: list[int] = []
        self.value_seconds: list[int] = []
        self.series: dict[str, list[Any]] = {}
        self.stage_usd6 = dict.fromkeys(STAGES, 0)
        self.counts: dict[str, int] = {}
        self.debts: dict[str, int] = {}
        # Valued when they came, so that a change of price is no change of what is held.
        self.held: dict[str, int] = {}
        self.applied_usd6 = self.credited_usd6 = 0
        self.covered_usd6 = self.repaid_usd6 = self.collected_usd6 = 0
        self.socialized_usd6 = self.bankrupt_usd6 = 0
        self.claims_paid_usd6 = self.forgone_usd6 = self.slippage_usd6 = 0
        self.traded_usd6 = self.spot_usd6 = self.taken_over_usd6 = self.first_liquidation_s = 0
        self.markets: tuple[str, ...] = ()
        self.values_of: list[tuple[str, int]] = []
        self._dropped = 0
        self._in_liquidation: set[str] = set()
        # Whoever was in liquidation at all; most enter it more than once (R20).
        self.liquidated: dict[str, Liquidated] = {}
        # Whom auto-deleveraging reduced, and by how much, by the group of R24.
        self.adl_holders: dict[str, set[str]] = {"reduces_delta": set(), "hedge": set()}
        self.adl_usd6 = dict.fromkeys(self.adl_holders, 0)
        self._order, self._order_units, self._order_price_e8 = (0, "", ""), 0, 0
        for name, kind in vars(ev).items():
            listener = getattr(self, "_on_" + re.sub("(?<!^)(?=[A-Z])", "_", name).lower(), None)
            if listener is not None:
                exchange.listen(kind, listener)

    def begin(self, cast: Cast) -> None:
        """Take note of who is there."""
        self.markets = tuple(sorted(cast.open_interest_usd6))
        every = max(1, len(cast.customers) // SAMPLED_CUSTOMERS)
        self.values_of = [(one.subaccount, one.equity_usd6) for one in cast.customers[::every]]

    # -- folding events --

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _notional(self, market: str, units: int, price_e8: int) -> int:
        state = self.exchange.state
        asset = state.assets[state.markets[market].asset]
        return abs(units) * price_e8 // scale_of(asset.decimals)

    def _on_traded(self, event: ev.Traded) -> None:
        self.traded_usd6 += event.notional_usd6
        # Nobody in liquidation may send orders: what trades then is the waterfall's.
        if event.taker in self._in_liquidation:
            self._book_fill(event.taker, event.market, event.units)
            at_mark_usd6 = self._notional(event.market, event.units, self._price_e8(event.market))
            lost_usd6 = event.notional_usd6 - at_mark_usd6
            self.slippage_usd6 += lost_usd6 if event.taker_is_buy else -lost_usd6

    def _on_spot_traded(self, event: ev.SpotTraded) -> None:
        self.traded_usd6 += event.notional_usd6
        if event.taker in self._in_liquidation:
            # Sold for a borrow (R22) or for a loss (R26): the event does not say which.
            self.spot_usd6 += self._notional(event.market, event.units, self._price_e8(event.market)) + 1

    def _on_borrow_taken_over(self, event: ev.BorrowTakenOver) -> None:
        self.taken_over_usd6 += self._value(event.asset, event.units)

    def _book_fill(self, taker: str, market: str, units: int) -> None:
        """Add up what one order of the waterfall traded: R25 counts it as one fill, and rounds it once."""
        order = (self.exchange.state.sequence, taker, market)
        if order != self._order:
            self._end_order()
            self._order, self._order_price_e8 = order, self._price_e8(market)
        self._order_units += units

    def _end_order(self) -> None:
        if self._order_units:
            _, taker, market = self._order
            usd6 = self._notional(market, self._order_units, self._order_price_e8)
            self.stage_usd6["book"] += usd6
            self.liquidated[taker].usd6["book"] += usd6
            self._count("fills_book")
        self._order_units = 0

    def _stage(self, stage: str, event: Any) -> int:
        """Count a fill of a liquidation as R25 does: at mark, in a spot market at index; give its usd6."""
        usd6 = self._notional(event.market, event.base_units, self._price_e8(event.market))
        self.stage_usd6[stage] += usd6
        self.liquidated[event.subaccount].usd6[stage] += usd6
        self._count(f"fills_{stage}")
        return usd6

    def _price_e8(self, market: str) -> int:
        state = self.exchange.state
        params = state.markets[market]
        price = state.index_prices[params.asset] if params.is_spot else state.mark_prices[market]
        return price.price_e8

    def _on_backstop_filled(self, event: ev.BackstopFilled) -> None:
        self._stage("backstop", event)

    def _on_positions_netted(self, event: ev.PositionsNetted) -> None:
        self.liquidated[event.counterparty].usd6["netting"] += self._stage("netting", event)

    def _on_auto_deleveraged(self, event: ev.AutoDeleveraged) -> None:
        self.adl_usd6[event.group] += self._stage("adl", event)
        self.adl_holders[event.group].add(event.counterparty)
        self.forgone_usd6 += event.forgone_usd6

    def _on_liquidation_started(self, event: ev.LiquidationStarted) -> None:
        if not self._in_liquidation and not self.counts.get("liquidations"):
            self.first_liquidation_s = self.exchange.second
        self._in_liquidation.add(event.subaccount)
        one = self.liquidated.get(event.subaccount)
        if one is None:
            one = Liquidated(self.exchange.second, event.account_value_usd6)
            self.liquidated[event.subaccount] = one
        one.entries += 1
        one.outcome = "open"
        self._count("liquidations")

    def _on_liquidation_ended(self, event: ev.LiquidationEnded) -> None:
        self._in_liquidation.discard(event.subaccount)
        self._count(f"liquidations_{event.outcome}")
        one = self.liquidated[event.subaccount]
        one.outcome, one.last_second = event.outcome, self.exchange.second

    def _on_subaccount_bankrupt(self, event: ev.SubaccountBankrupt) -> None:
        self.debts[event.subaccount] = event.outstanding_usd6
        self.bankrupt_usd6 += event.outstanding_usd6
        if event.subaccount in self.liquidated:
            self.liquidated[event.subaccount].owed_usd6 += event.outstanding_usd6
        self._count("bankruptcies")

    def _on_debt_ended(self, event: ev.DebtEnded) -> None:
        self.debts.pop(event.subaccount, None)
        self._count("debts_ended")

    def _on_debt_covered(self, event: ev.DebtCovered) -> None:
        self.covered_usd6 += event.units
        self._pay(event.subaccount, event.units)

    def _on_loss_collected(self, event: ev.LossCollected) -> None:
        self.collected_usd6 += self._pay(event.subaccount, event.units)

    def _on_lent_converted(self, event: Any) -> None:
        self.collected_usd6 += self._pay(event.subaccount, event.usd6)

    def _on_collateral_converted(self, event: ev.CollateralConverted) -> None:
        self.collected_usd6 += self._pay(event.subaccount, event.usd6)

    def _on_loss_socialized(self, event: ev.LossSocialized) -> None:
        self.socialized_usd6 += event.extinguished_usd6
        self._pay(event.subaccount, event.extinguished_usd6)

    def _on_claim_paid(self, event: ev.ClaimPaid) -> None:
        self.claims_paid_usd6 += event.units

    def _pay(self, subaccount: str, usd6: int) -> int:
        """Take what was paid off an announced debt; gives what of it was for one."""
        if subaccount not in self.debts:
            return 0
        self.debts[subaccount] -= usd6
        return usd6

    def _on_deposit_applied(self, event: ev.DepositApplied) -> None:
        if event.sender != "customer":
            return
        self._count("deposits")
        self.applied_usd6 += event.applied_usd6
        self.credited_usd6 += self._value(event.asset, event.credited_units)
        self.held.pop(event.deposit_id, None)
        # A deposit also meets what is below zero and not bankrupt yet (R28): applied, but to no debt yet.
        self.repaid_usd6 += self._pay(event.subaccount, event.applied_usd6)

    def _on_deposit_held(self, event: ev.DepositHeld) -> None:
        self._count("deposits_held")
        self.held[event.deposit_id] = self._value(event.asset, event.units)

    def _on_deposit_returned(self, event: ev.DepositReturned) -> None:
        self._count("deposits_sent_back")
        self.held.pop(event.deposit_id, None)

    def _value(self, asset: str, units: int) -> int:
        if asset == SETTLEMENT_ASSET:
            return units
        state = self.exchange.state
        price = state.index_prices.get(asset)
        return 0 if price is None else units * price.price_e8 // scale_of(state.assets[asset].decimals)

    def _on_withdrawal_queued(self, event: ev.WithdrawalQueued) -> None:
        self._count(f"withdrawals_queued_{event.gate}")

    def _on_withdrawal_reserved(self, event: ev.WithdrawalReserved) -> None:
        self._count("withdrawals_released" if event.was_queued else "withdrawals_passed")

    def _on_withdrawal_paid(self, event: ev.WithdrawalPaid) -> None:
        self._count("withdrawals_paid")

    def _on_withdrawal_returned(self, event: ev.WithdrawalReturned) -> None:
        self._count("withdrawals_turned_back")

    def _on_quotes_taken(self, event: ev.QuotesTaken) -> None:
        self._dropped += len(event.dropped)

    # -- sampling --

    def sample(self, second: int) -> None:
        """Take one point of every series."""
        if second % self.step_s:
            return
        state = self.exchange.state
        self._end_order()
        self.seconds.append(second)
        for market in self.markets:
            asset = state.markets[market].asset
            self._add(f"outside_e8/{asset}", self.prices.at(asset, second))
            self._add(f"index_e8/{asset}", state.index_prices[asset].price_e8)
            self._add(f"mark_e8/{asset}", state.mark_prices[market].price_e8)
            self._add(f"stale/{asset}", int(is_stale(state, state.index_prices[asset])))
        for stage in STAGES:
            totals = state.stages.get(stage)
            self._add(f"stage_usd6/{stage}", totals.notional_usd6 if totals else 0)
        self._sample_fund()
        self._add("outstanding_usd6", sum(self.debts.values()))
        self._add("debtors", len(self.debts))
        self._add("claims_usd6", self._claims())
        self._add("in_liquidation", len(state.liquidations))
        self._add("queued", len(state.queued))
        for name in (
            "withdrawals_passed",
            "withdrawals_released",
            "withdrawals_queued_pool",
            "withdrawals_queued_velocity",
        ):
            self._add(name, self.counts.get(name, 0))
        refused = sum(
            count for (kind, _), count in self.exchange.rejected.items() if kind == "RequestWithdrawal"
        )
        self._add("withdrawals_refused", refused)
        self._add("applied_usd6", self.applied_usd6)
        self._add("credited_usd6", self.credited_usd6)
        self._add("held_usd6", sum(self.held.values()))
        self._add("dropped_quotes", self._dropped)
        self._dropped = 0
        for asset in state.assets:
            self._add(f"utilization_ppm/{asset}", utilization_ppm(state, asset))
        if second % self.value_step_s == 0:
            self._sample_values(second)

    def _add(self, name: str, value: Any) -> None:
        self.series.setdefault(name, []).append(value)

    def _sample_fund(self) -> None:
        """Take all that the fund has, and all that it owes: to the settlement pool and to lenders, whose
        loans it took over with the collateral.
        """
        state = self.exchange.state
        fund = state.subaccounts[INSURANCE_FUND]
        cash_usd6 = fund.cash.get(SETTLEMENT_ASSET, 0)
        has_usd6 = sum(self._value(asset, units) for asset, units in balances_units(state, fund).items())
        borrowed_usd6 = sum(self._value(asset, owed_units(state, fund, asset)) for asset in fund.borrowed)
        self._add("fund_usd6", cash_usd6)
        self._add("fund_inventory_usd6", has_usd6 - cash_usd6)
        self._add("fund_owes_usd6", max(0, -fund.unsettled_usd6))
        self._add("fund_borrowed_usd6", borrowed_usd6)

    def _claims(self) -> int:
        subaccounts = self.exchange.state.subaccounts
        holders = self.exchange.state.unsettled_holders
        return sum(max(0, subaccounts[name].unsettled_usd6) for name in holders)

    def _sample_values(self, second: int) -> None:
        """Sample account value over what each came with, in ppm, at the percentiles."""
        state = self.exchange.state
        values = sorted(
            margin_of(state, name).account_value_usd6 * 1_000_000 // equity_usd6
            for name, equity_usd6 in self.values_of
        )
        self.value_seconds.append(second)
        for percentile in PERCENTILES:
            self._add(f"value_ppm/p{percentile:02d}", values[(len(values) - 1) * percentile // 100])
        self._add("value_ppm/below_zero", sum(value < 0 for value in values) * 1_000_000 // len(values))

    # -- what has to agree --

    def agreements(self) -> list[Agreement]:
        """Set what the events fold to beside what the engine says.

        Equal to the unit; of the book's and the backstop's notional (R25) the events give bounds, because
        they do not say whether collateral was sold for a borrow (counted) or for a loss (not counted).
        """
        self._end_order()
        state = self.exchange.state
        shares = {one.stage: one.notional_usd6 for one in stage_shares(state, self.exchange.now_ns)}
        debts = sum(-state.subaccounts[name].unsettled_usd6 for name in state.debts)
        room = {"book": self.spot_usd6, "backstop": self.taken_over_usd6}
        folded = self.stage_usd6
        return [
            Agreement("outstanding debts", sum(self.debts.values()), debts),
            Agreement("debtors", len(self.debts), len(state.debts)),
            *[
                Agreement(f"notional liquidated, {stage}", folded[stage], shares[stage], room.get(stage, 0))
                for stage in STAGES
            ],
        ]
