"""Fixed-point arithmetic: the only file of the engine with division, and every function's name says its
rounding.

Rules (R2): what an account owes or must hold rounds up; what it is given or valued at rounds down. Down is
toward minus infinity and up toward plus infinity, for negative numbers too. Ratios are compared by cross-
multiplication. Must not know accounts, assets or rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import isqrt

from engine.units import PPM

_SQRT_SCALE_E6_SQUARED = 10**12
_FACTOR_SCALE = 10**9
_RATE_SCALE = 10**9


def divide_down(numerator: int, denominator: int) -> int:
    """Divide toward minus infinity; denominator > 0."""
    return numerator // denominator


def divide_up(numerator: int, denominator: int) -> int:
    """Divide toward plus infinity; denominator > 0."""
    return -(-numerator // denominator)


def is_not_multiple(number: int, of: int) -> bool:
    """Tell whether a number is no whole multiple of another above 0: tick and lot sizes (R12)."""
    return number % of != 0


def multiple_down(number: int, of: int) -> int:
    """Give the largest whole multiple of `of` that is no larger than a number; of > 0 (R12, lots)."""
    return number - number % of


def multiple_up(number: int, of: int) -> int:
    """Give the smallest whole multiple of `of` that is no smaller than a number; of > 0 (R12, lots)."""
    return -(-number // of) * of


@cache
def notional_divisor(decimals: int) -> int:
    """Give 10^(decimals + 2): units x price_e8 divided by it is usd6 (R2)."""
    return int(10 ** (decimals + 2))


def notional_down_usd6(units: int, price_e8: int, decimals: int) -> int:
    """Value units at a price: floor(units x price_e8 / 10^(decimals + 2)), R2. For what is given or
    valued.
    """
    return units * price_e8 // notional_divisor(decimals)


def notional_up_usd6(units: int, price_e8: int, decimals: int) -> int:
    """Value units at a price: ceil(units x price_e8 / 10^(decimals + 2)), R2. For what is owed or must be
    held.
    """
    return -(-units * price_e8 // notional_divisor(decimals))


def units_for_usd6_up(amount_usd6: int, price_e8: int, decimals: int) -> int:
    """Give the fewest units worth at least an amount: ceil(usd6 x 10^(decimals + 2) / price_e8); price >
    0.
    """
    return -(-amount_usd6 * notional_divisor(decimals) // price_e8)


def units_for_usd6_down(amount_usd6: int, price_e8: int, decimals: int) -> int:
    """Give the most units worth at most an amount: floor(usd6 x 10^(decimals + 2) / price_e8); price > 0."""
    return amount_usd6 * notional_divisor(decimals) // price_e8


def price_distance_down_e8(amount_usd6: int, units: int, decimals: int) -> int:
    """Give how far a price must move for units to gain or lose an amount: floor(usd6 x 10^(decimals + 2) /
    units), R23; units > 0.
    """
    return amount_usd6 * notional_divisor(decimals) // units


def ppm_of_down(amount: int, ratio_ppm: int) -> int:
    """Take a ratio of an amount: floor(amount x ppm / 10^6)."""
    return amount * ratio_ppm // PPM


def ppm_of_up(amount: int, ratio_ppm: int) -> int:
    """Take a ratio of an amount: ceil(amount x ppm / 10^6)."""
    return -(-amount * ratio_ppm // PPM)


def scale_down(amount: int, numerator: int, denominator: int) -> int:
    """Scale an amount: floor(amount x numerator / denominator); denominator > 0."""
    return amount * numerator // denominator


def scale_up(amount: int, numerator: int, denominator: int) -> int:
    """Scale an amount: ceil(amount x numerator / denominator); denominator > 0."""
    return -(-amount * numerator // denominator)


def increased_price_up_e8(price_e8: int, haircut_ppm: int) -> int:
    """Add a haircut to a price: ceil(price x (10^6 + haircut) / 10^6), for what somebody else must buy
    (R21).
    """
    return -(-price_e8 * (PPM + haircut_ppm) // PPM)


def discounted_price_down_e8(price_e8: int, haircut_ppm: int) -> int:
    """Take a haircut off a price: floor(price x (10^6 - haircut) / 10^6), R28."""
    return price_e8 * (PPM - haircut_ppm) // PPM


def discounted_price_up_e8(price_e8: int, discount_ppm: int) -> int:
    """Take a discount off a price: ceil(price x (10^6 - discount) / 10^6), R22."""
    return -(-price_e8 * (PPM - discount_ppm) // PPM)


def premium_price_down_e8(price_e8: int, premium_ppm: int) -> int:
    """Put a premium on a price: floor(price x (10^6 + premium) / 10^6), R22."""
    return price_e8 * (PPM + premium_ppm) // PPM


def weight_down_ppm(base_weight_ppm: int, penalty_ppm: int, units: int, decimals: int) -> int:
    """Weigh collateral (R16): floor(base x 10^12 / (10^12 + penalty_ppm x sqrt_e6)), never above base.

    sqrt_e6 = sqrt(whole tokens) x 10^6 rounded up, so that the weight as a whole rounds down.
    """
    if penalty_ppm == 0 or units <= 0:
        return base_weight_ppm
    tokens_e12 = -(-units * _SQRT_SCALE_E6_SQUARED // 10**decimals)
    return (
        base_weight_ppm
        * _SQRT_SCALE_E6_SQUARED
        // (_SQRT_SCALE_E6_SQUARED + penalty_ppm * sqrt_up(tokens_e12))
    )


def margin_ratio_up_ppm(factor_e12: int, exposure_usd6: int) -> int:
    """Give factor x sqrt(exposure in USD) in ppm, rounded up (R18): ceil(factor_e12 x sqrt(usd6) / 10^9)."""
    return -(-factor_e12 * sqrt_up(exposure_usd6) // _FACTOR_SCALE)


def requirement_up_usd6(exposure_usd6: int, floor_ppm: int, factor_e12: int) -> int:
    """Give what an exposure requires (R18): ceil(exposure x max(floor, `margin_ratio_up_ppm`) / 10^6).

    In one function, because every order asks it several times.
    """
    root = isqrt(exposure_usd6)
    if root * root != exposure_usd6:
        root += 1
    ratio_ppm = -(-factor_e12 * root // _FACTOR_SCALE)
    return -(-exposure_usd6 * (ratio_ppm if ratio_ppm > floor_ppm else floor_ppm) // PPM)


@cache
def leverage_ratio_up_ppm(max_leverage: int) -> int:
    """Give 1 / max_leverage in ppm, rounded up (R18)."""
    return -(-PPM // max_leverage)


def sqrt_up(number: int) -> int:
    """Give the smallest integer whose square is at least a number >= 0."""
    root = isqrt(number)
    return root if root * root == number else root + 1


def entry_cost_after(base_units: int, entry_cost: int, change_units: int, price_e8: int) -> int:
    """Give what the open units cost after a trade, in units x price_e8, for display (R7).

    A larger position adds change x price; a smaller one keeps floor(cost x units left / units); one that
    changes sides starts anew at the price.
    """
    after = base_units + change_units
    if after == 0:
        return 0
    if (base_units >= 0) == (change_units >= 0):
        return entry_cost + abs(change_units) * price_e8
    if (base_units >= 0) == (after >= 0):
        return entry_cost * abs(after) // abs(base_units)
    return abs(after) * price_e8


def ratio_down_ppm(part: int, of: int) -> int:
    """Give floor(part / of x 10^6); of > 0."""
    return part * PPM // of


def scale_toward_zero(amount: int, numerator: int, denominator: int) -> int:
    """Scale an amount: amount x numerator / denominator, toward zero; numerator >= 0, denominator > 0."""
    scaled = abs(amount) * numerator // denominator
    return scaled if amount >= 0 else -scaled


def clamp(value: int, limit: int) -> int:
    """Hold a value inside -limit..limit."""
    return max(-limit, min(limit, value))


def funding_payment_down_usd6(base_units: int, price_e8: int, decimals: int, rate_e9: int) -> int:
    """Give what a position gets (above 0) or pays: floor(-base x price x rate / 10^9 / 10^(decimals + 2)),
    R14.
    """
    return -base_units * price_e8 * rate_e9 // (notional_divisor(decimals) * _RATE_SCALE)


def midpoint_up(low: int, high: int) -> int:
    """Give ceil((low + high) / 2), for a bisection that keeps its lower end."""
    return -(-(low + high) // 2)


def share_out(amount: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split an amount pro rata by largest remainder; the parts add up to the amount exactly (R26).

    Every part is floor(amount x weight / total) or one more; the extra ones go to the largest remainders,
    ties to the earlier place. Needs amount >= 0, weights >= 0, their sum > 0. With amount <= sum no part
    exceeds its weight.
    """
    total = sum(weights)
    parts = [amount * weight // total for weight in weights]
    missing = amount - sum(parts)
    by_remainder = sorted(range(len(weights)), key=lambda place: (-(amount * weights[place] % total), place))
    for place in by_remainder[:missing]:
        parts[place] += 1
    return tuple(parts)


def fraction_key(numerator: int, denominator: int) -> int:
    """Give an integer that orders fractions exactly: floor(numerator x 2^260 / denominator); denominator > 0.

    Two different fractions with denominators below 2^128 differ by more than 2^-256, equal ones give the same
    key; so sorting by it is sorting by cross-multiplication, without a function call per comparison.
    """
    return (numerator << 260) // denominator


def compare_ratios(first: int, first_of: int, second: int, second_of: int) -> int:
    """Compare first/first_of with second/second_of exactly; both denominators > 0. Negative, zero or
    positive.
    """
    return first * second_of - second * first_of
