"""The exchange's side of the withdrawal gate: pool gate, velocity guard, reserves (R31, R32, R33a).

Rules: the pool gate and the velocity guard queue, for a bounded time that is told; reserves refuse. The
velocity guard compares with the time-weighted average over exactly the last velocity_window_ns, in which the
time before an asset's first sample counts as level 0, so that a young exchange is not blocked by its own
growth. Must not know margins.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.commands import AttestReserves
from engine.events import Event, ReservesAttested
from engine.fixed import divide_up, scale_down
from engine.insurance import fund_free_usd6, total_outstanding_usd6
from engine.ledger import emit
from engine.outcome import Rejected
from engine.rejects import RejectReason
from engine.state import Attestation, Average, State
from engine.units import FEES, PPM, SETTLEMENT_ASSET

POOL_GATE = "pool"
VELOCITY_GUARD = "velocity"
# 96 buckets of a 24 h window are 15 min each: fine enough for an average, small enough to carry in every
# snapshot.
BUCKETS_PER_WINDOW = 96


@dataclass(frozen=True, slots=True)
class GateStatus:
    """What the exchange lets out of one asset at a time: for status pages, and "until when" (R31).

    pool_gate_until_ns and remaining are 0 when the pool gate is open. passing_units is the largest amount
    that is not queued now, whatever the subaccount has.
    """

    asset: str
    pool_gate_until_ns: int
    pool_gate_remaining_ns: int
    small_withdrawal_below_units: int
    velocity_average_units: int
    passing_units: int


def gate_status(state: State, asset: str, now_ns: int) -> GateStatus:
    """Describe the gates of an asset at a time; changes nothing. Raises KeyError for an unknown asset."""
    level_units = state.totals.cash_units[asset]
    until_ns = pool_gate_until_ns(state, asset, now_ns)
    small_units = divide_up(state.params.small_withdrawal_ppm * level_units, PPM)
    average_units = scale_down(_integral(state, asset, now_ns), 1, state.params.velocity_window_ns)
    if until_ns:
        passing_units = max(0, small_units - 1)
    else:
        floor_units = divide_up(
            state.params.velocity_floor_ppm * _integral(state, asset, now_ns),
            state.params.velocity_window_ns * PPM,
        )
        passing_units = max(0, small_units - 1, level_units - floor_units)
    return GateStatus(asset, until_ns, max(0, until_ns - now_ns), small_units, average_units, passing_units)


def pool_gate_until_ns(state: State, asset: str, now_ns: int) -> int:
    """Say until when the pool gate is shut at most, 0 when it is open (R31).

    Shut for USDC while outstanding negative equity exceeds what the fund has for it, at most gate_max_ns
    after the last deficit.
    """
    if asset != SETTLEMENT_ASSET or state.last_deficit_ns is None or not state.debts:
        return 0
    until_ns = state.last_deficit_ns + state.params.gate_max_ns
    return until_ns if now_ns < until_ns and total_outstanding_usd6(state) > fund_free_usd6(state) else 0


def queue_for(state: State, asset: str, units: int, level_units: int, now_ns: int) -> tuple[str, int]:
    """Say which gate holds a withdrawal from a pool of level_units, and until when at most; ("", 0) for none.

    Small withdrawals pass: units < 0.1% of the pool (R32). When both hold it, the later end counts.
    """
    if units * PPM < state.params.small_withdrawal_ppm * level_units:
        return "", 0
    pool_until_ns = pool_gate_until_ns(state, asset, now_ns)
    gate, until_ns = (POOL_GATE, pool_until_ns) if pool_until_ns else ("", 0)
    if not _velocity_passes(state, asset, level_units - units, now_ns):
        velocity_until_ns = now_ns + state.params.velocity_max_ns
        if velocity_until_ns > max(until_ns, now_ns):
            gate, until_ns = VELOCITY_GUARD, velocity_until_ns
    return gate, until_ns


def sample_levels(state: State, now_ns: int) -> None:
    """Extend every asset's level history up to now (R32); called at every tick."""
    for asset in state.assets:
        average = state.averages.get(asset)
        level_units = state.totals.cash_units[asset]
        if average is None:
            if level_units:
                state.averages[asset] = Average(level_units, now_ns, [])
            continue
        _close_interval(state, average, now_ns)
        average.level_units = level_units


