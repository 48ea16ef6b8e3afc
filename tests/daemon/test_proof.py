"""The pieces of the proof of solvency in the daemon: folder, worker, keys, table, inbox, page."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from chain.addresses import DepositKeys
from chain.credits import ScannedBlock
from chain.preparing import Route, payout_instructions
from chain.signer import SeedSigner, SignerError
from chain.submission import PayoutRecord, PayoutRequest, decode_record, encode_record
from daemon.clock import ManualClock
from daemon.errors import StoreStopped
from daemon.inbox import AddressBook, Inbox
from daemon.keys import Keyring
from daemon.proof import messages as msg
from daemon.proof.balances import Picture
from daemon.proof.files import SECRETS_KEPT, ProofFolder, write_whole
from daemon.proof.workshop import ProofFailed, Workshop
from daemon.runner import Runner
from daemon.store.database import Database
from daemon.store.rows import Batch, EpochRow, PayoutRow
from daemon.store.schema import MIGRATIONS
from engine.params import default_params
from engine.state import new_state
from solvency import page, verifier
from solvency.summary import Summary, SummaryLine
from tests.daemon.test_proof_balances import everybody

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OWNER = Keypair.from_seed(bytes([7]) * 32)
SEED = bytes(range(64))


# -- files --


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = ProofFolder(tmp_path / "proof")
    folder.prepare()
    (folder.path / "00000001.bundle.partial").write_bytes(b"half")
    write_whole(folder.bundle(2), b"a", b"b")
    folder.prepare()
    assert [path.name for path in folder.path.iterdir()] == ["00000002.bundle"]
    assert folder.bundle(2).read_bytes() == b"ab"
    assert folder.bundle(2).stat().st_mode & 0o777 == 0o600
    assert folder.newest_bundle() == 2


def test_bundles_stay_and_old_secrets_go(tmp_path: Path) -> None:
    folder = ProofFolder(tmp_path)
    for epoch in range(1, 8):
        for path in (folder.bundle(epoch), folder.secret(epoch, bytes([epoch]) * 32)):
            write_whole(path, b"x")
    write_whole(folder.secret(7, bytes(32)), b"an attempt that was not kept")
    write_whole(folder.body(7, bytes([7]) * 32), b"x")
    folder.tidy(7, bytes([7]) * 32)
    assert len(list(tmp_path.glob("*.bundle"))) == 7
    kept = sorted(path.name[:8] for path in tmp_path.glob("*.secret"))
    assert kept == [f"{epoch:08d}" for epoch in range(8 - SECRETS_KEPT, 8)]
    assert folder.secret(7, bytes([7]) * 32).exists()
    assert list(tmp_path.glob("*.body")) == []


# -- the table: one row an epoch, one row a previous hash --


def row(epoch: int, own: int, previous: int) -> EpochRow:
    return EpochRow(epoch, bytes([own]) * 32, bytes([previous]) * 32, b"header")


@pytest.mark.parametrize("second", [row(1, 2, 3), row(2, 2, 0), row(2, 1, 1)])
def test_the_database_takes_no_second_bundle_for_one_place(tmp_path: Path, second: EpochRow) -> None:
    database = Database(tmp_path / "a.sqlite")
    database.write(Batch(epochs=[row(1, 1, 0)]))
    with pytest.raises(StoreStopped):
        database.write(Batch(epochs=[second]))
    assert database.epochs() == [row(1, 1, 0)]
    database.close()


def test_a_signature_once_stored_is_never_replaced(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.sqlite")
    database.write(Batch(epochs=[row(1, 1, 0), row(2, 2, 1)]))
    for signature, memo in ((bytes([1]) * 64, "first"), (bytes([2]) * 64, "second")):
        database.write(Batch(sealed=[(1, signature, memo)]))
    assert database.epochs(epoch=1) == [replace(row(1, 1, 0), signature=bytes([1]) * 64, publication="first")]
    assert database.epochs(last=1) == [row(2, 2, 1)]
    database.close()


# -- a payout that pays nobody --


def test_a_note_is_a_memo_with_its_very_text() -> None:
    request = PayoutRequest("makewhole:solvency:1:1:ab", "SOL", None, 0, str(OWNER.pubkey()), note="text")
    (only,) = payout_instructions(request, Route(str(OWNER.pubkey())))
    assert (only.data, only.accounts) == (b"text", [])
    assert decode_record(encode_record(PayoutRecord(request))).request == request
    for wrong in ({"units": 1}, {"mint": str(OWNER.pubkey())}):
        with pytest.raises(ValueError, match="a note pays nothing"):
            replace(request, **wrong)
    with pytest.raises(ValueError, match="0 units of SOL cannot be paid"):
        replace(request, note="")


# -- keys --


async def test_k1_a_deposit_key_signs_challenges_and_nothing_else() -> None:
    keys = DepositKeys(SEED)
    hot = (2**31 - 2, 0)
    ring = Keyring(SeedSigner(keys, [hot]), keys, {})
    text = verifier.challenge_text(bytes(32), bytes(32), bytes(32))
    signature = await ring.sign_challenge(text, "7/0")
    assert verifier.signature_holds(bytes(Pubkey.from_string(ring.address("7/0"))), text, signature)
    for other in (b"", b"a transaction", text[1:], b"makewhole solvency bundle 1\n"):
        with pytest.raises(SignerError, match="challenges of the proof of solvency only"):
            await ring.sign_challenge(other, "7/0")


async def test_a_key_out_of_reach_is_known_beforehand() -> None:
    keys = DepositKeys(SEED)
    hot = keys.address(2**31 - 2, 0)
    away = Keyring(SeedSigner(keys, [(2**31 - 2, 0)]), None, {"fees": hot, "7/0": keys.address(7, 0)})
    assert away.can_sign_challenge("fees")
    assert not away.can_sign_challenge("7/0")
    assert not away.can_sign_challenge("8/0")


# -- the worker --


def job(folder: Path, **changes: object) -> msg.Prove:
    empty = Picture(5, 1_790_000_000_000_000_000, [], [], {}, {"USDC": 0}, 0)
    made = msg.Prove(
        epoch=1,
        previous_hash=bytes(32),
        slot=9,
        assets=[msg.AssetTerms("USDC", bytes([1]) * 32, 6, 10**8, 10**6)],
        picture=empty,
        ids={},
        set_aside={},
        reserves=[],
        operator=bytes(OWNER.pubkey()),
        master=bytes(range(32)),
        folder=str(folder),
        workers=1,
        row_messages=0,
    )
    return msgspec.structs.replace(made, **changes)


async def no_owner(owner: bytes, text: bytes) -> bytes:
    raise AssertionError("there is no reserve to sign for")


async def test_a_worker_proves_seals_and_answers(tmp_path: Path) -> None:
    workshop = await Workshop.open()
    try:
        proved = await workshop.prove(job(tmp_path), [], no_owner, lambda _: None)
        header = verifier.read_header(proved.header)
        folder = ProofFolder(tmp_path)
        assert folder.body(1, header.hash).exists() and folder.secret(1, header.hash).exists()
        with pytest.raises(ProofFailed, match="operator_signature_invalid"):
            await workshop.seal(msg.Seal(1, proved.header, bytes(64), str(tmp_path)))
        assert not folder.bundle(1).exists()
        signature = bytes(OWNER.sign_message(proved.operator_message))
        await workshop.seal(msg.Seal(1, proved.header, signature, str(tmp_path)))
        verifier.check_bundle(folder.bundle(1).read_bytes())
        assert await workshop.record("nobody") == b""
    finally:
        await workshop.close()
    again = await Workshop.open()
    try:
        await again.load(str(folder.secret(1, header.hash)))
        assert await again.record("nobody") == b""
    finally:
        await again.close()


async def test_what_does_not_add_up_is_refused_by_the_worker(tmp_path: Path) -> None:
    workshop = await Workshop.open()
    try:
        wrong = Picture(5, 1, [], [], {}, {"USDC": 1}, 0)
        with pytest.raises(ProofFailed, match=r"UnknownBalance.*the ledger owes 1"):
            await workshop.prove(job(tmp_path, picture=wrong), [], no_owner, lambda _: None)
        with pytest.raises(ProofFailed, match="did not sign"):
            await workshop.prove(
                job(tmp_path, reserves=[msg.Reserve("USDC", bytes([9]) * 32, bytes(OWNER.pubkey()), 1)]),
                [],
                _signs_nothing,
                lambda _: None,
            )
    finally:
        await workshop.close()
    assert ProofFolder(tmp_path).newest_bundle() == 0
    assert not await asyncio.to_thread(lambda: [*tmp_path.iterdir()])


async def _signs_nothing(owner: bytes, text: bytes) -> bytes:
    return bytes(64)


async def test_a_worker_that_dies_is_a_failure_and_no_hang(tmp_path: Path) -> None:
    workshop = await Workshop.open()
    await workshop.close()
    assert not workshop.is_alive
    async with asyncio.timeout(10):
        with pytest.raises(ProofFailed, match="ended with status -9"):
            await workshop.record("anybody")


def test_a_job_shows_no_secret(tmp_path: Path) -> None:
    shown = repr(job(tmp_path)) + str(job(tmp_path)) + f"{job(tmp_path)}"
    assert shown == "Prove(epoch=1)" * 3


# -- the moment of the picture --


async def test_blocks_after_the_slot_wait_until_they_are_let_go(tmp_path: Path) -> None:
    state = new_state(default_params())
    database = Database(tmp_path / "a.sqlite")
    runner = Runner(state, 0, bytes(32), database, ManualClock(1))
    writer = asyncio.create_task(runner.run())
    inbox = Inbox(runner, AddressBook(), [])

    def block(slot: int) -> ScannedBlock:
        return ScannedBlock(slot, "hash", slot - 1, "before", None, (), (), 0)

    inbox.hold_after(5)
    await inbox.take(block(5))
    later = asyncio.create_task(inbox.take(block(6)))
    await asyncio.sleep(0.05)
    assert (inbox.scanned_slot, later.done()) == (5, False)
    inbox.hold_after(6)
    await later
    assert inbox.scanned_slot == 6
    inbox.hold_after(None)
    await inbox.take(block(9))
    assert inbox.scanned_slot == 9
    runner.close()
    await writer
    database.close()
    assert everybody(state).keys() == {"fees", "insurance_fund", "rounding", "lending_pool", "set_aside"}


# -- the page --


def summary(epoch: int, rate_ppm: int, deficit_usd6: int) -> Summary:
    line = SummaryLine("USDC", 6, 10**13, 10**13, 0, 10**13 + deficit_usd6, 10**9, rate_ppm, 10**8)
    return Summary(
        epoch=epoch,
        bundle_hash=f"{epoch:064x}",
        time_ns=1_790_000_000_000_000_000 + epoch * 600 * 10**9,
        sequence=epoch * 1_000,
        slot=epoch * 1_500,
        lines=(line,),
        holdings_usd6=10**13,
        net_usd6=10**13 + deficit_usd6,
        total_rate_ppm=rate_ppm,
        claims_usd6=deficit_usd6,
        debts_usd6=deficit_usd6,
        outstanding_negative_equity_usd6=deficit_usd6,
        insurance_fund_usd6=10**9,
        debtors=int(deficit_usd6 > 0),
        listed=int(deficit_usd6 > 0),
        covered=deficit_usd6 == 0,
    )


@pytest.mark.optional_backend("chromium")
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_a_browser_draws_the_page_of_reserves(tmp_path: Path) -> None:
    deficits = [0] * 30 + [4 * 10**11, 6 * 10**11, 5 * 10**11, 2 * 10**11] + [0] * 30
    history = [summary(n, 10**19 // (10**13 + d), d) for n, d in enumerate(deficits, start=1)]
    path = tmp_path / "reserves.html"
    path.write_text(page.render(history), encoding="utf-8")
    common = [
        str(CHROMIUM),
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,1900"),
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    shot = tmp_path / "reserves.png"
    for extra in (["--dump-dom"], [f"--screenshot={shot}"]):
        done = subprocess.run([*common, *extra, path.as_uri()], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        if extra == ["--dump-dom"]:
            drawn = done.stdout
    assert "Epoch 64" in drawn and len(re.findall(r"<svg", drawn)) >= 1
    assert shot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and shot.stat().st_size > 20_000


def test_an_older_database_keeps_its_payouts(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1;")
    old = ("w1", "withdrawal", "7/0", "USDC", "5", "there", 3, None, "finalized", b"record", "sig", 4)
    connection.execute(f"INSERT INTO payouts VALUES ({','.join('?' * len(old))})", old)  # noqa: S608  # ours
    connection.close()
    database = Database(path)
    note = PayoutRow("makewhole:solvency:1:1:ab", "publication", "fees", "SOL", 0, "hot", 4)
    database.write(Batch(payouts=[note]))
    assert database.payouts() == [PayoutRow(*old[:4], 5, *old[5:]), note]  # type: ignore[arg-type]
    database.close()
