"""The single writer: commands in, one at a time, made durable before anybody hears of them.

Theory of operation. Whoever wants something done puts a `Work` into the queue: some commands, what else
must become durable with them, and a future. The writer takes what is there (up to `batch_limit`
commands), stamps each command with the clock, applies it, collects the journal rows and what
`projection` makes of the events, checks the invariants on the totals, and commits everything in one
transaction. Only then are the futures answered. Questions to the state are works too, so no answer ever
shows what a power cut could take back.

    queued -> applied in memory -> invariants hold -> COMMIT -> acknowledged -> observers (the payer wakes up)

Any failure between applying and COMMIT ends the writer: memory is ahead of the disk, so nothing in it is
told to anybody, and a restart from the disk is the way back. Must not know: sockets, HTTP, the chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

from daemon.clock import Clock
from daemon.errors import InvariantBreach, StoreStopped
from daemon.killpoints import KillPoints
from daemon.projection import project
from daemon.store.database import Database
from daemon.store.rows import Batch, JournalRow, SnapshotRow
from engine import journal as engine_journal
from engine.apply import apply
from engine.commands import Command
from engine.invariants import check, check_totals
from engine.outcome import Outcome
from engine.snapshot import dump_state
from engine.state import State

T = TypeVar("T")
Build = Callable[[int], Command]  # from the engine time to the command


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a command; `sequence` is None for what leaves no trace in the journal."""

    sequence: int | None
    outcome: Outcome


@dataclass(slots=True)
class Work:
    """Something for the writer: commands in order, rows that belong to them, or a question."""

    builds: Sequence[Build]
    rows: Callable[[Sequence[Answer], Batch], None] | None
    question: Callable[[State], Any] | None
    done: asyncio.Future[Any]
    result: Any = field(default=None)


class Runner:
    """Owns the state and the only hand that changes it."""

    def __init__(
        self,
        state: State,
        sequence: int,
        chain_hash: bytes,
        database: Database,
        clock: Clock,
        *,
        batch_limit: int = 1000,
        snapshot_every: int = 100_000,
        kill_points: KillPoints | None = None,
    ) -> None:
        self._state = state
        self.sequence = sequence
        self.hash = chain_hash
        self._database = database
        self.clock = clock
        self._batch_limit = batch_limit
        self._snapshot_every = snapshot_every
        self._snapshot_sequence = sequence
        self._passing = (kill_points or KillPoints()).passing
        self._queue: asyncio.Queue[Work | None] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="makewhole-writer")
        self._failure: BaseException | None = None
        self._closing = False
        self.observers: list[Callable[[Batch], None]] = []
        self.batches = 0

    # -- what others call --

    async def submit(
        self, build: Build, rows: Callable[[Sequence[Answer], Batch], None] | None = None
    ) -> Answer:
        """Apply one command; returns when it is durable. Raises what stopped the writer, if anything did."""
        return (await self.submit_all([build], rows))[0]

    async def submit_all(
        self, builds: Sequence[Build], rows: Callable[[Sequence[Answer], Batch], None] | None = None
    ) -> list[Answer]:
        """Apply commands in order in one transaction, with the rows that `rows` adds to it."""
        answers: list[Answer] = await self._enqueue(builds, rows, None)
        return answers

    async def ask(self, question: Callable[[State], T]) -> T:
        """Evaluate a question on the state between two batches; the answer only shows what is durable."""
        answer: T = await self._enqueue((), None, question)
        return answer

    async def in_store(self, work: Callable[[Database], T]) -> T:
        """Run `work` on the writer's thread and connection."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._database)

    async def _enqueue(self, builds: Sequence[Build], rows: Any, question: Any) -> Any:
        if self._failure is not None or self._closing:
            raise StoreStopped("the writer has stopped; nothing more is accepted") from self._failure
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(Work(builds, rows, question, done))
        return await done

    # -- the writer --

    async def run(self) -> None:
        """Work until `close`; raises what broke: a `StoreError` or an `InvariantBreach`."""
        taken: list[Work] = []
        try:
            while True:
                taken, last = await self._take()
                await self._process(taken)
                taken = []
                if last:
                    break
                if self.sequence - self._snapshot_sequence >= self._snapshot_every:
                    await self.snapshot()
            await self.snapshot()
        except BaseException as error:
            self._failure = error
            self._refuse_all(taken, error)
            raise
        finally:
            self._closing = True
            self._thread.shutdown(wait=True)

    def close(self) -> None:
        """Let the writer finish what is queued, take a snapshot, and end."""
        if not self._closing:
            self._closing = True
            self._queue.put_nowait(None)

    async def _take(self) -> tuple[list[Work], bool]:
        """Wait for work, then take all that is there, up to the limit; True if it is the last."""
        first = await self._queue.get()
        if first is None:
            return [], True
        taken, count = [first], len(first.builds)
        while count < self._batch_limit and not self._queue.empty():
            work = self._queue.get_nowait()
            if work is None:
                return taken, True
            taken.append(work)
            count += len(work.builds)
        return taken, False

    async def _process(self, works: list[Work]) -> None:
        batch = Batch()
        for work in works:
            if work.question is not None:
                work.result = _evaluate(work.question, self._state)
                continue
            answers = [self._apply(build, batch) for build in work.builds]
            if work.rows is not None:
                work.rows(answers, batch)
            work.result = answers
        if batch:
            self._passing("batch.applied")
            breaches = check_totals(self._state)
            if breaches:
                raise InvariantBreach([str(breach) for breach in breaches])
            await self.in_store(lambda database: database.write(batch))
            self.batches += 1
        for work in works:
            if not work.done.done():
                if isinstance(work.result, _Raised):
                    work.done.set_exception(work.result.error)
                else:
                    work.done.set_result(work.result)
        if batch:
            self._passing("batch.acknowledged")
            for observer in self.observers:
                observer(batch)

    def _apply(self, build: Build, batch: Batch) -> Answer:
        command = build(self.clock.now_ns())
        outcome = apply(self._state, command)
        if not outcome.recorded:
            return Answer(None, outcome)
        self.sequence += 1
        encoded, result = engine_journal.encode_command(command), engine_journal.encode_outcome(outcome)
        self.hash = engine_journal.chain_hash(self.hash, self.sequence, encoded, result)
        batch.journal.append(JournalRow(self.sequence, encoded, result, self.hash))
        project(self.sequence, command, outcome, batch)
        return Answer(self.sequence, outcome)

    async def snapshot(self) -> None:
        """Check every invariant in full and store the whole state; nothing to do right after another one."""
        if self.sequence == self._snapshot_sequence:
            return
        breaches = check(self._state)
        if breaches:
            raise InvariantBreach([str(breach) for breach in breaches])
        dump = dump_state(self._state)
        row = SnapshotRow(self.sequence, self.hash, sha256(dump).hexdigest(), dump)
        await self.in_store(lambda database: database.write_snapshot(row))
        self._snapshot_sequence = self.sequence

    def _refuse_all(self, taken: list[Work], error: BaseException) -> None:
        waiting = list(taken)
        while not self._queue.empty():
            work = self._queue.get_nowait()
            if work is not None:
                waiting.append(work)
        for work in waiting:
            if not work.done.done():
                refusal = StoreStopped(f"the writer stopped; this was not done: {error}")
                refusal.__cause__ = error
                work.done.set_exception(refusal)


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


def _evaluate(question: Callable[[State], Any], state: State) -> Any:
    """A question that fails is its asker's problem, never the writer's."""
    try:
        return question(state)
    except Exception as error:  # noqa: BLE001  # handed to the asker
        return _Raised(error)
