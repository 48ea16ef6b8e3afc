"""The connection to the SQLite file: what is written together, and what can be read back.

Rules: WAL with `synchronous = FULL`, so a COMMIT that returned survives a power cut. `write` is the only
door for money: journal, deposits, payouts and checkpoint of a batch go in one transaction or not at all.
After a failed write the database refuses every later one (`StoreStopped`): what memory holds is then
ahead of the disk and must not be told to anybody. Nothing here knows the engine; commands and outcomes
are bytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from daemon.errors import StoreCorrupt, StoreError, StoreLocked, StoreStopped
from daemon.killpoints import KillPoints
from daemon.store.rows import (
    Batch,
    DepositRow,
    EpochRow,
    JournalRow,
    NoticeRow,
    PayoutRow,
    SnapshotRow,
    TradeRow,
)
from daemon.store.schema import migrate

FILE_NAME: Final = "makewhole.sqlite"
BUSY_TIMEOUT_S: Final = 5.0
SNAPSHOTS_KEPT: Final = 3

_DEPOSIT_COLUMNS: Final = (
    "key, signature, account, mint, symbol, subaccount, address, units, sender, slot, blockhash, block_time, "
    "status, sequence, receipt"
)
_PAYOUT_COLUMNS: Final = (
    "id, kind, subaccount, symbol, units, destination, reserved_sequence, deposit_key, state, record, "
    "signature, settled_sequence"
)
_TRADE_COLUMNS: Final = "sequence, number, time_ns, market, kind, buyer, seller, event"
# A confirmed sighting becomes what the finalized block says; anything final keeps what it has.
_UPSERT_DEPOSIT: Final = f"""
    INSERT INTO deposits ({_DEPOSIT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
    ON CONFLICT (key) DO UPDATE SET units = excluded.units, sender = excluded.sender, slot = excluded.slot,
        blockhash = excluded.blockhash, block_time = excluded.block_time, status = excluded.status,
        sequence = excluded.sequence, receipt = excluded.receipt
    WHERE deposits.status IN ('seen', 'voided')
"""  # noqa: S608  # column names are ours


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's exceptions into ours, which say what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise StoreLocked(
                f"{path}: another program holds the database locked ({text}; waited {BUSY_TIMEOUT_S:.0f} s). "
                f"Close it, for example an open sqlite3 shell or a backup, and start again."
            ) from error
        if "full" in text or "I/O" in text:
            raise StoreStopped(
                f"{path}: cannot write: {text}. Nothing of this batch was acknowledged."
            ) from error
        if "unable to open" in text or "readonly" in text:
            raise StoreError(f"{path}: {text}") from error
        raise StoreCorrupt(f"{path}: {text}") from error
    except sqlite3.IntegrityError as error:
        raise StoreStopped(
            f"{path}: the database refuses this batch ({error}); a bug of ours. Nothing was written."
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreCorrupt(
            f"{path}: {error}. The file is damaged: restore it from a backup, and let the "
            f"watcher scan again from the checkpoint in it."
        ) from error


class Database:
    """One connection; use it from one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False, kill_points: KillPoints | None = None) -> None:
        self.path = path
        self._passing = (kill_points or KillPoints()).passing
        self._failed: StoreError | None = None
        if read_only and not path.exists():
            raise StoreError(f"{path}: no database here; `makewhole run` creates it")
        with _explained(path):
            mode = "ro" if read_only else "rwc"
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                if not read_only:
                    self._connection.execute("PRAGMA journal_mode = WAL")
                    self._connection.execute("PRAGMA synchronous = FULL")
                    migrate(self._connection)
                    path.chmod(0o600)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the connection; a database that was written leaves no WAL behind."""
        self._connection.close()

    # -- writing --

    @contextmanager
    def _transaction(self, committing: str, committed: str) -> Iterator[sqlite3.Connection]:
        if self._failed is not None:
            raise StoreStopped(f"{self.path}: stopped after an earlier failure: {self._failed}")
        try:
            with _explained(self.path):
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._passing(committing)
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
        except StoreError as error:
            self._failed = error
            raise
        self._passing(committed)

    def write(self, batch: Batch) -> None:
        """Make a batch durable, whole or not at all; after a `StoreError` every later write is refused."""
        with self._transaction("batch.committing", "batch.committed") as connection:
            many = connection.executemany
            many(
                "INSERT INTO journal (sequence, command, outcome, hash) VALUES (?,?,?,?)",
                [(row.sequence, row.command, row.outcome, row.hash) for row in batch.journal],
            )
            many(_UPSERT_DEPOSIT, [_deposit_values(row) for row in batch.deposits])
            many(
                "UPDATE deposits SET status = ?2, sequence = coalesce(?3, sequence), "
                "receipt = coalesce(?4, receipt) WHERE key = ?1",
                batch.deposit_status,
            )
            many(
                "UPDATE deposits SET status = 'voided' WHERE key = ? AND status = 'seen'",
                [(key,) for key in batch.voided],
            )
            many(
                "INSERT OR IGNORE INTO notices (slot, kind, subject, detail) VALUES (?,?,?,?)",
                [(row.slot, row.kind, row.subject, row.detail) for row in batch.notices],
            )
            many(
                f"INSERT INTO payouts ({_PAYOUT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
                [_payout_values(row) for row in batch.payouts],
            )
            many(
                "UPDATE payouts SET settled_sequence = ?2 WHERE id = ?1 AND settled_sequence IS NULL",
                batch.settled,
            )
            many(
                "UPDATE deposits SET status = 'returned', sequence = ?2 "
                "WHERE key = (SELECT deposit_key FROM payouts WHERE id = ?1)",
                batch.returned,
            )
            many(
                f"INSERT INTO trades ({_TRADE_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)",  # noqa: S608
                [astuple(row) for row in batch.trades],
            )
            many("INSERT INTO addresses (subaccount, address) VALUES (?,?)", batch.addresses)
            many(
                "INSERT INTO meta (key, value) VALUES (?,?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                batch.meta,
            )
            many(
                "INSERT INTO epochs (epoch, hash, previous, header, signature, publication) "
                "VALUES (?,?,?,?,?,?)",
                [astuple(row) for row in batch.epochs],
            )
            many(
                "UPDATE epochs SET signature = ?2, publication = ?3 WHERE epoch = ?1 AND signature IS NULL",
                batch.sealed,
            )
            if batch.checkpoint is not None:
                connection.execute(
                    "INSERT INTO checkpoint (one, slot, blockhash) VALUES (1,?,?) "
                    "ON CONFLICT (one) DO UPDATE SET slot = excluded.slot, blockhash = excluded.blockhash",
                    batch.checkpoint,
                )

    def write_snapshot(self, row: SnapshotRow) -> None:
        """Store a snapshot and drop all but the newest `SNAPSHOTS_KEPT`."""
        with self._transaction("snapshot.committing", "snapshot.committed") as connection:
            connection.execute(
                "INSERT OR REPLACE INTO snapshots (sequence, hash, state_hash, state) VALUES (?,?,?,?)",
                (row.sequence, row.hash, row.state_hash, row.state),
            )
            connection.execute(
                "DELETE FROM snapshots WHERE sequence NOT IN "
                "(SELECT sequence FROM snapshots ORDER BY sequence DESC LIMIT ?)",
                (SNAPSHOTS_KEPT,),
            )

    def write_payout_state(self, payout_id: str, state: str, signature: str | None, record: bytes) -> None:
        """Store how far the payer is with a payout; durable when it returns."""
        with self._transaction(f"payout.saving.{state}", f"payout.saved.{state}") as connection:
            changed = connection.execute(
                "UPDATE payouts SET state = ?2, signature = ?3, record = ?4 WHERE id = ?1",
                (payout_id, state, signature, record),
            ).rowcount
            if changed != 1:
                raise StoreStopped(
                    f"{self.path}: no payout {payout_id!r} was reserved, yet the payer saves it"
                )

    # -- reading --

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with _explained(self.path):
            return self._connection.execute(query, values).fetchall()

    def meta(self, key: str) -> bytes | None:
        """Return a value of `meta`, None if it was never written."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return bytes(rows[0][0]) if rows else None

    def last_sequence(self) -> int:
        """Return the sequence of the newest journal entry, 0 for none."""
        return int(self._rows("SELECT coalesce(max(sequence), 0) FROM journal")[0][0])

    def journal(self, first: int = 1, last: int | None = None) -> Iterator[JournalRow]:
        """Yield journal entries in order, a thousand at a time."""
        end = self.last_sequence() if last is None else last
        while first <= end:
            page = self._rows(
                "SELECT sequence, command, outcome, hash FROM journal WHERE sequence BETWEEN ? AND ? "
                "ORDER BY sequence LIMIT 1000",
                first,
                end,
            )
            if not page:
                return
            for row in page:
                yield JournalRow(*row)
            first = page[-1][0] + 1

    def journal_hash(self, sequence: int) -> bytes | None:
        """Return the chained hash at `sequence`, None if there is no such entry."""
        rows = self._rows("SELECT hash FROM journal WHERE sequence = ?", sequence)
        return bytes(rows[0][0]) if rows else None

    def snapshot(self) -> SnapshotRow | None:
        """Return the newest snapshot."""
        rows = self._rows(
            "SELECT sequence, hash, state_hash, state FROM snapshots ORDER BY sequence DESC LIMIT 1"
        )
        return SnapshotRow(*rows[0]) if rows else None

    def checkpoint(self) -> tuple[int, str] | None:
        """Return the (slot, blockhash) up to which every deposit is in the journal."""
        rows = self._rows("SELECT slot, blockhash FROM checkpoint")
        return (int(rows[0][0]), str(rows[0][1])) if rows else None

    def addresses(self) -> list[tuple[str, str]]:
        """Return every (subaccount, address) ever issued."""
        return [
            (str(a), str(b))
            for a, b in self._rows("SELECT subaccount, address FROM addresses ORDER BY rowid")
        ]

    def deposits(
        self,
        *,
        subaccount: str | None = None,
        key: str | None = None,
        status: str | None = None,
        after_slot: int | None = None,
        limit: int = 1000,
    ) -> list[DepositRow]:
        """Return the newest deposits, oldest first, filtered by what is given; limit -1 is all of them."""
        filters = {"subaccount = ?": subaccount, "key = ?": key, "status = ?": status, "slot > ?": after_slot}
        given = {clause: value for clause, value in filters.items() if value is not None}
        # Only what is given stands in the query: SQLite uses no index behind "? IS NULL OR ...".
        rows = self._rows(
            f"SELECT {_DEPOSIT_COLUMNS} FROM deposits WHERE {' AND '.join(given) or 'TRUE'} "  # noqa: S608
            "ORDER BY slot DESC, key DESC LIMIT ?",
            *given.values(),
            limit,
        )
        return [DepositRow(*(*row[:7], int(row[7]), *row[8:])) for row in reversed(rows)]

    def unowed_units(self, *, up_to_slot: int) -> dict[tuple[str, str], int]:
        """Sum the units of dust and of refused deposits by (symbol, status), exactly.

        Units are text of up to 20 digits and SQLite adds 64 bits: the upper and the lower ten digits are
        summed apart.
        """
        padded = "substr('00000000000000000000' || units, -20)"
        rows = self._rows(
            f"SELECT symbol, status, sum(CAST(substr({padded}, 1, 10) AS INTEGER)), "  # noqa: S608
            f"sum(CAST(substr({padded}, 11) AS INTEGER)) FROM deposits "
            "WHERE status IN ('dust', 'refused') AND slot <= ? GROUP BY symbol, status",
            up_to_slot,
        )
        return {(symbol, status): upper * 10**10 + lower for symbol, status, upper, lower in rows}

    def notices(self, limit: int = 1000) -> list[NoticeRow]:
        """Return the newest notices, oldest first."""
        rows = self._rows(
            "SELECT slot, kind, subject, detail FROM notices ORDER BY number DESC LIMIT ?", limit
        )
        return [NoticeRow(*row) for row in reversed(rows)]

    def epochs(self, *, last: int | None = None, epoch: int | None = None) -> list[EpochRow]:
        """Return epochs of the proof of solvency, oldest first: all, the last ones, or one."""
        rows = self._rows(
            "SELECT epoch, hash, previous, header, signature, publication FROM epochs "
            "WHERE (?1 IS NULL OR epoch = ?1) ORDER BY epoch DESC LIMIT ?2",
            epoch,
            -1 if last is None else last,
        )
        return [EpochRow(*row) for row in reversed(rows)]

    def payouts(
        self,
        *,
        subaccount: str | None = None,
        payout_id: str | None = None,
        unsettled: bool = False,
        limit: int = -1,
    ) -> list[PayoutRow]:
        """Return the newest payouts in the order in which they were reserved; limit -1 is all of them."""
        filters = {"subaccount = ?": subaccount, "id = ?": payout_id}
        given = {clause: value for clause, value in filters.items() if value is not None}
        clauses = [*given, *(["settled_sequence IS NULL"] if unsettled else [])]
        rows = self._rows(
            f"SELECT {_PAYOUT_COLUMNS} FROM payouts WHERE {' AND '.join(clauses) or 'TRUE'} "  # noqa: S608
            "ORDER BY reserved_sequence DESC, id DESC LIMIT ?",
            *given.values(),
            limit,
        )
        return [PayoutRow(*(*row[:4], int(row[4]), *row[5:])) for row in reversed(rows)]

    def trades(
        self, *, market: str | None = None, subaccount: str | None = None, limit: int = 1000
    ) -> list[TradeRow]:
        """Return the newest trades, oldest first: all, of a market, of a subaccount, or of both."""
        sides = ["TRUE"] if subaccount is None else ["buyer = ?", "seller = ?"]
        given = [value for value in (subaccount, market) if value is not None]
        # One index walk from the newest for each side: an OR would collect and sort all of them.
        one_side = (
            f"SELECT * FROM (SELECT {_TRADE_COLUMNS} FROM trades WHERE %s"  # noqa: S608
            f"{'' if market is None else ' AND market = ?'} ORDER BY sequence DESC, number DESC LIMIT ?)"
        )
        rows = self._rows(
            " UNION ALL ".join(one_side % side for side in sides)
            + " ORDER BY sequence DESC, number DESC LIMIT ?",
            *(value for _ in sides for value in (*given, limit)),
            limit,
        )
        return [TradeRow(*row) for row in reversed(rows)]


def _deposit_values(row: DepositRow) -> tuple[Any, ...]:
    return (
        row.key, row.signature, row.account, row.mint, row.symbol, row.subaccount, row.address,
        str(row.units),
        row.sender, row.slot, row.blockhash, row.block_time, row.status, row.sequence, row.receipt,
    )  # fmt: skip


def _payout_values(row: PayoutRow) -> tuple[Any, ...]:
    return (
        row.id, row.kind, row.subaccount, row.symbol, str(row.units), row.destination, row.reserved_sequence,
        row.deposit_key, row.state, row.record, row.signature, row.settled_sequence,
    )  # fmt: skip
