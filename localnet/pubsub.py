"""The WebSocket face: JSON-RPC subscriptions over the ledger's events.

Owns: the server, its connections, their queues and the registry of who subscribed to what. What the
subscriptions mean and say is in `localnet.subscriptions`.

Rules
- Everything runs on the ledger's thread: an event is turned into notifications at once and only queued.
- Every connection has a bounded queue. A client that reads slower than the chain talks is cut off when it
  is full, as a validator does; nobody else waits for it.
- Requests over 4,096 bytes close the connection, as in Agave.

Must not know: the SVM, HTTP methods other than the upgrade.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import WSMsgType, web

from .errors import INTERNAL_ERROR, RpcError, invalid_params, invalid_request, method_not_found, parse_error
from .params import Params
from .subscription_params import SUBSCRIBE, UNSUBSCRIBE, RootKey, SlotKey
from .subscriptions import Book, Notification, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .events import Event
    from .faults import EndpointFaults
    from .ledger import Ledger

MAX_REQUEST_BYTES = 4096  # Agave closes the connection on a longer frame
MAX_ACTIVE_SUBSCRIPTIONS = 1_000_000  # Agave's default, counted per subscriber
QUEUE_NOTIFICATIONS = 10_000
QUEUE_BYTES = 64 * 1024 * 1024  # blocks are large: their number alone is no bound
PING_S = 30.0

Json = Any
_log = logging.getLogger("localnet.pubsub")


class _Connection:
    """One client: its socket, what waits to be sent to it, and the ids it subscribed to."""

    def __init__(
        self, socket: web.WebSocketResponse, request: web.Request, queue_size: int, queue_bytes: int
    ) -> None:
        self.socket = socket
        self.subscribed: dict[int, Subscription] = {}
        self._request = request
        self._queue: asyncio.Queue[str] = asyncio.Queue(queue_size)
        self._free_bytes = queue_bytes

    def put(self, text: str) -> None:
        """Queue a message; a client whose queue is full, by number or by size, is cut off."""
        self._free_bytes -= len(text)
        if self._queue.full() or self._free_bytes < 0:
            self.abort()
        else:
            self._queue.put_nowait(text)

    async def write(self) -> None:
        """Send what is queued until the connection ends."""
        with contextlib.suppress(ConnectionError):
            while True:
                text = await self._queue.get()
                await self.socket.send_str(text)
                self._free_bytes += len(text)

    def abort(self) -> None:
        """Drop the connection without a closing handshake, which a client that does not read never ends."""
        if self._request.transport is not None:
            self._request.transport.abort()


class PubSubServer:
    """Serves subscriptions on the ledger's loop, between `await start(host, port)` and `await stop()`."""

    def __init__(
        self,
        ledger: Ledger,
        faults: EndpointFaults | None = None,
        *,
        max_subscriptions: int = MAX_ACTIVE_SUBSCRIPTIONS,
        queue_notifications: int = QUEUE_NOTIFICATIONS,
        queue_bytes: int = QUEUE_BYTES,
        ping_s: float | None = PING_S,
    ) -> None:
        self._book = Book(ledger)
        self._ledger = ledger
        self._faults = faults
        self._max_subscriptions = max_subscriptions
        self._queue_limits = (queue_notifications, queue_bytes)
        self._ping_s = ping_s
        self._connections: set[_Connection] = set()
        self._runner: web.AppRunner | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def subscriber_count(self) -> int:
        """Subscriptions held by all connections, equal ones counted for each."""
        return sum(len(connection.subscribed) for connection in self._connections)

    @property
    def connection_count(self) -> int:
        """Open connections."""
        return len(self._connections)

    async def start(self, host: str, port: int) -> int:
        """Listen on `host`:`port` (0: a free one) and return the port. Raises OSError if it is taken."""
        app = web.Application()
        app.router.add_get("/", self._serve)
        self._loop = asyncio.get_running_loop()
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._unsubscribe = self._ledger.subscribe(self._on_event)
        if self._faults is not None:
            self._faults.on_socket_fault(self._on_socket_fault)
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Close every connection and stop listening. Harmless when not started."""
        if self._runner is None or self._unsubscribe is None:
            return
        self._unsubscribe()
        for connection in list(self._connections):
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(connection.socket.close(code=1001, message=b"shutting down"), 0.5)
            connection.abort()
        await self._runner.cleanup()
        self._runner = None

    # --- notifications

    def _on_event(self, event: Event) -> None:
        if not self._connections:
            return
        try:
            self._deliver(self._book.notifications(event))
        except Exception:  # noqa: BLE001 - logged; a fault of ours must not stop the chain that told us
            _log.exception("%s could not be reported", type(event).__name__)

    def _deliver(self, notifications: Iterable[Notification]) -> None:
        """Queue each notification, encoded once, for every connection that holds its subscription."""
        muted = self._faults is not None and self._faults.sockets_muted
        for notification in notifications:
            subscription = notification.subscription
            text = subscription.frame(self._lied(subscription, notification.result))
            for connection in list(self._connections):
                if subscription.id not in connection.subscribed:
                    continue
                if notification.final:
                    del connection.subscribed[subscription.id]
                    self._book.release(subscription)
                if not muted:
                    connection.put(text)

    def _lied(self, subscription: Subscription, result: Json) -> Json:
        """The slots that a lagging or lying endpoint reports."""
        shift = 0 if self._faults is None else self._faults.height_shift
        if not shift:
            return result
        if isinstance(subscription.key, RootKey):
            return max(0, result + shift)
        if isinstance(subscription.key, SlotKey):
            return {name: max(0, slot + shift) for name, slot in result.items()}
        return result

    def _on_socket_fault(self) -> None:
        """Runs on the thread that armed the fault."""
        if self._loop is not None and self._faults is not None and not self._faults.sockets_muted:
            self._loop.call_soon_threadsafe(self._abort_all)

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    # --- requests

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=self._ping_s, max_msg_size=MAX_REQUEST_BYTES, compress=False)
        await socket.prepare(request)
        connection = _Connection(socket, request, *self._queue_limits)
        self._connections.add(connection)
        writer = asyncio.ensure_future(connection.write())
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                answer = self._answer(connection, message.data)
                if answer is not None:
                    connection.put(answer)
        finally:
            self._connections.discard(connection)
            for subscription in connection.subscribed.values():
                self._book.release(subscription)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket

    def _answer(self, connection: _Connection, text: str) -> str | None:
        """The answer to one frame: an object, a batch, or nothing for notifications only."""
        try:
            request = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return _encode(_failure(None, parse_error()))
        if not isinstance(request, list):
            answer = self._answer_one(connection, request)
            return None if answer is None else _encode(answer)
        answers = [answer for one in request if (answer := self._answer_one(connection, one)) is not None]
        if not request:
            return _encode(_failure(None, invalid_request()))
        return _encode(answers) if answers else None

    def _answer_one(self, connection: _Connection, request: Json) -> Json:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _failure(request.get("id") if isinstance(request, dict) else None, invalid_request())
        try:
            result = self._call(connection, request["method"], request.get("params"))
        except RpcError as error:
            # a notification ("ping" of web3.js and kit) is never answered
            return _failure(request["id"], error) if "id" in request else None
        return {"jsonrpc": "2.0", "result": result, "id": request["id"]} if "id" in request else None

    def _call(self, connection: _Connection, method: str, params: Json) -> Json:
        if method in SUBSCRIBE:
            return self._subscribe(connection, method, params)
        if method in UNSUBSCRIBE:
            return self._cancel(connection, params)
        raise method_not_found()

    def _subscribe(self, connection: _Connection, method: str, params: Json) -> int:
        key = SUBSCRIBE[method](params)
        if self.subscriber_count >= self._max_subscriptions:
            message = "Internal Error: Subscription refused. Node subscription limit reached"
            raise RpcError(INTERNAL_ERROR, message)
        subscription = self._book.hold(key)
        if subscription.id in connection.subscribed:
            self._book.release(subscription)  # the same parameters again are the same subscription
        connection.subscribed[subscription.id] = subscription
        return subscription.id

    def _cancel(self, connection: _Connection, params: Json) -> bool:
        subscription = connection.subscribed.pop(Params(params, 1, 1).uint(0), None)
        if subscription is None:
            raise invalid_params("Invalid subscription id.")
        self._book.release(subscription)
        return True


def _failure(identity: Json, error: RpcError) -> Json:
    return {"jsonrpc": "2.0", "error": error.to_json(), "id": identity}


def _encode(answer: Json) -> str:
    return msgspec.json.encode(answer).decode()
