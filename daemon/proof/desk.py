"""The commands of the proof of solvency for people: prove, verify, verify-me, reserves.

Owns: what is fetched, compared and printed. Rules: `verify` and `verify_me` trust nothing of this project's
daemon: the head is checked by its signature and against the memo on chain, the record against the head.
Exit status of both: 0 good · 1 rejected · 3 valid, but holdings do not cover what is owed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table
from solders.pubkey import Pubkey

from chain.errors import ChainError
from chain.rpc import Endpoint, RpcPool
from daemon import service
from daemon.api.client import ApiClient, NotRunning
from daemon.cli_tables import console
from daemon.config import Config
from daemon.errors import DaemonError
from daemon.proof.checking import published
from daemon.proof.files import write_whole
from daemon.proof.questions import ProofQuestions
from daemon.proof.service import ProofService
from daemon.store import Database
from daemon.store.rows import EpochRow
from solvency import page, verifier
from solvency.summary import (
    Summary,
    awkward_rows,
    rate_text,
    summarize,
    table,
    time_text,
    to_json,
    usd_text,
)
from solvency.verifier import Anchors, Header, Rejected

COVERED, REJECTED, NOT_COVERED = 0, 1, 3
_PROVING_S = 3_600.0
_PUBLISHING_S = 120.0
_LOOK_AGAIN_S = 0.1


class NotTrue(DaemonError):
    """A bundle, a record or a memo is not what it claims to be; the message begins with the reason."""


# -- making one --


def prove(config: Config) -> dict[str, Any]:
    """Have an epoch made: by the daemon that runs, else by one that is started for it and ends with it."""

    async def ask() -> dict[str, Any]:
        async with ApiClient(config.socket_path, timeout_s=_PROVING_S) as client:
            answer: dict[str, Any] = await client.post("proof")
            return answer

    with contextlib.suppress(NotRunning):
        return asyncio.run(ask())
    return asyncio.run(_prove_alone(config))


async def _prove_alone(config: Config) -> dict[str, Any]:
    """Scan up to now, make an epoch, publish it, and stop: `makewhole prove` on a stopped data directory."""
    config = replace(config, proof=replace(config.proof, enabled=False))  # one, and no second on schedule
    async with service.daemon(config) as parts:
        work = asyncio.create_task(parts.work())
        try:
            made = asyncio.create_task(parts.proof.make())
            await asyncio.wait({work, made}, return_when=asyncio.FIRST_COMPLETED)
            if not made.done():
                made.cancel()
                await work  # raises what broke
            row = await made
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PUBLISHING_S if config.payer.enabled else 0):
                    await _published(parts.proof, row)
            questions = ProofQuestions(parts.proof, lambda code, why, _: DaemonError(f"{code}: {why}"))
            body = await questions.body(row)
            return {name: getattr(body, name) for name in body.__struct_fields__}
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def _published(proof: ProofService, row: EpochRow) -> None:
    while True:
        payout = await proof.publication(row)
        if payout is None or payout.settled_sequence is not None:
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


def show_made(body: dict[str, Any]) -> None:
    """Say what was made."""
    signature = body["publication_signature"] or "not sent yet"
    console.print(f"epoch {body['epoch']}: {body['path']}", soft_wrap=True)
    console.print(f"hash  {body['hash']}", soft_wrap=True)
    console.print(f"memo  {body['publication_state']}, {signature}", soft_wrap=True)


# -- checking --


def verify(
    bundle: Path,
    *,
    operator: str | None,
    publisher: str | None,
    url: str | None,
    hash_hex: str | None,
    previous: Path | None,
    threads: int,
) -> int:
    """Check all of a bundle, and the chain's memo if an endpoint is given; print, return the exit status."""
    try:
        data = bundle.read_bytes()
        head = verifier.split_bundle(data)[:2]
        before = verifier.check_head(*verifier.split_bundle(previous.read_bytes())[:2]) if previous else None
        anchors = Anchors(operator=_key(operator), published_hash=_hex(hash_hex, 32), previous=before)
        header = verifier.check_head(*head, anchors)
        memo = "not looked up: give --url"
        if url is not None:
            memo = asyncio.run(_memo(header, [url], publisher))
        header = verifier.check_bundle(data, anchors, threads).header
    except (Rejected, ValueError, OSError) as problem:
        raise NotTrue(f"rejected: {problem}") from None
    _print_summary(summarize(header))
    console.print(f"operator {Pubkey.from_bytes(header.operator)}")
    console.print(f"memo     {memo}", soft_wrap=True)
    return COVERED if verifier.is_covered(header) else NOT_COVERED


