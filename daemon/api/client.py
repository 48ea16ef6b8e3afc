"""A client of the control API: what the command line, the demo and the tests speak through."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from daemon.api import bodies
from daemon.errors import DaemonError


class ApiError(DaemonError):
    """The daemon said no, with its reason."""

    def __init__(self, error: bodies.Error, status: int) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.error = error
        self.status = status

    @property
    def code(self) -> str:
        """Return the reason's code."""
        return self.error.code


class NotRunning(DaemonError):
    """Nobody listens on the control socket."""


class ApiClient:
    """Talks to the daemon of one data directory; an async context manager."""

    def __init__(self, socket_path: Path, timeout_s: float = 60) -> None:
        self.socket_path = socket_path
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self.socket_path)),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: str) -> Any:
        """Ask; returns the decoded body, raises `ApiError` or `NotRunning`."""
        return await self._request("GET", path, None, query)

    async def post(self, path: str, **body: Any) -> Any:
        """Command; returns the decoded body, raises `ApiError` or `NotRunning`."""
        return await self._request("POST", path, body, {})

    async def _request(self, method: str, path: str, body: Any, query: dict[str, str]) -> Any:
        if self._session is None:
            raise RuntimeError("ApiClient is used outside of 'async with'")
        try:
            async with self._session.request(
                method,
                f"http://makewhole/v1/{path}",
                params=query,
                data=None if body is None else msgspec.json.encode(body),
            ) as response:
                content = await response.read()
                status = response.status
        except (aiohttp.ClientError, OSError) as error:
            raise NotRunning(
                f"no daemon answers on {self.socket_path}; start one with `makewhole run`"
            ) from error
        if status >= 400:
            raise ApiError(msgspec.json.decode(content, type=bodies.ErrorBody).error, status)
        return msgspec.json.decode(content)

    async def wait_until_up(self, timeout_s: float = 30) -> None:
        """Wait for a daemon that is starting; raises `NotRunning` when the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                await self.get("status")
            except NotRunning:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                return
