"""All parameters of the engine, their starting values, their limits and their canonical JSON.

Owns: what may be configured. All of it is public and part of the genesis hash. Must not know balances.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.codec import CodecError, decode_plain, encode_plain
from engine.fixed import is_not_multiple, notional_divisor
from engine.units import (
    MAX_PRICE_E8,
    MAX_TIME_NS,
    MAX_UNITS,
    NETWORK_FEE_ASSET,
    NS_PER_SECOND,
    PPM,
    SETTLEMENT_ASSET,
    is_text,
)

_MINUTE_NS = 60 * NS_PER_SECOND
_DAY_NS = 24 * 60 * _MINUTE_NS
PERPETUAL = "perp"
SPOT = "spot"


@dataclass(frozen=True, slots=True)
class LendingParams:
    """How an asset is lent and borrowed: the rate curve and the throttle (R9, R10), the margin of a borrow
    (R11, R18).

    Rates are per year of 365 days. A factor is per square root of a dollar of liability. A borrow_limit_units
    of 0 means that the asset is not lent at all.
    """

    borrow_limit_units: int = 0  # R11: what one subaccount may owe at most when it borrows
    rate_at_zero_ppm: int = 0
    rate_at_optimal_ppm: int = 80_000
    rate_at_full_ppm: int = 1_000_000
    optimal_utilization_ppm: int = 900_000
    throttle_utilization_ppm: int = 920_000
    max_utilization_ppm: int = 950_000
    reserve_fee_ppm: int = 100_000
    base_imf_ppm: int = 100_000
    imf_factor_e12: int = 75_000_000
    base_mmf_ppm: int = 50_000
    mmf_factor_e12: int = 37_500_000


@dataclass(frozen=True, slots=True)
class AssetParams:
    """One asset: scale, weight as collateral (R16), haircut when it pays a debt (R28), limits (R30, D10)."""

    symbol: str
    decimals: int
    base_weight_ppm: int
    weight_penalty_ppm: int  # per square root of a whole token
    haircut_ppm: int
    minimum_deposit_units: int
    minimum_withdrawal_units: int
    lending: LendingParams = LendingParams()


@dataclass(frozen=True, slots=True)
class MarketParams:
    """One market: its margin ratios (R18), its book (R12, R15), its mark (R13) and its funding (R14).

    A factor is per square root of a dollar of exposure. A spot market trades its asset against USDC; margin
    ratios, mark and funding concern perpetual markets only. tick_e8 x lot_units is a whole number of usd6, so
    that every trade on a book is exact.
    """

    symbol: str
    asset: str
    max_leverage: int
    base_imf_ppm: int
    imf_factor_e12: int
    base_mmf_ppm: int
    mmf_factor_e12: int
    block_trade_band_ppm: int
    kind: str = PERPETUAL
    tick_e8: int = 1_000_000
    lot_units: int = 10_000_000
    maker_fee_ppm: int = 100  # negative: a rebate, never above the taker fee
    taker_fee_ppm: int = 400
    mark_band_ppm: int = 50_000  # R13: mark inside index +- this
    impact_band_ppm: int = 50_000  # R15: a taker stops at mark +- this
    price_floor_ppm: int = 250_000  # R15: order prices inside floor..ceiling of index
    price_ceiling_ppm: int = 2 * PPM
    liquidation_band_ppm: int = 10_000  # R22
    funding_interest_ppm: int = 0  # R14, per 8 hours
    funding_clamp_ppm: int = 500  # R14, per 8 hours
    funding_cap_ppm: int = 5_000  # R14, per hour

    @property
    def is_spot(self) -> bool:
        """Tell a spot market from a perpetual one."""
        return self.kind == SPOT


@dataclass(frozen=True, slots=True)
class Params:
    """Everything that may be configured. Order of assets and markets is part of the rules' determinism."""

    assets: tuple[AssetParams, ...]
    markets: tuple[MarketParams, ...]
    settlement_interval_ns: int = (
        10 * NS_PER_SECOND
    )  # R26; the sender of ticks keeps it, previews announce it
    write_off_after_ns: int = 7 * _DAY_NS  # R27
    liquidation_end_ppm: int = 1_050_000  # R20: net equity over maintenance margin at which closing stops
    step_ns: int = NS_PER_SECOND  # R20: between two steps of one liquidation
    liquidation_step_ppm: int = 100_000  # R22: of the size at entry, per step
    depth_share_ppm: int = 250_000  # R22: of the visible depth inside the band, per step
    stage1_patience: int = 5  # R22: steps in a row that filled nothing
    acmf_gap_ppm: int = 60_000  # R23
    stale_after_ns: int = 60 * NS_PER_SECOND  # R13, R30
    gate_max_ns: int = 30 * _MINUTE_NS  # R31
    small_withdrawal_ppm: int = 1_000  # R32: of the pool
    velocity_floor_ppm: int = 750_000  # R32: of the time-weighted average; 0 switches the guard off
    velocity_window_ns: int = _DAY_NS  # R32
    velocity_max_ns: int = _DAY_NS  # longest wait in the velocity queue
    attestation_max_age_ns: int = 60 * NS_PER_SECOND  # R33a
    auto_lend_default: int = 1  # R10: what a new subaccount starts with; 0 or 1
    auto_borrow_default: int = 1  # R11
    auto_repay_default: int = 1  # R11
    remembered_commands: int = 1_000  # R4: answers kept of refusals and settings
    remembered_orders: int = 100  # R4: per subaccount, of orders that did not trade and of cancellations
    max_open_orders: int = 200  # R12: per subaccount and market
    min_sources: int = 3  # R13: with fewer usable sources an index is stale
    max_source_deviation_ppm: int = 10_000  # R13: a source further from the median is dropped
    mark_window_ns: int = _MINUTE_NS  # R13: time constant of the mark's moving average


