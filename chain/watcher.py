"""Deposits as an async iterator: every finalized block in order, proven by parent link, restartable.

For a wallet, without engine or daemon:

    watchlist = Watchlist([NATIVE_SOL, usdc])
    watchlist.add(address)
    async with RpcPool([Endpoint("http://127.0.0.1:8899", "ws://127.0.0.1:8900")]) as pool:
        await pool.check_genesis(None)
        watcher = DepositWatcher(pool, watchlist, checkpoint=saved_checkpoint)
        async for deposit in watcher:
            print(deposit.address, deposit.units, deposit.symbol, deposit.sender)
            save(deposit.key, deposit, watcher.checkpoint)

`watcher.checkpoint` never passes a block with deposits you have not finished with: store it with the
deposit in one transaction, make `deposit.key` unique, and a crash at any point neither loses nor doubles
one (D4). Without a checkpoint it starts now, or at `start_slot`.

Owns the loop: waiting at the head, back-fill in parallel with commits in order (D7), lag, alarms. A halting
alarm means that it waits and asks on; it never skips a block (D2, D5). Time is counted in slots; seconds
are only waits between questions. Must not know databases, subaccounts or prices.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import replace

from chain.alarms import Alarm, AlarmKind, Alarms
from chain.blocksource import (
    FINALIZED,
    BlockSource,
    Refusal,
    Sourced,
    contradiction,
    describe,
    is_dispute,
    left_out,
)
from chain.credits import Checkpoint, Credit, Link, Notice, NoticeKind, ScannedBlock, link_of
from chain.early import EarlyNotices
from chain.errors import (
    BlockUnreadable,
    ChainError,
    CheckpointContradicted,
    EndpointsDisagree,
    UnsupportedVersion,
)
from chain.limits import Endpoint
from chain.options import Lag, WatcherOptions
from chain.rpc import RpcPool
from chain.token_state import frozen_accounts
from chain.wakeup import Wakeup
from chain.watchlist import Watchlist

__all__ = ["Alarm", "AlarmKind", "Checkpoint", "Credit", "DepositWatcher", "Lag", "WatcherOptions"]


class DepositWatcher:
    """Finalized deposits of a watchlist, from one or several nodes; iterate it once at a time."""

    def __init__(
        self,
        pool: RpcPool,
        watchlist: Watchlist,
        *,
        checkpoint: Checkpoint | None = None,
        start_slot: int | None = None,
        options: WatcherOptions | None = None,
        on_seen: Callable[[Credit], None] | None = None,
        on_voided: Callable[[Credit], None] | None = None,
        on_alarm: Callable[[Alarm], None] | None = None,
    ) -> None:
        """Continue from `checkpoint`, or begin with the first block at or after `start_slot`, or now."""
        self.options = options or WatcherOptions()
        self.watchlist = watchlist
        self.checkpoint = checkpoint
        self.blocks_yielded = 0
        self.credits_yielded = 0
        self.repairs = 0  # times the next block had to be proven away from the straight road
        self.alarms = Alarms(on_alarm)
        self._pool = pool
        self._start_slot = start_slot
        self._source = BlockSource(
            pool,
            watchlist,
            max_supported_transaction_version=self.options.max_supported_transaction_version,
            walk_back_limit=self.options.walk_back_limit,
            cross_check_units=self.options.cross_check_units,
            witness=self.options.witness,
        )
        self._early = EarlyNotices(pool, self._source, on_seen=on_seen, on_voided=on_voided)
        self._wakeup = Wakeup(pool, silence_s=self.options.hint_silence_s)
        self._hint = self._wakeup.listener()
        self._early_hint = self._wakeup.listener()
        self._preferred: Endpoint | None = None
        self._disputed: Checkpoint | None = None  # the child of this one needs two equal answers
        self._known_slot = 0
        self._caught_up_s = 0.0
        self._progress_s = 0.0
        self._iterating = False

    # -- what the outside sees ---------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Credit]:
        return self.deposits()

    async def deposits(self) -> AsyncGenerator[Credit, None]:
        """Yield finalized credits in chain order, for ever."""
        async with contextlib.aclosing(self.blocks()) as blocks:
            async for block in blocks:
                for credit in block.credits:
                    yield credit

    async def blocks(self) -> AsyncGenerator[ScannedBlock, None]:
        """Yield every finalized block after the checkpoint, in order, for ever.

        The checkpoint moves when the next block is asked for: commit inside the loop's body (D4).
        """
        if self._iterating:
            raise RuntimeError("a DepositWatcher is iterated by one consumer at a time")
        self._iterating = True
        tasks = [asyncio.create_task(self._wakeup.run(), name="deposit-watcher-hints")]
        try:
            self._caught_up_s = self._progress_s = self._now_s()
            if self.checkpoint is None:
                self.checkpoint = await self._begin()
            if self.options.early_notice:
                self._early.begin(self.checkpoint.slot)
                following = self._early.run(self._early_hint, self.options.poll_interval_s)
                tasks.append(asyncio.create_task(following, name="deposit-watcher-early-notices"))
            while True:
                async with contextlib.aclosing(self._stretch(self.checkpoint)) as stretch:
                    async for block in stretch:
                        self._raise_failures(tasks)
                        yield await self._deliver(block)
                        self._commit(block)
        finally:
            self._iterating = False
            await _cancel(tasks)

    @property
    def seen(self) -> tuple[Credit, ...]:
        """Return the credits seen at confirmed and not yet finalized: news, never money (D8)."""
        return tuple(self._early.seen.values())

    @property
    def lag(self) -> Lag:
        """Return how far behind the checkpoint is (D7); needs a running loop."""
        at = self.checkpoint.slot if self.checkpoint is not None else self._known_slot
        slots = max(0, self._known_slot - at)
        return Lag(slots, self._now_s() - self._caught_up_s if slots else 0.0)

    # -- the loop ----------------------------------------------------------------------------------------

    def _raise_failures(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _begin(self) -> Checkpoint:
        """Return the checkpoint to start from: the newest finalized block, or the parent of the first one."""
        failures = 0
        while True:
            refusals: list[Refusal] = []
            for endpoint in self._source.endpoints():
                try:
                    found = await self._begin_at(endpoint)
                except ChainError as error:
                    self._source.refuse(endpoint, error, refusals)
                    continue
                if found is not None:
                    self._progressed(found.slot)
                    return found
            self._complain(refusals, at_slot=self._start_slot or 0)
            self._check_progress(at_slot=self._start_slot or 0)
            failures += 1
            await self._wait(self._retry_s(failures))

    async def _begin_at(self, endpoint: Endpoint) -> Checkpoint | None:
        if self._start_slot is None:
            head = await self._pool.call(
                "getSlot", [{"commitment": FINALIZED}], type=int, endpoint=endpoint, attempts=1
            )
            count = min(head + 1, self.options.list_slots)
            listed = await self._source.slots(head - count, count, endpoint)
            if not listed:
                return None
            return (await self._source.block(listed[-1], endpoint)).block.checkpoint
        # Slot 0 is the genesis block; it has no parent and no transactions.
        first = max(1, self._start_slot)
        listed = await self._source.slots(first - 1, self.options.list_slots, endpoint)
        if not listed:
            return None
        block = (await self._source.block(listed[0], endpoint)).block
        while block.parent_slot >= first:
            block = (await self._source.block(block.parent_slot, endpoint)).block
        return Checkpoint(block.parent_slot, block.previous_blockhash)

    async def _stretch(self, checkpoint: Checkpoint) -> AsyncGenerator[ScannedBlock, None]:
        """Yield the next stretch of proven blocks: listed, fetched in parallel, committed in order (D7)."""
        listed, endpoint = await self._listed(checkpoint)
        waiting = deque(listed)
        running: deque[asyncio.Task[Sourced]] = deque()
        try:
            while waiting or running:
                while waiting and len(running) < self.options.parallel_blocks:
                    running.append(asyncio.create_task(self._source.witnessed(waiting.popleft(), endpoint)))
                sourced = await self._straight(checkpoint, running.popleft(), endpoint)
                if sourced is None:
                    # Not the child of the checkpoint, or not to be had here: prove it elsewhere, list anew.
                    yield (await self._prove(checkpoint, ahead=listed[-1])).block
                    return
                yield sourced.block
                checkpoint = sourced.block.checkpoint
        finally:
            await _cancel(list(running))

    async def _straight(
        self, checkpoint: Checkpoint, task: asyncio.Task[Sourced], endpoint: Endpoint
    ) -> Sourced | None:
        """Return the fetched block if it is proven to be next, else None."""
        refusals: list[Refusal] = []
        try:
            sourced = await task
            link = link_of(checkpoint, sourced.block)
            if link is Link.NEXT:
                return await self._source.second_opinion(checkpoint, sourced, refusals)
            wrong = left_out if link is Link.GAP else contradiction
            self._source.refuse(endpoint, wrong(checkpoint, sourced), refusals)
        except ChainError as error:
            self._source.refuse(endpoint, error, refusals)
            if is_dispute(error):
                self._disputed = checkpoint
        finally:
            self._report_faults(refusals, checkpoint.slot)
        return None

    async def _listed(self, checkpoint: Checkpoint) -> tuple[list[int], Endpoint]:
        """Wait until some endpoint lists finalized blocks after the checkpoint."""
        idle = 0
        while True:
            self._hint.clear()
            refusals: list[Refusal] = []
            for endpoint in self._source.endpoints(self._preferred):
                try:
                    listed = await self._source.slots(checkpoint.slot, self.options.list_slots, endpoint)
                except ChainError as error:
                    self._source.refuse(endpoint, error, refusals)
                    continue
                if listed:
                    self._preferred = endpoint
                    await self._note_head(listed, endpoint)
                    return listed, endpoint
                # Nothing new here. Ask the others at once only if somebody hints that there is more.
                if self._wakeup.root <= checkpoint.slot:
                    self._preferred = self._other_than(endpoint)
                    break
            self._report_faults(refusals, checkpoint.slot)
            self._check_progress(checkpoint.slot)
            idle += 1
            await self._wait(self._idle_s(idle, self._wakeup.root > checkpoint.slot))

    async def _prove(self, checkpoint: Checkpoint, ahead: int) -> Sourced:
        """Ask all endpoints, again and again, until one proves the next block; raise the alarm meanwhile."""
        self.repairs += 1
        failures = 0
        while True:
            refusals: list[Refusal] = []
            try:
                sourced = await self._source.next_block(
                    checkpoint,
                    self.options.list_slots,
                    refusals,
                    ahead=ahead,
                    disputed=self._disputed == checkpoint,
                )
            except ChainError as error:
                sourced = None
                self._complain([*refusals], checkpoint.slot, error)
            self._report_faults(refusals, checkpoint.slot)
            if any(is_dispute(refusal.error) for refusal in refusals):
                self._disputed = checkpoint
            if sourced is not None:
                self._preferred = sourced.endpoint
                return sourced
            failures += 1
            # A node may list a block a moment before it can give it: one quiet retry. A lie needs none.
            if failures > 1 or any(refusal.is_grave for refusal in refusals):
                self._complain(refusals, checkpoint.slot)
            await self._wait(self._retry_s(failures))

    async def _deliver(self, block: ScannedBlock) -> ScannedBlock:
        """Look up touched token accounts, tell alarming notices, hand the block out."""
        touched = {n.account: n for n in block.notices if n.kind is NoticeKind.ACCOUNT_TOUCHED}
        if touched:
            block = replace(block, notices=block.notices + await self._frozen(touched))
        for notice in block.notices:
            if notice.is_alarm:
                detail = f"{notice.kind}: {notice.account} in {notice.signature}: {notice.detail}"
                self.alarms.raise_(Alarm(AlarmKind.ACCOUNT, block.slot, detail))
        self.blocks_yielded += 1
        self.credits_yielded += len(block.credits)
        return block

    async def _frozen(self, touched: Mapping[str, Notice]) -> tuple[Notice, ...]:
        try:
            frozen = await frozen_accounts(self._pool, sorted(touched))
        except ChainError as error:
            # A look-up that fails delays no deposit; the next touch or the reconciliation asks again.
            self.alarms.raise_(Alarm(AlarmKind.ENDPOINT_FAULT, 0, f"state of token accounts: {error}"))
            return ()
        return tuple(
            replace(notice, kind=NoticeKind.FROZEN, detail="the token account is frozen")
            for account, notice in touched.items()
            if account in frozen
        )

    def _commit(self, block: ScannedBlock) -> None:
        self.checkpoint = block.checkpoint
        self._progressed(block.slot)
        self.alarms.clear(block.slot)
        self._early.settle(block)

    # -- waiting, lag, alarms ----------------------------------------------------------------------------

    async def _wait(self, seconds: float) -> None:
        """Wait for a hint, but never longer than `seconds`: a lost WebSocket costs only that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hint.wait()

    def _idle_s(self, idle: int, hinted: bool) -> float:
        # A hint often arrives a moment before getBlocks agrees: ask again after 10, 20, 40 ms and so on.
        poll_s = self.options.poll_interval_s
        if hinted:
            return min(poll_s, 0.01 * 2.0 ** min(idle - 1, 20))
        return poll_s / len(self._pool.endpoints)

    def _retry_s(self, failures: int) -> float:
        return min(self.options.longest_retry_s, self.options.poll_interval_s * 2.0 ** min(failures - 1, 20))

    def _other_than(self, endpoint: Endpoint) -> Endpoint:
        usable = self._source.endpoints()
        position = usable.index(endpoint) if endpoint in usable else -1
        return usable[(position + 1) % len(usable)]

    async def _note_head(self, listed: list[int], endpoint: Endpoint) -> None:
        self._known_slot = listed[-1]
        if len(listed) > self.options.parallel_blocks:
            # Far behind: one question tells how far.
            params = [{"commitment": FINALIZED}]
            with contextlib.suppress(ChainError):
                head = await self._pool.call("getSlot", params, type=int, endpoint=endpoint, attempts=1)
                self._known_slot = max(listed[-1], head)

    def _progressed(self, slot: int) -> None:
        self._progress_s = self._now_s()
        self._known_slot = max(self._known_slot, slot)
        if slot >= self._known_slot:
            self._caught_up_s = self._progress_s

    def _check_progress(self, at_slot: int) -> None:
        limit_s = self.options.stall_alarm_s
        if limit_s is not None and self._now_s() - self._progress_s > limit_s:
            detail = f"no new finalized block for {limit_s:g} s; a hint spoke of root {self._wakeup.root}"
            self.alarms.raise_(Alarm(AlarmKind.STALLED, at_slot, detail))

    def _report_faults(self, refusals: list[Refusal], at_slot: int) -> None:
        for refusal in refusals:
            name = refusal.endpoint.name
            self.alarms.raise_(Alarm(AlarmKind.ENDPOINT_FAULT, at_slot, str(refusal.error), name))

    def _complain(self, refusals: list[Refusal], at_slot: int, error: ChainError | None = None) -> None:
        """Raise the halting alarm that fits the reasons."""
        errors = [refusal.error for refusal in refusals] + ([error] if error is not None else [])
        kind = AlarmKind.HOLE
        if any(isinstance(e, UnsupportedVersion) for e in errors):
            kind = AlarmKind.UNSUPPORTED_VERSION
        elif any(isinstance(e, BlockUnreadable) for e in errors):
            kind = AlarmKind.BLOCK_UNREADABLE
        elif errors and all(isinstance(e, CheckpointContradicted) for e in errors):
            kind = AlarmKind.CHECKPOINT_CONTRADICTED
        elif any(isinstance(e, EndpointsDisagree) for e in errors):
            kind = AlarmKind.ENDPOINTS_DISAGREE
        detail = str(error) if error is not None and not refusals else describe(refusals)
        self.alarms.raise_(Alarm(kind, at_slot, detail))

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


async def _cancel(tasks: list[asyncio.Task[None]] | list[asyncio.Task[Sourced]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
