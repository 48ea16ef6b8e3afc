"""A short simulation and some small crashes in every test run: all of it as the auditor says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from engine.commands import COMMAND_TYPES
from engine.events import EVENT_TYPES
from engine.journal import JournalCorrupt
from engine.rejects import PRECEDENCE, RejectReason
from engine.snapshot import state_hash

from .books import Books
from .crash import SmallCrash
from .postings import Postings
from .simulation import Simulation, replay_journal, write_journal
from .verdicts import Verdicts

STEPS = 1_200
RARE_CRASHES = (3, 9)
AUDITED_EVENTS = {kind for kind in EVENT_TYPES if kind in Books.__dict__["post"].dispatcher.registry}
AUDITED_COMMANDS = {kind for kind in COMMAND_TYPES if kind in Postings.__dict__["post"].dispatcher.registry}
JUDGED_COMMANDS = {kind for kind in COMMAND_TYPES if kind in Verdicts.__dict__["faults"].dispatcher.registry}


def test_no_command_and_no_event_escapes_the_auditor() -> None:
    """Whatever is added to the vocabulary must be added here, with a rule of its own."""
    assert set(EVENT_TYPES) == AUDITED_EVENTS
    assert set(COMMAND_TYPES) == AUDITED_COMMANDS
    assert set(COMMAND_TYPES) == JUDGED_COMMANDS


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_r5_a_seeded_simulation_is_as_the_auditor_says(seed: int) -> None:
    """Every verdict, every posting and every balance of some thousand random commands is predicted."""
    simulation = Simulation(seed, full_check_every=10)
    for place, command in enumerate(simulation.commands(STEPS)):
        simulation.step(command)
        if place == STEPS // 2:
            simulation.take_snapshot()
    simulation.finish()
    assert simulation.counts["event DepositApplied"] > 40
    assert simulation.counts["event LiquidationEnded"] > 0
    for kind in ("InterestAccrued", "Lent", "Redeemed", "Borrowed", "Repaid"):
        assert simulation.counts[f"event {kind}"] > 5, kind


def test_small_crashes_are_as_the_auditor_says() -> None:
    """R20-R28: 20 random crashes, to the unit; all stages come up; debts equal claims at the end.

    `python -m tests.sim --crash-seeds 1000` runs a thousand.
    """
    counts: Counter[str] = Counter()
    for seed in range(1, 21):
        counts.update(SmallCrash(seed).run())
    for kind in ("Traded", "BackstopFilled", "AutoDeleveraged", "SubaccountBankrupt", "LiquidationEnded"):
        assert counts[f"event {kind}"] > 5, kind


def test_the_simulation_reaches_every_command_and_event() -> None:
    """No kind of command or event, and hardly a refusal, is out of the generator's reach."""
    counts: Counter[str] = Counter()
    # Netting needs two of the same market in liquidation at once; a pool without cash, a busy borrower.
    for seed in RARE_CRASHES:
        counts.update(SmallCrash(seed).run())
    for seed in (51, 50, *range(1, 25)):
        simulation = Simulation(seed, full_check_every=10**9)
        simulation.generator.strange_percent = 10
        for command in simulation.commands(STEPS):
            simulation.step(command)
        counts.update(simulation.counts)
        if not (_unseen(counts) or _never_refused(counts)):
            return
    assert (_unseen(counts), _never_refused(counts)) == (set(), set())


def _unseen(counts: Counter[str]) -> set[str]:
    """Name the commands that were never accepted, and the events that never came."""
    unseen = {one.__name__ for one in COMMAND_TYPES if f"{one.__name__}: accepted" not in counts}
    return unseen | {one.__name__ for one in AUDITED_EVENTS if f"event {one.__name__}" not in counts}


def _never_refused(counts: Counter[str]) -> set[str]:
    """Name the refusals that never came, but for those that tests/engine/test_rejects.py reaches by hand."""
    without_trace = {
        RejectReason.MALFORMED_COMMAND,
        RejectReason.ID_REUSED_WITH_DIFFERENT_BODY,
        RejectReason.TIME_WENT_BACK,
    }
    never = {
        one.value for one in PRECEDENCE if one not in without_trace and f"refusal {one.value}" not in counts
    }
    # Here prices always come first, and whoever realizes a loss is collected by the same command.
    by_hand = {"price_unavailable", "uncollected_loss", "amount_below_network_fee", "borrow_limit_exceeded"}
    return never - by_hand


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
