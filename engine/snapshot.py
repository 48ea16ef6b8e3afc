"""The canonical dump of a state, its reading back and its hash (R5).

Owns: what a snapshot looks like. Rules: equal states have equal dumps on any machine; every fact stands in it
once, derived indices and running totals are rebuilt on load. Must not know rules.
"""

from __future__ import annotations

from collections import deque
from hashlib import sha256
from typing import Any

from engine.book import Book, Order
from engine.codec import (
    CodecError,
    build,
    decode_plain,
    dumps_sorted,
    encode_plain,
    loads,
    row,
    unrow,
)
from engine.commands import CancelAllOrders, CancelOrder, Command, PlaceOrder
from engine.outcome import Outcome
from engine.params import Params
from engine.state import (
    OPEN_STATUSES,
    Attestation,
    Average,
    BackstopCapacity,
    HeldDeposit,
    LendingPool,
    Liquidation,
    Position,
    Premium,
    Price,
    StageTotals,
    State,
    Subaccount,
    Withdrawal,
    add_subaccount,
    auto_defaults,
    by_order,
    count_open_order,
    new_state,
    queue_withdrawal,
)
from engine.units import ENGINE_VERSION
from engine.wire import answer_of, answer_row


def dump_state(state: State) -> bytes:
    """Write the canonical JSON of a state: equal states have equal dumps, on any machine (R5)."""
    subaccounts = sorted(state.subaccounts.values(), key=by_order)
    return dumps_sorted(
        {
            "engine_version": ENGINE_VERSION,
            "params": encode_plain(state.params),
            "subaccounts": [_subaccount_row(one) for one in subaccounts],
            "books": {key: _book_row(book) for key, book in state.books.items()},
            "market_states": state.market_states,
            "premiums": {key: row(one) for key, one in state.premiums.items()},
            "index_prices": _rows(state.index_prices),
            "mark_prices": _rows(state.mark_prices),
            "debts": [[key, since_ns] for key, since_ns in state.debts.items()],
            "liquidations": [[key, *row(one)] for key, one in state.liquidations.items()],
            "backstops": [
                [key, [[market, *row(one)] for market, one in capacities.items()]]
                for key, capacities in state.backstops.items()
            ],
            "stages": {key: row(one) for key, one in state.stages.items()},
            "inventory": state.inventory,
            "held": [row(one) for one in state.held.values()],
            "withdrawals": [row(one) for one in state.withdrawals.values()],
            "queued": list(state.queued),
            "attestation": _attestation_row(state.attestation),
            "pools": {key: row(one) for key, one in state.pools.items()},
            "lending": [_lending_row(one) for one in subaccounts if _has_lending(state.params, one)],
            "averages": {
                key: [one.level_units, one.since_ns, one.buckets] for key, one in state.averages.items()
            },
            **{name: _answer_rows(getattr(state, name)) for name in _ANSWER_FIELDS},
            **{name: getattr(state, name) for name in _PLAIN_FIELDS},
        }
    )


def load_state(text: bytes) -> State:
    """Read what `dump_state` wrote; raises ValueError saying where it is not that."""
    try:
        return _load(text)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CodecError(f"snapshot: {type(error).__name__} {error}") from error


def state_hash(state: State) -> str:
    """Give the hex sha256 of the canonical dump, which names ENGINE_VERSION (R5)."""
    return sha256(dump_state(state)).hexdigest()


_ANSWER_FIELDS = ("deposit_answers", "answers", "order_answers", "recent_answers", "clockwork_answers")
_PLAIN_FIELDS = (
    "deposited_units",
    "withdrawn_units",
    "network_fees_paid_units",
    "network_fees_owed_units",
    "rounding_postings",
    "last_time_ns",
    "last_tick_ns",
    "last_funding_ns",
    "next_inventory_step_ns",
    "fund_short_since_ns",
    "fund_short_usd6",
    "last_deficit_ns",
    "sequence",
)


def _load(text: bytes) -> State:
    plain = loads(text)
    if plain["engine_version"] != ENGINE_VERSION:
        raise CodecError(f"snapshot: of engine version {plain['engine_version']}, this is {ENGINE_VERSION}")
    state = new_state(decode_plain(plain["params"], Params))
    state.subaccounts.clear()
    for one in plain["subaccounts"]:
        _load_subaccount(state, one)
    state.index_prices = {key: unrow(one, Price, key) for key, one in plain["index_prices"].items()}
    state.mark_prices = {key: unrow(one, Price, key) for key, one in plain["mark_prices"].items()}
    for market, (last_order_id, orders) in plain["books"].items():
        _load_book(state, market, last_order_id, orders)
    state.market_states = dict(plain["market_states"])
    state.premiums = {key: unrow(one, Premium, key) for key, one in plain["premiums"].items()}
    state.debts = dict(plain["debts"])
    state.totals.debts_usd6 = -sum([state.subaccounts[name].unsettled_usd6 for name in state.debts])
    _load_liquidations(state, plain)
    for one in plain["held"]:
        held = unrow(one, HeldDeposit, "held")
        state.held[held.deposit_id] = held
        state.totals.held_units[held.asset] += held.units
    for one in plain["withdrawals"]:
        withdrawal = unrow(one, Withdrawal, "withdrawals")
        state.withdrawals[withdrawal.withdrawal_id] = withdrawal
        if withdrawal.status in OPEN_STATUSES:
            state.totals.pending_units[withdrawal.asset] += withdrawal.units
    for name in plain["queued"]:
        queue_withdrawal(state, state.withdrawals[name])
    if plain["attestation"] is not None:
        slot, time_ns, surplus_units = plain["attestation"]
        state.attestation = Attestation(slot, time_ns, surplus_units)
    _load_lending(state, plain)
    state.averages = {
        key: Average(level, since, [(start, end, integral) for start, end, integral in buckets])
        for key, (level, since, buckets) in plain["averages"].items()
    }
    for name in _ANSWER_FIELDS:
        getattr(state, name).update({answer[0].id: answer for answer in map(answer_of, plain[name])})
    for command, _ in state.order_answers.values():
        if isinstance(command, PlaceOrder | CancelOrder | CancelAllOrders):
            state.order_ids.setdefault(command.subaccount, deque()).append(command.id)
    for name in _PLAIN_FIELDS:
        setattr(state, name, plain[name])
    return state


