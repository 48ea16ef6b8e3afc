"""What time it is on the chain.

Owns: `ChainClock`. Rules: on a clock of real time (`slot_ms` given) block times are the machine's;
advanced by hand they are the genesis time plus 400 ms a slot, so a test does not depend on how long it
takes. `offset_s` moves both. Must not know: the ledger, threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

NOMINAL_SLOT_MS: Final = 400


class ChainClock:
    """Tells the time of a slot, in seconds since the epoch."""

    def __init__(
        self, *, real_time: bool, genesis_s: int | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self.real_time = real_time
        self.genesis_s = int(now()) if genesis_s is None else genesis_s
        self.offset_s = 0
        self._now = now

    def __call__(self, slot: int) -> int:
        """The time of a slot that opens now."""
        if self.real_time:
            return int(self._now()) + self.offset_s
        return self.genesis_s + slot * NOMINAL_SLOT_MS // 1_000 + self.offset_s
