"""What the auditor expects of the exchange's gates: pool gate, velocity guard, reserves (R31, R32, R33a)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from engine import commands as c
from engine import events as e
from engine.rejects import RejectReason as R
from engine.units import FEES, SETTLEMENT_ASSET

from . import formulas as f
from .ledger import Ledger


@dataclass(slots=True)
class Gates:
    """Remembers attestations, the level of each asset's pool over time, and who waits."""

    ledger: Ledger
    attested_slot: int = -1
    attested_ns: int | None = None
    surplus: dict[str, int] = field(default_factory=dict)
    levels: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # (since, level), oldest first
    waiting: dict[str, int] = field(default_factory=dict)  # id -> until

    # -- reserves

    def owed_to_customers(self, asset: str) -> int:
        """R33a: all cash but the operator's own, held deposits, queued withdrawals."""
        books = self.ledger.books
        cash = sum(units for (name, held), units in books.cash.items() if held == asset and name != FEES)
        queued = sum(
            one.units for one in books.payouts.values() if one.status == "queued" and one.asset == asset
        )
        return cash + books.held[asset] + queued

    def attest(self, command: c.AttestReserves) -> None:
        """R33a: keep the surplus of holdings over what is owed; an asset that is not listed holds nothing."""
        holdings = dict(command.holdings)
        for asset in self.ledger.params.assets:
            owed = self.owed_to_customers(asset.symbol)
            self.surplus[asset.symbol] = holdings.get(asset.symbol, 0) - owed
        self.attested_slot, self.attested_ns = command.slot, command.time_ns
        surplus = tuple((asset.symbol, self.surplus[asset.symbol]) for asset in self.ledger.params.assets)
        self.ledger.emit(e.ReservesAttested(command.slot, command.holdings, surplus))

    def reserves_faults(self, asset: str) -> Iterator[R]:
        """R33a: an attestation that is young enough and shows no lack."""
        age_limit = self.ledger.params.attestation_max_age_ns
        if self.attested_ns is None or self.ledger.now_ns - self.attested_ns > age_limit:
            yield R.RESERVES_NOT_ATTESTED
        elif self.surplus.get(asset, 0) < 0:
            yield R.RESERVES_INSUFFICIENT

    # -- levels

    def level(self, asset: str) -> int:
        """R32: the pool of an asset: all cash, the operator's too; nothing that is pending or held."""
        return sum(units for (_, held), units in self.ledger.books.cash.items() if held == asset)

    def sample(self) -> None:
        """R32: note every asset's level at a tick."""
        for asset in self.ledger.params.assets:
            self.levels.setdefault(asset.symbol, []).append((self.ledger.now_ns, self.level(asset.symbol)))

    def average(self, asset: str) -> Fraction:
        """R32: the time-weighted average over the last window; before the first sample the level is 0."""
        now_ns, window_ns = self.ledger.now_ns, self.ledger.params.velocity_window_ns
        start_ns = now_ns - window_ns
        total = 0
        history = self.levels.get(asset, [])
        for place, (since_ns, level) in enumerate(history):
            end_ns = history[place + 1][0] if place + 1 < len(history) else now_ns
            total += level * max(0, end_ns - max(since_ns, start_ns))
        return Fraction(total, window_ns)

    # -- queues

    def queue_for(self, asset: str, units: int, *, queued: bool = False) -> tuple[str, int]:
        """R31, R32: which gate holds a withdrawal and until when at most; the later end counts."""
        params = self.ledger.params
        # A queued withdrawal has left the cash already; its own units count as still there.
        pool = self.level(asset) + (units if queued else 0)
        if units < Fraction(pool * params.small_withdrawal_ppm, f.PPM):
            return "", 0
        ends: list[tuple[int, str]] = []
        if asset == SETTLEMENT_ASSET and self.ledger.total_outstanding() > self.ledger.fund_has():
            until_ns = (self.ledger.last_deficit_ns or 0) + params.gate_max_ns
            if self.ledger.now_ns < until_ns:
                ends.append((until_ns, "pool"))
        if pool - units < self.average(asset) * Fraction(params.velocity_floor_ppm, f.PPM):
            ends.append((self.ledger.now_ns + params.velocity_max_ns, "velocity"))
        if not ends:
            return "", 0
        until_ns, gate = max(ends, key=lambda one: one[0])
        return gate, until_ns

    def release_queued(self) -> None:
        """R31, R32: order what the gates let through now, in order of arrival; a debt turns it back (I8)."""
        for withdrawal_id, until_ns in list(self.waiting.items()):
            payout = self.ledger.books.payouts[withdrawal_id]
            if payout.status != "queued":
                del self.waiting[withdrawal_id]
                continue
            if self.ledger.outstanding(payout.subaccount):
                self.ledger.turn_back(withdrawal_id, "outstanding_negative_equity")
                del self.waiting[withdrawal_id]
                continue
            if list(self.reserves_faults(payout.asset)):
                continue
            if self.ledger.now_ns < until_ns and self.queue_for(payout.asset, payout.units, queued=True)[0]:
                continue
            self.ledger.emit(
                e.WithdrawalReserved(
                    withdrawal_id, payout.subaccount, payout.asset, payout.units, payout.destination, True
                )
            )
            del self.waiting[withdrawal_id]
