"""Finalized blocks from nodes that may lag, lie or lose them: proof by parent link, or nothing.

Owns asking for slots and blocks, walking back over a gap, and the second opinion on large credits. A block
counts only if its parent is the checkpoint (D2); an error code, a null or a missing slot in a list never
prove that a slot was skipped. Must not know the consumer's checkpoint store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from chain.blocks import Header, block_params, signatures_digest
from chain.credits import Checkpoint, Credit, Link, ScannedBlock, link_of
from chain.errors import (
    BlockNotAvailable,
    BlockUnreadable,
    ChainError,
    CheckpointContradicted,
    EndpointsDisagree,
    NodeBehind,
    TransportError,
    UnsupportedVersion,
)
from chain.limits import Endpoint
from chain.rpc import RpcPool
from chain.scanner import scan_block
from chain.watchlist import Watchlist

FINALIZED: Final = "finalized"
CONFIRMED: Final = "confirmed"


@dataclass(frozen=True, slots=True)
class Sourced:
    """A scanned block, the endpoint that gave it, and what a witness says of it."""

    block: ScannedBlock
    endpoint: Endpoint
    header: Header | None = None
    witness: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one endpoint did not give the next block; `is_grave` if waiting will not cure it."""

    endpoint: Endpoint
    error: ChainError
    is_grave: bool


