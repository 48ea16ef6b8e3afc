"""The daemon's memory on disk: one SQLite file, one writer.

`database.Database` is the connection and its thread, `schema` the tables and their migrations, `lock`
keeps a second daemon out, `rows` the values that go in and come out, `journal` reads commands back and
checks the hash chain.
"""

from __future__ import annotations

from daemon.store.database import Database
from daemon.store.lock import DataDirectoryLock
from daemon.store.rows import DepositRow, JournalRow, NoticeRow, PayoutRow, SnapshotRow

__all__ = [
    "DataDirectoryLock",
    "Database",
    "DepositRow",
    "JournalRow",
    "NoticeRow",
    "PayoutRow",
    "SnapshotRow",
]
