"""`python -m tests.sim`: the long randomized simulation, every command audited.

Prints its seed first. A failure writes the whole journal beside the goldens as a candidate for one and says
how to run it again. Exit status 0: all held; 1: something did not; 2: bad arguments.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.commands import COMMAND_TYPES
from engine.journal import JournalCorrupt
from engine.snapshot import state_hash

from .crash import SmallCrash
from .simulation import Simulation, replay_journal, write_journal

# What the auditor says beforehand; not the wording of a refusal's detail.
SAID = "every verdict, every event with its figures, their order, amounts refusals name, counters of stages"
CANDIDATES = Path(__file__).parent.parent / "golden" / "candidates"


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for and give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, help="repeat a run; default: a new random seed")
    parser.add_argument("--steps", type=int, default=20_000, help="commands after the opening (20000)")
    parser.add_argument(
        "--check-every", type=int, default=20, help="full invariant check every n commands (20)"
    )
    parser.add_argument("--replay", type=Path, help="replay a journal that a failed run wrote, then stop")
    parser.add_argument("--crash-seeds", type=int, help="audit small random crashes, seeds 1 to n, then stop")
    options = parser.parse_args(arguments)
    console = Console()
    if options.replay is not None:
        return _replay(console, options.replay)
    if options.crash_seeds is not None:
        return _crash(console, options.crash_seeds)
    if options.steps < 1 or options.check_every < 1:
        parser.error("--steps and --check-every must be at least 1")
    seed = options.seed if options.seed is not None else secrets.randbelow(2**32)
    return _simulate(console, Simulation(seed, options.check_every), options.steps)


def _simulate(console: Console, simulation: Simulation, steps: int) -> int:
    console.print(
        f"seed [bold]{simulation.seed}[/]  steps {steps}  (repeat: {_again(simulation.seed, steps)})"
    )
    started = time.monotonic()
    columns = (TextColumn("audited"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("audited", total=steps)
            for place, command in enumerate(simulation.commands(steps)):
                simulation.step(command)
                if place == steps // 2:
                    simulation.take_snapshot()
                progress.advance(task)
        final = simulation.finish()
    except Exception as error:  # noqa: BLE001  whatever went wrong, the journal must be kept
        return _failed(console, simulation, steps, error)
    console.print(_summary(simulation))
    seconds = time.monotonic() - started
    console.print(
        f"{len(simulation.run.entries)} journal entries, {seconds:.0f} s: {SAID} came out as said; "
        f"invariants hold, replay from nothing and from a snapshot gives {final[:16]}…"
    )
    return 0


def _crash(console: Console, seeds: int) -> int:
    """Audit many small crashes; every failure is printed and its journal kept."""
    started, counts, failed = time.monotonic(), Counter[str](), []
    columns = (TextColumn("crashes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("crashes", total=seeds)
        for seed in range(1, seeds + 1):
            crash = SmallCrash(seed)
            try:
                crash.run()
            except Exception as error:  # noqa: BLE001  whatever went wrong, the journal must be kept
                failed.append(seed)
                path = CANDIDATES / f"crash-{seed}.json"
                write_journal(path, crash.simulation, f"{type(error).__name__}: {error}")
                console.print(f"[bold red]seed {seed}[/] {path}: {error}", markup=True, highlight=False)
            counts.update(crash.simulation.counts)
            progress.advance(task)
    console.print(_counted("event", counts))
    seconds = time.monotonic() - started
    console.print(
        f"{seeds} crashes ({seeds - seeds // 5} with loans), {seconds:.0f} s: {SAID} said beforehand; "
        f"{len(failed)} disagreements or breaches {failed or ''}; after each the debts equal the claims"
    )
    return 1 if failed else 0


def _failed(console: Console, simulation: Simulation, steps: int, error: Exception) -> int:
    path = CANDIDATES / f"seed-{simulation.seed}.json"
    write_journal(path, simulation, f"{type(error).__name__}: {error}")
    console.print(
        f"[bold red]failed[/] after {len(simulation.run.entries)} entries at {simulation.last_command}"
    )
    console.print("".join(traceback.format_exception(error)), markup=False, highlight=False)
    console.print(f"journal: {path}")
    console.print(f"run again: {_again(simulation.seed, steps)}")
    console.print(f"replay:    python -m tests.sim --replay {path}")
    return 1


def _again(seed: int, steps: int) -> str:
    return f"make sim SEED={seed} STEPS={steps}"


def _replay(console: Console, path: Path) -> int:
    try:
        state = replay_journal(path)
    except (OSError, ValueError, KeyError, JournalCorrupt) as error:
        console.print(f"[bold red]cannot replay[/] {path}: {error}")
        return 1
    console.print(f"{path}: {state.sequence} entries replayed, state hash {state_hash(state)}")
    return 0


def _summary(simulation: Simulation) -> Group:
    counts = simulation.counts
    commands = Table("command", title="commands")
    answers = ("accepted", "refused", "left no trace")
    for answer in answers:
        commands.add_column(answer, justify="right")
    for name in sorted(one.__name__ for one in COMMAND_TYPES):
        commands.add_row(name, *(str(counts[f"{name}: {answer}"]) for answer in answers))
    return Group(commands, _counted("event", counts), _counted("refusal", counts))


def _counted(kind: str, counts: Counter[str]) -> Table:
    table = Table(kind, title=f"{kind}s")
    table.add_column("count", justify="right")
    for name, count in sorted(counts.items()):
        if name.startswith(f"{kind} "):
            table.add_row(name.removeprefix(f"{kind} "), str(count))
    return table


if __name__ == "__main__":
    sys.exit(main())