class BlockSource:
    """Reads blocks of one commitment through the pool, endpoint by endpoint."""

    def __init__(
        self,
        pool: RpcPool,
        watchlist: Watchlist,
        *,
        max_supported_transaction_version: int = 1,
        walk_back_limit: int = 64,
        cross_check_units: Mapping[str, int] | None = None,
        witness: bool = True,
    ) -> None:
        self.blocks_read = 0
        self.cross_checks = 0
        self.headers_read = 0
        self._pool = pool
        self._watchlist = watchlist
        self._version = max_supported_transaction_version
        self._walk_back_limit = walk_back_limit
        self._asks_witness = witness and len(pool.endpoints) > 1
        # By default every credit gets a second opinion as soon as there is somebody to ask.
        several = len(pool.endpoints) > 1
        everything = {t.symbol: 1 for t in watchlist.tokens if several}
        self._cross_check_units = everything if cross_check_units is None else dict(cross_check_units)
        if self._cross_check_units and len(pool.endpoints) < 2:
            raise ValueError("a cross-check needs a second endpoint")
        unknown = sorted(set(self._cross_check_units) - {t.symbol for t in watchlist.tokens})
        if unknown:
            raise ValueError("cross-check of a token that is not accepted: " + ", ".join(unknown))

    def endpoints(self, first: Endpoint | None = None) -> list[Endpoint]:
        """Return the usable endpoints by health, `first` in front; raises TransportError if none is."""
        usable = self._pool.by_health()
        if not usable:
            bans = "; ".join(state.banned for state in self._pool.states.values())
            raise TransportError(f"no usable endpoint ({bans})")
        if first is not None and first in usable:
            usable.remove(first)
            usable.insert(0, first)
        return usable

    async def slots(
        self, after: int, count: int, endpoint: Endpoint, commitment: str = FINALIZED
    ) -> list[int]:
        """Return the slots with blocks in (after, after + count] that one endpoint knows, ascending."""
        params = [after + 1, after + count, {"commitment": commitment}]
        found = await self._pool.call("getBlocks", params, type=list[int], endpoint=endpoint, attempts=1)
        return sorted({slot for slot in found if after < slot <= after + count})

    async def block(self, slot: int, endpoint: Endpoint, commitment: str = FINALIZED) -> Sourced:
        """Return the scanned block of a slot as one endpoint gives it; raises ChainError."""
        params = block_params(slot, commitment, self._version)
        body = await self._pool.raw("getBlock", params, endpoint=endpoint, attempts=1)
        self.blocks_read += 1
        return Sourced(scan_block(body, slot, self._watchlist), endpoint)

    async def witnessed(self, slot: int, endpoint: Endpoint) -> Sourced:
        """Return the block, and from another endpoint, asked at the same time, its header and signatures.

        The list of signatures is a fortieth of the block on mainnet. It shows a blockhash that is not the
        cluster's before it becomes a checkpoint, and a transaction that was left out: no credit would point
        to that. A witness that does not answer is no objection.
        """
        if not self._asks_witness:
            return await self.block(slot, endpoint)
        others = [other for other in self.endpoints() if other != endpoint]
        if not others:
            return await self.block(slot, endpoint)
        asking = asyncio.create_task(self._header(slot, others[0]))
        try:
            sourced = await self.block(slot, endpoint)
            return replace(sourced, header=await asking, witness=others[0])
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _header(self, slot: int, endpoint: Endpoint) -> Header | None:
        params = block_params(slot, FINALIZED, self._version, "signatures")
        header: Header | None
        try:
            header = await self._pool.call(
                "getBlock", params, type=Header | None, endpoint=endpoint, attempts=1
            )
        except ChainError:
            return None
        self.headers_read += 1
        return header

    async def next_block(
        self,
        checkpoint: Checkpoint,
        count: int,
        refusals: list[Refusal],
        *,
        ahead: int = 0,
        disputed: bool = False,
    ) -> Sourced | None:
        """Ask every endpoint for the child of the checkpoint; the first proof wins (D2).

        What stood in the way is added to `refusals`. None with an empty list means that nobody knows a
        later block. `ahead` is a slot that is said to have a block. Once two endpoints disagree about the
        block (`disputed`, or found out here), only the agreement of two settles it, credits or not.
        """
        for endpoint in self.endpoints():
            try:
                listed = await self.slots(checkpoint.slot, count, endpoint)
                slot = listed[0] if listed else ahead
                if slot <= checkpoint.slot:
                    continue
                sourced = await self._walk_back(checkpoint, slot, endpoint)
                return await self.second_opinion(checkpoint, sourced, refusals, disputed=disputed)
            except ChainError as error:
                self.refuse(endpoint, error, refusals)
                disputed = disputed or is_dispute(error)
        return None

    async def _walk_back(self, checkpoint: Checkpoint, slot: int, endpoint: Endpoint) -> Sourced:
        """Follow parent links from a later block down to the child of the checkpoint."""
        sourced = await self.witnessed(slot, endpoint)
        for _ in range(self._walk_back_limit):
            link = link_of(checkpoint, sourced.block)
            if link is Link.NEXT:
                return sourced
            if link is Link.CONTRADICTION:
                raise contradiction(checkpoint, sourced)
            # The parent was withheld from the list: the link itself says that it exists.
            sourced = await self._from_anybody(sourced.block.parent_slot, endpoint)
        raise EndpointsDisagree(f"no way back from {slot} to {checkpoint.slot}")

    async def _from_anybody(self, slot: int, first: Endpoint) -> Sourced:
        errors: list[str] = []
        for endpoint in self.endpoints(first):
            try:
                return await self.witnessed(slot, endpoint)
            except ChainError as error:
                errors.append(str(error))
        raise TransportError(f"block {slot} exists, but nobody gives it: " + "; ".join(errors))

    async def second_opinion(
        self,
        checkpoint: Checkpoint,
        sourced: Sourced,
        refusals: list[Refusal],
        *,
        disputed: bool = False,
    ) -> Sourced:
        """Return the block once two endpoints agree on every large credit in it (D9).

        Compared are slot, blockhash, parent and the credits above the threshold, which exist only for
        transactions that succeeded; of a disputed block all credits are compared. Raises EndpointsDisagree
        or the error of those who did not answer.
        """
        if not disputed:
            self._hear_witness(checkpoint, sourced)
        if not disputed and not self._large(sourced.block):
            return sourced
        self.cross_checks += 1
        answers = [sourced]
        failure: ChainError | None = None
        for endpoint in self.endpoints():
            if endpoint == sourced.endpoint:
                continue
            try:
                other = await self.block(sourced.block.slot, endpoint)
            except ChainError as error:
                failure = error
                self.refuse(endpoint, error, refusals)
                continue
            for earlier in answers:
                if self._same(earlier.block, other.block, disputed):
                    if link_of(checkpoint, earlier.block) is not Link.NEXT:
                        break
                    for liar in answers:
                        if not self._same(liar.block, other.block, disputed):
                            self.refuse(liar.endpoint, disagreement(liar, other), refusals)
                    return earlier
            answers.append(other)
        if len(answers) > 1:
            raise disagreement(answers[0], answers[1])
        raise failure or TransportError("no second endpoint to ask")

    def _hear_witness(self, checkpoint: Checkpoint, sourced: Sourced) -> None:
        """Raise EndpointsDisagree if the witness shows another child of the same checkpoint.

        A header with another parent is no objection: the parent link proves that the witness is wrong.
        """
        header, block = sourced.header, sourced.block
        if header is None or sourced.witness is None:
            return
        if (header.parentSlot, header.previousBlockhash) != (checkpoint.slot, checkpoint.blockhash):
            return
        if header.blockhash != block.blockhash:
            told = f"{sourced.witness.name}: {header.blockhash}"
        elif signatures_digest(header.signatures) != block.signatures_digest:
            told = f"{sourced.witness.name}: {len(header.signatures)} other transactions"
        else:
            return
        raise EndpointsDisagree(
            f"block {block.slot}: {sourced.endpoint.name}: {block.blockhash} with "
            f"{block.transactions} transactions; {told}"
        )

    def _large(self, block: ScannedBlock) -> frozenset[Credit]:
        limits = self._cross_check_units
        return frozenset(c for c in block.credits if c.symbol in limits and c.units >= limits[c.symbol])

    def _same(self, one: ScannedBlock, other: ScannedBlock, disputed: bool) -> bool:
        compared = _all_credits if disputed else self._large
        return (
            one.blockhash == other.blockhash
            and one.parent_slot == other.parent_slot
            and one.previous_blockhash == other.previous_blockhash
            and one.signatures_digest == other.signatures_digest
            and compared(one) == compared(other)
        )

    def refuse(self, endpoint: Endpoint, error: ChainError, refusals: list[Refusal]) -> None:
        """Note why an endpoint was of no use, and prefer the others for a while."""
        is_grave = isinstance(error, EndpointsDisagree | BlockUnreadable | UnsupportedVersion)
        if not isinstance(error, BlockNotAvailable | NodeBehind | UnsupportedVersion):
            self._pool.states[endpoint.name].fell_behind()
        refusals.append(Refusal(endpoint, error, is_grave))


