"""The formulas of R2 and R16-R18 once more, in exact fractions, rounded only where a rule says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil, floor, isqrt

from engine.params import AssetParams, LendingParams, MarketParams
from engine.rejects import RejectReason as R
from engine.units import MAX_PRICE_E8, MAX_UNITS

__all__ = ["MAX_PRICE_E8"]

PPM = 10**6


def amount_faults(units: int) -> Iterator[R]:
    """R30: above zero and at most 2^64 - 1."""
    if units <= 0:
        yield R.AMOUNT_NOT_POSITIVE
    if units > MAX_UNITS:
        yield R.AMOUNT_TOO_LARGE


def value(units: int, price_e8: int, decimals: int) -> Fraction:
    """R2: units x price / 10^(decimals + 2), in usd6, exact."""
    return Fraction(units * price_e8, 10 ** (decimals + 2))


def part_up(amount: int, ratio_ppm: int) -> int:
    """R18: a part of an amount, upward."""
    return -(-amount * ratio_ppm // PPM)


def root_up(number: int) -> int:
    """Give the smallest integer whose square is at least a number >= 0."""
    root = isqrt(number)
    return root if root * root == number else root + 1


def weight_ppm(asset: AssetParams, units: int) -> int:
    """R16: min(base, base / (1 + penalty x sqrt(whole tokens))), root to 10^-6 upward, weight down."""
    # A root of a number of 12 decimals has 6 of its own.
    tokens_e12 = -(-max(units, 0) * 10**12 // 10**asset.decimals)
    root = Fraction(root_up(tokens_e12), 10**6)
    penalty = Fraction(asset.weight_penalty_ppm, PPM)
    return min(asset.base_weight_ppm, floor(asset.base_weight_ppm / (1 + penalty * root)))


def initial_ratio_ppm(market: MarketParams, exposure_usd6: int) -> int:
    """R18: max(1 / max_leverage, base_imf, imf_factor x sqrt(exposure in USD)), in ppm upward."""
    leverage = ceil(Fraction(PPM, market.max_leverage))
    return max(leverage, market.base_imf_ppm, _factor_ppm(market.imf_factor_e12, exposure_usd6))


def maintenance_ratio_ppm(market: MarketParams, exposure_usd6: int) -> int:
    """R18: max(base_mmf, mmf_factor x sqrt(exposure in USD)), in ppm upward."""
    return max(market.base_mmf_ppm, _factor_ppm(market.mmf_factor_e12, exposure_usd6))


def borrow_initial_ppm(lending: LendingParams, liability_usd6: int) -> int:
    """R11, R18: max(base_imf, imf_factor x sqrt(liability in USD)), in ppm upward."""
    return max(lending.base_imf_ppm, _factor_ppm(lending.imf_factor_e12, liability_usd6))


def borrow_maintenance_ppm(lending: LendingParams, liability_usd6: int) -> int:
    """R11, R18: max(base_mmf, mmf_factor x sqrt(liability in USD)), in ppm upward."""
    return max(lending.base_mmf_ppm, _factor_ppm(lending.mmf_factor_e12, liability_usd6))


def _factor_ppm(factor_e12: int, exposure_usd6: int) -> int:
    # sqrt(usd6) = 10^3 x sqrt(USD); factor / 10^12 x sqrt(usd6) / 10^3 x 10^6 ppm.
    return ceil(Fraction(factor_e12 * root_up(exposure_usd6), 10**9))


def discounted_e8(price_e8: int, haircut_ppm: int) -> int:
    """R28: index x (1 - haircut), downward."""
    return floor(price_e8 * (1 - Fraction(haircut_ppm, PPM)))


def conversion(asset: AssetParams, units: int, rate_e8: int, debt_usd6: int) -> tuple[int, int]:
    """R28: pay a debt out of units at a rate: (units rounded up, usd6 rounded down)."""
    usd6 = min(debt_usd6, floor(value(units, rate_e8, asset.decimals)))
    if usd6 <= 0:  # nothing is owed, or nothing can be valued
        return 0, 0
    return min(units, ceil(Fraction(usd6 * 10 ** (asset.decimals + 2), rate_e8))), usd6


def pro_rata(amount: int, claims: Sequence[int]) -> list[int]:
    """R26: split an amount by largest remainder, ties to the earlier claim; the parts add up."""
    total = sum(claims)
    exact = [Fraction(amount * claim, total) for claim in claims]
    parts = [floor(one) for one in exact]
    for _ in range(amount - sum(parts)):
        place = max(range(len(claims)), key=lambda at: (exact[at] - parts[at], -at))
        parts[place] += 1
    return parts


def lots(units: int | Fraction, lot_units: int) -> int:
    """R22: whole lots, downward."""
    return floor(Fraction(units) / lot_units) * lot_units