# A dollar owed does not move against dollars: its margin covers the cost of selling collateral for it.
_USDC_LENDING = LendingParams(
    borrow_limit_units=20_000_000 * 10**6,
    rate_at_optimal_ppm=100_000,
    base_imf_ppm=50_000,
    imf_factor_e12=10_000_000,
    base_mmf_ppm=25_000,
    mmf_factor_e12=5_000_000,
)
_SOL_LENDING = LendingParams(borrow_limit_units=200_000 * 10**9)
_BTC_LENDING = LendingParams(
    borrow_limit_units=500 * 10**8,
    rate_at_optimal_ppm=50_000,
    imf_factor_e12=24_940_000,
    mmf_factor_e12=14_960_000,
)


def default_params() -> Params:
    """Give the starting parameters: USDC, SOL, BTC, SOL-PERP and BTC-PERP with the ratios of R18."""
    return Params(
        assets=(
            AssetParams("USDC", 6, PPM, 0, 0, 100_000, 1_000_000, _USDC_LENDING),
            AssetParams("SOL", 9, 900_000, 1_000, 50_000, 1_000_000, 10_000_000, _SOL_LENDING),
            AssetParams("BTC", 8, 950_000, 10_000, 30_000, 1_000, 10_000, _BTC_LENDING),
        ),
        markets=(
            MarketParams("SOL-PERP", "SOL", 50, 20_000, 75_000_000, 13_500, 37_500_000, 50_000),
            MarketParams(
                "BTC-PERP",
                "BTC",
                75,
                13_330,
                24_940_000,
                6_670,
                14_960_000,
                50_000,
                tick_e8=10_000_000,
                lot_units=10_000,
            ),
            spot_market("SOL/USDC", "SOL", tick_e8=1_000_000, lot_units=10_000_000),
            spot_market("BTC/USDC", "BTC", tick_e8=10_000_000, lot_units=10_000),
        ),
    )


def spot_market(symbol: str, asset: str, *, tick_e8: int, lot_units: int) -> MarketParams:
    """Give a spot market of an asset against USDC; it has no leverage of its own (R12)."""
    return MarketParams(symbol, asset, 1, PPM, 0, PPM, 0, 0, kind=SPOT, tick_e8=tick_e8, lot_units=lot_units)


def params_to_json(params: Params) -> str:
    """Write parameters as canonical JSON: sorted keys, no spaces."""
    return encode_plain(params)


def params_from_json(text: str | bytes) -> Params:
    """Read parameters written by `params_to_json`, or by hand.

    Raises ValueError naming the place for unknown, missing or mistyped keys and for values outside their
    limits.
    """
    try:
        params = decode_plain(text, Params)
    except CodecError as error:
        raise ValueError(f"params: {error}") from error
    faults = params_faults(params)
    if faults:
        raise ValueError("params: " + "; ".join(faults))
    return params


