"""What the auditor expects to be remembered of old commands (R4), kept as plain lists."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine import commands as c
from engine.outcome import Accepted, Outcome

CLOCKWORK = (c.Tick, c.UpdatePrices, c.AttestReserves)
HARMLESS = (c.OpenSubaccount, c.SetOnDebt)
CLOCKWORK_REMEMBERED = 32


@dataclass(slots=True)
class Memory:
    """Acceptances that moved money are kept for ever; the rest in two rings; refused deposits not at all."""

    remembered_commands: int
    deposits: dict[str, tuple[c.Command, Outcome]] = field(default_factory=dict)
    moved_money: dict[str, tuple[c.Command, Outcome]] = field(default_factory=dict)
    clockwork: list[tuple[c.Command, Outcome]] = field(default_factory=list)
    recent: list[tuple[c.Command, Outcome]] = field(default_factory=list)

    def keep(self, command: c.Command, outcome: Outcome) -> None:
        """Remember an answer as R4 says."""
        accepted = isinstance(outcome, Accepted)
        if isinstance(command, c.Deposit):
            if accepted:
                self.deposits[command.id] = (command, outcome)
        elif accepted and isinstance(command, CLOCKWORK):
            self.clockwork = [*self.clockwork, (command, outcome)][-CLOCKWORK_REMEMBERED:]
        elif accepted and not isinstance(command, HARMLESS):
            self.moved_money[command.id] = (command, outcome)
        else:
            self.recent.append((command, outcome))
            del self.recent[: -self.remembered_commands]

    def find(self, command: c.Command) -> tuple[c.Command, Outcome] | None:
        """Find the first answer to an id; deposits have a namespace of their own."""
        if isinstance(command, c.Deposit):
            return self.deposits.get(command.id)
        if command.id in self.moved_money:
            return self.moved_money[command.id]
        kept = {old.id: (old, answer) for old, answer in self.recent + self.clockwork}
        return kept.get(command.id)
