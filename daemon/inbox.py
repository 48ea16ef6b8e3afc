"""From blocks to commands: deposits with their checkpoint, the settlement tick, prices from a file.

Rules: a block's deposits, notices and checkpoint are one work for the writer, so they are durable
together (D4). A deposit's id is its key on chain, so a block that is scanned twice credits nothing
twice. Dust is written down and never becomes a command (D10). A sighting at `confirmed` is told, never
credited (D8). Must not know: how blocks are read, how a deposit is applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from chain.addresses import parse_amount
from chain.credits import Credit, Notice, NoticeKind, ScannedBlock
from chain.tokens import TokenMint
from daemon.api.market_bodies import QuoteBody
from daemon.killpoints import KillPoints
from daemon.runner import Answer, Build, Runner
from daemon.store.rows import Batch, DepositRow, NoticeRow
from engine.commands import Deposit, Tick, UpdatePrices, UpdateQuotes
from engine.outcome import Rejected

_log = logging.getLogger(__name__)
_NATIVE: Final = "SOL"
_NS_PER_SECOND: Final = 1_000_000_000
_PRICE_FILE_SILENCE_NS: Final = 60 * _NS_PER_SECOND


class AddressBook:
    """Which subaccount a deposit address belongs to; an address is in here before it is shown to anybody."""

    def __init__(self) -> None:
        self._subaccounts: dict[str, str] = {}
        self._addresses: dict[str, str] = {}

    def expect(self, subaccount: str, address: str) -> None:
        """Know whose an address is before it is issued, so that nothing sent to it can surprise."""
        self._subaccounts[address] = subaccount

    def add(self, subaccount: str, address: str) -> None:
        """Remember an address that was issued, for ever."""
        self.expect(subaccount, address)
        self._addresses[subaccount] = address

    def subaccount(self, address: str) -> str:
        """Return whose address this is; raises KeyError."""
        return self._subaccounts[address]

    def address(self, subaccount: str) -> str | None:
        """Return the address that was issued to a subaccount, None if none was."""
        return self._addresses.get(subaccount)

    def all(self) -> list[tuple[str, str]]:
        """Return every (subaccount, address)."""
        return list(self._addresses.items())

    def __contains__(self, address: object) -> bool:
        return address in self._subaccounts


class Inbox:
    """Feeds the writer from the outside world."""

    def __init__(
        self,
        runner: Runner,
        addresses: AddressBook,
        tokens: Iterable[TokenMint],
        kill_points: KillPoints | None = None,
    ) -> None:
        self._runner = runner
        self._addresses = addresses
        self._symbols = {token.mint: token.symbol for token in tokens}
        self._passing = (kill_points or KillPoints()).passing
        self.scanned_slot: int | None = None
        self.advanced = asyncio.Event()
        self._hold_after: int | None = None
        self._released = asyncio.Event()

    async def follow(self, blocks: AsyncGenerator[ScannedBlock, None]) -> None:
        """Commit every block in order until the iterator ends."""
        async with contextlib.aclosing(blocks):
            async for block in blocks:
                await self.take(block)

    async def take(self, block: ScannedBlock) -> list[Answer]:
        """Commit one block: its deposits, its notices, and the checkpoint behind it."""
        while self._hold_after is not None and block.slot > self._hold_after:
            self._released.clear()
            await self._released.wait()
        if block.credits:
            self._passing("deposit.scanned")
        rows = [self._row(credit) for credit in block.credits]
        dust = [self._dust(notice, block) for notice in block.notices if notice.kind is NoticeKind.DUST]
        notices = [_notice_row(notice) for notice in block.notices if notice.kind is not NoticeKind.DUST]

        def add(answers: Sequence[Answer], batch: Batch) -> None:
            batch.deposits += [_answered(row, answer) for row, answer in zip(rows, answers, strict=True)]
            batch.deposits += dust
            batch.notices += notices
            batch.checkpoint = (block.slot, block.blockhash)

        answers = await self._runner.submit_all([_deposit(row) for row in rows], add)
        self.scanned_slot = block.slot
        self.advanced.set()
        for notice in block.notices:
            if notice.is_alarm:
                _log.error(
                    "%s at %s: %s (%s)", notice.kind.value, notice.account, notice.detail, notice.signature
                )
        return answers

    def hold_after(self, slot: int | None) -> None:
        """Keep blocks after `slot` waiting: the ledger can then be seen exactly there. None lets them go."""
        self._hold_after = slot
        self._released.set()

    async def seen(self, credit: Credit) -> None:
        """Note a sighting at `confirmed`: the customer sees it, the ledger does not (D8)."""
        row = self._row(credit, "seen")
        await self._runner.submit_all([], lambda _, batch: batch.deposits.append(row))

    async def voided(self, credit: Credit) -> None:
        """Take a sighting back: its block did not become final."""
        await self._runner.submit_all([], lambda _, batch: batch.voided.append(credit.key))

    def _row(self, credit: Credit, status: str = "credited") -> DepositRow:
        return DepositRow(
            key=credit.key,
            signature=credit.signature,
            account=credit.account,
            mint=credit.mint or _NATIVE,
            symbol=credit.symbol,
            subaccount=self._addresses.subaccount(credit.address),
            address=credit.address,
            units=credit.units,
            sender=credit.sender or "",
            slot=credit.slot,
            blockhash=credit.blockhash,
            block_time=credit.block_time,
            status=status,
        )

    def _dust(self, notice: Notice, block: ScannedBlock) -> DepositRow:
        mint = notice.mint or _NATIVE
        return DepositRow(
            key=f"{notice.signature}:{notice.account}:{mint}",
            signature=notice.signature,
            account=notice.account,
            mint=mint,
            symbol=self._symbols[notice.mint],
            subaccount=self._addresses.subaccount(notice.address),
            address=notice.address,
            units=notice.units,
            sender="",
            slot=notice.slot,
            blockhash=block.blockhash,
            block_time=block.block_time,
            status="dust",
        )


def _answered(row: DepositRow, answer: Answer) -> DepositRow:
    """A deposit that the engine could not even read is nobody's money yet; the row says so."""
    if isinstance(answer.outcome, Rejected) and answer.sequence is None:
        return replace(row, status="refused", receipt=answer.outcome.reason.value.encode())
    return row


