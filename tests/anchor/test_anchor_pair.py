"""anchorpy in its own environment against a localnet served from this one, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV1
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chain.anchor import AnchorError, DecoderPanicked, connect, load_program, panics_as_errors
from localnet import Validator

ROOT = Path(__file__).resolve().parents[2]
OLDER_PYTHON = ROOT / ".venv-anchor" / "bin" / "python"
LAMPORTS = 1_500_000_000
PROGRAM = Keypair.from_seed(b"counter program" + bytes(17)).pubkey()
IDL: dict[str, Any] = {
    "version": "0.1.0",
    "name": "counting",
    "instructions": [],
    "accounts": [
        {
            "name": "Counter",
            "type": {
                "kind": "struct",
                "fields": [
                    {"name": "authority", "type": "publicKey"},
                    {"name": "count", "type": "u64"},
                    {"name": "label", "type": "string"},
                    {"name": "history", "type": {"vec": "u32"}},
                ],
            },
        }
    ],
}


def counter_bytes(authority: Pubkey, count: int, label: str, history: list[int]) -> bytes:
    """An account as an Anchor program stores it: eight bytes of discriminator, then borsh."""
    text = label.encode()
    return (
        hashlib.sha256(b"account:Counter").digest()[:8]
        + bytes(authority)
        + struct.pack("<Q", count)
        + struct.pack("<I", len(text))
        + text
        + struct.pack(f"<I{len(history)}I", len(history), *history)
    )


def send_version_1(validator: Validator, pair: Keypair) -> str:
    """Land a transaction of version 1, which mainnet carries since September 2026; return its signature."""
    latest: Any = validator.rpc("getLatestBlockhash")
    pay = transfer(TransferParams(from_pubkey=pair.pubkey(), to_pubkey=pair.pubkey(), lamports=1))
    message = MessageV1.try_compile(pair.pubkey(), [pay], Hash.from_string(latest["value"]["blockhash"]))
    signed = bytes(VersionedTransaction(message, [pair]))
    options = {"encoding": "base64", "skipPreflight": True}
    signature = validator.rpc("sendTransaction", base64.b64encode(signed).decode(), options)
    assert isinstance(signature, str)
    validator.finalize()
    return signature


def run_older(task: dict[str, Any]) -> dict[str, Any]:
    if not OLDER_PYTHON.exists():
        pytest.fail(f"{OLDER_PYTHON} is missing; run `make anchor`")
    finished = subprocess.run(
        [OLDER_PYTHON, ROOT / "tests" / "anchor" / "pair_script.py"],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4_000:]
    told: dict[str, Any] = json.loads(finished.stdout)
    return told


def test_a_provider_sends_a_transfer_and_a_program_fetches_a_planted_account() -> None:
    wallet, target, counter, authority, sender = (Keypair() for _ in range(5))
    with Validator(rpc_port=0, ws_port=0, slot_ms=20) as validator:
        validator.airdrop(wallet.pubkey(), 10_000_000_000, settle=True)
        validator.airdrop(sender.pubkey(), 10_000_000_000, settle=True)
        data = counter_bytes(authority.pubkey(), 2**64 - 1, "zähler", [7, 0, 2**32 - 1])
        validator.set_account(counter.pubkey(), lamports=10**9, data=data, owner=PROGRAM)
        other = Keypair().pubkey()
        validator.set_account(other, lamports=10**9, data=b"\0" * 8 + data[8:], owner=PROGRAM)
        told = run_older(
            {
                "rpc_url": validator.rpc_url,
                "secret": list(bytes(wallet)),
                "target": str(target.pubkey()),
                "target_absent": str(Keypair().pubkey()),
                "not_a_counter": str(other),
                "lamports": LAMPORTS,
                "program_id": str(PROGRAM),
                "counter": str(counter.pubkey()),
                "idl": IDL,
                "version_1": send_version_1(validator, sender),
            }
        )
        on_chain = validator.account(target.pubkey())
        left = validator.account(wallet.pubkey())
        record = validator.call(validator.ledger.transaction, told["signature"])
    assert told["versions"]["solders"].startswith("0.26.")
    assert told["versions"]["solana"].startswith("0.36.")
    assert on_chain is not None
    assert on_chain.lamports == told["balance"] == LAMPORTS
    assert left is not None
    assert left.lamports == 10_000_000_000 - LAMPORTS - 2 * 5_000, "two fees: the second transfer failed"
    assert record is not None
    assert told["counter"] == {
        "authority": str(authority.pubkey()),
        "count": 2**64 - 1,
        "label": "zähler",
        "history": [7, 0, 2**32 - 1],
    }
    assert "does not exist" in told["refusals"]["absent"]
    assert "invalid discriminator as 'Counter'" in told["refusals"]["other type"]
    assert "no account type 'Ledger'; it has: Counter" in told["refusals"]["unknown type"]
    assert "Anchor up to 0.29" in told["refusals"]["idl"]
    assert "failed" in told["failed"]
    assert "panicked" in told["version 1"], "if this decodes now, the older pair is not so old any more"
    assert "Read it as raw JSON instead" in told["version 1"]


def test_the_same_module_on_this_pair_says_what_is_missing() -> None:
    with pytest.raises(AnchorError, match="make anchor"):
        load_program(IDL, str(PROGRAM), None)


async def test_an_unknown_commitment_is_refused() -> None:
    with pytest.raises(ValueError, match="one of processed, confirmed, finalized, not 'max'"):
        async with connect("http://127.0.0.1:1", Keypair(), commitment="max"):
            pass


def test_a_panic_becomes_an_error_and_nothing_else_does() -> None:
    class PanicException(BaseException):
        pass

    told = "a block: the decoder of this pair panicked"
    with pytest.raises(DecoderPanicked, match=told), panics_as_errors("a block"):
        raise PanicException("called `Result::unwrap()`")
    for other in (KeyboardInterrupt, ValueError):
        with pytest.raises(other), panics_as_errors("a block"):
            raise other
