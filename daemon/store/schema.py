"""The tables, and how an older file becomes a current one.

Rules: a migration, once released, is never edited; a new one is added below it. `PRAGMA user_version`
counts the migrations that a file has seen, and each runs in a transaction of its own together with that
count. Amounts are TEXT where the chain's u64 does not fit SQLite's signed 64-bit integer.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from daemon.errors import StoreCorrupt

MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT;

    CREATE TABLE journal (
        sequence INTEGER PRIMARY KEY CHECK (sequence > 0),
        command BLOB NOT NULL,
        outcome BLOB NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    ) STRICT;

    CREATE TABLE snapshots (
        sequence INTEGER PRIMARY KEY CHECK (sequence >= 0),
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        state_hash TEXT NOT NULL,
        state BLOB NOT NULL
    ) STRICT;

    CREATE TABLE checkpoint (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        slot INTEGER NOT NULL,
        blockhash TEXT NOT NULL
    ) STRICT;

    CREATE TABLE addresses (
        subaccount TEXT PRIMARY KEY,
        address TEXT NOT NULL UNIQUE
    ) STRICT;

    CREATE TABLE deposits (
        key TEXT PRIMARY KEY,
        signature TEXT NOT NULL,
        account TEXT NOT NULL,
        mint TEXT NOT NULL,
        symbol TEXT NOT NULL,
        subaccount TEXT NOT NULL,
        address TEXT NOT NULL,
        units TEXT NOT NULL,
        sender TEXT NOT NULL,
        slot INTEGER NOT NULL,
        blockhash TEXT NOT NULL,
        block_time INTEGER,
        status TEXT NOT NULL
            CHECK (status IN ('seen', 'voided', 'dust', 'credited', 'held', 'accepted', 'returning',
            'returned', 'refused')),
        sequence INTEGER,
        receipt BLOB,
        UNIQUE (signature, account, mint)
    ) STRICT;
    CREATE INDEX deposits_by_subaccount ON deposits (subaccount, slot);
    CREATE INDEX deposits_by_status ON deposits (status) WHERE status IN ('seen', 'held', 'dust');

    CREATE TABLE notices (
        number INTEGER PRIMARY KEY,
        slot INTEGER NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL,
        UNIQUE (slot, kind, subject, detail)
    ) STRICT;

    CREATE TABLE payouts (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('withdrawal', 'deposit_return')),
        subaccount TEXT NOT NULL,
        symbol TEXT NOT NULL,
        units TEXT NOT NULL,
        destination TEXT NOT NULL,
        reserved_sequence INTEGER NOT NULL,
        deposit_key TEXT,
        state TEXT NOT NULL,
        record BLOB,
        signature TEXT,
        settled_sequence INTEGER,
        CHECK (settled_sequence IS NULL OR settled_sequence > reserved_sequence)
    ) STRICT;
    CREATE INDEX payouts_open ON payouts (reserved_sequence) WHERE settled_sequence IS NULL;
    CREATE INDEX payouts_by_subaccount ON payouts (subaccount, reserved_sequence);
    """,
    # A payout may be a memo that pays nobody. SQLite changes a CHECK only with a new table.
    """
    CREATE TABLE payouts_2 (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('withdrawal', 'deposit_return', 'publication')),
        subaccount TEXT NOT NULL,
        symbol TEXT NOT NULL,
        units TEXT NOT NULL,
        destination TEXT NOT NULL,
        reserved_sequence INTEGER NOT NULL,
        deposit_key TEXT,
        state TEXT NOT NULL,
        record BLOB,
        signature TEXT,
        settled_sequence INTEGER,
        CHECK (settled_sequence IS NULL OR settled_sequence > reserved_sequence)
    ) STRICT;
    INSERT INTO payouts_2 SELECT * FROM payouts;
    DROP TABLE payouts;
    ALTER TABLE payouts_2 RENAME TO payouts;
    CREATE INDEX payouts_open ON payouts (reserved_sequence) WHERE settled_sequence IS NULL;
    CREATE INDEX payouts_by_subaccount ON payouts (subaccount, reserved_sequence);

    CREATE TABLE epochs (
        epoch INTEGER PRIMARY KEY CHECK (epoch > 0),
        hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
        previous BLOB NOT NULL UNIQUE CHECK (length(previous) = 32),
        header BLOB NOT NULL,
        signature BLOB CHECK (signature IS NULL OR length(signature) = 64),
        publication TEXT REFERENCES payouts (id)
    ) STRICT;
    """,
    # Attestations ask for what came after a slot, and for dust and refused deposits, every time.
    """
    CREATE INDEX deposits_unowed ON deposits (slot) WHERE status IN ('dust', 'refused');
    CREATE INDEX deposits_by_slot ON deposits (slot);
    """,
    # Every time a base changed hands: the tape of a market, the fills of a subaccount.
    """
    CREATE TABLE trades (
        sequence INTEGER NOT NULL,
        number INTEGER NOT NULL,
        time_ns INTEGER NOT NULL,
        market TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('book', 'forced', 'block', 'backstop', 'netting', 'adl')),
        buyer TEXT NOT NULL,
        seller TEXT NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY (sequence, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX trades_by_market ON trades (market, sequence, number);
    CREATE INDEX trades_by_buyer ON trades (buyer, sequence, number);
    CREATE INDEX trades_by_seller ON trades (seller, sequence, number);
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the current schema; raises `StoreCorrupt` on a file from a newer makewhole."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreCorrupt(
            f"the database has schema {version}, this makewhole knows {len(MIGRATIONS)}: it was written by "
            f"a newer version. Install that one; nothing was changed."
        )
    for number in range(version, len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{MIGRATIONS[number]}\nPRAGMA user_version = {number + 1};\nCOMMIT;"
        )
