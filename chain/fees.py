"""How much computation a payout asks for and what it offers for it: arithmetic only.

Owns: the compute unit limit from a simulation, the price from what others paid, and the cap on both (W6).
Must not know: endpoints.

Rules: integers; the limit has headroom because an account may change between simulation and landing; the
priority fee never exceeds the cap, whatever others pay and however often an attempt expired.
"""

from __future__ import annotations

from collections.abc import Sequence

from chain.instructions import LARGEST_COMPUTE_UNIT_LIMIT

MICROLAMPORTS_PER_LAMPORT = 1_000_000
HEADROOM_PERCENT = 20
HEADROOM_UNITS = 1_000
PRICE_PERCENTILE = 75


def compute_unit_limit_for(consumed_units: int) -> int:
    """Return consumed x 1.2 (rounded up) + 1,000 compute units, at most 1,400,000."""
    with_headroom = -(-consumed_units * (100 + HEADROOM_PERCENT) // 100) + HEADROOM_UNITS
    return min(LARGEST_COMPUTE_UNIT_LIMIT, with_headroom)


def priority_fee_lamports(limit_units: int, price_microlamports: int) -> int:
    """Return limit x price in lamports, rounded up as the chain does."""
    return -(-limit_units * price_microlamports // MICROLAMPORTS_PER_LAMPORT)


def compute_unit_price_for(
    recent_prices: Sequence[int], limit_units: int, largest_fee_lamports: int, attempt: int = 1
) -> int:
    """Return the microlamports per compute unit to offer.

    The 75th percentile (nearest rank) of the prices of recent slots, doubled for every attempt after the
    first, at most floor(cap x 10^6 / limit), so that the priority fee is never above the cap. 0 if nobody
    paid anything.
    """
    if limit_units <= 0:
        raise ValueError(f"a compute unit limit is positive, not {limit_units}")
    cap = largest_fee_lamports * MICROLAMPORTS_PER_LAMPORT // limit_units
    if not recent_prices:
        return 0
    ordered = sorted(recent_prices)
    rank = -(-len(ordered) * PRICE_PERCENTILE // 100)
    return min(cap, ordered[rank - 1] << (attempt - 1))
