"""From an ordered payout to money on chain, and back to the engine exactly once.

Theory of operation. The engine orders a payout by an event; `projection` writes its row in the
transaction of that event. From there on the row is the truth:

    reserved_sequence set, record NULL     ordered; the payer may not have heard of it
    record set                             the payer's own state, saved before each of its steps
    record final, settled_sequence NULL    paid or failed on chain; the engine has not heard
    settled_sequence set                   the engine has confirmed or returned it, in that very transaction

`start` submits every open row and settles every final one, so a crash between any two lines costs a
repetition of something harmless: submitting is idempotent by id, and settling is one transaction. Must
not know: HTTP, the engine's rules, how a transaction is made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from chain.submission import PayoutRecord, PayoutRequest, PayoutState, decode_record, encode_record
from chain.tokens import TokenMint
from daemon.killpoints import KillPoints
from daemon.projection import PUBLICATION
from daemon.runner import Runner
from daemon.store.database import Database
from daemon.store.rows import Batch, PayoutRow
from engine.commands import ConfirmWithdrawal, PayNetworkFee, ReturnWithdrawal
from engine.outcome import Rejected

_log = logging.getLogger(__name__)
_FINAL: Final = frozenset({PayoutState.FINALIZED.value, PayoutState.FAILED.value})


class Pays(Protocol):
    """What the outbox needs of `chain.payer.Payer`."""

    async def submit(self, request: PayoutRequest) -> object:
        """Take over a payout; idempotent by its id."""
        ...


class SqlitePayoutStore:
    """`chain.payer.PayoutStore`: writes on the writer's thread, reads on a connection of its own."""

    def __init__(self, runner: Runner, reader: Database, token_of: Callable[[str], TokenMint]) -> None:
        self._runner = runner
        self._reader = reader
        self._token_of = token_of

    def load_open(self) -> list[PayoutRecord]:
        """Return every payout that the payer has not brought to an end."""
        rows = self._reader.payouts(unsettled=True)
        return [self._record(row) for row in rows if row.state not in _FINAL]

    def load(self, payout_id: str) -> PayoutRecord | None:
        """Return the record of a payout, finished or not; None if none was ordered."""
        rows = self._reader.payouts(payout_id=payout_id)
        return self._record(rows[0]) if rows else None

    async def save(self, record: PayoutRecord) -> None:
        """Store a record; durable when it returns."""
        encoded = encode_record(record)

        def write(database: Database) -> None:
            database.write_payout_state(record.id, record.state.value, record.signature, encoded)

        await self._runner.in_store(write)

    def request(self, row: PayoutRow) -> PayoutRequest:
        """Return what is to be paid, as the payer wants it."""
        note = row.id if row.kind == PUBLICATION else ""  # what is published is the id itself
        return PayoutRequest(
            row.id, row.symbol, self._token_of(row.symbol).mint, row.units, row.destination, note=note
        )

    def _record(self, row: PayoutRow) -> PayoutRecord:
        return PayoutRecord(self.request(row)) if row.record is None else decode_record(row.record)


class Outbox:
    """Hands ordered payouts to the payer, and what came of them to the engine."""

    def __init__(
        self, runner: Runner, store: SqlitePayoutStore, payer: Pays, kill_points: KillPoints | None = None
    ) -> None:
        self._runner = runner
        self._store = store
        self._payer = payer
        self._passing = (kill_points or KillPoints()).passing
        self._ordered: asyncio.Queue[PayoutRow] = asyncio.Queue()
        runner.observers.append(self._notice)

    def _notice(self, batch: Batch) -> None:
        for row in batch.payouts:
            self._ordered.put_nowait(row)

    async def start(self) -> None:
        """Settle what ended before the last stop, and hand over what was ordered before it."""
        rows = await self._runner.in_store(lambda database: database.payouts(unsettled=True))
        for row in rows:
            if row.state in _FINAL and row.record is not None:
                await self.settle(decode_record(row.record))
            else:
                self._ordered.put_nowait(row)

    async def run(self) -> None:
        """Hand over payouts as they are ordered."""
        while True:
            row = await self._ordered.get()
            self._passing("payout.submitting")
            await self._payer.submit(self._store.request(row))

    async def settle(self, record: PayoutRecord) -> None:
        """Tell the engine how a payout ended; the same transaction marks the row as settled (I10)."""
        self._passing("payout.settling")
        fee = record.network_fee_units
        if record.request.note and record.is_final:
            answer = await self._runner.submit(
                lambda now: PayNetworkFee(
                    f"network-fee:{record.id}", now, record.id, record.signature or "never sent", fee
                )
            )
            if record.state is PayoutState.FAILED:
                _log.error("%s was not published: %s", record.id, record.failure)
        elif record.state is PayoutState.FINALIZED:
            signature = record.signature or ""
            answer = await self._runner.submit(
                lambda now: ConfirmWithdrawal(f"confirm:{record.id}", now, record.id, signature, fee)
            )
        elif record.state is PayoutState.FAILED:
            reason = (record.failure_code or "failed")[:100]
            answer = await self._runner.submit(
                lambda now: ReturnWithdrawal(f"return:{record.id}", now, record.id, reason, fee)
            )
        else:
            _log.warning("payout %s is in manual review: %s", record.id, record.failure)
            return
        if isinstance(answer.outcome, Rejected):
            _log.error(
                "the engine refused to settle payout %s: %s %s",
                record.id,
                answer.outcome.reason.value,
                answer.outcome.detail,
            )