def _load_liquidations(state: State, plain: dict[str, Any]) -> None:
    for name, stage, since_ns, next_step_ns, idle_steps, entry_units, used_stages in plain["liquidations"]:
        state.liquidations[name] = Liquidation(
            stage, since_ns, next_step_ns, idle_steps, dict(entry_units), list(used_stages)
        )
    for name, capacities in plain["backstops"]:
        state.backstops[name] = {market: BackstopCapacity(*numbers) for market, *numbers in capacities}
    for stage, (notional_usd6, fills, subaccounts, buckets) in plain["stages"].items():
        totals = StageTotals(notional_usd6, fills, subaccounts)
        totals.buckets = [(start, notional, n, m) for start, notional, n, m in buckets]
        state.stages[stage] = totals
    state.inventory = {asset: (entry, seen) for asset, (entry, seen) in plain["inventory"].items()}


def _answer_rows(answers: dict[str, tuple[Command, Outcome]]) -> list[object]:
    return [answer_row(command, answer) for command, answer in answers.values()]


def _load_subaccount(state: State, plain: list[object]) -> None:
    name, on_debt, unsettled_usd6, cash, positions = plain
    one = add_subaccount(state, build(name, str, "subaccount"), build(on_debt, str, "on_debt"))
    one.unsettled_usd6 = build(unsettled_usd6, int, "unsettled_usd6")
    state.totals.unsettled_usd6 += one.unsettled_usd6
    if one.unsettled_usd6:
        state.unsettled_holders[one.id] = None
    for asset, units in build(cash, tuple[tuple[str, int], ...], "cash"):
        one.cash[asset] = units
        state.totals.cash_units[asset] += units
    for market, base_units, quote_usd6, entry_cost in build(
        positions, tuple[tuple[str, int, int, int], ...], "positions"
    ):
        one.positions[market] = Position(base_units, quote_usd6, entry_cost)
        state.totals.base_units[market] += base_units
        state.totals.quote_usd6[market] += quote_usd6
        if not one.is_system:
            state.holders[market][one.id] = None


def _subaccount_row(one: Subaccount) -> list[object]:
    positions = [[market, *row(held)] for market, held in sorted(one.positions.items())]
    return [one.id, one.on_debt, one.unsettled_usd6, sorted(one.cash.items()), positions]


def _book_row(book: Book) -> list[object]:
    """Write a book in priority order: loading it again in this order restores every priority."""
    return [book.last_order_id, [row(order) for order in book.in_priority()]]


def _load_book(state: State, market: str, last_order_id: int, orders: list[object]) -> None:
    book = state.books[market]
    book.last_order_id = build(last_order_id, int, "last_order_id")
    for one in orders:
        order = unrow(one, Order, "books")
        book.rest(order)
        state.subaccounts[order.subaccount].open_order_count += 1
        count_open_order(state, market, order, order.units)


def _has_lending(params: Params, one: Subaccount) -> bool:
    """Tell whether a subaccount differs in lending from one just opened; only then it has a row."""
    if one.lent or one.borrowed:
        return True
    auto = (one.auto_lend, one.auto_borrow, one.auto_repay)
    return not one.is_system and auto != auto_defaults(params)


def _lending_row(one: Subaccount) -> list[object]:
    auto = [int(one.auto_lend), int(one.auto_borrow), int(one.auto_repay)]
    return [one.id, auto, sorted(one.lent.items()), sorted(one.borrowed.items())]


def _load_lending(state: State, plain: dict[str, Any]) -> None:
    for asset in state.assets:
        state.pools[asset] = unrow(plain["pools"][asset], LendingPool, asset)
    for name, auto, lent, borrowed in plain["lending"]:
        one = state.subaccounts[build(name, str, "lending")]
        lend, borrow, repay = build(auto, tuple[int, int, int], "lending")
        one.auto_lend, one.auto_borrow, one.auto_repay = bool(lend), bool(borrow), bool(repay)
        one.lent = dict(build(lent, tuple[tuple[str, int], ...], "lent"))
        one.borrowed = dict(build(borrowed, tuple[tuple[str, int], ...], "borrowed"))
        if one.borrowed:
            state.borrowers[one.id] = None
    for customer in state.subaccounts.values():
        for asset in customer.cash if customer.auto_lend else ():
            state.idle[asset][customer.id] = None


def _attestation_row(one: Attestation | None) -> list[object] | None:
    return None if one is None else [one.slot, one.time_ns, one.surplus_units]


def _rows(prices: dict[str, Price]) -> dict[str, list[object]]:
    return {key: row(one) for key, one in prices.items()}
