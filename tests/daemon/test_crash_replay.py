"""A crash through the engine: the same bytes again, the invariants throughout, what each must show."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from daemon.crash.command import crash
from daemon.crash.exchange import Exchange
from daemon.crash.impact import Impact
from daemon.crash.population import Cast, engine_params
from daemon.crash.prices import Prices
from daemon.crash.replay import Crash, Replay
from daemon.crash.results import results_of
from daemon.crash.scenario import load_scenario
from daemon.errors import ConfigError, DaemonError, InvariantBreach
from engine import commands as cm
from engine import events as ev
from engine.margin import margin_of

from .crash_helpers import compressed, replayed

SMALL = """
title = "Small"
description = "A short fall."
duration_s = 40

[prices.SOL]
start = 150
change = [[0, 0], [10, -1], [25, -22], [40, -15]]
noise = 0.2

[oracle]
lag_s = 3
straggle_s = 2

[book]
depth = [[0, 5], [20, 0.3]]
half_spread = 0.1

[customers]
equity_usd = [[200, 2], [2_000, 1]]
leverage = [[5, 2], [20, 1]]
kinds = { long = 6, short = 2, hedger = 2, lender = 1, borrower = 1 }
markets = { SOL-PERP = 1 }
collateral = { USDC = 3, SOL = 1 }
hold_on_debt = 20

[fund]
size = 0.05

[deposits]
come = 80
delay_s = [[3, 1]]

[withdrawals]
per_minute = 40
payout_s = 3
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return str(path)


@cache
def calm() -> Replay:
    return replayed(compressed("calm", 12), 200)


@cache
def october() -> Replay:
    return replayed(compressed("october", 3), 400)


@cache
def severe() -> Replay:
    return replayed(compressed("severe", 24), 200)


def outputs(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "results.json").read_bytes(), (folder / "report.html").read_bytes()


