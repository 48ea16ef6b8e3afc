"""A short simulation in every test run, and proof that the auditor and the books notice a lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from engine import events as e
from engine.commands import COMMAND_TYPES, Tick
from engine.events import EVENT_TYPES
from engine.journal import JournalCorrupt
from engine.outcome import Accepted, Rejected
from engine.rejects import PRECEDENCE, RejectReason
from engine.state import state_hash

from .auditor import AuditFailed
from .books import Books
from .simulation import Simulation, replay_journal, write_journal

STEPS = 1_500


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_r5_a_seeded_simulation_is_as_the_auditor_says(seed: int) -> None:
    """Every verdict, every posting and every balance of some thousand random commands is predicted."""
    simulation = Simulation(seed, full_check_every=10)
    for place, command in enumerate(simulation.commands(STEPS)):
        simulation.step(command)
        if place == STEPS // 2:
            simulation.take_snapshot()
    simulation.finish()
    assert simulation.counts["event DepositApplied"] > 100
    assert simulation.counts["event SubaccountBankrupt"] > 0


def test_the_simulation_reaches_every_command_and_event() -> None:
    """No kind of command, event or (final list below) refusal is out of the generator's reach."""
    counts: dict[str, int] = {}
    for seed in range(10, 16):
        simulation = Simulation(seed, full_check_every=10**9)
        for command in simulation.commands(STEPS):
            simulation.step(command)
        for name, count in simulation.counts.items():
            counts[name] = counts.get(name, 0) + count
    unseen = {one.__name__ for one in COMMAND_TYPES if f"{one.__name__}: accepted" not in counts}
    unseen |= {one.__name__ for one in EVENT_TYPES if f"event {one.__name__}" not in counts}
    assert unseen == set()
    without_trace = {
        RejectReason.MALFORMED_COMMAND,
        RejectReason.ID_REUSED_WITH_DIFFERENT_BODY,
        RejectReason.TIME_WENT_BACK,
    }
    never = {
        one.value for one in PRECEDENCE if one not in without_trace and f"refusal {one.value}" not in counts
    }
    # tests/engine/test_rejects.py reaches these by hand; here they would need a rarer accident.
    assert never <= {"price_unavailable", "amount_below_network_fee", "unknown_market", "uncollected_loss"}


def _one_more(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return value[:-1] if value else (("SOL", 1),)


def test_the_auditor_notices_any_field_of_any_event_that_is_off_by_one() -> None:
    """Falsify each field of each kind of event once: the auditor must refuse the answer."""
    kinds: set[type] = set()
    simulation = Simulation(11, full_check_every=10**9)
    for command in simulation.commands(STEPS):
        state_before = simulation.auditor
        probe = [event for event in _peek(simulation, command) if type(event) not in kinds]
        del state_before
        kinds |= {type(event) for event in probe}
    assert len(kinds) >= len(EVENT_TYPES) - 2, set(EVENT_TYPES) - kinds


def _peek(simulation: Simulation, command: Any) -> list[e.Event]:
    """Apply a command; against copies of the auditor show every falsified version of the answer."""
    import copy

    before = copy.deepcopy(simulation.auditor)
    outcome = simulation.step(command)
    if not isinstance(outcome, Accepted) or not outcome.recorded:
        return []
    seen: set[type] = getattr(_peek, "seen", set())
    for place, event in enumerate(outcome.events):
        if type(event) in seen:
            continue
        seen.add(type(event))
        for one in fields(event):
            lie = replace(event, **{one.name: _one_more(getattr(event, one.name))})
            events = (*outcome.events[:place], lie, *outcome.events[place + 1 :])
            with pytest.raises(AuditFailed):
                copy.deepcopy(before).judge(command, replace(outcome, events=events))
        missing = outcome.events[:place] + outcome.events[place + 1 :]
        with pytest.raises(AuditFailed):
            copy.deepcopy(before).judge(command, replace(outcome, events=missing))
    _peek.seen = seen  # type: ignore[attr-defined]
    return list(outcome.events)


def test_the_auditor_notices_a_wrong_verdict() -> None:
    """An acceptance that had to be a refusal, a refusal that had to be another, or none at all."""
    simulation = Simulation(5)
    for command in simulation.commands(50):
        simulation.step(command)
    now_ns = simulation.run.state.last_time_ns
    for lie in (Rejected(RejectReason.STALE_PRICE), Rejected(RejectReason.UNKNOWN_ASSET)):
        with pytest.raises(AuditFailed):
            simulation.auditor.judge(Tick("one more", now_ns), lie)


def test_r5_the_books_refuse_an_event_that_contradicts_itself() -> None:
    """Events that carry a redundant figure are checked against it when folded."""
    wrong: list[Callable[[Books], e.Event]] = [
        lambda books: e.LossCollected("1/0", 5, 7),
        lambda books: e.DebtCovered("1/0", 5, 7),
        lambda books: e.ClaimPaid("1/0", 5, 7),
        lambda books: e.LossSocialized("1/0", 5, (("2/0", 4),)),
    ]
    for make in wrong:
        books = Books()
        with pytest.raises(AssertionError):
            books.post(make(books))


def test_a_failing_run_is_written_and_replayed(tmp_path: Path) -> None:
    """The journal of a run survives the file: same hash; one changed character in it is found."""
    simulation = Simulation(6)
    for command in simulation.commands(40):
        simulation.step(command)
    path = tmp_path / "candidate.json"
    write_journal(path, simulation, "to be looked into")
    assert state_hash(replay_journal(path)) == state_hash(simulation.run.state)
    path.write_text(path.read_text().replace("wallet-a", "wallet-x", 1))
    with pytest.raises(JournalCorrupt):
        replay_journal(path)
