"""Blocks to read: a real one that the caller names, or one made to the measure of mainnet's.

The made one follows the published averages of a busy mainnet block in `accounts` form: about 1,800
transactions, 13 accounts each, half of them with token balances, 6-7 MB of JSON.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

TOKEN_PROGRAM = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 - an address, not a secret


def load(path: Path) -> bytes:
    """Read a stored getBlock answer, gzipped or plain."""
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


def address(rng: random.Random) -> str:
    """Return a random base58 address."""
    return str(Pubkey(rng.randbytes(32)))


def _token_balance(index: int, mint: str, owner: str, amount: int) -> dict[str, object]:
    return {
        "accountIndex": index,
        "mint": mint,
        "owner": owner,
        "programId": TOKEN_PROGRAM,
        "uiTokenAmount": {
            "amount": str(amount),
            "decimals": 6,
            "uiAmount": amount / 10**6,
            "uiAmountString": str(amount / 10**6),
        },
    }


def made(transactions: int = 1800, accounts: int = 13, seed: int = 1) -> bytes:
    """Return a getBlock answer of that many transactions, reproducible from the seed."""
    rng = random.Random(seed)
    pool = [address(rng) for _ in range(4000)]
    entries = []
    for number in range(transactions):
        keys = rng.sample(pool, accounts)
        before = [rng.randrange(10**9, 10**12) for _ in keys]
        tokens = (
            [_token_balance(i, pool[i], keys[0], rng.randrange(10**12)) for i in range(1, 5)]
            if number % 2
            else []
        )
        entries.append(
            {
                "meta": {
                    "err": None,
                    "fee": 5000,
                    "postBalances": [before[0] - 5000, *before[1:]],
                    "postTokenBalances": tokens,
                    "preBalances": before,
                    "preTokenBalances": tokens,
                    "status": {"Ok": None},
                },
                "transaction": {
                    "accountKeys": [
                        {
                            "pubkey": key,
                            "signer": i == 0,
                            "source": "transaction",
                            "writable": i < accounts // 2,
                        }
                        for i, key in enumerate(keys)
                    ],
                    "signatures": [str(Signature(rng.randbytes(64)))],
                },
                "version": 0,
            }
        )
    result = {
        "blockHeight": 1000,
        "blockTime": 1_790_000_000,
        "blockhash": str(Hash(rng.randbytes(32))),
        "parentSlot": 1000,
        "previousBlockhash": str(Hash(rng.randbytes(32))),
        "transactions": entries,
    }
    return json.dumps({"jsonrpc": "2.0", "result": result, "id": 1}, separators=(",", ":")).encode()
