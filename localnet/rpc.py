"""The JSON-RPC face over HTTP: requests in, answers out.

Owns: the envelope (single and batch requests, ids, errors), HTTP (POST on any path, GET /health, CORS)
and the listening socket. Rules: a request never fails the server: an unforeseen fault is logged and
answered -32603. The shapes are those of a validator's JSON-RPC server, so wallets in a browser work. Must
not know: what methods do.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from .errors import RpcError, internal_error, invalid_request, method_not_found, parse_error
from .faults import EndpointFaults
from .methods import METHODS, Node
from .params import Params

# A validator's own limit: 50 KiB.
MAX_REQUEST_BYTES: Final = 50 * 1024
_BACKLOG: Final = 1_024
# Clients of a test keep connections open; stopping does not wait for them.
_SHUTDOWN_S: Final = 0.1
_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Max-Age": "86400",
}
_log = logging.getLogger("localnet.rpc")
_encode = msgspec.json.Encoder().encode


class Dispatcher:
    """Answers raw JSON-RPC bodies."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def handle(self, body: bytes) -> bytes:
        """Answer a body: one request, or a batch. Notifications (no id) are run and not answered."""
        try:
            request = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return _encode(_failure(None, parse_error()))
        if isinstance(request, list):
            if not request:
                return _encode(_failure(None, invalid_request()))
            answers = [answer for item in request if (answer := self._answer(item)) is not None]
            return _encode(answers) if answers else b""
        answer = self._answer(request)
        return b"" if answer is None else _encode(answer)

    def _answer(self, request: object) -> dict[str, object] | None:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            request_id = request.get("id") if isinstance(request, dict) else None
            return _failure(request_id, invalid_request())
        request_id = request.get("id")
        try:
            if request.get("jsonrpc") != "2.0":
                raise invalid_request()
            result = self.call(request["method"], request.get("params"))
        except RpcError as error:
            return _failure(request_id, error)
        except Exception:  # noqa: BLE001 - a fault in one method must not take the server down
            _log.exception("%s failed", request["method"])
            return _failure(request_id, internal_error())
        if "id" not in request:
            return None
        return {"jsonrpc": "2.0", "result": result, "id": request_id}

    def call(self, name: str, params: object = None) -> object:
        """Call one method. Raises RpcError."""
        method = METHODS.get(name)
        if method is None:
            raise method_not_found()
        return method.function(self.node, Params(params, method.required, method.total))


def _failure(request_id: object, error: RpcError) -> dict[str, object]:
    return {"jsonrpc": "2.0", "error": error.to_json(), "id": request_id}


class RpcServer:
    """One HTTP endpoint of a node, with the faults that are played on it."""

    def __init__(self, node: Node, faults: EndpointFaults) -> None:
        self.faults = faults
        self.dispatcher = Dispatcher(node)
        self._runner: web.ServerRunner | None = None
        self._handle: Callable[[bytes], Awaitable[bytes]] = self.dispatcher.handle

    async def start(self, listener: socket.socket) -> None:
        """Serve on a bound socket."""
        server = web.Server(self._serve, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=_BACKLOG).start()

    async def stop(self) -> None:
        """Stop listening and close the connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            return await self._post(request)
        if request.method == "OPTIONS":
            asked = request.headers.get("Access-Control-Request-Headers", "Content-Type")
            return web.Response(headers=_CORS | {"Access-Control-Allow-Headers": asked})
        if request.method == "GET" and request.path == "/health":
            behind = self.dispatcher.node.slots_behind
            return web.Response(text="ok" if behind == 0 else "unknown" if behind is None else "behind")
        return web.Response(
            status=405, text="Used HTTP Method is not allowed. POST or OPTIONS is required\n", headers=_CORS
        )

    async def _post(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.content_type != "application/json":
            return web.Response(
                status=415,
                text="Supplied content type is not allowed. Content-Type: application/json is required\n",
                headers=_CORS,
            )
        if request.content_length is not None and request.content_length > MAX_REQUEST_BYTES:
            return web.Response(status=413, text="Payload too large\n", headers=_CORS)
        response = await self.faults.respond(request, self._handle)
        response.headers.update(_CORS)
        return response


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket; port 0 takes a free one. Raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
