"""The daemon's end of a proof worker: starts the process, asks, and listens.

Owns: the process's life. Rules: whoever starts a worker closes it; a worker that dies is `ProofFailed`,
never a hang. Must not know what is proved.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self, TypeVar

from daemon.errors import DaemonError
from daemon.proof import messages as msg
from daemon.proof.balances import OwnedRow

T = TypeVar("T", bound=msg.Message)
Sign = Callable[[bytes, bytes], Awaitable[bytes]]  # (owner's key, text) -> signature
OnProgress = Callable[[msg.Progress], None]


class ProofFailed(DaemonError):
    """An epoch could not be proved; the message says why. Nothing was signed or published."""


class Workshop:
    """One worker process."""

    ROWS_IN_A_MESSAGE: Final = 2_000  # 1 to 2 ms of the event loop

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls) -> Self:
        """Start a worker."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "daemon.proof.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        return cls(process)

    async def close(self) -> None:
        """End the worker, whatever it does."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()

    @property
    def is_alive(self) -> bool:
        """Tell whether the process still runs."""
        return self._process.returncode is None

    async def prove(
        self, job: msg.Prove, rows: Sequence[OwnedRow], sign: Sign, on_progress: OnProgress
    ) -> msg.Proved:
        """Prove an epoch; `sign` answers the challenges of the reserves. Raises ProofFailed, SignerError."""
        async with self._lock:
            await self._say(job)
            for start in range(0, len(rows), self.ROWS_IN_A_MESSAGE):
                await self._say(msg.Rows(list(rows[start : start + self.ROWS_IN_A_MESSAGE])))
            challenges = await self._hear(msg.Challenges)
            signatures = []
            for owner, text in challenges.texts:
                signatures.append(await sign(owner, text))
                await asyncio.sleep(0)  # a signature is a fraction of a millisecond; others go between
            await self._say(msg.Signatures(signatures))
            return await self._hear(msg.Proved, on_progress)

    async def seal(self, job: msg.Seal) -> msg.Sealed:
        """Write the bundle of a proved epoch. Raises ProofFailed."""
        return await self._ask(job, msg.Sealed)

    async def load(self, path: str) -> msg.Loaded:
        """Open an epoch that was proved before. Raises ProofFailed."""
        return await self._ask(msg.Load(path), msg.Loaded)

    async def record(self, customer_id: str) -> bytes:
        """Make a customer's record, b"" for somebody without a balance. Raises ProofFailed."""
        return (await self._ask(msg.Record(customer_id), msg.Made)).record

    async def _ask(self, question: msg.Message, kind: type[T]) -> T:
        async with self._lock:
            await self._say(question)
            return await self._hear(kind)

    async def _say(self, message: msg.Message) -> None:
        if self._process.stdin is None:
            raise ProofFailed("the proof worker has no input")
        try:
            self._process.stdin.write(msg.encode(message))
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError):
            raise ProofFailed(f"the proof worker ended with status {await self._process.wait()}") from None

    async def _hear(self, kind: type[T], on_progress: OnProgress | None = None) -> T:
        if self._process.stdout is None:
            raise ProofFailed("the proof worker has no output")
        while True:
            try:
                head = await self._process.stdout.readexactly(msg.LENGTH_BYTES)
                body = await self._process.stdout.readexactly(int.from_bytes(head, "big"))
            except asyncio.IncompleteReadError:
                raise ProofFailed(
                    f"the proof worker ended with status {await self._process.wait()}"
                ) from None
            answer = msg.decode_answer(body)
            if isinstance(answer, kind):
                return answer
            if isinstance(answer, msg.Progress):
                if on_progress is not None:
                    on_progress(answer)
            elif isinstance(answer, msg.Failed):
                raise ProofFailed(f"{answer.kind}: {answer.why}")
            else:
                raise ProofFailed(f"the proof worker said {type(answer).__name__} out of turn")
