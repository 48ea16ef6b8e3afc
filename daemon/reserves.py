"""What we hold on chain against what we owe: the attestation of R33a and the lines of the reconciliation.

Owns: reading every deposit address and its token accounts at one finalized slot, and pairing that
picture with the ledger at the same point. Theory: the engine keeps the surplus (holdings less what it
owes) of the moment of the attestation, and from then on every movement changes both sides alike. So the
picture must not be of another moment than the ledger. Holdings are read at finalized slot S; then we
wait until the blocks up to S are committed and until every payout that was under way has ended. A payout
that landed after S and was settled before the attestation would make the surplus look larger than it is:
such a picture is thrown away and taken again.

    holdings = owed - network fees owed + dust + refused + unexplained

per asset; unexplained is 0, or somebody must look. Network fees owed are lamports that the operator spent
and has not put back yet (SOL only).

Must not know: HTTP, commands other than `AttestReserves`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import msgspec

from chain.destination import ChainAccount, parse_token_account
from chain.errors import ChainError, TransportError
from chain.observing import SIGNATURES_AT_ONCE
from chain.rpc import RpcPool
from chain.submission import IN_FLIGHT_STATES, decode_record
from chain.tokens import TokenMint, associated_token_address
from daemon.inbox import AddressBook, Inbox
from daemon.runner import Answer, Runner
from daemon.store.database import Database
from daemon.store.rows import PayoutRow
from engine.commands import AttestReserves
from engine.invariants import liabilities_units
from engine.state import State
from engine.units import NETWORK_FEE_ASSET

_log = logging.getLogger(__name__)
T = TypeVar("T")
ACCOUNTS_PER_CALL: Final = 100  # the limit of getMultipleAccounts
_ATTEMPTS: Final = 5
_READ_AGAIN_S: Final = 0.1  # a node that is behind the one that is scanned catches up
# Sighted only, taken back, or on chain without being anybody's in the ledger.
_OWED_TO_NOBODY: Final = ("seen", "voided", "dust", "refused")


@dataclass(frozen=True, slots=True)
class HeldAccount:
    """One account on chain: whose deposit address owns it, and what it may hold."""

    address: str
    account: str
    symbol: str


@dataclass(frozen=True, slots=True)
class Holdings:
    """Units per asset on all our addresses together, as of one finalized slot."""

    slot: int
    units: dict[str, int]
    # Each account that holds anything, with its units; not in the repr, which stands in the log.
    accounts: tuple[tuple[HeldAccount, int], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Picture(Generic[T]):
    """Holdings and ledger at one block; `set_aside_units` is on our addresses and in no ledger account."""

    holdings: Holdings
    ledger: T
    set_aside_units: dict[str, int]


@dataclass(frozen=True, slots=True)
class Line:
    """One asset of the reconciliation; all in base units."""

    asset: str
    holdings_units: int
    owed_units: int
    network_fees_owed_units: int
    dust_units: int
    refused_units: int
    unexplained_units: int


class _Context(msgspec.Struct):
    slot: int


class _Account(msgspec.Struct):
    lamports: int
    owner: str
    data: tuple[str, str]


class _Answer(msgspec.Struct):
    context: _Context
    value: list[_Account | None]


class _Status(msgspec.Struct):
    slot: int


class _Statuses(msgspec.Struct):
    value: list[_Status | None]


class Reserves:
    """Looks at the chain, tells the engine, and keeps the last reconciliation."""

    def __init__(
        self, runner: Runner, inbox: Inbox, addresses: AddressBook, tokens: Sequence[TokenMint], pool: RpcPool
    ) -> None:
        self._runner = runner
        self._inbox = inbox
        self._addresses = addresses
        self._tokens = tuple(tokens)
        self._pool = pool
        self._accounts: dict[str, tuple[HeldAccount, ...]] = {}
        self._lock = asyncio.Lock()
        self.last: Holdings | None = None
        self.lines: tuple[Line, ...] = ()

    async def run(self, interval_s: float, settle_timeout_s: float = 10.0) -> None:
        """Attest for ever; a chain that does not answer costs an attestation, never the daemon."""
        while True:
            try:
                await self.attest(settle_timeout_s)
            except ChainError as error:
                _log.warning("no attestation of reserves: %s", error)
            await asyncio.sleep(interval_s)

    async def attest(self, settle_timeout_s: float = 10.0) -> Answer:
        """Read, wait for the ledger to reach the same point, attest; raises ChainError without one."""
        answer: Answer | None = None
        async with self._lock:
            for _ in range(_ATTEMPTS):
                under_way = await self._payouts_under_way()
                holdings = await self.read()
                await self._ledger_reaches(holdings.slot, under_way, settle_timeout_s)
                if await self._settled_later(under_way, holdings.slot):
                    continue
                answer = await self._runner.submit(
                    lambda now, found=holdings: AttestReserves(  # type: ignore[misc]
                        f"attest:{found.slot}:{now}", now, tuple(sorted(found.units.items())), found.slot
                    )
                )
                self.last, self.lines = holdings, await self.reconcile(holdings)
                # A payout that ended between the picture and the comparison looks like a difference, once.
                if not any(line.unexplained_units for line in self.lines):
                    break
            if answer is None:
                raise TransportError("payouts kept landing while the holdings were read")
            for line in self.lines:
                if line.unexplained_units:
                    _log.error("reserves do not match the ledger: %s, %s", self.last, line)
            return answer

    async def picture(self, question: Callable[[State], T], settle_timeout_s: float = 3.0) -> Picture[T]:
        """Return holdings at a finalized slot and `question` asked of the ledger with the blocks up to it.

        Blocks after the slot wait in the inbox meanwhile: a moment, or until the payouts that landed up to
        the slot are settled, at most `settle_timeout_s`: what such a payout paid would be owed and gone at
        once. Raises ChainError without a picture.
        """
        async with self._lock:
            try:
                for attempt in range(_ATTEMPTS):
                    if attempt and self._inbox.scanned_slot is not None:
                        # The scan was faster than the reading: now it waits first.
                        self._inbox.hold_after(self._inbox.scanned_slot)
                    under_way = await self._payouts_under_way()
                    holdings = await self.read()
                    scanned = self._inbox.scanned_slot
                    if scanned is not None and scanned > holdings.slot:
                        await asyncio.sleep(_READ_AGAIN_S)
                        continue
                    self._inbox.hold_after(holdings.slot)
                    await self._scan_reaches(holdings.slot, settle_timeout_s)
                    landed = await self._landed_by(holdings.slot, under_way)
                    settled = await self._payouts_end(landed, settle_timeout_s)
                    if not settled or await self._settled_later(under_way, holdings.slot):
                        self._inbox.hold_after(None)
                        continue
                    answer = await self._runner.ask(question)
                    return Picture(holdings, answer, await self._runner.in_store(_set_aside))
            finally:
                self._inbox.hold_after(None)
        raise TransportError("the ledger and the holdings were never at the same block")

    async def read(self) -> Holdings:
        """Sum the finalized balances of every address we ever issued, all as of one slot.

        Raises TransportError if the node moves on between the calls five times in a row.
        """
        wanted = [account for _, address in self._addresses.all() for account in self._accounts_of(address)]
        for _ in range(_ATTEMPTS):
            usable = self._pool.by_health()
            if not usable:
                raise TransportError("no usable endpoint to read the holdings from")
            endpoint = usable[0].name  # one node, because two are rarely at the same slot
            slots: set[int] = set()
            units = {token.symbol: 0 for token in self._tokens}
            accounts: list[tuple[HeldAccount, int]] = []
            parts = [wanted[at : at + ACCOUNTS_PER_CALL] for at in range(0, len(wanted), ACCOUNTS_PER_CALL)]
            # All at once, as far as the pool's limits allow: a slot ends in less than half a second.
            answers = await asyncio.gather(*(self._accounts_at(endpoint, part) for part in parts))
            for part, answer in zip(parts, answers, strict=True):
                slots.add(answer.context.slot)
                for one, account in zip(part, answer.value, strict=True):
                    if found := _units(one, account):
                        units[one.symbol] += found
                        accounts.append((one, found))
            if len(slots) == 1:
                return Holdings(slots.pop(), units, tuple(accounts))
        raise TransportError("the holdings could not be read as of one slot")

    async def _accounts_at(self, endpoint: str, part: Sequence[HeldAccount]) -> _Answer:
        answer = await self._pool.call(
            "getMultipleAccounts",
            [[one.account for one in part], {"encoding": "base64", "commitment": "finalized"}],
            type=_Answer,
            endpoint=endpoint,
        )
        if len(answer.value) != len(part):
            raise TransportError(f"asked for {len(part)} accounts, {len(answer.value)} were answered")
        return answer

    def _accounts_of(self, address: str) -> tuple[HeldAccount, ...]:
        known = self._accounts.get(address)
        if known is None:
            known = tuple(
                HeldAccount(address, address, token.symbol)
                if token.mint is None or token.program is None
                else HeldAccount(
                    address, associated_token_address(address, token.mint, token.program), token.symbol
                )
                for token in self._tokens
            )
            self._accounts[address] = known
        return known

    async def _payouts_under_way(self) -> list[str]:
        rows = await self._runner.in_store(lambda database: database.payouts(unsettled=True))
        return [row.id for row in rows if row.state in IN_FLIGHT_STATES or row.state == "finalized"]

    async def _ledger_reaches(self, slot: int, under_way: list[str], timeout_s: float) -> None:
        """Wait for the scan to pass `slot` and for payouts to end; a late one only lowers the surplus."""
        await self._scan_reaches(slot, timeout_s)
        await self._payouts_end(under_way, timeout_s)

    async def _scan_reaches(self, slot: int, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s * 3):
                while self._inbox.scanned_slot is None or self._inbox.scanned_slot < slot:
                    self._inbox.advanced.clear()
                    await self._inbox.advanced.wait()
        except TimeoutError:  # back-filling after an outage, or halted at a hole: no reason to end the daemon
            scanned = self._inbox.scanned_slot
            raise TransportError(f"holdings are as of slot {slot}, but the scan is at {scanned}") from None

    async def _payouts_end(self, payouts: list[str], timeout_s: float) -> bool:
        """Wait until none of these is under way; False when the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while set(payouts) & set(await self._payouts_under_way()):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def _landed_by(self, slot: int, payouts: list[str]) -> list[str]:
        """Ask the chain which of these payouts are final in a block up to `slot`."""

        def signatures(database: Database) -> list[tuple[str, str]]:
            rows = [row for one in payouts for row in database.payouts(payout_id=one)]
            records = [decode_record(row.record) for row in rows if row.record is not None]
            return [(record.id, signature) for record in records for signature in record.signatures]

        found = await self._runner.in_store(signatures) if payouts else []
        landed = []
        for at in range(0, len(found), SIGNATURES_AT_ONCE):
            part = found[at : at + SIGNATURES_AT_ONCE]
            asked = [[signature for _, signature in part], {"searchTransactionHistory": True}]
            answer = await self._pool.call("getSignatureStatuses", asked, type=_Statuses)
            landed += [
                payout
                for (payout, _), status in zip(part, answer.value, strict=True)
                if status is not None and status.slot <= slot
            ]
        return landed

    async def _settled_later(self, under_way: list[str], slot: int) -> bool:
        """Say whether a payout landed after `slot` and is in the ledger already."""

        def look(database: Database) -> bool:
            rows = [row for one in under_way for row in database.payouts(payout_id=one)]
            return any(_landed_after(row, slot) for row in rows)

        return bool(under_way) and await self._runner.in_store(look)

    async def reconcile(self, holdings: Holdings) -> tuple[Line, ...]:
        """Compare holdings with the ledger and explain the difference, per asset (D11).

        The ledger may have seen blocks after the slot of the holdings: what arrived in them is left out.
        """
        owed, fees_owed = await self._runner.ask(owed_units)

        def arrivals(database: Database) -> dict[tuple[str, str], int]:
            sums = database.unowed_units(up_to_slot=holdings.slot)
            for row in database.deposits(limit=-1, after_slot=holdings.slot):
                if row.status not in _OWED_TO_NOBODY:
                    sums[row.symbol, "later"] = sums.get((row.symbol, "later"), 0) + row.units
            return sums

        found = await self._runner.in_store(arrivals)
        lines = []
        for symbol, held in sorted(holdings.units.items()):
            dust, refused = found.get((symbol, "dust"), 0), found.get((symbol, "refused"), 0)
            due = owed.get(symbol, 0) - found.get((symbol, "later"), 0)
            fees = fees_owed if symbol == NETWORK_FEE_ASSET else 0
            lines.append(Line(symbol, held, due, fees, dust, refused, held - due + fees - dust - refused))
        return tuple(lines)


def _set_aside(database: Database) -> dict[str, int]:
    """Sum what arrived and belongs to no ledger account: dust, and deposits that were refused."""
    units: dict[str, int] = {}
    for status in ("dust", "refused"):
        for row in database.deposits(status=status, limit=-1):
            units[row.symbol] = units.get(row.symbol, 0) + row.units
    return units


def owed_units(state: State) -> tuple[dict[str, int], int]:
    """Return what is owed per asset, and the lamports of network fees that the operator has not put back."""
    return dict(liabilities_units(state)), state.network_fees_owed_units


def _landed_after(row: PayoutRow, slot: int) -> bool:
    if row.settled_sequence is None or row.record is None:
        return False
    landed = decode_record(row.record).finalized_slot
    return landed is not None and landed > slot


def _units(held: HeldAccount, account: _Account | None) -> int:
    """Return what an account holds for us; a token account that was handed to somebody else holds nothing."""
    if account is None:
        return 0
    if held.account == held.address:
        return account.lamports
    data = base64.b64decode(account.data[0])
    found = parse_token_account(ChainAccount(held.account, account.lamports, account.owner, data, False))
    return found.units if found is not None and found.owner == held.address else 0
