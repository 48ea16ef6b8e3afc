"""Pays withdrawals: reserve, sign, store, send, and send again until the chain has spoken.

Owns: the drive of every open payout through the table of `submission`, by what `evidence` decides. Must not
know: why money is owed, ledgers, databases (a `PayoutStore` is given), files, environment.

Rules
- Every step is saved before the next begins; what is in memory is never ahead of the store. Whoever calls
  `run()` on the store of a payer that died continues exactly there.
- Two loops, on disjoint states: one prepares (requested, reserved, expired) up to the first send, one
  watches (signed, sent, confirmed) to the end. A slow signer never delays a rebroadcast.
- Only one payer may run on a store and a source; a lock that spans processes is the caller's.
- A hot wallet that is short makes payouts wait and raises an alarm; it never fails a customer (W7).
- What a failure says to a customer stands in `failure`; alarms are for operators.
Source: W1-W3, W6, W7.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Coroutine
from typing import Any

from solders.signature import Signature

from chain.destination import check_destination, split_fault
from chain.errors import ChainError
from chain.evidence import Action, ActionKind, Observation, SubmissionPolicy, next_action, proves_dead
from chain.hot_wallet import Funds, claim_of, free_of, read_hot_wallet, shortage
from chain.instructions import assemble_transaction
from chain.landing import cost_of_landing, read_landing
from chain.limits import Endpoint
from chain.observing import observe
from chain.payouts import Alarm, AlarmBoard, AlarmKind, PayerOptions, PayoutStore, Ruling
from chain.preparing import (
    Prepared,
    Route,
    SimulationFailed,
    describe_route,
    draft_payout,
)
from chain.rpc import RpcPool
from chain.signer import Signer, checked_signature
from chain.submission import (
    FINAL_STATES,
    IN_FLIGHT_STATES,
    Attempt,
    PayoutEvent,
    PayoutRecord,
    PayoutRequest,
    PayoutState,
    advance,
    plain_sentence,
)

__all__ = [
    "Alarm",
    "AlarmKind",
    "Payer",
    "PayerOptions",
    "PayoutRecord",
    "PayoutRequest",
    "PayoutState",
    "PayoutStore",
    "Ruling",
    "check_destination",
]

_S, _E = PayoutState, PayoutEvent
PREPARING_STATES = frozenset({_S.REQUESTED, _S.RESERVED, _S.EXPIRED})
RESULT_STATES = FINAL_STATES | {_S.MANUAL_REVIEW}


class Payer:
    """Pays from one hot wallet, exactly once each.

        payer = Payer(pool, signer, source, store, on_result=..., on_alarm=...)
        await payer.submit(PayoutRequest("w1", "SOL", None, 1_000_000_000, destination))
        await payer.run()       # until cancelled or stopped

    `on_result` hears of every record that became finalized, failed or a case for manual review, after it was
    saved. A crash between the two loses the call, never the record: the store is the truth.
    """

    def __init__(
        self,
        pool: RpcPool,
        signer: Signer,
        source: str,
        store: PayoutStore,
        *,
        options: PayerOptions | None = None,
        own: Container[str] = (),
        on_result: Callable[[PayoutRecord], Awaitable[None] | None] | None = None,
        on_alarm: Callable[[Alarm], None] | None = None,
    ) -> None:
        if source not in signer.addresses():
            raise ValueError(f"the signer does not hold the key of the hot wallet {source}")
        self.source = source
        self.options = options or PayerOptions()
        self.policy = SubmissionPolicy(
            configured_endpoints=len(pool.endpoints),
            allow_single_endpoint_expiry=self.options.allow_single_endpoint_expiry,
            single_endpoint_gap_blocks=self.options.single_endpoint_gap_blocks,
            attempts_at_most=self.options.attempts_at_most,
        )
        self._pool, self._signer, self._store = pool, signer, store
        self._own = _Own(source, signer, own)
        self._on_result = on_result
        self._alarms = AlarmBoard(on_alarm)
        self._records: dict[str, PayoutRecord] = {}
        self._proofs: dict[str, list[Observation]] = {}
        self._retry: dict[str, tuple[int, float]] = {}
        self._simulation_failures: dict[str, int] = {}
        self._listeners: list[asyncio.Queue[PayoutRecord]] = []
        self._prepare_now, self._stopping = asyncio.Event(), asyncio.Event()
        self._float_lock = asyncio.Lock()
        self._locks: dict[str, asyncio.Lock] = {}
        self._settled_slot = 0
        self._running = False

    # What callers do ---------------------------------------------------------------------------------------

    async def submit(self, request: PayoutRequest) -> PayoutRecord:
        """Take on a payout; returns its record, durable. The same request again returns what became of it.

        Raises ValueError if the id is known with another body.
        """
        async with self._lock_of(request.id):
            known = self._records.get(request.id) or self._store.load(request.id)
            if known is None:
                known = PayoutRecord(request)
                await self._save(known)
            if known.request != request:
                raise ValueError(
                    f"payout {request.id!r} was already asked for with another body: {known.request}"
                )
            if not known.is_final:
                self._records.setdefault(request.id, known)
                self._prepare_now.set()
            return known

    async def run(self) -> None:
        """Drive all open payouts of the store until `stop()`; a ChainError never ends it, a store error does.

        Raises RuntimeError if it is already running.
        """
        if self._running:
            raise RuntimeError("this payer is already running; two senders could pay twice")
        self._running = True
        self._stopping.clear()
        self._records = {record.id: record for record in self._store.load_open()}
        try:
            await _together(
                self._loop(self._prepare_round, self._prepare_now),
                self._loop(self._watch_round, self._stopping),  # at its own pace: each round sends again
            )
        finally:
            self._running = False

    def stop(self) -> None:
        """Let `run` end after the steps at hand; open payouts continue at the next `run`."""
        self._stopping.set()
        self._prepare_now.set()

    def results(self) -> AsyncIterator[PayoutRecord]:
        """Iterate over the records that become finalized, failed or a case for review from this call on."""
        listener: asyncio.Queue[PayoutRecord] = asyncio.Queue()
        self._listeners.append(listener)

        async def each() -> AsyncIterator[PayoutRecord]:
            try:
                while True:
                    yield await listener.get()
            finally:
                self._listeners.remove(listener)

        return each()

    def open_records(self) -> tuple[PayoutRecord, ...]:
        """Return the payouts that are not over, oldest first."""
        return tuple(self._records.values())

    async def rule(
        self, payout_id: str, ruling: Ruling, why: str, *, network_fee_units: int = 0
    ) -> PayoutRecord:
        """Carry out what an operator decided on a payout in manual review; `why` is kept with the record.

        `network_fee_units` is what the payout cost so far, as the chain shows it. For FAILED the customer
        reads `why`. Raises KeyError for an unknown payout and IllegalTransition where the table has no such
        step.
        """
        changes: dict[str, Any] = {
            "ruling": plain_sentence(f"{ruling.name.lower()}: {why}"),
            "failure": plain_sentence(why) if ruling is Ruling.FAILED else "",
            "failure_code": "ruled_failed" if ruling is Ruling.FAILED else "",
        }
        async with self._lock_of(payout_id):
            record = self._store.load(payout_id)
            if record is None:
                raise KeyError(f"no payout {payout_id!r}")
            following = advance(
                record,
                ruling.event,
                **changes,
                network_fee_units=record.network_fee_units + network_fee_units,
            )
            self._proofs.pop(payout_id, None)
            self._simulation_failures.pop(payout_id, None)
            await self._save(following)
        await self._tell(following)
        return following

    # Loops -------------------------------------------------------------------------------------------------

    async def _loop(self, work: Callable[[], Awaitable[None]], wake: asyncio.Event) -> None:
        while not self._stopping.is_set():
            if wake is not self._stopping:
                wake.clear()
            await work()
            try:
                async with asyncio.timeout(self.options.interval_s):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _prepare_round(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [
            record
            for record in self._records.values()
            if record.state in PREPARING_STATES and self._retry.get(record.id, (0, 0.0))[1] <= now
        ]
        places = asyncio.Semaphore(self.options.prepare_at_once)

        async def in_place(record: PayoutRecord) -> None:
            async with places:
                if not self._stopping.is_set():
                    await self._prepare(record)

        await _together(*(in_place(record) for record in due))

    async def _watch_round(self) -> None:
        watched = [record for record in self._records.values() if record.state in IN_FLIGHT_STATES]
        if not watched:
            return
        rounds: list[dict[str, Observation]] = []

        async def ask(endpoint: Endpoint) -> None:
            try:
                async with asyncio.timeout(self.options.request_timeout_s):
                    rounds.append(await observe(self._pool, endpoint, watched))
            except TimeoutError:
                self._alarms.raise_(
                    AlarmKind.ENDPOINT, endpoint.name, f"{endpoint.name} did not answer in time"
                )
            except ChainError as error:
                self._alarms.raise_(AlarmKind.ENDPOINT, endpoint.name, f"{endpoint.name}: {error}")
            else:
                self._alarms.calm(AlarmKind.ENDPOINT, endpoint.name)

        await _together(*(ask(endpoint) for endpoint in self._rested_endpoints()))
        await _together(*(self._watch(record, [each[record.id] for each in rounds]) for record in watched))

    def _rested_endpoints(self) -> list[Endpoint]:
        """Leave out endpoints in back-off: waiting for one would delay the rebroadcast to the others."""
        states = self._pool.states
        return [e for e in self._pool.endpoints if not states[e.name].banned and states[e.name].wait_s() <= 0]

    # Preparing: requested, reserved, expired ---------------------------------------------------------------

    async def _prepare(self, record: PayoutRecord) -> None:
        try:
            verdict = "" if record.request.note else await self._destination_fault(record.request)
            if verdict:
                await self._refuse(record, verdict)
                return
            route = await describe_route(self._pool, record.request, self.source)
            if record.state is _S.REQUESTED:
                reserved = await self._reserve(record, route)
                if reserved is None:
                    return
                record = reserved
            await self._sign_and_send(record, route)
        except SimulationFailed as error:
            await self._simulation_failed(self._records[record.id], error)
        except ChainError as error:
            self._alarms.raise_(
                AlarmKind.PREPARING, record.id, f"payout {record.id!r} cannot be prepared: {error}"
            )
            self._retry_later(record.id)
        else:
            self._alarms.calm(AlarmKind.PREPARING, record.id)

    async def _destination_fault(self, request: PayoutRequest) -> str:
        return await check_destination(
            self._pool,
            request.destination,
            request.mint,
            own=self._own,
            units=request.units,
            allow_off_curve=request.allow_off_curve,
        )

    async def _refuse(self, record: PayoutRecord, verdict: str) -> None:
        code, sentence = split_fault(verdict)
        await self._step(record, _E.REFUSE, failure_code=code, failure=sentence)

    async def _reserve(self, record: PayoutRecord, route: Route) -> PayoutRecord | None:
        """Earmark what the payout can cost at most; None, with an alarm, if the hot wallet is short (W7)."""
        request = record.request
        claim = claim_of(request, route, self.options.largest_priority_fee_lamports)
        async with self._float_lock:  # balances are read and earmarked by one payout at a time
            held = await read_hot_wallet(self._pool, route, self._settled_slot)
            left = free_of(held, request.mint, self._records.values()).minus(claim)
            missing = shortage(left, request.symbol)
            if missing:
                self._alarms.raise_(
                    AlarmKind.HOT_WALLET_LOW,
                    record.id,
                    f"hot wallet {self.source} is short of {missing} for payout {record.id!r}; "
                    "it waits for a refill",
                )
                self._retry_later(record.id)
                return None
            self._alarms.calm(AlarmKind.HOT_WALLET_LOW, record.id)
            self._watch_float(request, left)
            return await self._step(
                record, _E.RESERVE, reserved_lamports=claim.lamports, reserved_units=claim.token_units
            )

    def _watch_float(self, request: PayoutRequest, left: Funds) -> None:
        by_symbol = {"SOL": left.lamports}
        if request.mint is not None:
            by_symbol[request.symbol] = left.token_units
        for symbol, units in by_symbol.items():
            floor = self.options.low_float_units.get(symbol, 0)
            if units < floor:
                text = f"the float of {symbol} is down to {units} units, below {floor}; refill it"
                self._alarms.raise_(AlarmKind.FLOAT_LOW, symbol, text)
            else:
                self._alarms.calm(AlarmKind.FLOAT_LOW, symbol)

    async def _sign_and_send(self, record: PayoutRecord, route: Route) -> None:
        # What is known of the old bytes decides whether new ones may exist at all.
        action = next_action(record, self._proofs.get(record.id, ()), self.policy)
        if action.kind is ActionKind.REVIEW:
            await self._review(record, action.why)
            return
        number = len(record.attempts) + 1
        prepared = await draft_payout(
            self._pool, record.request, route, self.options.largest_priority_fee_lamports, number
        )
        message = bytes(prepared.message)
        signature = checked_signature(await self._signer.sign(message, self.source), message, self.source)
        attempt = _attempt(number, prepared, signature)
        twin = next((r.id for r in self._records.values() if attempt.signature in r.signatures), None)
        if twin is not None and twin != record.id:
            raise ChainError(f"payouts {record.id!r} and {twin!r} have the same bytes; nothing was sent")
        signed = await self._step(record, _E.SIGN, attempts=(*record.attempts, attempt))
        if signed is None:
            return
        for memory in (self._simulation_failures, self._retry, self._proofs):
            memory.pop(record.id, None)
        await self._broadcast(signed)
        await self._step(signed, _E.SEND)  # unless the watcher was faster: it takes over from `signed`

    async def _simulation_failed(self, record: PayoutRecord, error: SimulationFailed) -> None:
        self._retry_later(record.id)
        if error.is_short_of_funds:
            self._alarms.raise_(
                AlarmKind.HOT_WALLET_LOW,
                record.id,
                f"hot wallet {self.source} cannot cover payout {record.id!r}; it waits: {error}",
            )
            if record.state is _S.RESERVED:
                await self._step(record, _E.RELEASE, reserved_lamports=0, reserved_units=0)
            return
        failures = self._simulation_failures[record.id] = self._simulation_failures.get(record.id, 0) + 1
        self._alarms.raise_(AlarmKind.PREPARING, record.id, f"payout {record.id!r}: {error}")
        if failures >= self.options.simulations_at_most:
            await self._review(record, f"{failures} simulations failed, nothing was sent: {error.error}")

    # Watching: signed, sent, confirmed ---------------------------------------------------------------------

    async def _watch(self, record: PayoutRecord, fresh: list[Observation]) -> None:
        if self._records.get(record.id) is not record:
            return  # a step was made since the question was asked; the next round sees it
        kept = self._proofs.get(record.id, [])
        action = next_action(record, [*kept, *fresh], self.policy)
        self._keep_proofs(record, kept, fresh)
        if action.kind is ActionKind.WAIT:
            self._alarms.raise_(
                AlarmKind.WATCHING,
                record.id,
                f"payout {record.id!r} is past block height {record.last_valid_block_height}, neither proven "
                "landed nor proven dead; its money stays reserved until enough endpoints agree",
            )
            return
        try:
            await self._act(record, action)
        except ChainError as error:
            self._alarms.raise_(AlarmKind.WATCHING, record.id, f"payout {record.id!r}: {error}")
        else:
            self._alarms.calm(AlarmKind.WATCHING, record.id)

    def _keep_proofs(self, record: PayoutRecord, kept: list[Observation], fresh: list[Observation]) -> None:
        """Keep each endpoint's first statement of death: with one endpoint a second is due later (W3)."""
        endpoints = {observation.endpoint for observation in kept}
        new = [o for o in fresh if o.endpoint not in endpoints and proves_dead(o, record.attempts[-1])]
        if kept or new:
            self._proofs[record.id] = [*kept, *new]

    async def _act(self, record: PayoutRecord, action: Action) -> None:
        match action.kind:
            case ActionKind.SEND:
                await self._broadcast(record)
                await self._step(record, _E.SEND)
            case ActionKind.REBROADCAST:
                await self._broadcast(record)
            case ActionKind.CONFIRM:
                await self._step(record, _E.SEE_CONFIRMED, confirmed_slot=action.slot)
            case ActionKind.UNCONFIRM:
                self._alarms.raise_(
                    AlarmKind.REORGANIZED,
                    record.id,
                    f"payout {record.id!r} was confirmed and is not any more",
                )
                await self._step(record, _E.LOSE_CONFIRMATION, confirmed_slot=None)
            case ActionKind.FINALIZE | ActionKind.FAIL:
                await self._settle(record, action)
            case ActionKind.EXPIRE:
                await self._step(record, _E.PROVE_DEAD)
            case ActionKind.REVIEW:
                await self._review(record, action.why)
            case _:
                pass

    async def _settle(self, record: PayoutRecord, action: Action) -> None:
        attempt = record.attempts[-1]
        landing = await read_landing(self._pool, attempt.signature)
        if landing is None:
            return  # the endpoint asked has not got it yet
        if landing.slot != action.slot or bool(landing.error) != bool(action.error):
            await self._review(
                record,
                f"its status says slot {action.slot}, error {action.error or 'none'}; the transaction says "
                f"slot {landing.slot}, error {landing.error or 'none'}",
            )
            return
        source_token = ""
        if record.request.mint is not None:
            source_token = (await describe_route(self._pool, record.request, self.source)).source_token
        cost = cost_of_landing(landing, record.request, self.source, source_token)
        if cost.contradiction:
            await self._review(record, cost.contradiction)
            return
        self._settled_slot = max(self._settled_slot, landing.slot)
        changes: dict[str, Any] = {
            "network_fee_units": record.network_fee_units + cost.network_fee_units,
            "finalized_slot": landing.slot,
        }
        if action.kind is ActionKind.FAIL:
            changes["failure_code"] = "failed_on_chain"
            changes["failure"] = plain_sentence(
                f"The payout transaction {attempt.signature} landed with an error and moved nothing; the "
                f"money is still here. Error: {landing.error}"
            )
        event = _E.SEE_FAILED if action.kind is ActionKind.FAIL else _E.SEE_FINALIZED
        await self._step(record, event, **changes)

    async def _broadcast(self, record: PayoutRecord) -> None:
        """Send the same bytes to every rested endpoint. No answer to this is evidence of anything (W2)."""
        attempt = record.attempts[-1]
        options = {
            "encoding": "base64",
            "skipPreflight": self.options.skip_preflight,
            "preflightCommitment": "confirmed",
            "maxRetries": 0,
        }
        params = [base64.b64encode(attempt.signed_bytes).decode(), options]

        async def send(endpoint: Endpoint) -> None:
            try:
                async with asyncio.timeout(self.options.request_timeout_s):
                    # One try: the next round is the retry, and a dead endpoint must not hold it up.
                    await self._pool.call("sendTransaction", params, type=str, endpoint=endpoint, attempts=1)
            except (ChainError, TimeoutError):
                return  # "already processed" and "connection lost" alike: only observations decide

        await _together(*(send(endpoint) for endpoint in self._rested_endpoints()))

    # Steps all share ---------------------------------------------------------------------------------------

    async def _review(self, record: PayoutRecord, why: str) -> None:
        sentence = plain_sentence(f"Payout under review by the operator; the money stays reserved. {why}")
        await self._step(record, _E.DOUBT, failure_code="manual_review", failure=sentence)
        self._alarms.raise_(
            AlarmKind.MANUAL_REVIEW, record.id, f"payout {record.id!r} needs a decision: {why}"
        )

    async def _step(self, record: PayoutRecord, event: PayoutEvent, **changes: Any) -> PayoutRecord | None:
        """Advance a record and save it; None if the other loop made a step since `record` was looked at."""
        following = advance(record, event, **changes)
        async with self._lock_of(record.id):
            if self._records.get(record.id) is not record:
                return None
            await self._save(following)
        await self._tell(following)
        return following

    async def _save(self, record: PayoutRecord) -> None:
        """Make a record durable, then known. The caller holds its lock."""
        await self._store.save(record)
        if not record.is_final:
            self._records[record.id] = record
        else:
            for memory in (self._records, self._proofs, self._retry, self._locks, self._simulation_failures):
                memory.pop(record.id, None)
        if record.state in PREPARING_STATES:
            self._prepare_now.set()

    async def _tell(self, record: PayoutRecord) -> None:
        if record.state not in RESULT_STATES:
            return
        for listener in self._listeners:
            listener.put_nowait(record)
        if self._on_result is not None:
            heard = self._on_result(record)
            if inspect.isawaitable(heard):
                await heard

    def _lock_of(self, payout_id: str) -> asyncio.Lock:
        return self._locks.setdefault(payout_id, asyncio.Lock())

    def _retry_later(self, payout_id: str) -> None:
        times, _ = self._retry.get(payout_id, (0, 0.0))
        wait_s = min(self.options.longest_retry_s, self.options.interval_s * 2 ** min(times, 10))
        self._retry[payout_id] = (times + 1, asyncio.get_running_loop().time() + wait_s)


class _Own:
    """Every address that is ours, asked anew each time: an address issued a moment ago counts."""

    def __init__(self, source: str, signer: Signer, more: Container[str]) -> None:
        self._source, self._signer, self._more = source, signer, more

    def __contains__(self, address: object) -> bool:
        return address == self._source or address in self._signer.addresses() or address in self._more


def _attempt(number: int, prepared: Prepared, signature: bytes) -> Attempt:
    return Attempt(
        number=number,
        signature=str(Signature.from_bytes(signature)),
        signed_bytes=assemble_transaction(prepared.message, [signature]),
        blockhash=prepared.blockhash,
        last_valid_block_height=prepared.last_valid_block_height,
        signed_slot=prepared.slot,
    )


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all, stop all at the first exception, and raise that one itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
