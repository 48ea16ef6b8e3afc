"""What happens to a subaccount below maintenance margin (R20-R24): the driver of the state machine.

Owns: who enters, whose step is due, and what a step does in each stage; engine/waterfall.py has the table
and the questions. Rules: everyone who fails enters before anybody makes a step, so that all of them can be
netted; steps go by order of entry; a market whose index or mark is stale sees only the book (R13). Must not
know how a provider or a counterparty is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.adl import Opposites, auto_deleverage, net_liquidatees
from engine.backstop import take_by_backstop
from engine.borrow_closing import close_borrows
from engine.danger import endangered
from engine.events import Event, LiquidationEnded, LiquidationStageChanged, LiquidationStarted
from engine.insurance import declare_if_bankrupt
from engine.ledger import emit
from engine.lending import redeem_for_liquidation, repay_from_cash
from engine.margin import Margin, is_recovered, margin_with
from engine.markets import has_stale_price
from engine.orders import cancel_all
from engine.settlement import cancel_queued, collect, settle_positions
from engine.small_steps import take_a_step
from engine.stages import ADL, BACKSTOP, BOOK, count_fill
from engine.state import State, Subaccount
from engine.units import SubaccountId
from engine.waterfall import (
    BACKSTOP_EXHAUSTED,
    BANKRUPT,
    FAILED,
    HEALTHY,
    RUINED,
    finding_of_recovery,
    finding_on_the_book,
    has_nothing_to_close,
    next_state,
    state_of,
)
from engine.zero_price import markets_by_maintenance


@dataclass(frozen=True, slots=True)
class LiquidationStatus:
    """Where a subaccount stands in the waterfall (R20); times are 0 while it is not in liquidation."""

    state: str
    since_ns: int
    next_step_ns: int
    idle_steps: int
    margin: Margin


def liquidation_status(state: State, subaccount: SubaccountId) -> LiquidationStatus:
    """Describe a subaccount's liquidation at the present prices. Raises KeyError for an unknown one."""
    one = state.subaccounts[subaccount]
    margin = margin_with(state, one)
    liquidation = state.liquidations.get(subaccount)
    if liquidation is None:
        return LiquidationStatus(state_of(state, one), 0, 0, 0, margin)
    return LiquidationStatus(
        liquidation.stage, liquidation.since_ns, liquidation.next_step_ns, liquidation.idle_steps, margin
    )


def run_liquidations(state: State, out: list[Event]) -> bool:
    """Let everyone who fails enter, then make every step that is due (R20). True if any step was made."""
    for one in endangered(state):
        if one.id not in state.liquidations:
            _enter(state, one, out)
    now_ns = state.last_time_ns
    due = [name for name, one in state.liquidations.items() if one.next_step_ns <= now_ns]
    opposites = Opposites(state, out)
    for name in due:
        _step(state, state.subaccounts[name], opposites, out)
    return bool(due)


def _enter(state: State, one: Subaccount, out: list[Event]) -> None:
    """Begin a liquidation with stage 0 (R21)."""
    next_state(state_of(state, one), FAILED)
    margin = margin_with(state, one)
    emit(
        state,
        out,
        LiquidationStarted(
            one.id, margin.net_equity_usd6, margin.account_value_usd6, margin.maintenance_margin_usd6
        ),
    )
    cancel_all(state, one, out)
    cancel_queued(state, one, out)
    settle_positions(state, one, out)
    redeem_for_liquidation(state, one, out)
    repay_from_cash(state, one, out)
    state.liquidations[one.id].entry_units = {
        market: abs(position.base_units)
        for market, position in sorted(one.positions.items())
        if position.base_units
    }


def _step(state: State, one: Subaccount, opposites: Opposites, out: list[Event]) -> None:
    """Make one step (R20): over? next stage? act; over?"""
    liquidation = state.liquidations[one.id]
    liquidation.next_step_ns = state.last_time_ns + state.params.step_ns
    if _is_over(state, one, out):
        return
    if liquidation.stage == BOOK:
        finding = finding_on_the_book(state, liquidation, margin_with(state, one))
        if finding:
            _advance(state, one, finding, out)
    markets = markets_by_maintenance(state, one)
    stale = [market for market in markets if has_stale_price(state, state.markets[market])]
    fresh = [market for market in markets if market not in stale]
    if liquidation.stage == BOOK:
        filled = _trade_on_the_book(state, one, markets, out)
        filled = close_borrows(state, one, False, out) or filled
        liquidation.idle_steps = 0 if filled else liquidation.idle_steps + 1
    else:
        _trade_on_the_book(state, one, stale, out)
    if liquidation.stage == BACKSTOP:
        for market in fresh:
            if _has_recovered(state, one):
                break
            take_by_backstop(state, one, market, out)
        if not _has_recovered(state, one) and any(_base(one, market) for market in fresh):
            _advance(state, one, BACKSTOP_EXHAUSTED, out)
    if liquidation.stage == ADL:
        _deleverage(state, one, opposites, out)
    if liquidation.stage != BOOK and one.borrowed:
        close_borrows(state, one, True, out)
    _is_over(state, one, out)


def _is_over(state: State, one: Subaccount, out: list[Event]) -> bool:
    """Ask whether a liquidation is over, and end it (R20). When nothing is left to close, its loss is
    collected first.
    """
    if has_nothing_to_close(one):
        settle_positions(state, one, out)
        collect(state, one, out)
        declare_if_bankrupt(state, one, out)
    if one.id in state.debts:
        finding = RUINED
    else:
        finding = finding_of_recovery(state, one, margin_with(state, one))
    if not finding:
        return False
    after = next_state(state.liquidations[one.id].stage, finding)
    emit(state, out, LiquidationEnded(one.id, finding))
    return after in (HEALTHY, BANKRUPT)


def _advance(state: State, one: Subaccount, finding: str, out: list[Event]) -> None:
    stage = next_state(state.liquidations[one.id].stage, finding)
    emit(state, out, LiquidationStageChanged(one.id, stage, finding))


def _trade_on_the_book(state: State, one: Subaccount, markets: list[str], out: list[Event]) -> bool:
    """Make one small order per market (R22), until recovered. True if anything was filled."""
    filled = False
    for market in markets:
        if _has_recovered(state, one):
            break
        base_units = _base(one, market)
        entry_units = state.liquidations[one.id].entry_units.get(market, 0)
        traded = take_a_step(state, one, market, base_units < 0, abs(base_units), entry_units, out)
        if traded:
            filled = True
            count_fill(state, one, BOOK, market, traded)
    return filled


def _deleverage(state: State, one: Subaccount, opposites: Opposites, out: list[Event]) -> None:
    """Net, then deleverage, market by market, until recovered (R24)."""
    for market in markets_by_maintenance(state, one):
        if has_stale_price(state, state.markets[market]):
            continue
        for close in (net_liquidatees, auto_deleverage):
            if _has_recovered(state, one):
                return
            close(state, one, market, opposites, out)


def _has_recovered(state: State, one: Subaccount) -> bool:
    return is_recovered(state, margin_with(state, one))


def _base(one: Subaccount, market: str) -> int:
    position = one.positions.get(market)
    return 0 if position is None else position.base_units
