"""R16, R18: the published fractions, and what collateral weighs when part of it is lent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine import commands as cm
from engine.fixed import weight_down_ppm
from engine.margin import borrow_risk, initial_ratio_ppm, maintenance_ratio_ppm, margin_of
from engine.params import LendingParams, default_params
from engine.state import Price, new_state
from tests.engine.conftest import SOL, USDC, Exchange

MILLION = 10**6 * USDC


@pytest.mark.parametrize(
    ("market", "exposure_usd6", "initial_ppm", "maintenance_ppm"),
    [
        # 2.494e-5 x sqrt(10^7) = 0.0788673..., 1.496e-5 x sqrt(10^7) = 0.0473076...
        ("BTC-PERP", 10 * MILLION, 78_868, 47_308),
        ("BTC-PERP", 100 * MILLION, 249_400, 149_600),
        # 7.5e-5 x sqrt(10^7) = 0.2371708..., 3.75e-5 x sqrt(10^7) = 0.1185854...
        ("SOL-PERP", 10 * MILLION, 237_171, 118_586),
        ("BTC-PERP", 1_000 * USDC, 13_334, 6_670),
        ("SOL-PERP", 1_000 * USDC, 20_000, 13_500),
    ],
)
def test_r18_the_published_fractions(
    market: str, exposure_usd6: int, initial_ppm: int, maintenance_ppm: int
) -> None:
    """R18: BTC 7.9% / 4.7% at 10 M, 24.9% / 15.0% at 100 M; SOL 23.7% / 11.9%; small ones the base."""
    (params,) = [one for one in default_params().markets if one.symbol == market]
    assert initial_ratio_ppm(params, exposure_usd6) == initial_ppm
    assert maintenance_ratio_ppm(params, exposure_usd6) == maintenance_ppm


@pytest.mark.parametrize(
    ("market", "millions", "initial", "maintenance"),
    [
        ("BTC-PERP", 10, "7.9%", "4.7%"),
        ("BTC-PERP", 100, "24.9%", "15.0%"),
        ("SOL-PERP", 10, "23.7%", "11.9%"),
    ],
)
def test_r18_the_published_fractions_as_published(
    market: str, millions: int, initial: str, maintenance: str
) -> None:
    (params,) = [one for one in default_params().markets if one.symbol == market]
    found = (
        initial_ratio_ppm(params, millions * MILLION),
        maintenance_ratio_ppm(params, millions * MILLION),
    )
    assert [f"{ratio / 10_000:.1f}%" for ratio in found] == [initial, maintenance]


@pytest.mark.parametrize(
    ("units", "liability_usd6", "initial_usd6", "maintenance_usd6"),
    [
        # Small: 10% and 5%.
        (10 * SOL, 1_500 * USDC, 150 * USDC, 75 * USDC),
        # $10 million / $150: 23.7171% and 11.8586% of $9,999,999.9 (rounded up).
        (66_666_666_000_000, 9_999_999_900_000, 2_371_709_976_283, 1_185_859_988_142),
    ],
)
def test_r11_a_borrow_of_sol_is_margined_as_a_short(
    units: int, liability_usd6: int, initial_usd6: int, maintenance_usd6: int
) -> None:
    """R11, R18: its own base (10% / 5%), the factors of SOL: 23.7% / 11.9% at 10 M."""
    state = new_state(default_params())
    state.index_prices["SOL"] = Price(150 * 10**8, 0)
    assert borrow_risk(state, "SOL", units) == (liability_usd6, initial_usd6, maintenance_usd6)


def test_r11_dollars_borrowed_need_margin_too() -> None:
    """R11: 5% / 2.5% for what it costs to sell collateral for them."""
    state = new_state(default_params())
    assert borrow_risk(state, "USDC", 100 * USDC) == (100 * USDC, 5 * USDC, 2_500_000)


def test_r10_lent_units_weigh_as_if_they_were_cash(exchange: Exchange) -> None:
    """R10, R16: the weight is that of cash and lent together: 0.9 / (1 + 0.001 x sqrt(100)) of 100 SOL."""
    exchange.deposit("1/0", 100 * SOL, "SOL")
    before = margin_of(exchange.state, "1/0")
    # 0.9 / 1.01 = 0.891089 (down to 1 ppm), of $15,000.
    assert weight_down_ppm(900_000, 1_000, 100 * SOL, 9) == 891_089
    assert before.net_equity_usd6 == 15_000 * 891_089
    assert before.account_value_usd6 == 15_000 * USDC
    for lent in (40 * SOL, 60 * SOL):
        exchange.must(cm.Lend, "1/0", "SOL", lent)
        assert margin_of(exchange.state, "1/0") == before
    assert exchange.cash("1/0", "SOL") == 0


def test_r16_size_weighs(exchange: Exchange) -> None:
    """R16: twice the tokens are worth less than twice as much."""
    exchange.deposit("1/0", 100 * SOL, "SOL")
    exchange.deposit("2/0", 200 * SOL, "SOL")
    once, twice = margin_of(exchange.state, "1/0"), margin_of(exchange.state, "2/0")
    assert once.net_equity_usd6 < twice.net_equity_usd6 < 2 * once.net_equity_usd6
    # 0.9 / (1 + 0.001 x 14.142136) = 0.887449...
    assert twice.net_equity_usd6 == 30_000 * 887_449


def test_r18_a_borrow_has_no_leverage_bound_of_a_market() -> None:
    lending = LendingParams(borrow_limit_units=1, base_imf_ppm=1, base_mmf_ppm=1, imf_factor_e12=0)
    params = default_params()
    assets = [replace(one, lending=replace(lending, mmf_factor_e12=0)) for one in params.assets]
    state = new_state(replace(params, assets=tuple(assets)))
    assert borrow_risk(state, "USDC", 10**6) == (10**6, 1, 1)
