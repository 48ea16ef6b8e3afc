"""Figures that follow from a run's results alone, for pages and for comparing runs.

Rules: whole numbers; read from the sampled series, so a peak is the highest sample. Nothing here is part of
results.json: the same run read by a later version may be asked more.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from engine.stages import STAGES

# Where the price outside has come from is where it was so long ago.
TREND_S = 60


def derived(results: dict[str, Any]) -> dict[str, int]:
    """Give what the summary does not say but the series tell."""
    series = results["series"]
    owed = (series["outstanding_usd6"], series["fund_owes_usd6"])
    behind_ms, off_ppm = _lateness(results)
    return {
        "fund_worth_low_usd6": min(_fund_worth(results)),
        "fund_worth_end_usd6": _fund_worth(results)[-1],
        # What nobody has paid in: owed by the bankrupt and by the fund. Claims can be more for the seconds
        # between two settlements, while what the losers do have is on its way.
        "lacking_peak_usd6": max(map(sum, zip(*owed, strict=True))),
        "most_liquidated_s": _liquidated_by(results, 900_000),
        "mark_behind_ms": behind_ms,
        "mark_off_ppm": off_ppm,
    }


def largest_moves(results: dict[str, Any]) -> dict[str, int]:
    """Give how far each price outside went from its start, in ppm: its deepest fall or its highest rise."""
    falls, rises = results["summary"]["deepest_fall_ppm"], results["summary"]["highest_rise_ppm"]
    return {asset: fall if -fall >= rises[asset] else rises[asset] for asset, fall in falls.items()}


def furthest_second(results: dict[str, Any]) -> int | None:
    """Say when the asset that moved most was furthest from its start."""
    moves = largest_moves(results)
    asset = max(sorted(moves), key=lambda name: abs(moves[name]), default="")
    series = results["series"].get(f"outside_e8/{asset}")
    if not series:
        return None
    return int(results["seconds"][series.index(min(series) if moves[asset] < 0 else max(series))])


def _fund_worth(results: dict[str, Any]) -> list[int]:
    """Give what the fund has less what it owes, to the settlement pool and to lenders, at every sample."""
    names = ("fund_usd6", "fund_inventory_usd6", "fund_owes_usd6", "fund_borrowed_usd6")
    parts = zip(*(results["series"][name] for name in names), strict=True)
    return [cash + inventory - pool - lenders for cash, inventory, pool, lenders in parts]


def _liquidated(results: dict[str, Any]) -> list[int]:
    """Give liquidated notional of all stages up to every sample."""
    parts = (results["series"][f"stage_usd6/{stage}"] for stage in STAGES)
    return [sum(at) for at in zip(*parts, strict=True)]


def _liquidated_by(results: dict[str, Any], share_ppm: int) -> int:
    """Say by which sampled second a share of the liquidated notional was closed; 0 when there was none."""
    totals = _liquidated(results)
    wanted = totals[-1] * share_ppm
    found = (at for at, usd6 in enumerate(totals) if usd6 * 1_000_000 >= wanted)
    return int(results["seconds"][next(found)])


def _lateness(results: dict[str, Any]) -> tuple[int, int]:
    """Say how late liquidations were: how long ago the price outside was where the mark stands, in
    milliseconds, and how far the mark is from it, in ppm; means over the markets, weighted by what was
    liquidated between two samples. Rounded down. A mark that is ahead of the price outside counts as 0.
    """
    seconds, series = results["seconds"], results["series"]
    assets = [market.partition("-")[0] for market in results["markets"]]
    trend = max(1, TREND_S // max(1, seconds[1] - seconds[0])) if len(seconds) > 1 else 1
    weight = behind = off = 0
    for at, (before, after) in enumerate(pairwise(_liquidated(results)), start=1):
        weight += (after - before) * len(assets)
        for asset in assets if after > before else ():
            outside, mark_e8 = series[f"outside_e8/{asset}"], series[f"mark_e8/{asset}"][at]
            since = _was_there(outside, mark_e8, at, trend)
            if since < at:
                behind += (after - before) * (seconds[at] - seconds[since])
                off += (after - before) * (abs(mark_e8 - outside[at]) * 1_000_000 // outside[at])
    return (behind * 1_000 // weight, off // weight) if weight else (0, 0)


def _was_there(outside: list[int], mark_e8: int, at: int, trend: int) -> int:
    """Find the last sample at which the price outside was where the mark is; `at` itself when the mark is not
    on the side that the price has come from.
    """
    above, fell = mark_e8 > outside[at], outside[max(0, at - trend)] > outside[at]
    since = at
    while since and above == fell and outside[since] != mark_e8 and (mark_e8 > outside[since]) == above:
        since -= 1
    return since
