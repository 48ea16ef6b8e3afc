"""The early notice: a customer sees "seen" at confirmed, and never a credit (D8).

Owns the rows seen at confirmed and their end: settled by the finalized block with the same blockhash, or
voided. Best effort by design: what it misses is only news. Must not be asked whether money arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from chain.blocksource import CONFIRMED, BlockSource
from chain.credits import Credit, ScannedBlock
from chain.errors import ChainError
from chain.rpc import RpcPool

# How far behind the confirmed head it starts: finality trails by about 32 slots, older news is no news.
_LOOK_BACK_SLOTS: Final = 64
_COUNT: Final = 64


class EarlyNotices:
    """Follows confirmed blocks and keeps the credits in them until they are finalized or gone."""

    def __init__(
        self,
        pool: RpcPool,
        source: BlockSource,
        *,
        on_seen: Callable[[Credit], None] | None = None,
        on_voided: Callable[[Credit], None] | None = None,
    ) -> None:
        self.seen: dict[tuple[str, int, str], Credit] = {}  # by credit key, slot and blockhash
        self.voided = 0
        self._pool = pool
        self._source = source
        self._on_seen = on_seen
        self._on_voided = on_voided
        self._next_slot = 0
        self._finalized_slot = 0

    def begin(self, finalized_slot: int) -> None:
        """Set where finality stands: what is in that block or before is no news."""
        self._finalized_slot = max(self._finalized_slot, finalized_slot)

    async def run(self, wake: asyncio.Event, poll_interval_s: float) -> None:
        """Follow the confirmed head until cancelled; a failure of a node ends a round, never the task."""
        while True:
            wake.clear()
            with contextlib.suppress(ChainError):  # news is late then; the deposit is not
                await self._round()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(poll_interval_s):
                    await wake.wait()

    async def _round(self) -> None:
        head = await self._pool.call("getSlot", [{"commitment": CONFIRMED}], type=int, attempts=1)
        first = max(self._next_slot, self._finalized_slot + 1, head - _LOOK_BACK_SLOTS)
        for endpoint in self._source.endpoints()[:1]:
            for slot in await self._source.slots(first - 1, _COUNT, endpoint, CONFIRMED):
                block = (await self._source.block(slot, endpoint, CONFIRMED)).block
                self._next_slot = slot + 1
                self._see(block)

    def _see(self, block: ScannedBlock) -> None:
        if block.slot <= self._finalized_slot:
            return  # overtaken: finalized already, or gone
        for credit in block.credits:
            row = (credit.key, credit.slot, credit.blockhash)
            if row not in self.seen:
                self.seen[row] = credit
                if self._on_seen is not None:
                    self._on_seen(credit)

    def settle(self, block: ScannedBlock) -> None:
        """End the rows up to a finalized block: those it contains are settled, the others voided (D8)."""
        self._finalized_slot = block.slot
        final = {(credit.key, credit.slot, credit.blockhash) for credit in block.credits}
        for row in [row for row, credit in self.seen.items() if credit.slot <= block.slot]:
            credit = self.seen.pop(row)
            if row not in final:
                self.voided += 1
                if self._on_voided is not None:
                    self._on_voided(credit)
