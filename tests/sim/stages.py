"""What the auditor expects of the public counters of liquidation stages (R25)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

STAGES = ("book", "netting", "backstop", "adl")
BUCKET_NS, DAY_NS = 900 * 10**9, 86_400 * 10**9
PPM = 10**6


@dataclass(slots=True)
class Count:
    """Notional, fills, and liquidations that used the stage."""

    notional_usd6: int = 0
    fills: int = 0
    subaccounts: int = 0


@dataclass(slots=True)
class Counters:
    """Counts fills per stage since start, and in buckets for the day."""

    since_start: defaultdict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    buckets: defaultdict[str, list[tuple[int, Count]]] = field(default_factory=lambda: defaultdict(list))
    used: set[tuple[str, int, str]] = field(default_factory=set)  # (subaccount, its liquidation, stage)

    def fill(self, stage: str, case: tuple[str, int], notional_usd6: int, now_ns: int) -> None:
        """Count one fill of a liquidation."""
        buckets = self.buckets[stage]
        if not buckets or now_ns - buckets[-1][0] >= BUCKET_NS:
            buckets.append((now_ns, Count()))
        first = (*case, stage) not in self.used
        self.used.add((*case, stage))
        for one in (self.since_start[stage], buckets[-1][1]):
            one.notional_usd6 += notional_usd6
            one.fills += 1
            one.subaccounts += first

    def shares(self, now_ns: int) -> list[tuple[str, int, int, int, int, int, int, int, int]]:
        """Give per stage (name, then notional, fills, subaccounts, share) since start, then over 24 h."""
        day = {stage: self._day(stage, now_ns) for stage in STAGES}
        total = sum(self.since_start[stage].notional_usd6 for stage in STAGES)
        of_day = sum(one.notional_usd6 for one in day.values())
        rows = []
        for stage in STAGES:
            ever, today = self.since_start[stage], day[stage]
            share = ever.notional_usd6 * PPM // total if total else 0
            day_share = today.notional_usd6 * PPM // of_day if of_day else 0
            figures = (ever.notional_usd6, ever.fills, ever.subaccounts, share)
            rows.append((stage, *figures, today.notional_usd6, today.fills, today.subaccounts, day_share))
        return rows

    def _day(self, stage: str, now_ns: int) -> Count:
        alive = [one for began_ns, one in self.buckets[stage] if now_ns - began_ns < DAY_NS]
        return Count(
            sum(one.notional_usd6 for one in alive),
            sum(one.fills for one in alive),
            sum(one.subaccounts for one in alive),
        )