def owed_to_customers_units(state: State, asset: str) -> int:
    """Sum what reserves must cover: all cash except the operator's own in `fees`, held deposits, queued
    withdrawals.

    Payouts in flight count on neither side: whether they have left the chain's balance is not known here.
    """
    totals = state.totals
    in_flight = totals.pending_units[asset] - sum(
        [one.units for one in (state.withdrawals[key] for key in state.queued) if one.asset == asset]
    )
    operator = state.subaccounts[FEES].cash.get(asset, 0)
    return (
        totals.cash_units[asset]
        - operator
        + totals.held_units[asset]
        + totals.pending_units[asset]
        - in_flight
    )


def attestation_fault(state: State, command: AttestReserves) -> Rejected | None:
    """Find what is wrong with an attestation. Gives: unknown_asset, attestation_out_of_order."""
    for asset, _ in command.holdings:
        if asset not in state.assets:
            return Rejected(RejectReason.UNKNOWN_ASSET, asset)
    if state.attestation is not None and command.slot < state.attestation.slot:
        return Rejected(RejectReason.ATTESTATION_OUT_OF_ORDER, f"slot {state.attestation.slot} was attested")
    return None


def attest(state: State, command: AttestReserves, out: list[Event]) -> None:
    """Keep the surplus of attested holdings over what is owed, per asset (R33a).

    From here on every deposit and payout changes both sides alike, so "holdings >= liabilities after a
    withdrawal" is the same as surplus >= 0. An asset that is not listed holds nothing.
    """
    holdings = dict(command.holdings)
    surplus = {
        asset: holdings.get(asset, 0) - owed_to_customers_units(state, asset) for asset in state.assets
    }
    state.attestation = Attestation(command.slot, command.time_ns, surplus)
    emit(state, out, ReservesAttested(command.slot, command.holdings, tuple(surplus.items())))


def reserves_fault(state: State, asset: str) -> Rejected | None:
    """Find what R33a has against a withdrawal of an asset. Gives: reserves_not_attested,
    reserves_insufficient.
    """
    attested = state.attestation
    if attested is None or state.last_time_ns - attested.time_ns > state.params.attestation_max_age_ns:
        return Rejected(RejectReason.RESERVES_NOT_ATTESTED)
    shortage_units = -attested.surplus_units[asset]
    if shortage_units > 0:
        return Rejected(RejectReason.RESERVES_INSUFFICIENT, f"{asset} short of {shortage_units} units")
    return None


def _velocity_passes(state: State, asset: str, level_after_units: int, now_ns: int) -> bool:
    """Tell whether level_after >= 75% of the average: level x window x 10^6 >= floor_ppm x integral."""
    params = state.params
    integral = _integral(state, asset, now_ns)
    return level_after_units * params.velocity_window_ns * PPM >= params.velocity_floor_ppm * integral


def _integral(state: State, asset: str, now_ns: int) -> int:
    """Integrate an asset's level over the last window, in units x ns; a bucket half outside counts by its
    part inside.
    """
    average = state.averages.get(asset)
    if average is None:
        return 0
    start_of_window_ns = now_ns - state.params.velocity_window_ns
    total = average.level_units * (now_ns - max(average.since_ns, start_of_window_ns))
    for start_ns, end_ns, integral in average.buckets:
        if start_ns >= start_of_window_ns:
            total += integral
        elif end_ns > start_of_window_ns:
            total += scale_down(integral, end_ns - start_of_window_ns, end_ns - start_ns)
    return total


def _close_interval(state: State, average: Average, now_ns: int) -> None:
    """Move the open interval into the buckets and forget buckets that have left the window."""
    added = average.level_units * (now_ns - average.since_ns)
    start_ns = average.since_ns
    if (
        average.buckets
        and (now_ns - average.buckets[-1][0]) * BUCKETS_PER_WINDOW <= state.params.velocity_window_ns
    ):
        start_ns, _, before = average.buckets.pop()
        added += before
    if now_ns > start_ns:
        average.buckets.append((start_ns, now_ns, added))
    average.since_ns = now_ns
    oldest_ns = now_ns - state.params.velocity_window_ns
    while average.buckets and average.buckets[0][1] <= oldest_ns:
        average.buckets.pop(0)
