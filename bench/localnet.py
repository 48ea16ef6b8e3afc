"""The embedded validator: time from a cold process to its first answer, and transfers per second over HTTP.

The server is `makewhole localnet` in a process of its own; this process signs beforehand and then only sends.
The alternative is LiteSVM called directly in one process, without JSON, sockets, blocks, history or
commitments: what lies between the two is the price of being a validator that wallets can talk to.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from .report import Row

CONNECTIONS = 16
SLOT_MS = 100


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ask(url: str, method: str, params: list[object]) -> object:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return json.load(answer)["result"]


@contextmanager
def serving() -> Iterator[tuple[str, float]]:
    """Run `makewhole localnet` and yield its address and the seconds to its first answer."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    begun = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "daemon",
        "localnet",
        "--rpc-port",
        str(port),
        "--slot-ms",
        str(SLOT_MS),
        "--quiet",
    ]
    process = subprocess.Popen(command)
    try:
        while True:
            try:
                _ask(url, "getHealth", [])
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"localnet ended with status {process.returncode}") from None
                time.sleep(0.005)
        yield url, time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait(10)


def _signed(payers: list[Keypair], count: int, blockhash: Hash) -> list[VersionedTransaction]:
    made = []
    for number in range(count):
        payer = payers[number % len(payers)]
        to = Pubkey.new_unique()
        order = transfer(
            TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=1_000_000 + number)
        )
        made.append(
            VersionedTransaction(Message.new_with_blockhash([order], payer.pubkey(), blockhash), [payer])
        )
    return made


async def _send_all(url: str, bodies: list[bytes]) -> float:
    """Return transfers per second; every answer must be a signature."""
    waiting = iter(bodies)

    async def sender(session: aiohttp.ClientSession) -> None:
        for body in waiting:
            async with session.post(url, data=body) as answer:
                told = await answer.json()
                if "result" not in told:
                    raise RuntimeError(f"a transfer was refused: {told}")

    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        begun = time.perf_counter()
        await asyncio.gather(*(sender(session) for _ in range(CONNECTIONS)))
        return len(bodies) / (time.perf_counter() - begun)


def _over_the_socket(url: str, payers: list[Keypair], count: int, *, preflight: bool) -> float:
    latest = _ask(url, "getLatestBlockhash", [{"commitment": "processed"}])
    blockhash = Hash.from_string(latest["value"]["blockhash"])  # type: ignore[index]
    options = {"encoding": "base64", "skipPreflight": not preflight, "preflightCommitment": "processed"}
    bodies = [
        json.dumps(
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "sendTransaction",
                "params": [base64.b64encode(bytes(one)).decode(), options],
            }
        ).encode()
        for number, one in enumerate(_signed(payers, count, blockhash))
    ]
    rate = asyncio.run(_send_all(url, bodies))
    landed = _ask(url, "getBalance", [str(payers[0].pubkey()), {"commitment": "processed"}])["value"]  # type: ignore[index]
    if landed >= 1_000 * 10**9:
        raise RuntimeError("no transfer of the first payer landed")
    return rate


def _directly(count: int) -> float:
    svm = LiteSVM()
    payer = Keypair()
    svm.airdrop(payer.pubkey(), 10**15)
    made = _signed([payer], count, svm.latest_blockhash())
    begun = time.perf_counter()
    for one in made:
        svm.send_transaction(one)
    return count / (time.perf_counter() - begun)


def run(quick: bool, block: Path | None) -> list[Row]:
    count = 300 if quick else 5_000
    alone = _directly(count)
    rows = []
    boots = []
    for _ in range(1 if quick else 5):
        with serving() as (_, boot_s):
            boots.append(boot_s)
    with serving() as (url, _):
        payers = [Keypair() for _ in range(32)]
        for payer in payers:
            _ask(url, "requestAirdrop", [str(payer.pubkey()), 1_000 * 10**9])
        time.sleep(5 * SLOT_MS / 1000)
        rows.append(
            Row(
                "localnet's first answer",
                f"`makewhole localnet`, a new process, to getHealth; median of {len(boots)}",
                statistics.median(boots),
                "s",
                aim="< 1 s",
            )
        )
        for preflight in (False, True):
            rate = _over_the_socket(url, payers, count, preflight=preflight)
            how = "with preflight" if preflight else "skipPreflight"
            rows.append(
                Row(
                    question=f"transfers through sendTransaction, {how}",
                    workload=(
                        f"{count:,} signed transfers from a second process over {CONNECTIONS} connections, "
                        f"{SLOT_MS} ms slots"
                    ),
                    figure=rate,
                    unit="transfers/s",
                    alternative="LiteSVM called directly, no RPC",
                    alternative_figure=alone,
                    ratio=rate / alone,
                    aim=">= 1,000 transfers/s",
                )
            )
    return rows