def params_faults(params: Params) -> tuple[str, ...]:
    """List everything that is wrong with parameters, all faults at once; empty when they are good."""
    faults: list[str] = []
    symbols = [asset.symbol for asset in params.assets]
    decimals = {asset.symbol: asset.decimals for asset in params.assets}
    names = symbols + [market.symbol for market in params.markets]
    if len(set(names)) != len(names):
        faults.append("asset and market symbols must differ")
    faults += [f"symbol {name!r} must be printable ASCII" for name in names if not is_text(name)]
    faults += [
        f"asset {needed} is missing"
        for needed in (SETTLEMENT_ASSET, NETWORK_FEE_ASSET)
        if needed not in symbols
    ]
    for asset in params.assets:
        faults += _asset_faults(asset)
    for market in params.markets:
        faults += _market_faults(market, symbols)
        faults += _book_faults(market, decimals)
    for name in (
        "settlement_interval_ns",
        "write_off_after_ns",
        "stale_after_ns",
        "velocity_window_ns",
        "attestation_max_age_ns",
        "step_ns",
    ):
        faults += _range_fault(name, getattr(params, name), 1, MAX_TIME_NS)
    faults += _range_fault("gate_max_ns", params.gate_max_ns, 0, MAX_TIME_NS)
    faults += _range_fault("velocity_max_ns", params.velocity_max_ns, 0, MAX_TIME_NS)
    faults += _range_fault("liquidation_end_ppm", params.liquidation_end_ppm, PPM, 10 * PPM)
    faults += _range_fault("liquidation_step_ppm", params.liquidation_step_ppm, 1, PPM)
    faults += _range_fault("depth_share_ppm", params.depth_share_ppm, 0, PPM)
    faults += _range_fault("stage1_patience", params.stage1_patience, 0, 1_000_000)
    faults += _range_fault("acmf_gap_ppm", params.acmf_gap_ppm, 0, PPM)
    faults += _range_fault("small_withdrawal_ppm", params.small_withdrawal_ppm, 0, PPM)
    faults += _range_fault("velocity_floor_ppm", params.velocity_floor_ppm, 0, PPM)
    for name in ("auto_lend_default", "auto_borrow_default", "auto_repay_default"):
        faults += _range_fault(name, getattr(params, name), 0, 1)
    faults += _range_fault("remembered_commands", params.remembered_commands, 0, 1_000_000)
    faults += _range_fault("remembered_orders", params.remembered_orders, 0, 10_000_000)
    faults += _range_fault("max_open_orders", params.max_open_orders, 1, 100_000)
    faults += _range_fault("min_sources", params.min_sources, 1, 1_000)
    faults += _range_fault("max_source_deviation_ppm", params.max_source_deviation_ppm, 0, PPM)
    faults += _range_fault("mark_window_ns", params.mark_window_ns, 1, MAX_TIME_NS)
    return tuple(faults)


def _asset_faults(asset: AssetParams) -> list[str]:
    at = f"asset {asset.symbol}: "
    faults = _range_fault(at + "decimals", asset.decimals, 0, 18)
    faults += _range_fault(at + "base_weight_ppm", asset.base_weight_ppm, 0, PPM)
    faults += _range_fault(at + "weight_penalty_ppm", asset.weight_penalty_ppm, 0, PPM)
    faults += _range_fault(at + "haircut_ppm", asset.haircut_ppm, 0, PPM - 1)
    faults += _range_fault(at + "minimum_deposit_units", asset.minimum_deposit_units, 1, MAX_UNITS)
    faults += _range_fault(at + "minimum_withdrawal_units", asset.minimum_withdrawal_units, 1, MAX_UNITS)
    faults += _lending_faults(at + "lending.", asset.lending)
    if asset.symbol == SETTLEMENT_ASSET and (
        asset.decimals,
        asset.base_weight_ppm,
        asset.weight_penalty_ppm,
        asset.haircut_ppm,
    ) != (6, PPM, 0, 0):
        faults.append(at + "the settlement asset has 6 decimals, weight 1 and no haircut")
    return faults


