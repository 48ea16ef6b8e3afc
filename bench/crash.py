"""How long does a crash take, and how does that grow with the customers?

The packaged scenario `october` through the real engine: order books, borrow-lend, the waterfall, settlement
every ten seconds, the invariants every second; one core, in processor time. How it grows is measured on the
six minutes of the fall, its most expensive part. The alternative is the same crash without the screen (R33):
every holder is checked exactly at every change of a price.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from daemon.crash.curve import Curve
from daemon.crash.replay import Crash, Replay, without_collector
from daemon.crash.scenario import Scenario, load_scenario
from engine.state import State

from .report import Row

# The fall of the scenario: from second 1,500 to its bottom at 1,730.
FALL_BEGINS_S, FALL_ENDS_S = 1_440, 1_800


def run(quick: bool, block: Path | None) -> list[Row]:
    """Replay hours and falls; `block` is of other benchmarks."""
    del block
    hour = load_scenario("october")
    fall = _from(hour, FALL_BEGINS_S, FALL_ENDS_S)
    rows = []
    crowds = (300,) if quick else (10_000,)
    for accounts in crowds:
        scenario = dataclasses.replace(hour, duration_s=300) if quick else hour
        seconds, replay = _timed(scenario, accounts)
        rows.append(
            Row(
                question="a crash of an hour" if not quick else "the first five minutes of a crash",
                workload=_workload(scenario, accounts, replay),
                figure=seconds,
                unit="s",
                aim="" if quick else "10,000 subaccounts x 3,600 s in under 120 s",
            )
        )
        rows.append(
            Row(
                question="commands of that crash",
                workload="all kinds, checks of the invariants and the recorder included",
                figure=replay.exchange.commands / seconds,
                unit="commands/s",
            )
        )
    small, large = (100, 300) if quick else (2_000, 20_000)
    first, _ = _timed(fall, small)
    without, _ = _timed(fall, small, screen=False)
    second, replay = _timed(fall, large)
    rows.append(
        Row(
            question="the fall alone, with the screen",
            workload=f"{small:,} accounts, {fall.duration_s} s",
            figure=fall.duration_s / first,
            unit="market seconds/s",
            alternative="every holder checked exactly at every price",
            alternative_figure=fall.duration_s / without,
            ratio=without / first,
        )
    )
    rows.append(
        Row(
            question=f"how the fall grows from {small:,} to {large:,} accounts",
            workload=_workload(fall, large, replay) + "; 1 is proportional",
            figure=(second / first) / (large / small),
            unit="x proportional",
        )
    )
    return rows


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
