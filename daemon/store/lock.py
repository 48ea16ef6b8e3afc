"""One daemon per data directory: an advisory lock on a file that names its holder.

The lock is the kernel's (`flock`), so it is gone with its process, however that ends; the number in the
file only says whom to ask.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from daemon.errors import StoreLocked


class DataDirectoryLock:
    """Hold the data directory for this process; raises `StoreLocked` naming the other one's process id."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "daemon.lock"
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock or raise `StoreLocked`; never waits."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreLocked(
                f"{self.path.parent}: another daemon (process {holder}) works in this data directory. "
                f"Stop it first, or give this one a data directory of its own."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the directory back; harmless when it was never taken."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> DataDirectoryLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
