"""The auditor: says beforehand what a command must answer and post, from the rules alone, and compares.

Its verdict on a refusal is made by listing every check that fails and taking the first in the published
precedence; the engine stops at its first. What it expects to be posted it computes in exact fractions. It
imports the engine's vocabulary (params, commands, events, rejects, units) and nothing that computes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from engine import commands as c
from engine.outcome import Accepted, Outcome, Rejected
from engine.params import Params
from engine.rejects import PRECEDENCE
from engine.rejects import RejectReason as R

from .conditions import Amount, Conditions
from .deposits import Depositor
from .gates import Gates
from .ledger import Ledger
from .lending import Lending
from .liquidating import Liquidator
from .matching import Matcher
from .memory import Memory
from .postings import Postings
from .pricing import Pricer
from .settling import Settler
from .verdicts import Verdicts
from .wellformed import is_malformed


class AuditFailed(AssertionError):
    """The engine and the auditor disagree; the message says about what."""


@dataclass(slots=True)
class Auditor:
    """Follows a run command by command."""

    params: Params
    ledger: Ledger = field(init=False)
    gates: Gates = field(init=False)
    memory: Memory = field(init=False)
    verdicts: Verdicts = field(init=False)
    postings: Postings = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = ledger = Ledger(self.params)
        self.gates = gates = Gates(ledger)
        self.memory = Memory(self.params)
        lending = Lending(ledger)
        matcher = Matcher(ledger, lending)
        settler = Settler(ledger, lending, matcher)
        depositor, pricer = Depositor(ledger, lending), Pricer(ledger)
        liquidator = Liquidator(ledger, matcher, settler)
        self.verdicts = Verdicts(ledger, gates, matcher, Conditions(ledger, lending))
        self.postings = Postings(ledger, lending, gates, matcher, settler, depositor, liquidator, pricer)

    def judge(self, command: c.Command, outcome: Outcome) -> None:
        """Compare the engine's answer with what the rules say; raises AuditFailed."""
        unrecorded = self._without_trace(command, outcome)
        if unrecorded:
            return
        if not outcome.recorded:
            raise AuditFailed(f"an answer that had to be recorded was not: {outcome}")
        self.ledger.now_ns = command.time_ns
        self.ledger.expected = []
        failing = list(self.verdicts.faults(command))
        reason = min(failing, key=PRECEDENCE.index, default=None)
        self._compare_verdict(command, outcome, reason, failing)
        if isinstance(outcome, Rejected):
            self._compare_amount(command, outcome)
        if isinstance(outcome, Accepted):
            self.postings.post(command)
            self._compare_events(command, outcome)
        self.memory.keep(command, outcome)

    def stage_shares(self) -> list[tuple[str, int, int, int, int, int, int, int, int]]:
        """R25: what the public counters of stages have to say now."""
        return self.postings.liquidator.counters.shares(self.ledger.now_ns)

    def _without_trace(self, command: c.Command, outcome: Outcome) -> bool:
        """R4: malformed, id reused, time going back, the same id again: all unrecorded."""
        known = self.memory.find(command)
        expected: Outcome | R | None = None
        if is_malformed(command):
            expected = R.MALFORMED_COMMAND
        elif known is not None:
            same = replace(known[0], time_ns=0) == replace(command, time_ns=0)
            expected = known[1] if same else R.ID_REUSED_WITH_DIFFERENT_BODY
        elif command.time_ns < self.ledger.now_ns:
            expected = R.TIME_WENT_BACK
        if expected is None:
            return False
        found = outcome.reason if isinstance(expected, R) and isinstance(outcome, Rejected) else outcome
        if found != expected or outcome.recorded:
            raise AuditFailed(f"expected {expected} without a trace, found {outcome}")
        return True

    def _compare_verdict(
        self, command: c.Command, outcome: Outcome, reason: R | None, failing: list[R]
    ) -> None:
        found = outcome.reason if isinstance(outcome, Rejected) else None
        if found is not reason:
            said = found.value if found else "accepted"
            due = reason.value if reason else "accepted"
            every = ", ".join(one.value for one in failing)
            raise AuditFailed(f"{type(command).__name__}: {said}, but the rules say {due} (failing: {every})")

    def _compare_amount(self, command: c.Command, refused: Rejected) -> None:
        """R30: a refusal for an amount says how much would pass; one for a loss, when it is collected."""
        fault, named = "", refused.would_pass_units
        if isinstance(command, Amount):
            fault = self.verdicts.conditions.misnamed(command, refused.reason, named)
        elif isinstance(command, c.PlaceOrder) and refused.reason is R.FILL_OR_KILL_UNFILLED:
            fault = "" if named == self.verdicts.matcher.fillable(command) else f"{named} would not fill"
        elif named is not None:
            fault = f"{named} is named"
        due, last_tick_ns = None, self.postings.last_tick_ns
        if refused.reason is R.UNCOLLECTED_LOSS and last_tick_ns is not None:
            due = max(command.time_ns, last_tick_ns + self.params.settlement_interval_ns)
        if fault or refused.retry_at_ns != due:
            raise AuditFailed(f"{type(command).__name__}: {refused}: {fault}")

    def _compare_events(self, command: c.Command, outcome: Accepted) -> None:
        missing = Counter(self.ledger.expected) - Counter(outcome.events)
        extra = Counter(outcome.events) - Counter(self.ledger.expected)
        if missing or extra:
            lines = [f"  expected {one}" for one in missing] + [f"  found    {one}" for one in extra]
            raise AuditFailed(f"{type(command).__name__} posted otherwise:\n" + "\n".join(lines))
        for due, said in zip(self.ledger.expected, outcome.events, strict=True):
            if due != said:
                raise AuditFailed(f"{type(command).__name__} posted in another order: {said}, due is {due}")
