"""How a watcher asks, and how far behind it is: the values at its edge. Must not know how it works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatcherOptions:
    """How the watcher asks; the defaults suit mainnet and an embedded validator alike."""

    poll_interval_s: float = 0.25  # the wait at the head when no hint comes
    parallel_blocks: int = (
        8  # back-fill window (D7); less than the pool's in-flight cap leaves room for others
    )
    list_slots: int = 256  # slots asked for at once
    max_supported_transaction_version: int = 1
    cross_check_units: Mapping[str, int] | None = None  # D9 by symbol; None: every credit, given 2 endpoints
    witness: bool = True  # a second endpoint's header and signatures for every block, where there is one
    early_notice: bool = True
    stall_alarm_s: float | None = 60.0
    hint_silence_s: float = 10.0
    longest_retry_s: float = 5.0
    walk_back_limit: int = 64


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the checkpoint is behind: slots to the newest known finalized one, seconds since it was not."""

    slots: int
    seconds: float
