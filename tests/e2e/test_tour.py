"""The README's tour as a new user walks it: localnet, configuration, test money, a deposit, a payout."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from localnet import Validator
from localnet.local_usdc import LOCAL_USDC, ensure_local_usdc

PATIENCE_S = 40.0


def makewhole(folder: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env=_env(),
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def _env() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "COLUMNS": "160"}


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "run"], cwd=folder, stdout=log, stderr=log, env=_env()
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (folder / "run.log").read_text()


def eventually(question: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        answer = question()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"not within {PATIENCE_S} s")


@pytest.fixture
def chain() -> Iterator[Validator]:
    with Validator(rpc_port=0, ws_port=0, slot_ms=50) as validator:
        ensure_local_usdc(validator)
        yield validator


def test_the_tour_of_the_readme(chain: Validator, tmp_path: Path) -> None:
    url = chain.rpc_url
    makewhole(tmp_path, "config", "init", "--url", url)
    written = (tmp_path / "makewhole.toml").read_text()
    assert str(LOCAL_USDC) in written and chain.ws_url in written
    # Blocks come eight times as fast here as on a chain.
    faster = re.sub(r"# requests_per_second = 20 +#", "requests_per_second = 2000 #", written)
    assert faster != written
    (tmp_path / "makewhole.toml").write_text(faster)
    makewhole(tmp_path, "keys", "new", "seed.hex")
    makewhole(tmp_path, "config", "check")
    with running(tmp_path):
        eventually(lambda: (tmp_path / "makewhole-data" / "control.sock").exists())
        addresses = {}
        for name in ("7/0", "fees"):
            addresses[name] = json.loads(makewhole(tmp_path, "address", name, "--json"))["address"]
        makewhole(tmp_path, "airdrop", addresses["7/0"], "USDC", "250", "--url", url)
        makewhole(tmp_path, "airdrop", addresses["fees"], "SOL", "5", "--url", url)
        makewhole(tmp_path, "airdrop", addresses["fees"], "USDC", "100", "--url", url)

        def credited() -> list[int]:
            found = json.loads(makewhole(tmp_path, "deposits", "--json"))
            return sorted(one["units"] for one in found if one["status"] == "credited")

        eventually(lambda: credited() == [100_000_000, 250_000_000, 5_000_000_000])
        assert "250 USDC" in makewhole(tmp_path, "deposits", "7/0")
        told = makewhole(tmp_path, "preview", "7/0", "USDC", "100")
        assert re.search(r"credited +100 USDC", told)
        friend = Keypair().pubkey()
        eventually(lambda: "reserves at the last attestation" in makewhole(tmp_path, "status"))
        makewhole(tmp_path, "withdraw", "7/0", "USDC", "25", str(friend))

        def received() -> int:
            found: Any = chain.rpc(
                "getTokenAccountsByOwner", str(friend), {"mint": str(LOCAL_USDC)}, {"encoding": "jsonParsed"}
            )
            return sum(
                int(one["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"])
                for one in found["value"]
            )

        eventually(lambda: received() == 25_000_000)
        the_exchange_of_the_readme(tmp_path, url)


def the_exchange_of_the_readme(folder: Path, url: str) -> None:
    """The tour's second half: two customers on the book, and what the output in the handbook says."""
    second = json.loads(makewhole(folder, "address", "8/0", "--json"))["address"]
    makewhole(folder, "airdrop", second, "USDC", "1000", "--url", url)
    eventually(lambda: "1,000 USDC" in makewhole(folder, "subaccount", "8/0"))
    makewhole(folder, "prices", "SOL=150.25", "SOL-PERP=150.25")
    asked = "order place 8/0 SOL-PERP sell 2 --price 150.5 --client-order-id ask-1"
    assert re.search(r"ended +rests\n", re.sub(" +\n", "\n", makewhole(folder, *asked.split())))
    taken = makewhole(folder, *["order", "place", "7/0", "SOL-PERP", "buy", "1.5"])
    assert "1.5 SOL at $150.5 on average, fee $0.0903" in taken
    assert "0.5 SOL" in makewhole(folder, "market", "depth", "SOL-PERP")
    assert "1 reduces_delta" in makewhole(folder, "positions", "7/0")
    assert "50 USDC" in makewhole(folder, "lend", "8/0", "USDC", "50")
    assert "in liquidation: 0" in makewhole(folder, "liquidations")
    refused = makewhole(folder, *["order", "place", "7/0", "SOL-PERP", "buy", "0.001"], status=1)
    assert "0.001 SOL is no multiple of the lot of SOL-PERP, 0.01 SOL" in refused


def test_test_money_is_refused_with_a_reason(chain: Validator, tmp_path: Path) -> None:
    somebody, url = str(Keypair().pubkey()), chain.rpc_url
    for arguments, why in (
        ((somebody, "DOGE", "1"), "there is no local DOGE"),
        (("nonsense", "SOL", "1"), "not 32 bytes of base58"),
        ((somebody, "USDC", "0.0000001"), "7 decimals"),
        ((somebody, "USDC", "0"), "above zero"),
        ((somebody, "USDC", "99999999999999"), "larger than the largest amount"),
    ):
        assert why in makewhole(tmp_path, "airdrop", *arguments, "--url", url, status=1)


def test_a_chain_without_the_local_usdc_says_so(tmp_path: Path) -> None:
    with Validator(rpc_port=0, ws_port=0, slot_ms=50) as bare:
        told = makewhole(
            tmp_path, "airdrop", str(Keypair().pubkey()), "USDC", "1", "--url", bare.rpc_url, status=1
        )
        assert "has no local USDC" in told