def verify_me(
    config: Config, subaccount: str, *, url: str | None, expected: dict[str, int] | None, save: Path | None
) -> int:
    """Fetch one's record, check it against the head of the bundle and the memo on chain, print it."""

    async def ask() -> Any:
        async with ApiClient(config.socket_path, timeout_s=_PROVING_S) as client:
            return await client.get("proof/record", subaccount=subaccount)

    answer = asyncio.run(ask())
    record, epoch = base64.b64decode(answer["record"]), answer["epoch"]
    if not record:
        console.print(f"{subaccount} has no balance in epoch {epoch['epoch']}: there is nothing to check")
        return COVERED if not expected else REJECTED
    urls = [url] if url else [one.url for one in config.cluster.endpoints]
    try:
        head = base64.b64decode(epoch["header"]), base64.b64decode(epoch["signature"])
        header = verifier.check_head(*head)
        report = verifier.check_record(header, record, answer["customer_id"], expected)
        memo = asyncio.run(_memo(header, urls, epoch["publisher"]))
    except (Rejected, ValueError) as problem:
        raise NotTrue(f"rejected: {problem}") from None
    if save is not None:
        write_whole(save, record)
    console.print(f"counted in epoch {header.epoch}, {time_text(header.time_ns)}, as {report.customer_id}")
    for name, units in report.balances.items():
        console.print(f"  {name:<12} {units:,} units")
    if report.listed:
        console.print("  below zero: what is missing is in the bundle's outstanding negative equity")
    console.print(f"memo     {memo}", soft_wrap=True)
    console.print("compare the amounts with what you know; `--balance NAME=UNITS` does it for you")
    return COVERED if verifier.is_covered(header) else NOT_COVERED


async def _memo(header: Header, urls: Sequence[str], publisher: str | None) -> str:
    """Find the memo of a bundle on chain; raises NotTrue if there is none, or one with another hash."""
    address = publisher or str(Pubkey.from_bytes(header.operator))
    try:
        async with RpcPool([Endpoint(url) for url in urls]) as pool:
            found = await published(pool, address, header.epoch)
    except ChainError as error:
        raise DaemonError(f"the memo could not be looked up: {error}") from error
    other = next((one for one in found if one.hash != header.hash), None)
    if other is not None:
        raise NotTrue(
            f"equivocation: {address} has published {other.hash.hex()} for epoch {header.epoch} as well "
            f"({other.signature}); this bundle is {header.hash.hex()}"
        )
    if not found:
        raise NotTrue(f"not_published: {address} has no final memo for epoch {header.epoch} yet")
    return f"{address} published this hash at slot {found[-1].slot} ({found[-1].signature})"


def _key(text: str | None) -> bytes | None:
    """Read a key in hex or in base58."""
    if text is None:
        return None
    return bytes.fromhex(text) if len(text) == 64 else bytes(Pubkey.from_string(text))


def _hex(text: str | None, size: int) -> bytes | None:
    if text is None:
        return None
    value = bytes.fromhex(text)
    if len(value) != size:
        raise ValueError(f"{text!r} is not {size} bytes in hexadecimal digits")
    return value


# -- the public summary --


def summaries(config: Config, last: int) -> list[Summary]:
    """Return what the last epochs tell the public, each head checked, oldest first; reads the database."""
    database = Database(config.database_path, read_only=True)
    try:
        rows = [row for row in database.epochs(last=last + 1) if row.signature is not None]
    finally:
        database.close()
    try:
        headers = verifier.check_chain([(row.header, row.signature or b"") for row in rows[-last:]])
    except Rejected as problem:
        raise NotTrue(f"rejected: {problem}") from None
    if not headers:
        raise DaemonError("no proof of solvency has been made yet; `makewhole prove` makes one")
    return [summarize(header) for header in headers]


def show_reserves(history: Sequence[Summary], html: Path | None, exchange: str) -> None:
    """Print the newest epoch and the history before it; write the page if asked."""
    _print_summary(history[-1])
    lines = Table(title="history", title_justify="left", box=None, pad_edge=False)
    for title in ("epoch", "time", "holdings", "net owed", "rate", "negative equity", "claims", "fund"):
        lines.add_column(title, justify="right")
    for one in history:
        lines.add_row(
            *(str(one.epoch), time_text(one.time_ns), usd_text(one.holdings_usd6), usd_text(one.net_usd6)),
            *(rate_text(one.total_rate_ppm), usd_text(one.outstanding_negative_equity_usd6)),
            *(usd_text(one.claims_usd6), usd_text(one.insurance_fund_usd6)),
        )
    console.print(lines)
    if html is not None:
        write_whole(html, page.render(history, exchange).encode(), mode=0o644)
        console.print(f"{html} written")


def as_json(history: Sequence[Summary]) -> str:
    """Write summaries as a JSON list, oldest first."""
    return "[" + ",\n".join(to_json(one).decode() for one in history) + "]"


def _print_summary(summary: Summary) -> None:
    place = f"sequence {summary.sequence}, slot {summary.slot}"
    title = f"epoch {summary.epoch}, {time_text(summary.time_ns)}, {place}"
    titles, *rows = table(summary)
    lines = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, name in enumerate(titles):
        lines.add_column(name, justify="left" if number == 0 else "right")
    for row in rows:
        lines.add_row(*row)
    console.print(lines)
    for name, value in awkward_rows(summary):
        console.print(f"{name}: {value}")
    if not summary.covered:
        console.print("holdings do NOT cover what is owed", style="bold red")
