"""A faulty endpoint in front of any JSON-RPC endpoint.

Owns: an HTTP server in a thread of its own that forwards requests to an upstream URL through
`EndpointFaults`. Rules: what no fault touches goes through byte for byte. It forwards HTTP only;
subscriptions go to the upstream itself. Must not know: what is behind the URL.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from types import TracebackType

import aiohttp
from aiohttp import web

from .faults import EndpointFaults

START_TIMEOUT_S = 10.0


class FaultProxy:
    """`FaultProxy(upstream_url, faults)` listens on a free port until `close()`."""

    def __init__(self, upstream_url: str, faults: EndpointFaults | None = None, port: int = 0) -> None:
        self.faults = faults or EndpointFaults("proxy")
        self._upstream_url = upstream_url
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        listening: Future[int] = Future()
        main = self._main(port, listening)
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(main,), daemon=True)
        self._thread.start()
        try:
            self.url = f"http://127.0.0.1:{listening.result(START_TIMEOUT_S)}"
        except BaseException:
            self._stopping.set()
            self._thread.join()
            self._loop.close()
            raise

    def close(self) -> None:
        """Stop listening. Harmless the second time."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _main(self, port: int, listening: Future[int]) -> None:
        app = web.Application(client_max_size=2**20)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        async with aiohttp.ClientSession() as session:

            async def forward(body: bytes) -> bytes:
                headers = {"Content-Type": "application/json"}
                async with session.post(self._upstream_url, data=body, headers=headers) as answer:
                    return await answer.read()

            async def serve(request: web.Request) -> web.StreamResponse:
                return await self.faults.respond(request, forward)

            app.router.add_post("/", serve)
            try:
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", port).start()
                listening.set_result(runner.addresses[0][1])
            except OSError as error:
                listening.set_exception(error)
            else:
                await self._stopping.wait()
            finally:
                await runner.cleanup()
