"""The engine's door as the crash uses it: commands in, events out, the chain beyond it, the invariants.

Owns: command ids, the clock, what the chain holds, counts of refusals, and who listens to which events.
Rules: the state is changed by `engine.apply.apply` alone; a breach of an invariant ends the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daemon.crash.prices import EPOCH_NS, NS
from daemon.errors import InvariantBreach
from engine import commands as cm
from engine.apply import apply
from engine.invariants import check, check_after_tick, check_totals
from engine.outcome import Accepted, Outcome
from engine.params import Params
from engine.state import State, new_state

Listener = Callable[[Any], None]


class Exchange:
    """One exchange in memory."""

    def __init__(self, params: Params) -> None:
        self.state: State = new_state(params)
        self.second = 0
        self.now_ns = EPOCH_NS
        self.commands = 0
        self.events = 0
        self.checks = 0
        self.rejected: dict[tuple[str, str], int] = {}
        self.holdings = dict.fromkeys(self.state.assets, 0)
        self._listeners: dict[type[Any], list[Listener]] = {}
        self._number = 0
        self._slot = 0
        _attach_screen(self.state)

    def listen(self, kind: type[Any], listener: Listener) -> None:
        """Call a listener with every event of a kind, in the order they were posted."""
        self._listeners.setdefault(kind, []).append(listener)

    def at(self, second: int) -> None:
        """Set the clock."""
        self.second = second
        self.now_ns = EPOCH_NS + second * NS

    def new_id(self, kind: str) -> str:
        """Give an id that was not used before."""
        self._number += 1
        return f"{kind}-{self._number}"

    def do(self, command: cm.Command) -> Outcome:
        """Apply a command and tell the listeners what was posted."""
        self.commands += 1
        outcome = apply(self.state, command)
        if isinstance(outcome, Accepted):
            self.events += len(outcome.events)
            listeners = self._listeners
            for event in outcome.events:
                for listener in listeners.get(type(event), ()):
                    listener(event)
        else:
            key = (type(command).__name__, outcome.reason.value)
            self.rejected[key] = self.rejected.get(key, 0) + 1
        return outcome

    # -- the chain --

    def deposit(self, subaccount: str, asset: str, units: int, sender: str = "outside") -> Outcome:
        """Let a deposit arrive: the chain holds it whatever the engine makes of it."""
        command = cm.Deposit(self.new_id("deposit"), self.now_ns, subaccount, asset, units, sender)
        outcome = self.do(command)
        if type(outcome) is Accepted:
            self.holdings[asset] += units
        return outcome

    def confirm(self, withdrawal_id: str, asset: str, units: int, network_fee_units: int) -> Outcome:
        """Let a payout become final on chain."""
        self.holdings[asset] -= units
        self.holdings["SOL"] -= network_fee_units
        name = self.new_id("confirm")
        return self.do(
            cm.ConfirmWithdrawal(name, self.now_ns, withdrawal_id, f"signature-{name}", network_fee_units)
        )

    def attest(self) -> Outcome:
        """Attest what the chain holds."""
        self._slot += 1
        holdings = tuple(sorted(self.holdings.items()))
        return self.do(cm.AttestReserves(self.new_id("attest"), self.now_ns, holdings, self._slot))

    # -- the invariants --

    def settle(self) -> Outcome:
        """Settle, and see that the settlement closed (I4)."""
        outcome = self.do(cm.Tick(self.new_id("tick"), self.now_ns))
        self._demand(check_after_tick(self.state))
        return outcome

    def check(self, *, full: bool) -> None:
        """Check the invariants: on running totals, or recomputed from every subaccount."""
        self._demand(check(self.state) if full else check_totals(self.state))

    def _demand(self, breaches: list[Any]) -> None:
        self.checks += 1
        if breaches:
            at = f"second {self.second}: "
            raise InvariantBreach([at + f"{one.invariant}: {one.detail}" for one in breaches])


def _attach_screen(state: State) -> None:
    """Let the screen (R33) name candidates; without it every holder is checked exactly."""
    try:
        from engine.screen import attach
    except ImportError:
        return
    attach(state)
