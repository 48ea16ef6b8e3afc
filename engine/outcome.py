"""What `apply` answers: Accepted with events, or Rejected with a reason (R3).

Owns: the two answers. `recorded` is False for an answer that left no trace in the state (the same id again,
an id reused, time going back, a malformed command): such a command is not journaled. It is no part of the
answer itself, so the same id again gets an equal one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from engine.events import Event
from engine.rejects import RejectReason


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command was done; the events say what was posted, in order."""

    events: tuple[Event, ...]
    recorded: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was done. When known: the time from which it may pass, the amount that would pass now."""

    reason: RejectReason
    detail: str = ""
    retry_at_ns: int | None = None
    would_pass_units: int | None = None
    recorded: bool = field(default=True, compare=False)


Outcome: TypeAlias = Accepted | Rejected
