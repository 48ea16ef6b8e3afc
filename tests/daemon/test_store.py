"""The store: whole batches or nothing, one daemon per directory, and clear words about damage."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from daemon.errors import ConfigError, StoreCorrupt, StoreError, StoreLocked, StoreStopped
from daemon.killpoints import STEPS, VARIABLE, KillPoints
from daemon.store import Database, DataDirectoryLock, DepositRow, JournalRow, PayoutRow, SnapshotRow
from daemon.store import database as database_module
from daemon.store.rows import Batch, NoticeRow
from daemon.store.schema import MIGRATIONS

HASH = bytes(range(32))


def deposit(key: str = "sig:acc:SOL", **changes: object) -> DepositRow:
    values: dict[str, object] = {
        "key": key, "signature": key, "account": "acc", "mint": "SOL", "symbol": "SOL", "subaccount": "7/0",
        "address": "addr", "units": 2**64 - 1, "sender": "", "slot": 5, "blockhash": "h", "block_time": None,
        "status": "credited",
    }  # fmt: skip
    return DepositRow(**{**values, **changes})  # type: ignore[arg-type]


def payout(payout_id: str = "w1", sequence: int = 1) -> PayoutRow:
    return PayoutRow(payout_id, "withdrawal", "7/0", "SOL", 2**64 - 1, "dest", sequence)


def batch(sequence: int = 1) -> Batch:
    return Batch(
        journal=[JournalRow(sequence, b"command", b"outcome", HASH)],
        deposits=[deposit(f"sig{sequence}:acc:SOL")],
        payouts=[payout(f"w{sequence}", sequence)],
        checkpoint=(sequence, "hash"),
    )


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "makewhole.sqlite")


def test_d4_a_batch_is_written_whole_and_read_back_exactly(database: Database, tmp_path: Path) -> None:
    database.write(batch())
    database.close()
    again = Database(tmp_path / "makewhole.sqlite")
    assert list(again.journal()) == [JournalRow(1, b"command", b"outcome", HASH)]
    assert again.deposits() == [deposit("sig1:acc:SOL")]
    assert again.payouts() == [payout("w1", 1)]
    assert again.checkpoint() == (1, "hash")
    assert oct((tmp_path / "makewhole.sqlite").stat().st_mode & 0o777) == "0o600"


def test_d11_what_is_owed_to_nobody_is_summed_exactly_beyond_64_bits(database: Database) -> None:
    largest = 2**64 - 1
    statuses = ["dust", "dust", "dust", "refused", "credited", "seen"]
    rows = [deposit(f"s{n}:acc:SOL", status=status) for n, status in enumerate(statuses)]
    rows += [
        deposit("u:acc:m", symbol="USDC", units=7, status="dust"),
        deposit("l:acc:m", slot=6, status="dust"),
    ]
    database.write(Batch(deposits=rows))
    sums = {("SOL", "dust"): 3 * largest, ("SOL", "refused"): largest, ("USDC", "dust"): 7}
    assert database.unowed_units(up_to_slot=5) == sums
    assert database.unowed_units(up_to_slot=4) == {}
    assert [row.key for row in database.deposits(after_slot=5)] == ["l:acc:m"]


def test_a_list_that_is_cut_keeps_the_newest_oldest_first(database: Database) -> None:
    for n in (1, 2, 3):
        one = batch(n)
        one.deposits = [deposit(f"sig{n}:acc:SOL", slot=n)]
        database.write(one)
    assert [row.slot for row in database.deposits(limit=2)] == [2, 3]
    assert [row.slot for row in database.deposits(limit=-1)] == [1, 2, 3]
    assert [row.id for row in database.payouts(limit=2)] == ["w2", "w3"]
    assert [row.id for row in database.payouts()] == ["w1", "w2", "w3"]


def test_what_every_attestation_asks_is_answered_from_an_index(database: Database) -> None:
    """A daemon that has seen millions of deposits must not read them all every minute."""
    asked: list[str] = []
    database._connection.set_trace_callback(asked.append)
    database.unowed_units(up_to_slot=5)
    database.deposits(limit=-1, after_slot=5)
    database.payouts(payout_id="w1")
    database.payouts(unsettled=True)
    database._connection.set_trace_callback(None)
    assert len(asked) == 4
    for query in asked:
        plan = [row[3] for row in database._connection.execute("EXPLAIN QUERY PLAN " + query)]
        assert "USING INDEX" in plan[0], (query, plan)


def test_a_batch_that_breaks_leaves_nothing_and_stops_the_writer(database: Database) -> None:
    database.write(batch(1))
    broken = batch(2)
    broken.journal.append(JournalRow(1, b"again", b"", HASH))
    with pytest.raises(StoreStopped, match="a bug of ours"):
        database.write(broken)
    assert database.last_sequence() == 1
    assert database.checkpoint() == (1, "hash")
    assert len(database.deposits()) == 1
    with pytest.raises(StoreStopped, match="stopped after an earlier failure"):
        database.write(batch(2))


def test_d4_the_same_credit_twice_is_one_row_and_keeps_its_first_fate(database: Database) -> None:
    database.write(Batch(deposits=[deposit(status="held", sequence=1)]))
    database.write(Batch(deposits=[deposit(status="credited", units=1)]))
    assert database.deposits() == [deposit(status="held", sequence=1)]


def test_d8_a_sighting_becomes_a_credit_or_is_voided(database: Database) -> None:
    database.write(Batch(deposits=[deposit("a", status="seen", slot=4), deposit("b", status="seen")]))
    database.write(Batch(deposits=[deposit("a", status="credited", slot=6, sequence=1)], voided=["b"]))
    database.write(Batch(voided=["a"]))
    assert [(row.key, row.status, row.slot) for row in database.deposits()] == [
        ("b", "voided", 5),
        ("a", "credited", 6),
    ]


def test_notices_are_kept_once(database: Database) -> None:
    notice = NoticeRow(5, "dust", "sig:acc", "3 units")
    database.write(Batch(notices=[notice, notice]))
    database.write(Batch(notices=[notice]))
    assert database.notices() == [notice]


def test_i10_a_payout_is_settled_once(database: Database) -> None:
    database.write(batch(1))
    database.write(Batch(settled=[("w1", 2)]))
    database.write(Batch(settled=[("w1", 3)]))
    assert database.payouts()[0].settled_sequence == 2
    assert database.payouts(unsettled=True) == []


def test_w1_a_payout_that_was_never_ordered_cannot_be_saved(database: Database) -> None:
    with pytest.raises(StoreStopped, match="no payout 'w9' was reserved"):
        database.write_payout_state("w9", "signed", "sig", b"{}")


def test_old_snapshots_are_dropped(database: Database) -> None:
    for sequence in range(1, 6):
        database.write_snapshot(SnapshotRow(sequence, HASH, "state", b"{}"))
    newest = database.snapshot()
    assert newest is not None and newest.sequence == 5
    rows = database._rows("SELECT sequence FROM snapshots ORDER BY sequence")
    assert [row[0] for row in rows] == [3, 4, 5]


def test_a_full_disk_stops_the_writer_and_acknowledges_nothing(database: Database) -> None:
    database.write(batch(1))
    (pages,) = database._connection.execute("PRAGMA page_count").fetchone()
    database._connection.execute(f"PRAGMA max_page_count = {pages}")
    large = batch(2)
    large.journal[0] = JournalRow(2, b"x" * 1_000_000, b"", HASH)
    with pytest.raises(StoreStopped, match="disk is full"):
        database.write(large)
    assert database.last_sequence() == 1
    with pytest.raises(StoreStopped):
        database.write(batch(2))


def test_a_database_locked_by_another_program_is_a_clear_error(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    impatient = Database(tmp_path / "makewhole.sqlite")
    other = sqlite3.connect(tmp_path / "makewhole.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreLocked, match="another program holds the database locked"):
        impatient.write(batch())
    other.execute("ROLLBACK")
    other.close()


def test_a_second_daemon_is_refused_by_name(tmp_path: Path) -> None:
    with (
        DataDirectoryLock(tmp_path),
        pytest.raises(
            StoreLocked, match=rf"another daemon \(process {os.getpid()}\) works in this data directory"
        ),
    ):
        DataDirectoryLock(tmp_path).acquire()
    with DataDirectoryLock(tmp_path):
        pass


def test_the_lock_of_a_killed_daemon_is_gone_with_it(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from daemon.store import DataDirectoryLock
        DataDirectoryLock(Path({str(tmp_path)!r})).acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    ended = subprocess.run([sys.executable, "-c", script], check=False, timeout=30)
    assert ended.returncode == -signal.SIGKILL
    with DataDirectoryLock(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"this is no database, only some text " * 40])
def test_a_file_that_is_no_database_is_named_damaged(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "makewhole.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="The file is damaged: restore it from a backup"):
        Database(path)
    assert path.read_bytes() == content


def test_a_database_of_a_newer_version_is_left_alone(database: Database, tmp_path: Path) -> None:
    database._connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(StoreCorrupt, match="Install that one; nothing was changed"):
        Database(tmp_path / "makewhole.sqlite")


def test_reading_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database here; `makewhole run` creates it"):
        Database(tmp_path / "nothing.sqlite", read_only=True)
    assert not (tmp_path / "nothing.sqlite").exists()


@pytest.mark.parametrize("step", ["batch.committing", "batch.committed"])
def test_a_kill_before_commit_leaves_nothing_and_after_it_everything(step: str, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        from pathlib import Path
        from daemon.store import Database
        from tests.daemon.test_store import batch
        database = Database(Path({str(tmp_path / "makewhole.sqlite")!r}))
        database.write(batch(1))
        database.write(batch(2))
        raise SystemExit("the kill point was not passed")
    """)
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, VARIABLE: f"{step}:2"},
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL
    survived = Database(tmp_path / "makewhole.sqlite")
    expected = 1 if step == "batch.committing" else 2
    assert survived.last_sequence() == expected
    assert survived.checkpoint() == (expected, "hash")
    assert len(survived.deposits()) == len(survived.payouts()) == expected


@pytest.mark.parametrize("text", ["batch.comitted", "batch.committed:0", "batch.committed:x", ":3"])
def test_a_misspelt_kill_point_ends_the_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError, match="is not `name:n`"):
        KillPoints()


def test_kill_points_do_nothing_when_the_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    points = KillPoints()
    for step in STEPS:
        points.passing(step)
