"""The one door: apply(state, command) -> Accepted | Rejected (R3, R4).

Owns: what is common to all commands: well-formed fields, one answer per id, time that never goes back, and
the order in which the parts of the engine act at a tick and at a change of prices. Rules: total,
deterministic, no I/O, no clock, no randomness. A handler checks, then plans, then posts; nothing is posted
before its last check.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from engine import commands as cm
from engine.backstop import leave_backstop, register_backstop, set_backstop_capacity
from engine.borrowing import (
    borrow_by_command,
    lend_by_command,
    redeem_by_command,
    repay_by_command,
    set_lending,
)
from engine.deposits import accept_held, deposit, release_held, return_held
from engine.events import Event, OnDebtSet, PricesUpdated, SpotTraded, SubaccountOpened, Traded
from engine.funding import pay_funding, sample_premium
from engine.gates import attest, attestation_fault, sample_levels
from engine.insurance import cover_debts, declare_if_bankrupt, end_settled_debts, socialize_old_debts
from engine.inventory import run_inventory
from engine.ledger import emit
from engine.lending import accrue_all, lend_idle, put_fund_in_order
from engine.liquidation import run_liquidations
from engine.orders import cancel_all_orders, cancel_order, place_order, set_market_state
from engine.outcome import Accepted, Outcome, Rejected
from engine.prices import price_fault
from engine.quotes import quotes_fault, take_quotes
from engine.rejects import RejectReason
from engine.settlement import collect, pay_claims, settle_positions, settle_rounding
from engine.state import State, Subaccount
from engine.trading import block_trade, transfer
from engine.units import FEES, INSURANCE_FUND, ROUNDING, SYSTEM_ACCOUNTS
from engine.wellformed import malformed_field
from engine.withdrawals import (
    cancel_withdrawal,
    confirm_withdrawal,
    pay_network_fee,
    release_queued,
    request_withdrawal,
    return_withdrawal,
)

__all__ = ["Accepted", "Outcome", "Rejected", "apply"]

# A tick's answer names every position. Whoever sends ticks and prices repeats the last one at most.
CLOCKWORK_REMEMBERED = 32
_CLOCKWORK = (cm.Tick, cm.UpdatePrices, cm.UpdateQuotes, cm.AttestReserves)
_ORDERS = (cm.PlaceOrder, cm.CancelOrder, cm.CancelAllOrders)
_TRADES = (Traded, SpotTraded)


def apply(state: State, command: cm.Command) -> Outcome:
    """Do a command or refuse it; the only way to change a state (R3).

    Before its handler speaks, any command may be rejected as malformed_command, id_reused_with_different_body
    or time_went_back; the same id with the same body, whatever its time, gets the first answer again (R4).
    None of these leaves a trace (`recorded` is False).
    """
    kind = type(command)
    handler, kept_for_ever, body_of = _HANDLERS[kind]
    fault = malformed_field(command)
    if fault:
        return Rejected(RejectReason.MALFORMED_COMMAND, fault, recorded=False)
    if kind is cm.Deposit:
        known = state.deposit_answers.get(command.id)
    else:
        known = _known(state, command.id)
    if known is not None:
        first, answer = known
        if type(first) is not kind or body_of(first) != body_of(command):
            return Rejected(RejectReason.ID_REUSED_WITH_DIFFERENT_BODY, recorded=False)
        return _repeated(answer)
    if command.time_ns < state.last_time_ns:
        detail = f"the last command was at {state.last_time_ns}"
        return Rejected(RejectReason.TIME_WENT_BACK, detail, recorded=False)
    state.last_time_ns = command.time_ns
    state.sequence += 1
    outcome = handler(state, command)
    if type(outcome) is Accepted and (kept_for_ever or (kind is cm.PlaceOrder and _has_traded(outcome))):
        answers = state.deposit_answers if kind is cm.Deposit else state.answers
        answers[command.id] = (command, outcome)
    elif kind is not cm.Deposit:
        # The chain decides a deposit's id: one that was refused must be creditable later (R4).
        _remember_for_a_while(state, command, outcome)
    return outcome


def _has_traded(outcome: Accepted) -> bool:
    """Tell whether an order moved money at once: then its answer is kept for ever (R4)."""
    return any(type(event) in _TRADES for event in outcome.events)


def _repeated(answer: Outcome) -> Outcome:
    if isinstance(answer, Accepted):
        return Accepted(answer.events, recorded=False)
    return Rejected(answer.reason, answer.detail, answer.retry_at_ns, answer.would_pass_units, recorded=False)


def _known(state: State, command_id: str) -> tuple[cm.Command, Outcome] | None:
    found = state.answers.get(command_id)
    return (
        found
        or state.order_answers.get(command_id)
        or state.recent_answers.get(command_id)
        or state.clockwork_answers.get(command_id)
    )


def _remember_for_a_while(state: State, command: cm.Command, outcome: Outcome) -> None:
    answers, kept = state.recent_answers, state.params.remembered_commands
    if type(outcome) is Accepted:
        if isinstance(command, _ORDERS):
            # Nobody's order pushes out the answer to another's.
            state.order_answers[command.id] = (command, outcome)
            ids = state.order_ids.get(command.subaccount)
            if ids is None:
                ids = state.order_ids[command.subaccount] = deque()
            ids.append(command.id)
            while len(ids) > state.params.remembered_orders:
                del state.order_answers[ids.popleft()]
            return
        if type(command) in _CLOCKWORK:
            answers, kept = state.clockwork_answers, CLOCKWORK_REMEMBERED
    answers[command.id] = (command, outcome)
    while len(answers) > kept:
        del answers[next(iter(answers))]


def _open_subaccount(state: State, command: cm.OpenSubaccount) -> Outcome:
    """Open a subaccount. Rejects: subaccount_already_open, system_account_not_allowed."""
    if command.subaccount in SYSTEM_ACCOUNTS:
        return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED)
    if command.subaccount in state.subaccounts:
        return Rejected(RejectReason.SUBACCOUNT_ALREADY_OPEN)
    # No refusal below this line.
    out: list[Event] = []
    emit(state, out, SubaccountOpened(command.subaccount, command.on_debt))
    return Accepted(tuple(out))


def _set_on_debt(state: State, command: cm.SetOnDebt) -> Outcome:
    """Set what later deposits do on a debt (R29). Rejects: unknown_subaccount, system_account_not_allowed."""
    one = state.subaccounts.get(command.subaccount)
    if one is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    if one.is_system:
        return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED)
    # No refusal below this line.
    out: list[Event] = []
    emit(state, out, OnDebtSet(one.id, command.on_debt))
    return Accepted(tuple(out))


def _update_prices(state: State, command: cm.UpdatePrices) -> Outcome:
    """Set prices and close whoever they endanger (R20). Rejects: unknown_asset, unknown_market,
    price_out_of_range.
    """
    fault = price_fault(state, command)
    if fault is not None:
        return fault
    # No refusal below this line.
    out: list[Event] = []
    emit(state, out, PricesUpdated(command.index_prices, command.mark_prices))
    assets = [asset for asset, _ in command.index_prices]
    marked = [market for market, _ in command.mark_prices]
    for market, params in state.markets.items():
        if not params.is_spot and (market in marked or params.asset in assets):
            sample_premium(state, market)
    _after_prices(state, out)
    return Accepted(tuple(out))


def _update_quotes(state: State, command: cm.UpdateQuotes) -> Outcome:
    """Set an asset's index and its marks out of quotes and books (R13), then act as on any price (R20).

    Rejects: unknown_asset.
    """
    fault = quotes_fault(state, command)
    if fault is not None:
        return fault
    # No refusal below this line.
    out: list[Event] = []
    take_quotes(state, command, out)
    _after_prices(state, out)
    return Accepted(tuple(out))


def _after_prices(state: State, out: list[Event]) -> None:
    """Act on new prices: liquidate (R20), end debts, release held deposits (R29)."""
    run_liquidations(state, out)
    run_inventory(state, out)
    end_settled_debts(state, out)
    release_held(state, out)


def _tick(state: State, command: cm.Tick) -> Outcome:
    """Settle (R26, R27). The order: close, realize, collect, close again whom a conversion endangered,
    cover, pay, write off.
    """
    out: list[Event] = []
    accrue_all(state, out)
    put_fund_in_order(state, out)
    pay_funding(state, command.time_ns, out)
    run_liquidations(state, out)
    run_inventory(state, out)
    losers = _settle(state, out)
    # A haircut can cost a subaccount its maintenance margin; what closing it moved is settled as well.
    if run_liquidations(state, out):
        known = {one.id for one in losers}
        losers += [one for one in _settle(state, out) if one.id not in known]
    for one in losers:
        declare_if_bankrupt(state, one, out)
    cover_debts(state, out)
    pay_claims(state, out)
    socialize_old_debts(state, command.time_ns, out)
    end_settled_debts(state, out)
    release_held(state, out)
    release_queued(state, command.time_ns, out)
    lend_idle(state, out)
    sample_levels(state, command.time_ns)
    state.last_tick_ns = command.time_ns
    return Accepted(tuple(out))


def _settle(state: State, out: list[Event]) -> list[Subaccount]:
    """Realize every position and collect every loss (R26); give the customers who had one."""
    settle_positions(state, state.subaccounts[FEES], out)
    for market in state.markets:
        for one in state.ordered(state.holders[market]):
            settle_positions(state, one, out)
    settle_rounding(state, out)
    collect(state, state.subaccounts[INSURANCE_FUND], out)
    collect(state, state.subaccounts[ROUNDING], out)
    losers = [
        one for one in state.ordered(state.unsettled_holders) if one.unsettled_usd6 < 0 and not one.is_system
    ]
    for one in losers:
        collect(state, one, out)
    return losers


def _attest_reserves(state: State, command: cm.AttestReserves) -> Outcome:
    """Take note of reserves and let wait no longer what waited for them. Rejects: as `attestation_fault`."""
    fault = attestation_fault(state, command)
    if fault is not None:
        return fault
    # No refusal below this line.
    out: list[Event] = []
    attest(state, command, out)
    release_queued(state, command.time_ns, out)
    return Accepted(tuple(out))


def _body_of(kind: type[Any]) -> Callable[[Any], Any]:
    return attrgetter("id", *[one.name for one in fields(kind) if one.name not in ("id", "time_ns")])


_Handler = Callable[[State, Any], Outcome]

# Per command: its handler, and whether its acceptance is kept for ever (R4: whatever moves money). Refusals
# are not, or anybody could fill the memory with requests that are refused.
_TABLE: dict[type[Any], tuple[_Handler, bool]] = {
    cm.OpenSubaccount: (_open_subaccount, False),
    cm.SetOnDebt: (_set_on_debt, False),
    cm.UpdatePrices: (_update_prices, False),
    cm.BlockTrade: (block_trade, True),
    cm.PlaceOrder: (place_order, False),
    cm.CancelOrder: (cancel_order, False),
    cm.CancelAllOrders: (cancel_all_orders, False),
    cm.SetMarketState: (set_market_state, False),
    cm.UpdateQuotes: (_update_quotes, False),
    cm.Tick: (_tick, False),
    cm.Deposit: (deposit, True),
    cm.AcceptHeldDeposit: (accept_held, True),
    cm.ReturnHeldDeposit: (return_held, True),
    cm.Transfer: (transfer, True),
    cm.SetLending: (set_lending, False),
    cm.Lend: (lend_by_command, True),
    cm.Redeem: (redeem_by_command, True),
    cm.Borrow: (borrow_by_command, True),
    cm.Repay: (repay_by_command, True),
    cm.RequestWithdrawal: (request_withdrawal, True),
    cm.ConfirmWithdrawal: (confirm_withdrawal, True),
    cm.ReturnWithdrawal: (return_withdrawal, True),
    cm.CancelWithdrawal: (cancel_withdrawal, True),
    cm.PayNetworkFee: (pay_network_fee, True),
    cm.AttestReserves: (_attest_reserves, False),
    cm.RegisterBackstop: (register_backstop, False),
    cm.SetBackstopCapacity: (set_backstop_capacity, False),
    cm.LeaveBackstop: (leave_backstop, False),
}
_HANDLERS = {kind: (handler, kept, _body_of(kind)) for kind, (handler, kept) in _TABLE.items()}
