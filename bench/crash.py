"""How long does a crash take, and how does that grow with the customers?

The packaged scenario `october` through the real engine: order books, borrow-lend, the waterfall, settlement
every ten seconds, the invariants every second; one core, in processor time. How it grows is measured on the
six minutes of the fall, its most expensive part, up to 100,000 accounts; each size in a process of its own,
so that its peak memory is its own. The alternative of the smallest is the same fall without the screen (R33):
every holder is checked exactly at every change of a price. That of the others is the size before, in
proportion: a ratio of 1 is time that grows as the accounts do, more is better.
"""

from __future__ import annotations

import dataclasses
import resource
import time
from pathlib import Path

from daemon.crash.curve import Curve
from daemon.crash.replay import Crash, Replay, without_collector
from daemon.crash.scenario import Scenario, load_scenario
from engine.state import State

from .report import Row, apart

# The fall of the scenario: from second 1,500 to its bottom at 1,730.
FALL_BEGINS_S, FALL_ENDS_S = 1_440, 1_800
SIZES = (2_000, 10_000, 50_000, 100_000)


@dataclasses.dataclass(frozen=True, slots=True)
class Fall:
    """What one fall took: processor time, peak memory of its process."""

    seconds: float
    megabytes: float
    workload: str


def run(quick: bool, block: Path | None) -> list[Row]:
    """Replay an hour and falls; `block` is of other benchmarks."""
    del block
    hour = load_scenario("october")
    accounts, scenario = (300, dataclasses.replace(hour, duration_s=300)) if quick else (10_000, hour)
    seconds, replay = _timed(scenario, accounts)
    rows = [
        Row(
            question="a crash of an hour" if not quick else "the first five minutes of a crash",
            workload=_workload(scenario, accounts, replay),
            figure=seconds,
            unit="s",
            aim="" if quick else "10,000 subaccounts x 3,600 s in under 120 s",
        ),
        Row(
            question="commands of that crash",
            workload="all kinds, checks of the invariants and the recorder included",
            figure=replay.exchange.commands / seconds,
            unit="commands/s",
        ),
    ]
    return rows + _growth((100, 300) if quick else SIZES)


def _growth(sizes: tuple[int, ...]) -> list[Row]:
    """Let the market fall on ever more accounts; a row each."""
    falls = [apart(fall, accounts) for accounts in sizes]
    without = apart(_fall_without_screen, sizes[0])
    rows = []
    for place, (accounts, one) in enumerate(zip(sizes, falls, strict=True)):
        if place:
            before = sizes[place - 1]
            alternative = f"in proportion to {before:,} accounts"
            other = falls[place - 1].seconds * accounts / before
        else:
            alternative, other = "every holder checked exactly at every price", without.seconds
        each = f"{one.seconds / accounts * 1_000:.2f} ms and {one.megabytes / accounts * 1_000:.1f} KB"
        rows.append(
            Row(
                question=f"the fall on {accounts:,} accounts",
                workload=f"{one.workload}; {each} an account, peak memory {one.megabytes:,.0f} MB",
                figure=one.seconds,
                unit="s",
                alternative=alternative,
                alternative_figure=other,
                ratio=other / one.seconds,
            )
        )
    return rows


def fall(accounts: int, *, screen: bool = True) -> Fall:
    """Replay the fall; for a process of its own."""
    scenario = _from(load_scenario("october"), FALL_BEGINS_S, FALL_ENDS_S)
    seconds, replay = _timed(scenario, accounts, screen=screen)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Fall(seconds, megabytes, _workload(scenario, accounts, replay))


def _fall_without_screen(accounts: int) -> Fall:
    return fall(accounts, screen=False)


def _timed(scenario: Scenario, accounts: int, *, screen: bool = True) -> tuple[float, Replay]:
    crash = Crash(scenario, accounts, 1)
    if not screen:
        _detach(crash.exchange.state)
    begun = time.process_time()
    replay: Replay = without_collector(crash.run)
    return time.process_time() - begun, replay


def _detach(state: State) -> None:
    state.screen = None


def _workload(scenario: Scenario, accounts: int, replay: Replay) -> str:
    positions = sum(len(one) for one in replay.exchange.state.holders.values())
    return (
        f"{accounts:,} accounts x {scenario.duration_s:,} s, {replay.exchange.commands:,} commands, "
        f"{replay.exchange.events:,} events, {positions:,} positions left, "
        f"{replay.recorder.counts.get('liquidations', 0):,} liquidations"
    )


def _from(scenario: Scenario, begins_s: int, ends_s: int) -> Scenario:
    """Give a part of a scenario: every curve begins later, prices keep their start."""

    def later(curve: Curve) -> Curve:
        points = [(second - begins_s, value) for second, value in curve.points if second > begins_s]
        return Curve(((0, curve.at(begins_s)), *points))

    prices = tuple(
        dataclasses.replace(
            path,
            start_e8=path.start_e8 * (1_000_000 + path.change_ppm.at(begins_s)) // 1_000_000,
            change_ppm=_relative(later(path.change_ppm)),
            noise_ppm=later(path.noise_ppm),
        )
        for path in scenario.prices
    )
    book = scenario.book
    return dataclasses.replace(
        scenario,
        duration_s=ends_s - begins_s,
        prices=prices,
        oracle=dataclasses.replace(scenario.oracle, lag_s=later(scenario.oracle.lag_s)),
        book=dataclasses.replace(
            book,
            depth_ppm=later(book.depth_ppm),
            reach_ppm=later(book.reach_ppm),
            half_spread_ppm=later(book.half_spread_ppm),
        ),
        withdrawals=dataclasses.replace(scenario.withdrawals, rate=later(scenario.withdrawals.rate)),
    )


def _relative(curve: Curve) -> Curve:
    start = 1_000_000 + curve.points[0][1]
    return Curve(
        tuple((second, (1_000_000 + ppm) * 1_000_000 // start - 1_000_000) for second, ppm in curve.points)
    )
