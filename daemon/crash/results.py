"""What a run says about itself: one plain object, the content of results.json.

Rules: integers and texts only, in base units as everywhere; nothing of the machine, the hour or the duration
of the run, so that the same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from daemon.crash.people import SentDeposit
from daemon.crash.replay import Replay
from engine.backstop import provider_capacities
from engine.margin import margin_of
from engine.params import params_to_json
from engine.rejects import RejectReason
from engine.stages import BOOK, STAGES, stage_shares
from engine.units import ENGINE_VERSION

FORMAT = 1
MOST_LARGEST = 10
_STATEMENTS = {reason.value: reason.statement for reason in RejectReason}


def results_of(replay: Replay) -> dict[str, Any]:
    """Give everything that a report shows."""
    recorder, exchange, scenario = replay.recorder, replay.exchange, replay.scenario
    return {
        "format": FORMAT,
        "engine_version": ENGINE_VERSION,
        "scenario": {
            "source": scenario.source,
            "title": scenario.title,
            "description": scenario.description,
            "duration_s": scenario.duration_s,
        },
        "accounts": replay.accounts,
        "seed": replay.seed,
        "summary": _summary(replay),
        "stages": [asdict(one) for one in stage_shares(exchange.state, exchange.now_ns)],
        "checks": [
            {"what": one.what, "events": one.folded, "room": one.room, "engine": one.told, "agree": one.holds}
            for one in recorder.agreements()
        ],
        "invariant_checks": exchange.checks,
        "markets": list(recorder.markets),
        "seconds": recorder.seconds,
        "value_seconds": recorder.value_seconds,
        "series": recorder.series,
        "largest": _largest(replay),
        "deposits": _deposits(replay),
        "refusals": _refusals(replay),
        "capacities": [asdict(one) for one in provider_capacities(exchange.state, exchange.now_ns)],
        "params": params_to_json(exchange.state.params),
        "state_hash": replay.state_hash,
    }


def _summary(replay: Replay) -> dict[str, Any]:
    exchange = replay.exchange
    return {
        "open_interest_usd6": replay.cast.total_open_interest_usd6,
        "customers_equity_usd6": sum(one.equity_usd6 for one in replay.cast.customers),
        "block_trades_refused": replay.population_refused,
        "commands": exchange.commands,
        "events": exchange.events,
        **_prices(replay),
        **_liquidations(replay),
        **_debts(replay),
        **_money_in_and_out(replay),
    }


def _prices(replay: Replay) -> dict[str, Any]:
    series, assets = replay.recorder.series, _assets(replay)
    return {
        "deepest_fall_ppm": _furthest(replay, min),
        "highest_rise_ppm": _furthest(replay, max),
        "widest_mark_lag_ppm": max((_widest(replay, asset) for asset in assets), default=0),
        "stale_samples": sum(sum(series[f"stale/{asset}"]) for asset in assets),
        "traded_usd6": replay.recorder.traded_usd6,
    }


def _liquidations(replay: Replay) -> dict[str, Any]:
    recorder = replay.recorder
    series, counts = recorder.series, recorder.counts
    shares = stage_shares(replay.exchange.state, replay.exchange.now_ns)
    liquidated_usd6 = sum(one.notional_usd6 for one in shares)
    book_usd6 = sum(one.notional_usd6 for one in shares if one.stage == BOOK)
    outcomes = ("recovered", "closed", "bankrupt")
    return {
        "liquidated_usd6": liquidated_usd6,
        **{f"liquidated_{one.stage}_usd6": one.notional_usd6 for one in shares},
        **{f"fills_{one.stage}": one.fills for one in shares},
        "book_share_ppm": book_usd6 * 1_000_000 // liquidated_usd6 if liquidated_usd6 else 0,
        "liquidations": counts.get("liquidations", 0),
        "liquidated_subaccounts": len(recorder.liquidated),
        **{f"liquidations_{how}": counts.get(f"liquidations_{how}", 0) for how in outcomes},
        "first_liquidation_s": recorder.first_liquidation_s,
        "half_liquidated_s": _half_liquidated(replay),
        "in_liquidation_peak": max(series["in_liquidation"]),
        "in_liquidation_end": series["in_liquidation"][-1],
        "adl_forgone_usd6": recorder.forgone_usd6,
        **_deleveraged(replay),
        "slippage_usd6": recorder.slippage_usd6,
        "providers_result_usd6": _providers_result(replay),
    }


def _deleveraged(replay: Replay) -> dict[str, int]:
    """Say whom auto-deleveraging reduced, by the groups of R24, and how many of the hedged customers."""
    recorder = replay.recorder
    reduced = set().union(*recorder.adl_holders.values())
    hedgers = [one.subaccount for one in replay.cast.customers if one.kind == "hedger" and one.exposure]
    return {
        **{f"adl_{group}_usd6": usd6 for group, usd6 in recorder.adl_usd6.items()},
        **{f"adl_{group}_holders": len(who) for group, who in recorder.adl_holders.items()},
        "hedgers": len(hedgers),
        "hedgers_deleveraged": sum(name in reduced for name in hedgers),
    }


def _largest(replay: Replay) -> list[dict[str, Any]]:
    """List the subaccounts of which most was liquidated, the largest first."""
    liquidated = replay.recorder.liquidated
    first = sorted(liquidated, key=lambda name: (-sum(liquidated[name].usd6.values()), name))[:MOST_LARGEST]
    came = {one.subaccount: one for one in replay.cast.customers}
    rows = []
    for name in first:
        one, customer = liquidated[name], came.get(name)
        rows.append(
            {
                "subaccount": name,
                "kind": customer.kind if customer else "other",
                "equity_usd6": customer.equity_usd6 if customer else 0,
                **asdict(one),
            }
        )
    return rows


def _providers_result(replay: Replay) -> int:
    """Say what the backstop providers made of their capital, positions at the last mark."""
    state, cast = replay.exchange.state, replay.cast
    values = [margin_of(state, name).account_value_usd6 for name in cast.providers]
    return sum(values) - cast.provider_capital_usd6


def _half_liquidated(replay: Replay) -> int:
    """Say by which sampled second half of the liquidated notional was closed; 0 when there was none."""
    recorder = replay.recorder
    totals = [sum(at) for at in zip(*(recorder.series[f"stage_usd6/{one}"] for one in STAGES), strict=True)]
    return int(recorder.seconds[next(at for at, usd6 in enumerate(totals) if 2 * usd6 >= totals[-1])])


def _debts(replay: Replay) -> dict[str, Any]:
    recorder = replay.recorder
    series, counts = recorder.series, recorder.counts
    return {
        "bankruptcies": counts.get("bankruptcies", 0),
        "bankrupt_usd6": recorder.bankrupt_usd6,
        "outstanding_peak_usd6": max(series["outstanding_usd6"]),
        "outstanding_end_usd6": series["outstanding_usd6"][-1],
        "covered_by_fund_usd6": recorder.covered_usd6,
        "repaid_by_deposits_usd6": recorder.repaid_usd6,
        "collected_from_debtors_usd6": recorder.collected_usd6,
        "socialized_usd6": recorder.socialized_usd6,
        "claims_peak_usd6": max(series["claims_usd6"]),
        "claims_end_usd6": series["claims_usd6"][-1],
        "fund_start_usd6": series["fund_usd6"][0],
        "fund_low_usd6": min(series["fund_usd6"]),
        "fund_end_usd6": series["fund_usd6"][-1],
        "fund_inventory_end_usd6": series["fund_inventory_usd6"][-1],
        "fund_owes_end_usd6": series["fund_owes_usd6"][-1],
        "fund_borrowed_end_usd6": series["fund_borrowed_usd6"][-1],
    }


def _money_in_and_out(replay: Replay) -> dict[str, Any]:
    recorder, people = replay.recorder, replay.people
    series, counts = recorder.series, recorder.counts
    return {
        "deposits": counts.get("deposits", 0),
        "deposits_held": counts.get("deposits_held", 0),
        "deposits_sent_back": counts.get("deposits_sent_back", 0),
        "deposits_applied_usd6": recorder.applied_usd6,
        "deposits_credited_usd6": recorder.credited_usd6,
        "previews_exact": people.previews_exact,
        "previews_wrong": people.previews_wrong,
        **{
            name: counts.get(name, 0)
            for name in (
                "withdrawals_passed",
                "withdrawals_queued_pool",
                "withdrawals_queued_velocity",
                "withdrawals_released",
                "withdrawals_paid",
                "withdrawals_turned_back",
            )
        },
        "withdrawals_refused": series["withdrawals_refused"][-1],
        "withdrawals_waiting_end": series["queued"][-1],
    }


def _assets(replay: Replay) -> list[str]:
    return [replay.exchange.state.markets[market].asset for market in replay.recorder.markets]


def _furthest(replay: Replay, which: Callable[[list[int]], int]) -> dict[str, int]:
    found = {}
    for path in replay.scenario.prices:
        prices = replay.prices_outside(path.symbol)
        found[path.symbol] = (which(prices) - prices[0]) * 1_000_000 // prices[0]
    return found


def _widest(replay: Replay, asset: str) -> int:
    series = replay.recorder.series
    pairs = zip(series[f"mark_e8/{asset}"], series[f"outside_e8/{asset}"], strict=True)
    return max(int(abs(mark - outside) * 1_000_000 // outside) for mark, outside in pairs)


def _deposits(replay: Replay) -> list[dict[str, Any]]:
    sent: list[SentDeposit] = [*replay.people.deposits.values(), *replay.people.refused]
    return [asdict(one) for one in sorted(sent, key=lambda one: (one.second, one.subaccount))]


def _refusals(replay: Replay) -> list[dict[str, Any]]:
    rows = []
    for (kind, reason), count in sorted(replay.exchange.rejected.items()):
        statement = _STATEMENTS[reason]
        rows.append({"command": kind, "reason": reason, "statement": statement, "count": count})
    return rows
