"""Scenario files: everything wrong at once, exact numbers, the same draws everywhere."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from daemon.crash.curve import Curve, bell, happens, pick, spread
from daemon.crash.population import engine_params
from daemon.crash.prices import EPOCH_NS, NS, Prices
from daemon.crash.scenario import PACKAGED, load_scenario, parsed_scenario, read_scenario
from daemon.crash.sweep import override, parse_sweep
from daemon.errors import ConfigError, DaemonError
from engine.params import params_faults

SMALL: dict[str, Any] = {
    "title": "Small",
    "description": "Nothing happens.",
    "prices": {"SOL": {"start": 150}},
    "customers": {"equity_usd": [[1_000, 1]], "leverage": [[5, 1]], "markets": {"SOL-PERP": 1}},
    "fund": {"size": 1},
}


def faults_of(**tables: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_scenario("small", {**SMALL, **tables})
    return caught.value.faults


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_scenario_is_good(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.source == name
    assert params_faults(engine_params(scenario)) == ()


def test_the_smallest_scenario_has_defaults() -> None:
    scenario = read_scenario("small", SMALL)
    assert scenario.duration_s == 3_600
    assert scenario.prices[0].start_e8 == 150 * 10**8
    assert scenario.fund_ppm == 10_000


def test_all_faults_come_at_once_each_with_its_path() -> None:
    found = faults_of(
        titel="x",
        duration_s=5,
        prices={"SOL": {"start": 150, "chnge": 0}},
        oracle={"lag": 3},
        book={"depth": [[10, 1], [5, 1]]},
        customers={"equity_usd": [], "leverage": [[5, 0]], "markets": {"SOL-PREP": 1}},
        engine={"liquidation_end": 1},
        deposits={"assets": {"BTC": 1}},
    )
    for part in (
        "titel: unknown key; did you mean `title`?",
        "duration_s: is 5",
        "prices.SOL.chnge: unknown key; did you mean `change`?",
        "oracle.lag: unknown key; did you mean `lag_s`?",
        "book.depth: is [[10, 1], [5, 1]]",
        "customers.equity_usd: is []",
        "customers.leverage: is [[5, 0]]",
        "customers.markets.SOL-PREP: has no price path; did you mean `SOL-PERP`?",
        "engine.liquidation_end: unknown key; did you mean `liquidation_end_ppm`?",
        "deposits.assets.BTC: has no price path",
    ):
        assert any(fault.startswith(part) for fault in found), (part, found)


def test_a_customer_with_nothing_and_a_price_that_is_not_the_start_are_faults() -> None:
    (fault,) = faults_of(customers={**SMALL["customers"], "equity_usd": [[0, 1]]})
    assert fault.startswith("customers.equity_usd") and "from 1" in fault
    (fault,) = faults_of(prices={"SOL": {"start": 150, "change": [[100, -20], [200, 0]]}})
    assert fault == "prices.SOL.change: is not 0 at second 0, when the price is `start`"


def test_faults_say_numbers_as_they_are_written() -> None:
    (fault,) = faults_of(prices={"SOL": {"start": Decimal("0.000000001")}})
    right = "a price in dollars from 0.00000001 to 1000000000, 8 decimals at most"
    assert fault == f"prices.SOL.start: is 1E-9; should be {right}"
    (fault,) = faults_of(deposits={"delay_s": [[Decimal("2.5"), 1]]})
    assert fault == "deposits.delay_s: is [[2.5, 1]]; should be a whole number from 0 to 1000000000"
    (fault,) = faults_of(engine={"liquidation_end_ppm": "1"})
    assert fault == "engine.liquidation_end_ppm: is '1'; should be a whole number, without quotes"


def test_a_fault_of_a_price_is_not_one_of_every_market() -> None:
    (fault,) = faults_of(prices={"SOL": {"start": 0}})
    assert fault.startswith("prices.SOL.start")
    (fault,) = faults_of(prices={})
    assert fault.startswith("prices: missing")


def test_a_kind_of_customer_that_does_not_exist_is_named() -> None:
    (fault,) = faults_of(customers={**SMALL["customers"], "kinds": {"hodler": 1}})
    assert "`hodler`" in fault and "`hedger`" in fault


def test_numbers_are_exact_and_further_digits_are_refused() -> None:
    source, plain = parsed_scenario("october")
    assert read_scenario(source, plain).prices[1].start_e8 == 12_150_000_000_000
    (fault,) = faults_of(fund={"size": 0.30000000000000004})
    assert fault.startswith("fund.size") and "number" in fault
    assert faults_of(fund={"size": True}) and faults_of(fund={"size": "a"})


def test_an_engine_parameter_outside_its_limits_is_a_fault_of_the_scenario() -> None:
    scenario = read_scenario("small", {**SMALL, "markets": {"mark_band_ppm": 2_000_000}})
    with pytest.raises(ConfigError, match="mark_band_ppm"):
        engine_params(scenario)


def test_a_file_is_read_and_what_is_no_file_is_said(tmp_path: Any) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("title = 3 4\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_scenario(str(path))
    with pytest.raises(DaemonError, match="did you mean `october`"):
        load_scenario("octobre")


def test_a_curve_is_linear_in_between_and_level_outside() -> None:
    curve = Curve(((10, 0), (20, 100), (30, -50)))
    assert [curve.at(second) for second in (0, 10, 13, 20, 25, 30, 99)] == [0, 0, 30, 100, 25, -50, -50]


def test_draws_are_the_same_on_every_machine() -> None:
    rng = Random("1/draws")
    assert [bell(rng, 1_000) for _ in range(4)] == [715, -390, 264, 1955]
    assert [pick(rng, (("a", 1), ("b", 3))) for _ in range(6)] == ["b", "b", "b", "b", "b", "b"]
    assert [spread(rng, 100) for _ in range(4)] == [96, 98, 133, 109]
    assert sum(happens(rng, 250_000) for _ in range(1_000)) == 261


def test_the_bell_has_the_width_it_says() -> None:
    rng = Random(7)
    drawn = [bell(rng, 1_000) for _ in range(4_000)]
    mean = sum(drawn) / len(drawn)
    assert abs(mean) < 60
    assert 950 < (sum((one - mean) ** 2 for one in drawn) / len(drawn)) ** 0.5 < 1_050


def test_sources_lag_and_the_step_cap_holds() -> None:
    change = [[0, 0], [10, 0], [11, -20]]
    tables = {
        "prices": {"SOL": {"start": 100, "change": change, "noise": 0}},
        "oracle": {"feeds": 1, "sources": 3, "lag_s": 4, "straggle_s": 2, "step_cap": 1},
        "duration_s": 60,
    }
    prices = Prices(read_scenario("small", {**SMALL, **tables}), Random(1))
    said = [[quote[2] for quote in prices.quotes("SOL", second)] for second in range(20)]
    assert prices.at("SOL", 10) == 100 * 10**8 and prices.at("SOL", 11) == 80 * 10**8
    # The first source hears of second 11 at second 15, the last one two seconds later; 1% a second each.
    assert said[14] == [100 * 10**8] * 3
    assert said[15] == [99 * 10**8, 100 * 10**8, 100 * 10**8]
    assert said[17] == [9_702_990_000, 9_801_000_000, 99 * 10**8]
    assert prices.quotes("SOL", 30)[2][3] == EPOCH_NS + 24 * NS


def test_a_cheap_asset_gets_the_parameters_of_eth_for_the_same_dollars() -> None:
    prices = {"SOL": {"start": 150}, "USDX": {"start": 1}, "ETH": {"start": 4_000}, "ANY": {"start": 4_000}}
    params = engine_params(read_scenario("small", {**SMALL, "prices": prices}))
    coins = {asset.symbol: asset for asset in params.assets}
    # The root of 4,000 tokens of a dollar is 63 times that of one token of $4,000.
    assert coins["USDX"].weight_penalty_ppm == 4_000 // 63
    assert coins["USDX"].lending.borrow_limit_units == 4_000 * coins["ETH"].lending.borrow_limit_units
    assert coins["ANY"] == replace(coins["ETH"], symbol="ANY")
    ticks_e8 = {market.symbol: market.tick_e8 for market in params.markets}
    assert (ticks_e8["USDX/USDC"], ticks_e8["USDX-PERP"], ticks_e8["ANY/USDC"]) == (10_000, 10_000, 1_000_000)


def test_a_sweep_replaces_one_key_and_leaves_the_file_alone() -> None:
    assert parse_sweep(" fund.size = 0.1, 2 ") == ("fund.size", ("0.1", "2"))
    for text in ("fund.size", "=1", "fund.size=", "fund.size=1,1"):
        with pytest.raises(ConfigError):
            parse_sweep(text)
    changed = override(SMALL, "fund.size", "0.25")
    assert read_scenario("small", changed).fund_ppm == 2_500
    assert SMALL["fund"] == {"size": 1}
    assert read_scenario("small", override(SMALL, "oracle.lag_s", "[[0, 1], [9, 4]]")).oracle.lag_s.at(9) == 4
    with pytest.raises(ConfigError, match="unknown key"):
        read_scenario("small", override(SMALL, "fund.sise", "1"))
    with pytest.raises(ConfigError, match="is no table"):
        override(SMALL, "title.size", "1")