def test_the_same_seed_gives_the_same_bytes_in_another_process(small: str, tmp_path: Path) -> None:
    assert crash(small, 60, 5, tmp_path / "here", "", True) == 0
    command = [
        sys.executable,
        "-m",
        "daemon",
        "crash",
        "--scenario",
        small,
        "--accounts",
        "60",
        "--seed",
        "5",
    ]
    subprocess.run(
        [*command, "--out", str(tmp_path / "there"), "--quiet"],
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert outputs(tmp_path / "here") == outputs(tmp_path / "there")


def test_another_seed_gives_another_crash(small: str, tmp_path: Path) -> None:
    for seed in (5, 6):
        crash(small, 30, seed, tmp_path / str(seed), "", True)
    assert outputs(tmp_path / "5")[0] != outputs(tmp_path / "6")[0]


def interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_a_sweep_runs_every_value_and_puts_them_side_by_side(small: str, tmp_path: Path) -> None:
    assert crash(small, 40, 1, tmp_path, "oracle.lag_s=0,12", True) == 0
    swept = msgspec.json.decode((tmp_path / "sweep.json").read_bytes())
    assert swept["values"] == ["0", "12"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("daemon.crash.command._run", interrupted)
        crash(small, 40, 1, tmp_path, "oracle.lag_s=0,7", True)
    assert not (tmp_path / "sweep.json").exists() and not (tmp_path / "sweep.html").exists()
    by_key = {metric["key"]: metric["values"] for metric in swept["metrics"]}
    assert by_key["first_liquidation_s"][0] < by_key["first_liquidation_s"][1]
    assert by_key["widest_mark_lag_ppm"][0] < by_key["widest_mark_lag_ppm"][1]
    for value in swept["values"]:
        assert (tmp_path / value / "report.html").is_file()


def test_a_wrong_value_of_a_sweep_is_found_before_the_first_run(small: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fund\.size"):
        crash(small, 40, 1, tmp_path / "out", "fund.size=1,-1", True)
    assert not (tmp_path / "out").exists()


def test_an_engine_parameter_of_a_sweep_is_checked_before_the_first_run(small: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mark_band_ppm"):
        crash(small, 40, 1, tmp_path / "out", "markets.mark_band_ppm=1000,9999999", True)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_is_found_before_the_run(small: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    began = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DaemonError, match="cannot be written"):
        patch.setattr("daemon.crash.command.Crash", lambda *_: began.append(1))
        crash(small, 40, 1, tmp_path / "file", "", True)
    assert began == []


def test_a_broken_invariant_ends_the_run() -> None:
    replay = replayed(compressed("calm", 360), 20)
    replay.exchange.state.totals.cash_units["USDC"] += 1
    with pytest.raises(InvariantBreach, match="I1"):
        replay.exchange.check(full=False)


@pytest.mark.parametrize("run", [calm, severe], ids=["calm", "severe"])
def test_events_alone_tell_what_the_engine_tells(run: Any) -> None:
    replay = run()
    results = results_of(replay)
    assert [one for one in results["checks"] if not one["agree"]] == []
    # Every second, every settlement, every minute in full, and at the end.
    duration_s = replay.scenario.duration_s
    assert results["invariant_checks"] >= duration_s + duration_s // 10 + 1
    assert results["summary"]["previews_wrong"] == 0
    assert results["summary"]["block_trades_refused"] == 0


@pytest.mark.parametrize("run", [calm, severe], ids=["calm", "severe"])
def test_the_chain_holds_what_the_engine_says_it_must(run: Any) -> None:
    from engine.invariants import expected_holdings_units

    exchange = run().exchange
    assert exchange.holdings == expected_holdings_units(exchange.state)


def test_slippage_is_what_the_liquidated_sold_below_the_mark_or_bought_above_it(tmp_path: Path) -> None:
    (tmp_path / "still.toml").write_text(SMALL.replace("noise = 0.2", "noise = 0"))
    one = Crash(load_scenario(str(tmp_path / "still.toml")), 2, 1)
    one.exchange.at(0)
    one.exchange.do(cm.UpdateQuotes("q", one.exchange.now_ns, "SOL", one.prices.quotes("SOL", 0)))
    assert one.exchange.state.mark_prices["SOL-PERP"].price_e8 == 150 * 10**8
    told = one.recorder

    def traded(taker: str, is_buy: bool, sol: int, usd: int) -> None:
        told._on_traded(
            ev.Traded(
                "SOL-PERP", "1/0", 1, taker, 2, is_buy, sol * 10**9, usd * 10**8, sol * usd * 10**6, 0, 0
            )
        )

    traded("7/0", False, 10, 140)
    assert told.slippage_usd6 == 0
    told._on_liquidation_started(ev.LiquidationStarted("7/0", 0, 0, 1))
    # 10 SOL at 147 instead of 150 lose $30; 4 bought at 151 lose $4; 2 sold above the mark, at 152, gain $4.
    traded("7/0", False, 10, 147)
    assert told.slippage_usd6 == 30_000_000
    traded("7/0", True, 4, 151)
    traded("7/0", False, 2, 152)
    traded("8/0", False, 10, 100)
    assert told.slippage_usd6 == 30_000_000


def test_r25_a_calm_hour_is_liquidated_on_the_book() -> None:
    summary = results_of(calm())["summary"]
    assert summary["liquidated_usd6"] > 0
    assert summary["liquidated_book_usd6"] * 100 > summary["liquidated_usd6"] * 99
    assert summary["liquidated_adl_usd6"] == 0
    assert summary["bankruptcies"] == 0


def test_r22_r23_r24_a_severe_crash_uses_every_stage() -> None:
    summary = results_of(severe())["summary"]
    for stage in ("book", "backstop", "adl"):
        assert summary[f"liquidated_{stage}_usd6"] > 0, stage


def test_r27_r28_r31_debts_arise_deposits_pay_them_and_the_gate_holds_back() -> None:
    summary = results_of(severe())["summary"]
    assert summary["bankruptcies"] > 0
    assert summary["outstanding_peak_usd6"] > summary["fund_low_usd6"]
    assert 0 < summary["repaid_by_deposits_usd6"] <= summary["bankrupt_usd6"]
    assert summary["withdrawals_queued_pool"] > 0
    outcome_usd6 = summary["covered_by_fund_usd6"] + summary["repaid_by_deposits_usd6"]
    assert summary["outstanding_end_usd6"] <= summary["bankrupt_usd6"] - outcome_usd6


def test_r27_r28_r31_the_default_scenario_tells_the_story_of_the_readme() -> None:
    """Some end below zero, debts outlast the fund, deposits meet them, the gate holds, the books close."""
    replay = october()
    results = results_of(replay)
    summary, series = results["summary"], results["series"]
    assert summary["liquidated_book_usd6"] * 2 > summary["liquidated_usd6"]
    assert summary["liquidated_backstop_usd6"] > 0
    assert summary["bankruptcies"] > 0
    short = [owed > fund for owed, fund in zip(series["outstanding_usd6"], series["fund_usd6"], strict=True)]
    assert any(short) and summary["outstanding_peak_usd6"] > summary["fund_start_usd6"]
    assert summary["repaid_by_deposits_usd6"] > 0 and summary["covered_by_fund_usd6"] > 0
    paid_in_part = [one for one in results["deposits"] if one["applied_units"] and one["credited_units"]]
    assert paid_in_part
    assert summary["withdrawals_queued_pool"] > 0
    assert summary["withdrawals_released"] > 0
    assert summary["claims_end_usd6"] == summary["outstanding_end_usd6"] + summary["fund_owes_end_usd6"]


def test_r26_r28_a_coin_that_breaks_is_taken_over_and_sold_by_the_fund() -> None:
    one = Crash(compressed("depeg", 4), 200, 1)
    took: list[ev.CollateralConverted] = []
    sold: list[ev.SpotTraded] = []
    one.exchange.listen(ev.CollateralConverted, took.append)
    one.exchange.listen(
        ev.SpotTraded, lambda event: sold.append(event) if event.taker == "insurance_fund" else None
    )
    results = results_of(one.run())
    assert "USDX-PERP" not in results["markets"]
    taken_units = sum(event.units for event in took if event.asset == "USDX")
    sold_units = sum(event.units for event in sold if event.market == "USDX/USDC" and not event.taker_is_buy)
    assert 0 < taken_units * 9 // 10 < sold_units
    summary, inventory_usd6 = results["summary"], results["series"]["fund_inventory_usd6"]
    assert max(inventory_usd6) > summary["fund_start_usd6"]
    assert summary["fund_inventory_end_usd6"] * 10 < max(inventory_usd6)
    assert summary["claims_end_usd6"] == summary["outstanding_end_usd6"] + summary["fund_owes_end_usd6"]


def test_forced_sales_move_the_price_outside_and_half_of_it_is_gone_after_a_minute(tmp_path: Path) -> None:
    (tmp_path / "still.toml").write_text(SMALL.replace("noise = 0.2", "noise = 0").replace("40", "400"))
    scenario = load_scenario(str(tmp_path / "still.toml"))
    exchange, prices = Exchange(engine_params(scenario)), Prices(scenario, Random(1))
    path_e8 = list(prices.outside["SOL"])
    cast = Cast((), (), (), {"SOL-PERP": 1_000_000 * 10**6}, 0)
    # 0.5% for each percent of the open interest.
    impact = Impact(exchange, prices, cast, 5_000)

    def traded(taker: str, usd: int) -> Any:
        return ev.Traded("SOL-PERP", "1/0", 1, taker, 2, False, 1, 1, usd * 10**6, 0, 0)

    def tell(event: Any) -> None:
        for listener in exchange._listeners.get(type(event), ()):
            listener(event)

    tell(traded("7/0", 20_000))
    impact.move(201)
    assert prices.at("SOL", 201) == path_e8[201]
    tell(ev.LiquidationStarted("7/0", 0, 0, 1))
    # 2% of the open interest: 1% down.
    tell(traded("7/0", 20_000))
    impact.move(202)
    assert prices.at("SOL", 202) == path_e8[202] * 99 // 100
    for second in range(203, 263):
        impact.move(second)
    off_ppm = 1_000_000 - prices.at("SOL", 262) * 1_000_000 // path_e8[262]
    assert 4_999 <= off_ppm <= 5_001
    assert prices.at("SOL", 263) == path_e8[263]


def test_a_cascade_falls_deeper_than_the_path() -> None:
    falls = []
    for impact in (0, 1):
        results = results_of(replayed(compressed("october", 30, book={"impact": impact}), 60))
        falls.append(results["summary"]["deepest_fall_ppm"]["SOL"])
        assert all(one["agree"] for one in results["checks"])
    assert falls[1] < falls[0]


def test_r24_hedges_are_reduced_last_and_the_parts_are_the_whole() -> None:
    replay = severe()
    results = results_of(replay)
    summary, recorder = results["summary"], replay.recorder
    assert summary["adl_reduces_delta_usd6"] + summary["adl_hedge_usd6"] == summary["liquidated_adl_usd6"] > 0
    assert summary["adl_reduces_delta_usd6"] > summary["adl_hedge_usd6"]
    assert summary["adl_reduces_delta_holders"] > 0
    assert 0 <= summary["hedgers_deleveraged"] <= summary["hedgers"]
    for stage in ("book", "backstop", "adl"):
        of_all = sum(one.usd6[stage] for one in recorder.liquidated.values())
        assert of_all == recorder.stage_usd6[stage], stage
    assert sum(one.entries for one in recorder.liquidated.values()) == summary["liquidations"]
    totals = [sum(one["usd6"].values()) for one in results["largest"]]
    assert len(totals) == 10 and totals == sorted(totals, reverse=True)
    assert totals[0] == max(sum(one.usd6.values()) for one in recorder.liquidated.values())


def test_i4_a_severe_crash_ends_with_debts_equal_to_claims() -> None:
    replay = severe()
    exchange = replay.exchange
    exchange.at(replay.scenario.duration_s + 10)
    exchange.settle()
    exchange.check(full=True)
    unsettled = [one.unsettled_usd6 for one in exchange.state.subaccounts.values()]
    debts, claims = -sum(min(0, one) for one in unsettled), sum(max(0, one) for one in unsettled)
    assert debts == claims


def test_nobody_is_left_worse_than_before_the_engine_says_so() -> None:
    """Whoever is below zero at the end is in liquidation or a known debtor: no loss is hidden."""
    replay = severe()
    state = replay.exchange.state
    for one in replay.cast.customers:
        if margin_of(state, one.subaccount).account_value_usd6 < 0:
            assert one.subaccount in state.debts or one.subaccount in state.liquidations, one.subaccount


def test_r28_every_receipt_adds_up() -> None:
    deposits = results_of(severe())["deposits"]
    assert deposits
    for one in deposits:
        if one["outcome"] in ("taken", "held, then taken"):
            assert one["applied_units"] + one["credited_units"] == one["units"], one
            left_usd6 = one["outstanding_before_usd6"] - one["applied_usd6"]
            # What is credited although something is left, because it cannot be converted, counts as well.
            least_usd6 = 0 if left_usd6 and one["credited_units"] else left_usd6
            assert least_usd6 <= one["outstanding_after_usd6"] <= left_usd6, one


def test_a_third_asset_gets_parameters_and_markets_of_its_own() -> None:
    scenario = compressed("october", 30)
    replay = replayed(scenario, 40)
    assert {"ETH-PERP", "ETH/USDC"} <= set(replay.exchange.state.markets)
    assert len(replay.recorder.markets) == 3