def _deposit(row: DepositRow) -> Build:
    return lambda now: Deposit(row.key, now, row.subaccount, row.symbol, row.units, row.sender)


def _notice_row(notice: Notice) -> NoticeRow:
    return NoticeRow(
        notice.slot,
        notice.kind.value,
        f"{notice.signature}:{notice.account}",
        f"{notice.units} units of {notice.mint or _NATIVE} at {notice.address}: {notice.detail}",
    )


# -- the settlement tick --


async def tick_forever(runner: Runner, interval_ns: int) -> None:
    """Send a `Tick` at every multiple of the settlement interval (R26)."""
    while True:
        now_ns = runner.clock.now_ns()
        await asyncio.sleep((interval_ns - now_ns % interval_ns) / _NS_PER_SECOND)
        await runner.submit(tick)


def tick(now_ns: int) -> Tick:
    """Return the tick of an instant; its id is the instant, so it cannot be sent twice."""
    return Tick(f"tick:{now_ns}", now_ns)


# -- prices --


class Prices(msgspec.Struct, forbid_unknown_fields=True):
    """Prices as people write them: decimal dollars per whole token, as text; quotes by asset."""

    index: dict[str, str] = {}
    mark: dict[str, str] = {}
    quotes: dict[str, list[QuoteBody]] = {}


def update_prices(prices: Prices, now_ns: int, request_id: str | None = None) -> UpdatePrices:
    """Turn decimal prices into the command; raises ValueError for what is not a price with 8 decimals.

    Without an id of its own the command is known by its time.
    """
    command_id = f"prices:{now_ns}" if request_id is None else request_id
    return UpdatePrices(command_id, now_ns, _priced(prices.index), _priced(prices.mark))


def _priced(named: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((symbol, parse_amount(text, 8)) for symbol, text in named.items()))


def update_quotes(
    asset: str, quotes: Sequence[QuoteBody], default_ns: int, now_ns: int, request_id: str | None = None
) -> UpdateQuotes:
    """Turn decimal quotes into the command; one without a time has `default_ns`. Raises ValueError naming the
    quote whose price is not one with 8 decimals.
    """
    told = []
    for place, quote in enumerate(quotes):
        try:
            price_e8 = parse_amount(quote.price, 8)
        except ValueError as error:
            raise ValueError(f"quotes[{place}].price: {error}") from error
        time_ns = default_ns if quote.time_ns is None else quote.time_ns
        told.append((quote.feed, quote.source, price_e8, time_ns))
    command_id = f"quotes:{asset}:{now_ns}" if request_id is None else request_id
    return UpdateQuotes(command_id, now_ns, asset, tuple(told))


async def follow_price_file(runner: Runner, path: Path, interval_s: float) -> None:
    """Send the prices and quotes of a JSON file at every interval; a file that cannot be read sends nothing.
    What is wrong with it, or is refused, is logged once.

    Sent again even when unchanged: whoever writes the file says "this is the price now" by leaving it
    there. A file older than a minute is taken as silence, so that prices go stale when its writer has died.
    """
    complained = ""
    while True:
        try:
            prices = await asyncio.to_thread(read_prices, path, runner.clock.now_ns())
            answers = await runner.submit_all(price_commands(prices))
            complaint = "; ".join(_refusals(path, answers))
        except ValueError as error:
            complaint = str(error)
        if complaint and complaint != complained:
            _log.error("prices: %s", complaint)
        complained = complaint
        await asyncio.sleep(interval_s)


def price_commands(prices: Prices) -> list[Build]:
    """List the commands that a price file stands for: its prices, then its quotes, asset by asset."""
    builds: list[Build] = []
    if prices.index or prices.mark or not prices.quotes:
        builds.append(partial(update_prices, prices))
    for asset, quotes in sorted(prices.quotes.items()):
        builds.append(partial(update_quotes, asset, quotes, 0))
    return builds


def _refusals(path: Path, answers: Sequence[Answer]) -> list[str]:
    return [
        f"{path}: {answer.outcome.reason.statement} {answer.outcome.detail}"
        for answer in answers
        if isinstance(answer.outcome, Rejected)
    ]


def read_prices(path: Path, now_ns: int) -> Prices:
    """Read a price file; raises ValueError saying what is wrong with it.

    A quote without a time is as old as the file.
    """
    try:
        written_ns = path.stat().st_mtime_ns
        age_ns = now_ns - written_ns
        if age_ns > _PRICE_FILE_SILENCE_NS:
            raise ValueError(f"{path} has not been written for {age_ns // _NS_PER_SECOND} s")
        prices = msgspec.json.decode(path.read_bytes(), type=Prices)
        update_prices(prices, 1)
        for asset, quotes in prices.quotes.items():
            update_quotes(asset, quotes, 0, 1)
            for quote in quotes:
                quote.time_ns = written_ns if quote.time_ns is None else quote.time_ns
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error
    return prices
