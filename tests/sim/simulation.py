"""The simulation itself: one seeded generator, the engine, the books, the auditor and the invariants."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path

from engine.commands import Command, Tick
from engine.invariants import check, check_after_tick, check_totals
from engine.journal import Entry, replay
from engine.outcome import Accepted, Outcome
from engine.params import params_from_json, params_to_json
from engine.snapshot import dump_state, load_state, state_hash
from engine.stages import stage_shares
from engine.state import State, new_state

from .auditor import AuditFailed, Auditor
from .generator import Generator, RandomChooser
from .run import Run, new_run, quick_params, state_balances


@dataclass(slots=True)
class Simulation:
    """Runs commands and audits every one; raises AssertionError at the first disagreement."""

    seed: int
    full_check_every: int = 1
    run: Run = field(init=False)
    auditor: Auditor = field(init=False)
    generator: Generator = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)
    last_command: Command | None = None
    _snapshot: tuple[bytes, int, bytes] | None = None

    def __post_init__(self) -> None:
        chooser = RandomChooser(random.Random(self.seed))
        # Odd seeds run with short queues, so that most withdrawals wait and leave the queue by time.
        self.run = new_run(quick_params() if self.seed % 2 else None)
        self.generator = Generator(chooser, self.run.params, self.run.books)
        self.generator.lending_weight = 12
        self.generator.silence_percent = 10
        self.auditor = Auditor(self.run.params)

    def commands(self, steps: int) -> Iterator[Command]:
        """Give the opening, then `steps` random commands."""
        yield from self.generator.opening()
        for _ in range(steps):
            yield self.generator.next()

    def step(self, command: Command) -> Outcome:
        """Apply one command and judge it."""
        self.last_command = command
        outcome = self.run.apply(command)
        self.auditor.judge(command, outcome)
        assert self.auditor.ledger.books.balances() == self.run.books.balances()
        assert check_totals(self.run.state) == []
        if isinstance(command, Tick) and isinstance(outcome, Accepted) and outcome.recorded:
            assert check_after_tick(self.run.state) == []
        if len(self.run.entries) % self.full_check_every == 0:
            self.check_stages()
            assert check(self.run.state) == []
            assert self.run.books.balances() == state_balances(self.run.state)
        self._count(command, outcome)
        return outcome

    def check_stages(self) -> None:
        """R25: the public counters of stages are what the auditor counted."""
        now_ns = self.run.state.last_time_ns
        found = [astuple(one) for one in stage_shares(self.run.state, now_ns)]
        expected = self.auditor.stage_shares()
        if found != expected:
            raise AuditFailed(f"R25: the counters are {found}, but the rules say {expected}")

    def take_snapshot(self) -> None:
        """Remember the state now; `finish` replays the rest of the journal from here."""
        self._snapshot = (dump_state(self.run.state), len(self.run.entries), self.run.last_hash)

    def finish(self) -> str:
        """Replay the journal from nothing and from the snapshot; give the state hash they agree on (R5)."""
        final = state_hash(self.run.state)
        fresh = new_state(self.run.params)
        assert replay(fresh, self.run.entries) == self.run.last_hash
        assert state_hash(fresh) == final
        if self._snapshot is not None:
            dump, place, previous = self._snapshot
            resumed = load_state(dump)
            assert replay(resumed, self.run.entries[place:], previous) == self.run.last_hash
            assert state_hash(resumed) == final
        assert check(self.run.state) == []
        return final

    def _count(self, command: Command, outcome: Outcome) -> None:
        name = type(command).__name__
        if not outcome.recorded:
            self.counts[f"{name}: left no trace"] += 1
        elif isinstance(outcome, Accepted):
            self.counts[f"{name}: accepted"] += 1
            for event in outcome.events:
                self.counts[f"event {type(event).__name__}"] += 1
        else:
            self.counts[f"{name}: refused"] += 1
            self.counts[f"refusal {outcome.reason.value}"] += 1


def write_journal(path: Path, simulation: Simulation, why: str) -> None:
    """Write a failing run: parameters, seed, the reason, every entry, and the command that failed."""
    body = {
        "params": params_to_json(simulation.run.params),
        "seed": simulation.seed,
        "why": why,
        "failing_command": repr(simulation.last_command),
        "entries": [
            [entry.sequence, entry.command.decode(), entry.outcome.decode(), entry.hash.hex()]
            for entry in simulation.run.entries
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=1) + "\n")


def replay_journal(path: Path) -> State:
    """Replay a journal written by `write_journal` and give its final state; raises JournalCorrupt."""
    body = json.loads(path.read_text())
    state = new_state(params_from_json(body["params"]))
    entries = [
        Entry(sequence, command.encode(), outcome.encode(), bytes.fromhex(digest))
        for sequence, command, outcome, digest in body["entries"]
    ]
    replay(state, entries)
    return state