def _all_credits(block: ScannedBlock) -> frozenset[Credit]:
    return frozenset(block.credits)


def is_dispute(error: ChainError) -> bool:
    """Say whether two nodes told different things about the content of one block."""
    return isinstance(error, EndpointsDisagree) and not isinstance(error, CheckpointContradicted)


def contradiction(checkpoint: Checkpoint, sourced: Sourced) -> CheckpointContradicted:
    """Return the error for a block that does not descend from the checkpoint."""
    block = sourced.block
    return CheckpointContradicted(
        f"{sourced.endpoint.name}: block {block.slot} has parent {block.parent_slot} "
        f"{block.previous_blockhash}, but the checkpoint is {checkpoint.slot} {checkpoint.blockhash}"
    )


def left_out(checkpoint: Checkpoint, sourced: Sourced) -> TransportError:
    """Return the error for a list of slots that left out the parent of the block after it."""
    block = sourced.block
    return TransportError(
        f"its list after {checkpoint.slot} begins with {block.slot}, whose parent is {block.parent_slot}",
        endpoint=sourced.endpoint.name,
    )


def disagreement(one: Sourced, other: Sourced) -> EndpointsDisagree:
    """Return the error for two endpoints that tell different things about one slot."""

    def told(sourced: Sourced) -> str:
        units = ", ".join(f"{c.units} {c.symbol}" for c in sourced.block.credits) or "no credits"
        return f"{sourced.endpoint.name}: {sourced.block.blockhash} with {units}"

    return EndpointsDisagree(f"block {one.block.slot}: {told(one)}; {told(other)}")


def describe(refusals: Iterable[Refusal]) -> str:
    """Return the refusals as one sentence for an alarm."""
    return "; ".join(str(refusal.error) for refusal in refusals) or "no endpoint answered"
