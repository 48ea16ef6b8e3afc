"""Comparing a bundle with the chain: the memo that publishes its hash, and who sent it.

Owns: reading memos. Rules: a memo counts when it is in a finalized transaction without error whose fee payer
is the publisher: anybody can write a memo, only the holder of that key can pay with it. Must not know the
database, the daemon.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from chain.instructions import MEMO_PROGRAM
from chain.rpc import RpcPool
from solvency.verifier import read_memo

PREFIX: Final = "makewhole:solvency:1:"
_OUT_OF_ORDER: Final = 10  # memos land nearly in the order of their epochs
_PAGE: Final = 1_000  # the limit of getSignaturesForAddress


@dataclass(frozen=True, slots=True)
class Published:
    """A hash on chain."""

    epoch: int
    hash: bytes
    slot: int
    signature: str


class _Listed(msgspec.Struct):
    signature: str
    slot: int
    err: msgspec.Raw = msgspec.Raw(b"null")
    memo: str | None = None


async def memos(pool: RpcPool, publisher: str, *, pages: int = 10) -> AsyncIterator[Published]:
    """Yield memos of a publisher, newest first, of its last `pages` x 1,000 signatures."""
    before: str | None = None
    for _ in range(pages):
        options: dict[str, Any] = {"commitment": "finalized", "limit": _PAGE}
        if before is not None:
            options["before"] = before
        page = await pool.call("getSignaturesForAddress", [publisher, options], type=list[_Listed])
        for one in page:
            if PREFIX in (one.memo or "") and bytes(one.err) == b"null":
                found = await read_publication(pool, publisher, one.signature)
                if found is not None:
                    yield found
        if len(page) < _PAGE:
            return
        before = page[-1].signature


async def newest_published(pool: RpcPool, publisher: str) -> Published | None:
    """Return the newest memo of a publisher, None without one. Raises ChainError."""
    async for found in memos(pool, publisher, pages=1):
        return found
    return None


async def published(pool: RpcPool, publisher: str, epoch: int) -> list[Published]:
    """Return every memo for an epoch, newest first: two with different hashes are proof of fraud."""
    found = []
    async for one in memos(pool, publisher):
        if one.epoch == epoch:
            found.append(one)
        elif one.epoch < epoch - _OUT_OF_ORDER:
            break
    return found


async def read_publication(pool: RpcPool, publisher: str, signature: str) -> Published | None:
    """Return what a transaction publishes, None if it publishes nothing or is not the publisher's."""
    options = {"encoding": "jsonParsed", "commitment": "finalized", "maxSupportedTransactionVersion": 0}
    answer = await pool.call("getTransaction", [signature, options])
    if answer is None or answer["meta"]["err"] is not None:
        return None
    message = answer["transaction"]["message"]
    if message["accountKeys"][0]["pubkey"] != publisher:
        return None
    for instruction in message["instructions"]:
        if instruction.get("programId") == MEMO_PROGRAM and isinstance(instruction.get("parsed"), str):
            try:
                epoch, digest = read_memo(instruction["parsed"])
            except ValueError:
                continue
            return Published(epoch, digest, int(answer["slot"]), signature)
    return None
