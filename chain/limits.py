"""How hard one endpoint may be pressed, and how well it has served us.

Owns the limiter (a sliding window of asyncio-throttle inside an in-flight cap, with weights per method),
the back-off clock and the health score of one endpoint. Must not know HTTP or JSON. Time is the event
loop's monotonic time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from asyncio_throttle.throttler import Throttler

DEFAULT_WEIGHTS: Final[Mapping[str, int]] = {
    "getBlock": 2,
    "getBlocks": 2,
    "getProgramAccounts": 10,
    "getSignaturesForAddress": 2,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One RPC node; the addresses stay out of the repr because providers put API keys into them."""

    url: str = field(repr=False)
    ws_url: str | None = field(default=None, repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an endpoint needs an http:// or https:// address")
        if self.ws_url is not None and urlsplit(self.ws_url).scheme not in ("ws", "wss"):
            raise ValueError(f"{self.name or parts.hostname}: the WebSocket address needs ws:// or wss://")
        if not self.name:
            port = f":{parts.port}" if parts.port is not None else ""
            object.__setattr__(self, "name", f"{parts.hostname}{port}")


@dataclass(frozen=True, slots=True)
class Pace:
    """What one endpoint is asked to bear and how long we stay away after it failed."""

    requests_per_second: int = 50
    max_in_flight: int = 16
    first_back_off_s: float = 0.1
    longest_back_off_s: float = 30.0
    weights: Mapping[str, int] = field(default_factory=lambda: DEFAULT_WEIGHTS)

    def __post_init__(self) -> None:
        if self.requests_per_second < 1 or self.max_in_flight < 1:
            raise ValueError("requests_per_second and max_in_flight are at least 1")


class EndpointState:
    """The limiter, health and counters of one endpoint; the counters are plain attributes for metrics."""

    def __init__(self, endpoint: Endpoint, pace: Pace, jitter: Callable[[], float] = random.random) -> None:
        self.endpoint = endpoint
        self.requests = 0
        self.failures = 0
        self.throttled = 0
        self.bytes_received = 0
        self.last_latency_s = 0.0
        self.in_flight = 0
        self.penalty = 0  # failures in a row; 0 is healthy
        self.genesis_checked = False
        self.banned = ""  # why it is never asked again
        self._pace = pace
        self._jitter = jitter
        self._slots = asyncio.Semaphore(pace.max_in_flight)
        self._throttler = Throttler(rate_limit=pace.requests_per_second, period=1.0, retry_interval=0.005)
        self._not_before = 0.0

    @property
    def name(self) -> str:
        """The endpoint's name, as errors and metrics show it."""
        return self.endpoint.name

    def wait_s(self) -> float:
        """Return how many seconds the endpoint still wants (or is given) rest."""
        return max(0.0, self._not_before - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def turn(self, method: str) -> AsyncIterator[None]:
        """Hold one in-flight place, paid for with the method's weight in the sliding window."""
        async with self._slots:
            for _ in range(self._pace.weights.get(method, 1)):
                await self._throttler.acquire()  # type: ignore[no-untyped-call]
            self.in_flight += 1
            self.requests += 1
            try:
                yield
            finally:
                self.in_flight -= 1

    def succeeded(self) -> None:
        """Forget earlier failures."""
        self.penalty = 0
        self._not_before = 0.0

    def failed(self, retry_after_s: float | None = None) -> None:
        """Rest for what the node asked, or exponentially longer per failure in a row, with full jitter."""
        self.failures += 1
        self.penalty += 1
        longest = self._pace.longest_back_off_s
        back_off_s = min(longest, self._pace.first_back_off_s * 2.0 ** min(self.penalty - 1, 30))
        rest_s = back_off_s * (0.5 + self._jitter() / 2)
        if retry_after_s is not None:
            # The node's wish is a floor, with jitter on top so that many clients do not come back together.
            rest_s = min(longest, retry_after_s) + self._jitter() * self._pace.first_back_off_s
        self._not_before = asyncio.get_running_loop().time() + rest_s

    def fell_behind(self) -> None:
        """Prefer other endpoints for a while: it answered, but not with what the cluster knows."""
        self.penalty += 1
