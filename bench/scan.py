"""How fast is a block read for 1,000,000 watched addresses? Against solders' typed decoding of its bytes.

Typed decoding is what a scanner built on solders' response classes must do before it can look at a single
balance. The alternative is given that much only: it looks nothing up.
"""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
from solders.rpc.responses import GetBlockResp

from chain.scanner import scan_block
from chain.tokens import NATIVE_SOL, TOKEN_PROGRAM, TokenMint
from chain.watchlist import Watchlist

from .blocks import address, load, made
from .report import Row, median_seconds

USDC = TokenMint("USDC", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", TOKEN_PROGRAM, 6)
USDT = TokenMint("USDT", "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB", TOKEN_PROGRAM, 6)
TOUCHED = 20  # watched addresses that really occur in the block


def watching(body: bytes, count: int) -> Watchlist:
    """Return a watchlist of `count` addresses, each with two token accounts, TOUCHED of them in the block."""
    rng = random.Random(7)
    watchlist = Watchlist([NATIVE_SOL, USDC, USDT], expected_addresses=count)
    keys = [
        key["pubkey"]
        for item in msgspec.json.decode(body)["result"]["transactions"]
        for key in item["transaction"]["accountKeys"]
        if key["writable"]
    ]
    for key in rng.sample(sorted(set(keys)), TOUCHED):
        watchlist.add(key)
    while len(watchlist) < count:
        watchlist.add(address(rng), (address(rng), address(rng)))
    return watchlist


def run(quick: bool, block: Path | None) -> list[Row]:
    body = load(block) if block else made()
    count = 20_000 if quick else 1_000_000
    watchlist = watching(body, count)
    slot = msgspec.json.decode(body)["result"]["parentSlot"] + 1
    found = scan_block(body, slot, watchlist)
    text = body.decode()
    ours = len(body) / median_seconds(lambda: scan_block(body, slot, watchlist), 9) / 1e6
    theirs = len(body) / median_seconds(lambda: GetBlockResp.from_json(text), 9) / 1e6
    source = "the named mainnet block" if block else "a made block of mainnet's measure"
    return [
        Row(
            question="scan a block",
            workload=(
                f"{source}, {len(body) / 1e6:.1f} MB, {found.transactions} transactions; "
                f"{count:,} addresses, {3 * count:,} accounts, {len(found.credits)} credits found"
            ),
            figure=ours,
            unit="MB/s",
            alternative="solders GetBlockResp.from_json",
            alternative_figure=theirs,
            ratio=ours / theirs,
            aim=">= 2.5x, and >= 330 MB/s (10x the 33 MB/s that mainnet produces)",
        )
    ]
