"""All parameters of the engine, their starting values, their limits and their canonical JSON.

Owns: what may be configured. All of it is public and part of the genesis hash. Must not know balances.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.codec import CodecError, decode_plain, encode_plain
from engine.units import (
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


@dataclass(frozen=True, slots=True)
class MarketParams:
    """One perpetual market and its margin ratios (R18). A factor is per square root of a dollar of
    exposure.
    """

    symbol: str
    asset: str
    max_leverage: int
    base_imf_ppm: int
    imf_factor_e12: int
    base_mmf_ppm: int
    mmf_factor_e12: int
    block_trade_band_ppm: int


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
    stale_after_ns: int = 60 * NS_PER_SECOND  # R13, R30
    gate_max_ns: int = 30 * _MINUTE_NS  # R31
    small_withdrawal_ppm: int = 1_000  # R32: of the pool
    velocity_floor_ppm: int = 750_000  # R32: of the time-weighted average; 0 switches the guard off
    velocity_window_ns: int = _DAY_NS  # R32
    velocity_max_ns: int = _DAY_NS  # longest wait in the velocity queue
    attestation_max_age_ns: int = 60 * NS_PER_SECOND  # R33a
    remembered_commands: int = 1_000  # R4: answers kept of refusals and settings


def default_params() -> Params:
    """Give the starting parameters: USDC, SOL, BTC, SOL-PERP and BTC-PERP with the ratios of R18."""
    return Params(
        assets=(
            AssetParams("USDC", 6, PPM, 0, 0, 100_000, 1_000_000),
            AssetParams("SOL", 9, 900_000, 1_000, 50_000, 1_000_000, 10_000_000),
            AssetParams("BTC", 8, 950_000, 10_000, 30_000, 1_000, 10_000),
        ),
        markets=(
            MarketParams("SOL-PERP", "SOL", 50, 20_000, 75_000_000, 13_500, 37_500_000, 50_000),
            MarketParams("BTC-PERP", "BTC", 75, 13_330, 24_940_000, 6_670, 14_960_000, 50_000),
        ),
    )


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
    for name in (
        "settlement_interval_ns",
        "write_off_after_ns",
        "stale_after_ns",
        "velocity_window_ns",
        "attestation_max_age_ns",
    ):
        faults += _range_fault(name, getattr(params, name), 1, MAX_TIME_NS)
    faults += _range_fault("gate_max_ns", params.gate_max_ns, 0, MAX_TIME_NS)
    faults += _range_fault("velocity_max_ns", params.velocity_max_ns, 0, MAX_TIME_NS)
    faults += _range_fault("liquidation_end_ppm", params.liquidation_end_ppm, PPM, 10 * PPM)
    faults += _range_fault("small_withdrawal_ppm", params.small_withdrawal_ppm, 0, PPM)
    faults += _range_fault("velocity_floor_ppm", params.velocity_floor_ppm, 0, PPM)
    faults += _range_fault("remembered_commands", params.remembered_commands, 0, 1_000_000)
    return tuple(faults)


def _asset_faults(asset: AssetParams) -> list[str]:
    at = f"asset {asset.symbol}: "
    faults = _range_fault(at + "decimals", asset.decimals, 0, 18)
    faults += _range_fault(at + "base_weight_ppm", asset.base_weight_ppm, 0, PPM)
    faults += _range_fault(at + "weight_penalty_ppm", asset.weight_penalty_ppm, 0, PPM)
    faults += _range_fault(at + "haircut_ppm", asset.haircut_ppm, 0, PPM - 1)
    faults += _range_fault(at + "minimum_deposit_units", asset.minimum_deposit_units, 1, MAX_UNITS)
    faults += _range_fault(at + "minimum_withdrawal_units", asset.minimum_withdrawal_units, 1, MAX_UNITS)
    if asset.symbol == SETTLEMENT_ASSET and (
        asset.decimals,
        asset.base_weight_ppm,
        asset.weight_penalty_ppm,
        asset.haircut_ppm,
    ) != (6, PPM, 0, 0):
        faults.append(at + "the settlement asset has 6 decimals, weight 1 and no haircut")
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


def _range_fault(name: str, value: int, low: int, high: int) -> list[str]:
    return [] if low <= value <= high else [f"{name} must be {low} to {high}, not {value}"]
