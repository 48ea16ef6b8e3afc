"""A crash, second by second.

The order within a second: forced trades of the last one move the price outside (when the scenario says so),
prices reach the oracle (and whoever they endanger is liquidated), makers quote, customers trade, people send
and ask for money, and every settlement interval the engine settles and the reserves are attested. The
invariants are checked on running totals every second, in full every minute and at the end.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from daemon.crash.exchange import Exchange
from daemon.crash.impact import Impact
from daemon.crash.makers import Flow, Makers
from daemon.crash.people import People
from daemon.crash.population import Cast, Population, engine_params
from daemon.crash.prices import NS, Prices
from daemon.crash.recorder import Recorder
from daemon.crash.scenario import Scenario
from engine import commands as cm
from engine.snapshot import state_hash

FULL_CHECK_S = 60
Progress = Callable[[int], None]


@dataclass(slots=True)
class Replay:
    """A finished run: everything that a report needs."""

    scenario: Scenario
    accounts: int
    seed: int
    exchange: Exchange
    cast: Cast
    recorder: Recorder
    people: People
    population_refused: int
    state_hash: str
    prices: Prices

    def prices_outside(self, symbol: str) -> list[int]:
        """Give the whole path of an asset outside of this exchange."""
        return self.prices.outside[symbol]


class Crash:
    """One run of one scenario."""

    def __init__(self, scenario: Scenario, accounts: int, seed: int) -> None:
        self.scenario, self.accounts, self.seed = scenario, accounts, seed
        # One stream of randomness for each part, so that a change in one does not shift the others.
        self.prices = Prices(scenario, _stream(seed, "prices"))
        self.exchange = Exchange(engine_params(scenario))
        self.recorder = Recorder(self.exchange, self.prices, scenario.duration_s)

    def run(self, progress: Progress = lambda second: None) -> Replay:
        """Play it. Raises InvariantBreach when the engine breaks one."""
        exchange, scenario = self.exchange, self.scenario
        exchange.at(0)
        self._feed(0)
        population = Population(exchange, scenario, self.prices, _stream(self.seed, "population"))
        cast = population.arrive(self.accounts)
        self.recorder.begin(cast)
        makers = Makers(exchange, scenario, self.prices, cast)
        flow = Flow(exchange, scenario, cast, _stream(self.seed, "flow"))
        people = People(exchange, scenario, cast, _stream(self.seed, "people"))
        impact = Impact(exchange, self.prices, cast, scenario.book.impact_ppm)
        settle_s = max(1, exchange.state.params.settlement_interval_ns // NS)
        makers.quote(0)
        self.recorder.sample(0)
        for second in range(1, scenario.duration_s + 1):
            exchange.at(second)
            impact.move(second)
            self._feed(second)
            makers.quote(second)
            flow.trade(second)
            people.act(second)
            if second % settle_s == 0:
                exchange.settle()
                exchange.attest()
            exchange.check(full=second % FULL_CHECK_S == 0)
            self.recorder.sample(second)
            progress(second)
        exchange.check(full=True)
        return Replay(
            scenario,
            self.accounts,
            self.seed,
            exchange,
            cast,
            self.recorder,
            people,
            population.refused,
            state_hash(exchange.state),
            self.prices,
        )

    def _feed(self, second: int) -> None:
        exchange = self.exchange
        for path in self.scenario.prices:
            quotes = self.prices.quotes(path.symbol, second)
            exchange.do(cm.UpdateQuotes(exchange.new_id("quotes"), exchange.now_ns, path.symbol, quotes))


def _stream(seed: int, part: str) -> Random:
    # Seeding with a text is specified (sha512 of it) and independent of hash randomization.
    return Random(f"{seed}/{part}")  # noqa: S311 - a simulation, not a secret


def without_collector(work: Callable[[], Any]) -> Any:
    """Run with the cyclic garbage collector resting: nothing is cyclic, and it would walk the whole state."""
    gc.collect()
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()
