"""A hint that the chain moved, over WebSocket. Only a hint (D1): losing it costs latency, never a deposit.

Owns one connection at a time to the first node that offers one, its subscriptions (slotSubscribe,
rootSubscribe), a watchdog that drops a silent connection, and reconnecting to the next node. What a hint
says is never believed, it only ends a wait early. Must not know blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import aiohttp
import msgspec

from chain.rpc import RpcPool

_LONGEST_RECONNECT_S: Final = 10.0


class _SlotInfo(msgspec.Struct):
    slot: int = 0
    root: int = 0


class _Params(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    method: str = ""
    params: _Params | None = None


class Wakeup:
    """Wakes waiters when a node speaks of a new slot or a new root."""

    def __init__(self, pool: RpcPool, *, silence_s: float = 10.0) -> None:
        self.slot = 0  # the highest slot any node spoke of
        self.root = 0  # the highest root any node spoke of
        self.messages = 0
        self.connections = 0
        self.connected = False
        self._pool = pool
        self._silence_s = silence_s
        self._sources = [e for e in pool.endpoints if e.ws_url is not None]
        self._events: list[asyncio.Event] = []
        self._decoder = msgspec.json.Decoder(_Message)

    def listener(self) -> asyncio.Event:
        """Return an event of the caller's own, set at every hint; the caller clears it."""
        event = asyncio.Event()
        self._events.append(event)
        return event

    async def run(self) -> None:
        """Keep a connection until cancelled; returns at once if no node offers one."""
        failures = 0
        while self._sources:
            source = self._sources[failures % len(self._sources)]
            before = self.messages
            try:
                await self._listen(source.ws_url or "")
            except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError):
                pass  # a hint was lost; polling goes on
            finally:
                self.connected = False
            failures = 1 if self.messages > before else failures + 1
            await asyncio.sleep(min(_LONGEST_RECONNECT_S, 0.1 * 2.0 ** min(failures, 10)))

    async def _listen(self, url: str) -> None:
        async with self._pool.session.ws_connect(url, max_msg_size=2**20, autoping=True) as socket:
            self.connections += 1
            for number, method in enumerate(("rootSubscribe", "slotSubscribe"), start=1):
                await socket.send_json({"jsonrpc": "2.0", "id": number, "method": method})
            self.connected = True
            while True:
                # The watchdog: a connection that says nothing is as good as lost, and looks healthy.
                async with asyncio.timeout(self._silence_s):
                    message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                self._hear(message.data)

    def _hear(self, text: Any) -> None:
        message = self._decoder.decode(text)
        if message.params is None:
            return
        self.messages += 1
        with contextlib.suppress(msgspec.DecodeError):
            if message.method == "rootNotification":
                self.root = max(self.root, msgspec.json.decode(message.params.result, type=int))
            elif message.method == "slotNotification":
                info = msgspec.json.decode(message.params.result, type=_SlotInfo)
                self.slot = max(self.slot, info.slot)
                self.root = max(self.root, info.root)
        for event in self._events:
            event.set()
