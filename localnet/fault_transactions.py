"""A node that takes transactions and loses them, for `localnet.faults`.

Owns: answering sendTransaction with the signature of a transaction that is never forwarded. Rules: a node
refuses in preflight what it would have refused; only what passes is lost. Every other call goes through.
Must not know: HTTP, which faults are armed, the ledger.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from .errors import RpcError
from .wire import read_transaction

Handle = Callable[[bytes], Awaitable[bytes]]
Json = Any


def swallowing(handle: Handle) -> Handle:
    """Wrap a truthful `handle` so that transactions are taken and lost."""

    async def answer(body: bytes) -> bytes:
        request = msgspec.json.decode(body)
        if not isinstance(request, list):
            return await _answer_one(request, handle)
        answers = [await _answer_one(item, handle) for item in request]
        return b"[" + b",".join(filter(None, answers)) + b"]"

    return answer


async def _answer_one(request: Json, handle: Handle) -> bytes:
    body = msgspec.json.encode(request)
    if not isinstance(request, dict) or request.get("method") != "sendTransaction":
        return await handle(body)
    signature = await _lost_signature(request.get("params"), handle)
    if signature is None:
        return await handle(body)
    return msgspec.json.encode({"jsonrpc": "2.0", "result": signature, "id": request.get("id")})


async def _lost_signature(params: Json, handle: Handle) -> str | None:
    """The signature of a transaction that the node would have taken; None for one that it would refuse."""
    if not isinstance(params, list) or not params or not isinstance(params[0], str):
        return None
    given = params[1] if len(params) > 1 else None
    options = given if isinstance(given, dict) else {}
    encoding = str(options.get("encoding", "base58"))
    try:
        transaction = read_transaction(params[0], encoding)
    except RpcError:
        return None
    if not options.get("skipPreflight"):
        config = {"encoding": encoding, "sigVerify": True}
        config["commitment"] = options.get("preflightCommitment") or "finalized"
        simulate = {"jsonrpc": "2.0", "id": 0, "method": "simulateTransaction", "params": [params[0], config]}
        answer = msgspec.json.decode(await handle(msgspec.json.encode(simulate)))
        if "result" not in answer or answer["result"]["value"]["err"] is not None:
            return None
    return str(transaction.signatures[0])
