"""A node that answers from a script: what no honest validator does, over a real socket.

Serves a chain of forged blocks and lets a test replace any answer. It knows nothing of the watcher's rules.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from chain.rpc import Endpoint

from .forge import Tx, block

Answer = Callable[[list[Any]], Any]


class RpcRefusal(Exception):
    """Raised by a script: answer with this error object."""

    def __init__(self, code: int, message: str = "refused") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class RawReply(Exception):
    """Raised by a script: answer with exactly this."""

    def __init__(self, text: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.headers = headers or {}


class Node:
    """A chain of forged blocks behind JSON-RPC and WebSocket; `script[method]` replaces an answer."""

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.blocks: dict[int, dict[str, Any]] = {}
        self.finalized = 0
        self.confirmed = 0
        self.genesis = "the genesis hash"
        self.script: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.requests: list[tuple[str, list[Any]]] = []
        self.delay_s = 0.0
        self.in_flight = 0
        self.most_in_flight: Counter[str] = Counter()
        self.flying: Counter[str] = Counter()
        self.sockets: list[web.WebSocketResponse] = []
        self.endpoint = Endpoint("http://unset", name=name)

    # -- the chain ---------------------------------------------------------------------------------------

    def add(
        self, slot: int, *txs: Tx, parent: int | None = None, fork: str = "main", parent_fork: str = "main"
    ) -> None:
        """Append a block; it is confirmed and finalized by moving the heads."""
        parent = max((s for s in self.blocks if s < slot), default=slot - 1) if parent is None else parent
        self.blocks[slot] = block(*txs, slot=slot, parent=parent, fork=fork, parent_fork=parent_fork)

    def fill(self, first: int, last: int) -> None:
        for slot in range(first, last + 1):
            if slot not in self.blocks:
                self.add(slot)

    async def finalize(self, slot: int) -> None:
        self.finalized = slot
        self.confirmed = max(self.confirmed, slot)
        await self.hint(root=slot, slot=slot)

    async def confirm(self, slot: int) -> None:
        self.confirmed = slot
        await self.hint(root=self.finalized, slot=slot)

    async def hint(self, *, root: int, slot: int) -> None:
        for socket in list(self.sockets):
            note = {"slot": slot, "parent": slot - 1, "root": root}
            for method, result in (("rootNotification", root), ("slotNotification", note)):
                params = {"subscription": 1, "result": result}
                await socket.send_json({"jsonrpc": "2.0", "method": method, "params": params})

    # -- the answers -------------------------------------------------------------------------------------

    def head(self, params: list[Any]) -> int:
        options = params[-1] if params and isinstance(params[-1], dict) else {}
        return self.confirmed if options.get("commitment") == "confirmed" else self.finalized

    def answer(self, method: str, params: list[Any]) -> Any:
        """The honest answer."""
        if method == "getGenesisHash":
            return self.genesis
        if method == "getSlot":
            return self.head(params)
        if method == "getBlocks":
            return [s for s in sorted(self.blocks) if params[0] <= s <= min(params[1], self.head(params))]
        if method == "getBlock":
            if params[0] > self.head(params):
                raise RpcRefusal(-32004, f"Block not available for slot {params[0]}")
            if params[0] not in self.blocks:
                raise RpcRefusal(-32007, f"Slot {params[0]} was skipped, or missing due to ledger jump")
            return self.blocks[params[0]]
        raise RpcRefusal(-32601, "Method not found")

    async def _post(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        method, params = asked["method"], asked["params"]
        self.asked[method] += 1
        self.requests.append((method, params))
        self.flying[method] += 1
        self.most_in_flight[method] = max(self.most_in_flight[method], self.flying[method])
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            scripted = self.script.get(method)
            result = scripted(params) if scripted is not None else self.answer(method, params)
            reply["result"] = header(result) if method == "getBlock" and wants_header(params) else result
        except RpcRefusal as refusal:
            reply["error"] = {"code": refusal.code, "message": refusal.message}
        except RawReply as raw:
            return web.Response(text=raw.text, status=raw.status, headers=raw.headers)
        finally:
            self.flying[method] -= 1
        response = web.json_response(reply)
        response.enable_compression()
        return response

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                asked = json.loads(message.data)
                self.asked[asked["method"]] += 1
                await socket.send_json({"jsonrpc": "2.0", "id": asked["id"], "result": 1})
        if socket in self.sockets:
            self.sockets.remove(socket)
        return socket

    async def drop_sockets(self) -> None:
        for socket in list(self.sockets):
            await socket.close()
        self.sockets.clear()

    @asynccontextmanager
    async def running(self, *, ws: bool = True) -> AsyncIterator[Node]:
        app = web.Application()
        app.router.add_post("/", self._post)
        app.router.add_get("/", self._socket)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            self.endpoint = Endpoint(
                f"http://127.0.0.1:{port}/", f"ws://127.0.0.1:{port}/" if ws else None, self.name
            )
            yield self
        finally:
            await self.drop_sockets()
            await runner.cleanup()


def wants_header(params: list[Any]) -> bool:
    return len(params) > 1 and params[1].get("transactionDetails") == "signatures"


def header(result: Any) -> Any:
    """The form of getBlock with transactionDetails "signatures"."""
    if not isinstance(result, dict) or "transactions" not in result:
        return result
    rest = {name: value for name, value in result.items() if name != "transactions"}
    return {**rest, "signatures": [item["transaction"]["signatures"][0] for item in result["transactions"]]}