def _lending_faults(at: str, lending: LendingParams) -> list[str]:
    faults = _range_fault(at + "borrow_limit_units", lending.borrow_limit_units, 0, MAX_UNITS)
    rates = (lending.rate_at_zero_ppm, lending.rate_at_optimal_ppm, lending.rate_at_full_ppm)
    if list(rates) != sorted(rates) or rates[0] < 0 or rates[2] > 100 * PPM:
        faults.append(at + "rates must rise from 0 or more to at most 10^8 ppm")
    levels = (
        lending.optimal_utilization_ppm,
        lending.throttle_utilization_ppm,
        lending.max_utilization_ppm,
    )
    if list(levels) != sorted(levels) or levels[0] < 1 or levels[0] >= PPM or levels[2] > PPM:
        faults.append(at + "utilizations must rise: 0 < optimal < 10^6, optimal <= throttle <= max <= 10^6")
    faults += _range_fault(at + "reserve_fee_ppm", lending.reserve_fee_ppm, 0, PPM)
    faults += _range_fault(at + "base_imf_ppm", lending.base_imf_ppm, 1, PPM)
    faults += _range_fault(at + "base_mmf_ppm", lending.base_mmf_ppm, 1, lending.base_imf_ppm)
    faults += _range_fault(at + "imf_factor_e12", lending.imf_factor_e12, 0, 10**12)
    faults += _range_fault(at + "mmf_factor_e12", lending.mmf_factor_e12, 0, lending.imf_factor_e12)
    return faults


def _market_faults(market: MarketParams, symbols: list[str]) -> list[str]:
    at = f"market {market.symbol}: "
    faults = [] if market.asset in symbols else [at + f"asset {market.asset!r} is not listed"]
    faults += _range_fault(at + "max_leverage", market.max_leverage, 1, 1_000)
    faults += _range_fault(at + "base_imf_ppm", market.base_imf_ppm, 1, PPM)
    faults += _range_fault(at + "base_mmf_ppm", market.base_mmf_ppm, 1, market.base_imf_ppm)
    faults += _range_fault(at + "imf_factor_e12", market.imf_factor_e12, 0, 10**12)
    faults += _range_fault(at + "mmf_factor_e12", market.mmf_factor_e12, 0, market.imf_factor_e12)
    faults += _range_fault(at + "block_trade_band_ppm", market.block_trade_band_ppm, 0, PPM)
    return faults


def _book_faults(market: MarketParams, decimals: dict[str, int]) -> list[str]:
    at = f"market {market.symbol}: "
    faults = [] if market.kind in (PERPETUAL, SPOT) else [at + f"kind {market.kind!r} is unknown"]
    if market.asset == SETTLEMENT_ASSET:
        faults.append(at + "the settlement asset has no market")
    faults += _range_fault(at + "tick_e8", market.tick_e8, 1, MAX_PRICE_E8)
    faults += _range_fault(at + "lot_units", market.lot_units, 1, MAX_UNITS)
    whole = notional_divisor(decimals.get(market.asset, 0))
    if is_not_multiple(market.tick_e8 * market.lot_units, whole):
        faults.append(at + "tick_e8 x lot_units must be a whole number of usd6")
    faults += _range_fault(at + "taker_fee_ppm", market.taker_fee_ppm, 0, 100_000)
    faults += _range_fault(at + "maker_fee_ppm", market.maker_fee_ppm, -market.taker_fee_ppm, 100_000)
    for name in ("mark_band_ppm", "impact_band_ppm", "liquidation_band_ppm", "price_floor_ppm"):
        faults += _range_fault(at + name, getattr(market, name), 0, PPM - 1)
    faults += _range_fault(at + "price_ceiling_ppm", market.price_ceiling_ppm, PPM, 100 * PPM)
    faults += _range_fault(at + "funding_interest_ppm", market.funding_interest_ppm, -100_000, 100_000)
    faults += _range_fault(at + "funding_clamp_ppm", market.funding_clamp_ppm, 0, 100_000)
    faults += _range_fault(at + "funding_cap_ppm", market.funding_cap_ppm, 0, 100_000)
    return faults


def _range_fault(name: str, value: int, low: int, high: int) -> list[str]:
    return [] if low <= value <= high else [f"{name} must be {low} to {high}, not {value}"]
