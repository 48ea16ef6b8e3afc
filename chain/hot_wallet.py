"""What the hot wallet holds, what open payouts have claimed of it, and what is free (W7).

Owns: claims and the arithmetic of the float. Must not know: states' transitions, alarms, keys.
Rule: the wallet is read at `finalized` and every payout from reserve to its final statement is subtracted in
full, landed or not: nothing is ever promised twice. A payout that was just finalized is in the balance only
if the answer is no older than its slot, which is why a reading has a slot it must not be before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chain.destination import parse_token_account, read_accounts, rent_exempt_minimum
from chain.preparing import Route
from chain.rpc import RpcPool
from chain.submission import RESERVING_STATES, PayoutRecord, PayoutRequest

# The price of a signature has been this since genesis. Only the claim uses it: what a landing really cost is
# read from its balances.
SIGNATURE_FEE_LAMPORTS = 5_000


@dataclass(frozen=True, slots=True)
class Funds:
    """Lamports, and units of one token (0 for a payout in SOL)."""

    lamports: int
    token_units: int

    def minus(self, other: Funds) -> Funds:
        """Return what is left of these funds without the others; may be negative."""
        return Funds(self.lamports - other.lamports, self.token_units - other.token_units)


async def read_hot_wallet(pool: RpcPool, route: Route, not_before_slot: int) -> Funds:
    """Read what the source can spend at `finalized`: its lamports above the rent minimum, and its tokens.

    Raises ChainError if the chain cannot be read or the answer is older than `not_before_slot`.
    """
    wanted = [route.source] + ([route.source_token] if route.source_token else [])
    accounts = await read_accounts(pool, wanted, "finalized", not_before_slot)
    token = parse_token_account(accounts[1]) if route.source_token else None
    held = accounts[0].lamports if accounts[0] is not None else 0
    return Funds(held - await rent_exempt_minimum(pool), token.units if token is not None else 0)


def claim_of(request: PayoutRequest, route: Route, largest_priority_fee_lamports: int) -> Funds:
    """Return the most a payout can cost: amount, one signature, the capped priority fee, rent it brings."""
    fees = SIGNATURE_FEE_LAMPORTS + largest_priority_fee_lamports + route.rent_lamports
    if request.mint is None:
        return Funds(fees + request.units, 0)
    return Funds(fees, request.units)


def free_of(held: Funds, mint: str | None, records: Iterable[PayoutRecord]) -> Funds:
    """Return what of `held` no open payout has claimed; tokens count for payouts of the same mint."""
    lamports = units = 0
    for record in records:
        if record.state in RESERVING_STATES:
            lamports += record.reserved_lamports
            units += record.reserved_units if mint is not None and record.request.mint == mint else 0
    return held.minus(Funds(lamports, units))


def shortage(left: Funds, symbol: str) -> str:
    """Say what is missing if `left` is negative, else ""."""
    missing = ((-left.lamports, "lamports"), (-left.token_units, f"units of {symbol}"))
    return " and ".join(f"{amount} {what}" for amount, what in missing if amount > 0)
