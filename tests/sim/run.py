"""One exchange under test: the engine's state, the books folded from its events, and its journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.apply import apply
from engine.commands import Command
from engine.invariants import check
from engine.journal import GENESIS_HASH, Entry, chain_hash, encode_command, encode_outcome
from engine.outcome import Accepted, Outcome
from engine.params import Params, default_params
from engine.state import State, new_state
from engine.units import NETWORK_FEE_ASSET

from .books import Books


@dataclass(slots=True)
class Run:
    """Applies commands and keeps what is needed to judge them."""

    params: Params
    state: State
    books: Books = field(default_factory=Books)
    entries: list[Entry] = field(default_factory=list)
    last_hash: bytes = b""
    commands: list[Command] = field(default_factory=list)

    def apply(self, command: Command) -> Outcome:
        """Apply one command; fold its events and write it to the journal if it left a trace."""
        self.commands.append(command)
        outcome = apply(self.state, command)
        if not outcome.recorded:
            return outcome
        if isinstance(outcome, Accepted):
            self.books.post_all(outcome.events)
        sequence, body, answer = len(self.entries) + 1, encode_command(command), encode_outcome(outcome)
        self.last_hash = chain_hash(self.last_hash, sequence, body, answer)
        self.entries.append(Entry(sequence, body, answer, self.last_hash))
        return outcome

    def apply_all(self, commands: Iterable[Command]) -> list[Outcome]:
        """Apply commands in order."""
        return [self.apply(command) for command in commands]

    def assert_sound(self) -> None:
        """Assert that every invariant holds and that the folded events give the state's balances (R5)."""
        assert check(self.state) == []
        assert self.books.balances() == state_balances(self.state)


def new_run(params: Params | None = None) -> Run:
    """Start an empty exchange."""
    chosen = params or default_params()
    return Run(chosen, new_state(chosen), last_hash=GENESIS_HASH(chosen))


def state_balances(state: State) -> dict[str, Mapping[Any, int]]:
    """Read every balance out of a state by walking it, in the shape of `Books.balances`."""
    cash, base, quote, unsettled, lent, borrowed = {}, {}, {}, {}, {}, {}
    for name, one in state.subaccounts.items():
        cash.update({(name, asset): units for asset, units in one.cash.items()})
        lent.update({(name, asset): shares for asset, shares in one.lent.items()})
        borrowed.update({(name, asset): shares for asset, shares in one.borrowed.items()})
        unsettled[name] = one.unsettled_usd6
        for market, position in one.positions.items():
            base[name, market] = position.base_units
            quote[name, market] = position.quote_usd6
    pending: dict[str, int] = dict.fromkeys(state.assets, 0)
    held: dict[str, int] = dict.fromkeys(state.assets, 0)
    for withdrawal in state.withdrawals.values():
        if withdrawal.status in ("queued", "reserved"):
            pending[withdrawal.asset] += withdrawal.units
    for deposit in state.held.values():
        held[deposit.asset] += deposit.units
    left = dict(state.withdrawn_units)
    left[NETWORK_FEE_ASSET] += state.network_fees_paid_units
    kinds: dict[str, Mapping[Any, int]] = {
        "cash": cash,
        "base": base,
        "quote": quote,
        "unsettled": unsettled,
        "pending": pending,
        "held": held,
        "arrived": state.deposited_units,
        "left": left,
        "lent": lent,
        "borrowed": borrowed,
        "resting": {
            (market, order.order_id): order.units
            for market, book in state.books.items()
            for order in book.orders.values()
        },
    }
    dense: dict[str, Mapping[Any, int]] = {
        kind: {key: value for key, value in held_.items() if value} for kind, held_ in kinds.items()
    }
    dense["network_fees_owed"] = {"": state.network_fees_owed_units}
    return dense


def quick_params() -> Params:
    """Give parameters with short times, few open orders, a short memory: a random run meets them all."""
    return replace(
        default_params(),
        gate_max_ns=60 * 10**9,
        velocity_max_ns=60 * 10**9,
        max_open_orders=2,
        remembered_commands=12,
        remembered_orders=3,
    )
