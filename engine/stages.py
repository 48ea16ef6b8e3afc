"""How much each stage of liquidation did, since start and over a day (R25).

Owns: the counters and their buckets. Rules: notional is at mark, rounded down; a bucket holds the fills of 15
minutes from its first one. Must not know how a stage works.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.fixed import notional_down_usd6, scale_down
from engine.state import StageTotals, State, Subaccount
from engine.units import NS_PER_SECOND, PPM

BOOK = "book"
NETTING = "netting"
BACKSTOP = "backstop"
ADL = "adl"
STAGES = (BOOK, NETTING, BACKSTOP, ADL)
BUCKET_NS = 15 * 60 * NS_PER_SECOND
DAY_NS = 24 * 3_600 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class StageShare:
    """What one stage did: notional in usd6, fills, liquidations that used it, share of all notional."""

    stage: str
    notional_usd6: int
    fills: int
    subaccounts: int
    share_ppm: int
    day_notional_usd6: int
    day_fills: int
    day_subaccounts: int
    day_share_ppm: int


def count_fill(state: State, one: Subaccount, stage: str, market: str, units: int) -> None:
    """Count one fill of a subaccount in liquidation (R25)."""
    params = state.markets[market]
    price = state.index_prices[params.asset] if params.is_spot else state.mark_prices[market]
    notional_usd6 = notional_down_usd6(units, price.price_e8, state.assets[params.asset].decimals)
    liquidation = state.liquidations[one.id]
    subaccounts = 0 if stage in liquidation.used_stages else 1
    if subaccounts:
        liquidation.used_stages.append(stage)
    totals = state.stages.get(stage)
    if totals is None:
        totals = state.stages[stage] = StageTotals()
    totals.notional_usd6 += notional_usd6
    totals.fills += 1
    totals.subaccounts += subaccounts
    now_ns = state.last_time_ns
    buckets = totals.buckets
    if buckets and now_ns - buckets[-1][0] < BUCKET_NS:
        start_ns, notional, fills, counted = buckets[-1]
        buckets[-1] = (start_ns, notional + notional_usd6, fills + 1, counted + subaccounts)
    else:
        buckets.append((now_ns, notional_usd6, 1, subaccounts))
    while now_ns - buckets[0][0] >= DAY_NS:
        buckets.pop(0)


def stage_shares(state: State, now_ns: int) -> tuple[StageShare, ...]:
    """Give what each stage did since start and over the last 24 h (R25); share = floor(notional x 10^6 /
    notional of all stages), 0 when there was none.
    """
    totals = [state.stages.get(stage, StageTotals()) for stage in STAGES]
    days = [_of_day(one, now_ns) for one in totals]
    all_usd6 = sum([one.notional_usd6 for one in totals])
    day_usd6 = sum([notional_usd6 for notional_usd6, _, _ in days])
    return tuple(
        [
            StageShare(
                stage,
                one.notional_usd6,
                one.fills,
                one.subaccounts,
                scale_down(one.notional_usd6, PPM, all_usd6) if all_usd6 else 0,
                *day,
                scale_down(day[0], PPM, day_usd6) if day_usd6 else 0,
            )
            for stage, one, day in zip(STAGES, totals, days, strict=True)
        ]
    )


def _of_day(totals: StageTotals, now_ns: int) -> tuple[int, int, int]:
    young = [bucket for bucket in totals.buckets if now_ns - bucket[0] < DAY_NS]
    return (
        sum([bucket[1] for bucket in young]),
        sum([bucket[2] for bucket in young]),
        sum([bucket[3] for bucket in young]),
    )
