"""Funding of perpetual markets (R14): premium samples into a rate, a rate into payments.

    premium     = (mark - index) / index in ppm, rounded down, sampled at every price change, averaged by time
    8-hour rate = average + clamp(interest - average, +-funding_clamp)
    hourly rate = 8-hour rate / 8, clamped to +- funding_cap
    payment     = floor(-base x index x hourly rate), of each holder

Premium, interest and clamp are quoted per 8 hours, so the hour takes an eighth of the whole. Payers pay
rounded up, receivers get rounded down; what is left, fewer usd6 than there are holders, goes to `rounding`.
Must not know books or the clock.
"""

from __future__ import annotations

from engine.events import Event, FundingPaid
from engine.fixed import clamp, divide_down, funding_payment_down_usd6, ratio_down_ppm
from engine.ledger import emit
from engine.markets import has_stale_price
from engine.params import MarketParams
from engine.state import Premium, State
from engine.units import NS_PER_HOUR

_E9_PER_PPM = 1_000
_HOURS_OF_A_RATE = 8


def sample_premium(state: State, market: str) -> None:
    """Let the premium that held until now count for the time it held, and begin the present one (R14)."""
    params = state.markets[market]
    index, mark = state.index_prices.get(params.asset), state.mark_prices.get(market)
    if index is None or mark is None:
        return
    premium = state.premiums.get(market)
    if premium is None:
        premium = state.premiums[market] = Premium(sampled_ns=state.last_time_ns)
    _hold_until_now(state, premium)
    premium.priced_ns = state.last_time_ns
    premium.premium_ppm = ratio_down_ppm(mark.price_e8 - index.price_e8, index.price_e8)


def pay_funding(state: State, now_ns: int, out: list[Event]) -> None:
    """Pay an hour's funding at the first tick of each hour of the clock (R14).

    Hours without a tick are not made up for. A market whose price is stale at that time pays nothing and
    begins a new average.
    """
    begun_ns, state.last_funding_ns = state.last_funding_ns, now_ns
    if begun_ns == 0 or divide_down(begun_ns, NS_PER_HOUR) == divide_down(now_ns, NS_PER_HOUR):
        return
    for market, params in state.markets.items():
        premium = state.premiums.get(market)
        if premium is None or params.is_spot:
            continue
        _hold_until_now(state, premium)
        average_ppm = divide_down(premium.weighted_ppm_ns, premium.elapsed_ns) if premium.elapsed_ns else 0
        premium.weighted_ppm_ns = premium.elapsed_ns = 0
        rate_e9 = funding_rate_e9(params, average_ppm)
        if rate_e9 and not has_stale_price(state, params):
            _pay(state, params, rate_e9, out)


def funding_rate_e9(params: MarketParams, average_premium_ppm: int) -> int:
    """Give the hourly rate x 10^9, rounded down, inside +- cap (R14). Above 0 longs pay shorts."""
    pull_ppm = params.funding_interest_ppm - average_premium_ppm
    eight_hours_ppm = average_premium_ppm + clamp(pull_ppm, params.funding_clamp_ppm)
    hourly_e9 = divide_down(eight_hours_ppm * _E9_PER_PPM, _HOURS_OF_A_RATE)
    return clamp(hourly_e9, params.funding_cap_ppm * _E9_PER_PPM)


def expected_funding_rate_e9(state: State, market: str) -> int:
    """Give the hourly rate that would be paid if the hour ended now, for display. Raises KeyError for an
    unknown market.
    """
    params, premium = state.markets[market], state.premiums.get(market)
    if premium is None:
        return funding_rate_e9(params, 0)
    held_ns = state.last_time_ns - premium.sampled_ns
    elapsed_ns = premium.elapsed_ns + held_ns
    weighted = premium.weighted_ppm_ns + premium.premium_ppm * held_ns
    return funding_rate_e9(params, divide_down(weighted, elapsed_ns) if elapsed_ns else premium.premium_ppm)


def _hold_until_now(state: State, premium: Premium) -> None:
    held_ns = state.last_time_ns - premium.sampled_ns
    premium.weighted_ppm_ns += premium.premium_ppm * held_ns
    premium.elapsed_ns += held_ns
    premium.sampled_ns = state.last_time_ns


def _pay(state: State, params: MarketParams, rate_e9: int, out: list[Event]) -> None:
    market, index_e8 = params.symbol, state.index_prices[params.asset].price_e8
    decimals = state.assets[params.asset].decimals
    payments = []
    for one in state.ordered(state.holders[market]):
        usd6 = funding_payment_down_usd6(one.positions[market].base_units, index_e8, decimals, rate_e9)
        if usd6:
            payments.append((one.id, usd6))
    if payments:
        rounding_usd6 = -sum([usd6 for _, usd6 in payments])
        emit(state, out, FundingPaid(market, rate_e9, index_e8, tuple(payments), rounding_usd6))
