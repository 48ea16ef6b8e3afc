"""What the auditor expects to be remembered of old commands (R4), kept as plain lists."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine import commands as c
from engine import events as e
from engine.outcome import Accepted, Outcome
from engine.params import Params

CLOCKWORK = (c.Tick, c.UpdatePrices, c.UpdateQuotes, c.AttestReserves)
SETTINGS = (
    c.OpenSubaccount,
    c.SetOnDebt,
    c.SetLending,
    c.SetMarketState,
    c.RegisterBackstop,
    c.SetBackstopCapacity,
    c.LeaveBackstop,
)
CANCELLATIONS = (c.CancelOrder, c.CancelAllOrders)
CLOCKWORK_REMEMBERED = 32

Answer = tuple[c.Command, Outcome]


@dataclass(slots=True)
class Memory:
    """What moved money is kept for ever; the rest in three rings; refused deposits not at all."""

    params: Params
    deposits: dict[str, Answer] = field(default_factory=dict)
    moved_money: dict[str, Answer] = field(default_factory=dict)
    clockwork: list[Answer] = field(default_factory=list)
    orders: dict[str, list[Answer]] = field(default_factory=dict)  # of each subaccount
    recent: list[Answer] = field(default_factory=list)

    def keep(self, command: c.Command, outcome: Outcome) -> None:
        """Remember an answer as R4 says."""
        if isinstance(command, c.Deposit):
            if isinstance(outcome, Accepted):
                self.deposits[command.id] = (command, outcome)
        elif not isinstance(outcome, Accepted) or isinstance(command, SETTINGS):
            self.recent.append((command, outcome))
            del self.recent[: -self.params.remembered_commands]
        elif isinstance(command, CLOCKWORK):
            self.clockwork.append((command, outcome))
            del self.clockwork[:-CLOCKWORK_REMEMBERED]
        elif isinstance(command, CANCELLATIONS) or (
            isinstance(command, c.PlaceOrder) and not _traded(outcome)
        ):
            ring = self.orders.setdefault(command.subaccount, [])
            ring.append((command, outcome))
            del ring[: -self.params.remembered_orders]
        else:
            self.moved_money[command.id] = (command, outcome)

    def find(self, command: c.Command) -> Answer | None:
        """Find the first answer to an id; deposits have a namespace of their own."""
        if isinstance(command, c.Deposit):
            return self.deposits.get(command.id)
        if command.id in self.moved_money:
            return self.moved_money[command.id]
        for ring in (self.recent, self.clockwork, *self.orders.values()):
            for old, answer in reversed(ring):
                if old.id == command.id:
                    return old, answer
        return None


def _traded(outcome: Accepted) -> bool:
    """R4: an order that traded at once."""
    return any(isinstance(one, e.Traded | e.SpotTraded) for one in outcome.events)
