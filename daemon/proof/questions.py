"""What the control API can ask of the proof of solvency.

Owns: the bodies of the answers. Must not know: HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.api import bodies
from daemon.proof.balances import UnknownBalance
from daemon.proof.service import ProofService
from daemon.proof.workshop import ProofFailed
from daemon.store.rows import EpochRow


@dataclass(frozen=True, slots=True)
class ProofQuestions:
    """Answers about epochs and records; `refuse` makes the door's own refusal."""

    proof: ProofService
    refuse: Callable[[str, str, int], Exception]

    async def make(self) -> bodies.EpochBody:
        """Make an epoch now; returns when its bundle is in the folder and its memo is ordered."""
        try:
            return await self.body(await self.proof.make())
        except (ProofFailed, UnknownBalance) as error:
            raise self.refuse("proof_failed", str(error), 503) from error

    async def epochs(self, last: int) -> list[bodies.EpochBody]:
        """List the last sealed epochs, oldest first."""
        rows = await self.proof.epochs(last=last + 1)
        sealed = [row for row in rows if row.signature is not None]
        return [await self.body(row) for row in sealed[-last:]] if last else []

    async def record(self, subaccount: str) -> bodies.RecordBody:
        """Return a customer's record of the last epoch."""
        customer_id = self.proof.customer_id(subaccount)
        if customer_id is None:
            raise self.refuse("unknown_subaccount", f"subaccount {subaccount!r} has no deposit address", 404)
        try:
            row, record = await self.proof.record(customer_id)
        except ProofFailed as error:
            raise self.refuse("proof_failed", str(error), 503) from error
        return bodies.RecordBody(customer_id, record, await self.body(row))

    async def body(self, row: EpochRow) -> bodies.EpochBody:
        payout = await self.proof.publication(row)
        return bodies.EpochBody(
            epoch=row.epoch,
            hash=row.hash.hex(),
            header=row.header,
            signature=row.signature or b"",
            path=str(self.proof.folder.bundle(row.epoch).absolute()),
            publisher=self.proof.publisher,
            publication_state="" if payout is None else payout.state,
            publication_signature=None if payout is None else payout.signature,
        )
