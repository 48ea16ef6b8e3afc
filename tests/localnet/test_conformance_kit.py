"""The JavaScript clients that wallets use, unchanged, against a localnet: @solana/kit and @solana/web3.js.

The scripts and their lock file are in tests/localnet/kit; the packages are installed into pytest's cache
directory, once per lock file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from solders.keypair import Keypair

    from localnet import Validator

KIT = Path(__file__).parent / "kit"
FILES = ("package.json", "package-lock.json", "kit.mjs", "expiry.mjs", "web3js.mjs")

pytestmark = [
    pytest.mark.optional_backend("npm"),
    pytest.mark.localnet(slot_ms=40),
    pytest.mark.skipif(
        shutil.which("npm") is None or shutil.which("node") is None,
        reason="npm and node are not on PATH: the JavaScript clients cannot be run",
    ),
]


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest) -> Path:
    """A folder with the scripts and their packages, installed from the lock file."""
    lock = hashlib.sha256((KIT / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = request.config.cache
    assert cache is not None
    folder = Path(cache.mkdir(f"localnet-kit-{lock}"))
    for name in FILES:
        shutil.copy(KIT / name, folder / name)
    if not (folder / "installed").exists():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "installed").touch()
    return folder


def run(folder: Path, script: str, *urls: str) -> dict[str, Any]:
    """What a script saw. Its failure is the test's, with all it said."""
    command = ["node", script, *urls]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((KIT / "package-lock.json").read_text())["packages"]
    assert len(packages) > 50
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in packages.items() if name)


def test_solana_kit_works_unchanged(validator: Validator, installed: Path) -> None:
    seen = run(installed, "kit.mjs", validator.rpc_url, validator.ws_url)
    assert seen["aliceAfterAirdrop"] == "10000000000"
    assert seen["bob"] == "1234567890"
    assert seen["refused"] == {"isSolanaError": True, "code": -32002, "cause": "SolanaError"}
    assert (seen["supply"], seen["aliceToken"], seen["bobTokenUnits"]) == ("5000000", "3499999", "1500001")
    assert seen["bobOwned"] == ["1500001"]
    assert seen["postTokenBalances"] == ["1500001", "3499999"]
    assert seen["inBlock"] is True
    assert seen["stale"] == {"isSolanaError": True, "cause": "Blockhash not found"}
    assert seen["slotsRise"] is True
    # newest first: token transfer, mint-to, mint, transfer, airdrop; the refused one never landed
    assert seen["history"][0] == seen["tokenTransfer"]
    assert seen["history"][3:] == [seen["transfer"], seen["airdrop"]]
    assert len(seen["history"]) == 5
    # every confirmed transaction that names alice, in order, with its logs, once
    assert [entry["signature"] for entry in seen["logs"]] == seen["history"][::-1]
    assert all(entry["err"] is None for entry in seen["logs"])
    assert seen["logs"][-1]["logs"][-1] == "Program TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA success"
    assert seen["bobBalances"] == ["1234567890"]


@pytest.mark.localnet(slot_ms=10)
def test_solana_kit_notices_a_transaction_that_never_lands(
    validator: Validator, funded_keypair: Keypair, installed: Path
) -> None:
    fault = validator.faults.swallow()
    secret = bytes(funded_keypair).hex()
    seen = run(installed, "expiry.mjs", validator.rpc_url, validator.ws_url, secret)
    assert seen["expired"] is True, seen
    assert seen["blocksBeyond"] >= 1
    assert [fired.fault for fired in validator.faults.log] == [fault]


def test_web3js_works_unchanged_and_finds_the_subscription_port_by_itself(
    validator: Validator, installed: Path
) -> None:
    seen = run(installed, "web3js.mjs", validator.rpc_url)
    assert seen["alice"] == 5_000_000_000
    assert seen["bob"] == 1_000_000_007
    assert seen["tableAddresses"] == [seen["bobAddress"]] == seen["loaded"]
    assert seen["version"] == 0
    assert seen["bobAfter"] == 1_000_000_018
    assert seen["simulatedUnits"] == 150
    assert seen["parsedLamports"] == 1_000_000_007
    assert seen["signatures"] == [seen["versioned"], seen["transfer"]]
    assert seen["history"] == 1
    assert "insufficient lamports" in "".join(seen["refused"]["logs"])
    assert seen["slotsRise"] is True
    assert len(seen["logged"]) == 4
    assert (seen["logged"][1], seen["logged"][3]) == (seen["transfer"], seen["versioned"])
    assert seen["balances"] == [1_000_000_007, 1_000_000_018]
