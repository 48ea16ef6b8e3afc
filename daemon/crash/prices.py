"""Prices outside of this exchange, and what its oracle and its market makers know of them, second by second.

Rules: whole numbers only. A price is its start, changed by the scenario's curve and by a wobble that pulls
back to the path; three fifths of the wobble are common to all assets. Sources repeat what the price was
`lag` ago, each at its own distance, and no faster than the oracle's step cap allows.
"""

from __future__ import annotations

from random import Random

from daemon.crash.curve import bell
from daemon.crash.scenario import PPM, AssetPath, Scenario

NS = 1_000_000_000
PPB = 1_000_000_000
# 2025-10-10 20:30 UTC. Any other time would do.
EPOCH_NS = 1_760_128_200 * NS


class Prices:
    """The whole path of every asset, drawn once."""

    def __init__(self, scenario: Scenario, rng: Random) -> None:
        self.scenario = scenario
        seconds = scenario.duration_s + 1
        common = [bell(rng, 1_000) for _ in range(seconds)]
        self.outside = {path.symbol: _path(path, seconds, common, rng) for path in scenario.prices}
        self._published: dict[tuple[str, int, int], int] = {}

    def at(self, symbol: str, second: int) -> int:
        """Give the price outside at a second; before second 0 it is the first."""
        return self.outside[symbol][max(0, second)]

    def move(self, symbol: str, second: int, moved_ppb: int) -> None:
        """Move the price of a second off its path; nobody may have asked for it yet."""
        prices = self.outside[symbol]
        prices[second] = max(1, prices[second] * (PPB + max(moved_ppb, 1 - PPB)) // PPB)

    def quotes(self, symbol: str, second: int) -> tuple[tuple[str, str, int, int], ...]:
        """Give what every source says at a second: (feed, source, price_e8, time_ns)."""
        oracle = self.scenario.oracle
        lag_s = oracle.lag_s.at(second)
        total = oracle.feeds * oracle.sources
        quotes = []
        for feed in range(oracle.feeds):
            for source in range(oracle.sources):
                number = feed * oracle.sources + source
                behind = lag_s + oracle.straggle_s * number // max(1, total - 1)
                price_e8 = self._capped((symbol, feed, source), self.at(symbol, second - behind))
                seen_ns = EPOCH_NS + max(0, second - behind) * NS
                quotes.append((f"feed{feed + 1}", f"source{source + 1}", price_e8, seen_ns))
        return tuple(quotes)

    def _capped(self, key: tuple[str, int, int], price_e8: int) -> int:
        cap_ppm = self.scenario.oracle.step_cap_ppm
        before_e8 = self._published.get(key, price_e8)
        if cap_ppm:
            step_e8 = max(1, before_e8 * cap_ppm // PPM)
            price_e8 = max(before_e8 - step_e8, min(before_e8 + step_e8, price_e8))
        self._published[key] = price_e8
        return price_e8


def _path(path: AssetPath, seconds: int, common: list[int], rng: Random) -> list[int]:
    prices = []
    wobble = 0  # in thousandths of the noise
    for second in range(seconds):
        fresh = (3 * common[second] + 2 * bell(rng, 1_000)) // 5
        # Half of the wobble is gone after 14 seconds; its size over time is about that of the noise.
        wobble = (wobble * 95 + fresh * 31) // 100
        ppm = PPM + path.change_ppm.at(second) + wobble * path.noise_ppm.at(second) // 1_000
        prices.append(max(1, path.start_e8 * max(1, ppm) // PPM))
    return prices
