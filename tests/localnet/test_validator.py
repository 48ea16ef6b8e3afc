"""The validator in this process: life, threads, ports, time, save and restore, helpers."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import aiohttp
import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from localnet import Validator, persistence, programs
from localnet.errors import RpcError
from localnet.events import SlotOpened
from localnet.ledger import NotIncluded
from localnet.minting import MintingFailed
from localnet.persistence import SavedLedgerError
from localnet.rpc import bind
from localnet.token_state import read_token_account

from .helpers import SOL, Rpc, pay, v0
from .test_ledger import advance_of, make_nonce, stored_nonce


def test_ports_are_neighbors_and_free_again_afterwards() -> None:
    with Validator(rpc_port=0, ws_port=0) as node:
        assert node.ws_port == node.rpc_port + 1
        port = node.rpc_port
        assert Rpc(node.rpc_url).call("getHealth") == "ok"
    with Validator(rpc_port=port, ws_port=port + 1) as again:
        assert again.rpc_port == port


def test_a_taken_port_is_an_error_at_once() -> None:
    listener = bind("127.0.0.1", 0)
    listener.listen()
    try:
        with pytest.raises(OSError, match="in use"):
            Validator(rpc_port=listener.getsockname()[1], ws_port=0).start()
    finally:
        listener.close()


def test_a_stopped_validator_can_start_again_and_says_when_it_is_not_running() -> None:
    node = Validator(rpc_port=0, ws_port=0)
    with pytest.raises(RuntimeError, match="not started"):
        _ = node.ledger
    with node, pytest.raises(RuntimeError, match="is running"):
        node.start()
    node.stop()
    with pytest.raises(RuntimeError, match="not running"):
        node.advance()


async def test_stopping_does_not_wait_for_clients() -> None:
    node = await asyncio.to_thread(Validator(rpc_port=0, ws_port=0).start)
    node.faults.stall(20_000, times=1)
    body = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}
    async with aiohttp.ClientSession() as session:
        waiting = asyncio.ensure_future(session.post(node.rpc_url, json=body))
        while not node.faults.log:  # noqa: ASYNC110 - the log is filled by another thread
            await asyncio.sleep(0.01)
        async with session.post(node.rpc_url, json=body) as answer:
            assert (await answer.json())["result"] == "ok"
        await asyncio.to_thread(node.stop)
        with pytest.raises(aiohttp.ClientError):  # had the stop waited for it, it would have its answer
            await waiting


def test_endpoints_come_back_after_a_restart() -> None:
    node = Validator(rpc_port=0, ws_port=0)
    with node:
        first = node.endpoint("second").url
    with node:
        assert Rpc(node.endpoint("second").url).call("getHealth") == "ok"
        assert node.endpoint("second").url.startswith("http://127.0.0.1:")
    assert first


async def test_async_with_and_calls_from_the_loop() -> None:
    async with Validator(rpc_port=0, ws_port=0) as node:
        slot = node.ledger.open.slot
        assert node.advance() == slot + 1
        assert await asyncio.to_thread(node.advance, 2) == slot + 3


def test_calls_run_on_one_thread_and_bring_errors_back() -> None:
    with Validator(rpc_port=0, ws_port=0) as node:
        threads = {node.call(threading.get_ident) for _ in range(3)}
        assert len(threads) == 1
        assert threading.get_ident() not in threads
        with pytest.raises(ZeroDivisionError):
            node.call(lambda: 1 // 0)
        with pytest.raises(RpcError, match="-32602"):
            node.rpc("getBalance", "x")


def test_many_threads_at_once() -> None:
    with Validator(rpc_port=0, ws_port=0) as node:
        target = Pubkey.new_unique()
        errors: list[Exception] = []

        def work() -> None:
            try:
                for _ in range(10):
                    node.airdrop(target, SOL, settle=False)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        account = node.account(target)
        assert account is not None
        assert account.lamports == 80 * SOL


def test_airdrop_settles_without_a_clock_and_can_be_left_processed() -> None:
    with Validator(rpc_port=0, ws_port=0, finality_lag=5) as node:
        target, other = Pubkey.new_unique(), Pubkey.new_unique()
        node.airdrop(target, SOL)
        node.airdrop(other, SOL, settle=False)
        assert node.account(target, "finalized") is not None
        assert node.account(other, "confirmed") is None
        with pytest.raises(ValueError, match="insufficient funds for rent"):
            node.airdrop(Pubkey.new_unique(), 1)


@pytest.mark.parametrize("program", [programs.TOKEN, programs.TOKEN_2022])
def test_mints_and_tokens(program: Pubkey) -> None:
    with Validator(rpc_port=0, ws_port=0) as node:
        owner = Pubkey.new_unique()
        mint = node.create_mint(decimals=9, program=program, freeze_authority=owner)
        assert node.mint_to(mint, owner, 5) == node.mint_to(mint, owner, 5)
        account = node.account(node.mint_to(mint, owner, 2**64 - 11), "finalized")
        assert account is not None
        token = read_token_account(account.data)
        assert token is not None
        assert token.amount_units == 2**64 - 1
        with pytest.raises(MintingFailed, match="custom program error"):
            node.mint_to(mint, owner, 1)
        with pytest.raises(ValueError, match="64 bits"):
            node.mint_to(mint, owner, 2**64)


def test_planted_accounts() -> None:
    with Validator(rpc_port=0, ws_port=0) as node:
        key, owner = Pubkey.new_unique(), Pubkey.new_unique()
        mint = node.create_mint()
        node.set_token_account(key, mint=mint, owner=owner, units=77)
        node.advance()
        amount = Rpc(node.rpc_url).value("getTokenAccountBalance", str(key), {"commitment": "confirmed"})
        assert amount["amount"] == "77"
        node.set_account(key, lamports=0)
        assert node.account(key) is None


def test_warp_moves_slots_and_the_clock_that_programs_see() -> None:
    with Validator(rpc_port=0, ws_port=0, genesis_time_s=1_700_000_000) as node:
        node.warp(seconds=3_600)
        before = node.ledger.open.time_s
        assert before == 1_700_003_600
        assert node.warp(slot=1_000) == 1_000
        assert node.ledger.open.time_s == 1_700_003_600 + 400
        clock = Rpc(node.rpc_url).value(
            "getAccountInfo",
            str(programs.SYSVAR_CLOCK),
            {"encoding": "jsonParsed", "commitment": "processed"},
        )["data"]["parsed"]["info"]
        assert (clock["slot"], clock["unixTimestamp"]) == (1_000, 1_700_004_000)
        with pytest.raises(ValueError, match="does not go back"):
            node.warp(slot=1_000)
        with pytest.raises(ValueError, match="does not go back"):
            node.warp(seconds=-1)


def test_endpoints_share_the_ledger_and_have_their_own_faults() -> None:
    with Validator(rpc_port=0, ws_port=0) as node:
        second = node.endpoint("second")
        assert node.endpoint("second") is second
        main, other = Rpc(node.rpc_url), Rpc(second.url)
        node.advance(4)
        assert main.call("getSlot") == other.call("getSlot")
        second.faults.throttle(times=1)
        body = b'{"jsonrpc":"2.0","id":1,"method":"getSlot"}'
        assert (main.post(body)[0], other.post(body)[0], other.post(body)[0]) == (200, 429, 200)
        second.node.slots_behind = 9
        assert other.error("getHealth")["code"] == -32005
        assert main.call("getHealth") == "ok"


def test_a_saved_ledger_answers_as_before(tmp_path: Path) -> None:
    path = tmp_path / "saved.ledger"
    questions: list[tuple[str, list[object]]] = []
    payer, target = Keypair(), Pubkey.new_unique()
    with Validator(rpc_port=0, ws_port=0, finality_lag=4) as node:
        rpc = Rpc(node.rpc_url)
        node.airdrop(payer.pubkey(), 10 * SOL)
        mint = node.create_mint()
        account = node.mint_to(mint, payer.pubkey(), 99)
        node.ledger.skip_slots(2)
        signature = rpc.send(v0(payer, rpc.blockhash(), pay(payer.pubkey(), target, SOL)))
        node.advance()
        rpc.send(v0(payer, rpc.blockhash(), pay(payer.pubkey(), target, SOL)))
        for level in ("processed", "confirmed", "finalized"):
            config = {"commitment": level}
            questions += [("getBalance", [str(target), config]), ("getLatestBlockhash", [config])]
            questions += [("getEpochInfo", [config])]
        questions += [
            ("getBlocks", [0, {"commitment": "confirmed"}]),
            ("getTransaction", [signature, {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}]),
            ("getSignatureStatuses", [[signature]]),
            ("getSignaturesForAddress", [str(payer.pubkey()), {"commitment": "confirmed"}]),
            (
                "getTokenAccountsByOwner",
                [str(payer.pubkey()), {"mint": str(mint)}, {"encoding": "jsonParsed"}],
            ),
            ("getTokenAccountBalance", [str(account)]),
            ("getGenesisHash", []),
            ("getIdentity", []),
            ("getSupply", []),
        ]
        answers = [node.rpc(name, *params) for name, params in questions]
        node.save(path)
        node.advance(7)
        node.mint_to(mint, payer.pubkey(), 1)
        opened: list[object] = []
        node.ledger.subscribe(opened.append)
        node.restore(path)
        assert [node.rpc(name, *params) for name, params in questions] == answers
        assert [type(event) for event in opened] == [SlotOpened]
    with Validator(rpc_port=0, ws_port=0, ledger_path=path) as fresh:
        assert [fresh.rpc(name, *params) for name, params in questions] == answers
        assert fresh.ledger.finality_lag == 4
        fresh.faults.reorg(1, drop=())
        assert fresh.account(target) is not None
        fresh.finalize()
        assert fresh.rpc("getBalance", str(target))["value"] >= SOL  # type: ignore[index]
        fresh.airdrop(target, SOL)
    with Validator(rpc_port=0, ws_port=0, ledger_path=path) as later:
        assert later.account(target, "finalized").lamports >= 2 * SOL  # type: ignore[union-attr]


def test_a_restored_ledger_still_knows_its_blockhashes_and_nonces(tmp_path: Path) -> None:
    path = tmp_path / "saved.ledger"
    payer = Keypair()
    with Validator(rpc_port=0, ws_port=0) as node:
        node.airdrop(payer.pubkey(), 10 * SOL)
        nonce = node.call(make_nonce, node.ledger, payer)
        value = stored_nonce(node.ledger, nonce.pubkey())
        blockhash = Rpc(node.rpc_url).blockhash()
        node.save(path)
    with Validator(rpc_port=0, ws_port=0, ledger_path=path) as node:
        plain = v0(payer, blockhash, pay(payer.pubkey(), Pubkey.new_unique(), SOL))
        assert not isinstance(node.call(node.ledger.process, plain), NotIncluded)
        durable = v0(payer, value, advance_of(payer, nonce), pay(payer.pubkey(), Pubkey.new_unique(), SOL))
        assert not isinstance(node.call(node.ledger.process, durable), NotIncluded)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a saved ledger"),
        (b"SQLite format 3\0", "is not a saved ledger"),
        (b"MWLEDGR\x63rest", "has format version 99, this program reads 1"),
        (b"MWLEDGR\x01rubbish", "is damaged"),
    ],
)
def test_other_files_are_refused_and_nothing_changes(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.ledger"
    path.write_bytes(content)
    with Validator(rpc_port=0, ws_port=0) as node:
        node.advance(3)
        with pytest.raises(SavedLedgerError, match=message):
            node.restore(path)
        assert node.rpc("getSlot", {"commitment": "processed"}) == 4
    with pytest.raises(SavedLedgerError, match=message):
        Validator(rpc_port=0, ws_port=0, ledger_path=path).start()


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.ledger"
    with Validator(rpc_port=0, ws_port=0) as node:
        node.save(path)
        whole = path.read_bytes()
        for length in (9, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(SavedLedgerError):
                persistence.read_clock(path)


def test_programs_are_loaded_from_files_and_survive_saving(tmp_path: Path) -> None:
    elf, path, program = tmp_path / "memo.so", tmp_path / "saved.ledger", Pubkey.new_unique()
    with Validator(rpc_port=0, ws_port=0) as node:
        memo = node.account(programs.MEMO)
        assert memo is not None
        elf.write_bytes(memo.data)
    payer = Keypair()

    def run(node: Validator) -> list[str]:
        rpc = Rpc(node.rpc_url)
        sent = rpc.send(v0(payer, rpc.blockhash(), Instruction(program, b"hello", [])))
        node.finalize()
        found = rpc.call("getTransaction", sent, {"maxSupportedTransactionVersion": 0})
        assert found["meta"]["err"] is None
        return list(found["meta"]["logMessages"])

    with Validator(rpc_port=0, ws_port=0, programs={program: elf}) as node:
        node.airdrop(payer.pubkey(), SOL)
        logs = run(node)
        assert logs[0] == f"Program {program} invoke [1]"
        node.save(path)
    with Validator(rpc_port=0, ws_port=0, ledger_path=path) as node:
        assert run(node)[-1] == f"Program {program} success"


def test_the_clock_account_is_that_of_the_commitment() -> None:
    with Validator(rpc_port=0, ws_port=0, finality_lag=5) as node:
        node.advance(10)
        rpc = Rpc(node.rpc_url)
        for level in ("processed", "confirmed", "finalized"):
            config = {"encoding": "jsonParsed", "commitment": level}
            data = rpc.value("getAccountInfo", str(programs.SYSVAR_CLOCK), config)["data"]
            slot = rpc.call("getSlot", {"commitment": level})
            assert data["parsed"]["info"]["slot"] == slot
            if level != "processed":
                assert data["parsed"]["info"]["unixTimestamp"] == rpc.call("getBlockTime", slot)


def test_a_seed_makes_the_same_chain() -> None:
    hashes = []
    for _ in range(2):
        with Validator(rpc_port=0, ws_port=0, seed=b"same", genesis_time_s=1_700_000_000) as node:
            node.advance(3)
            hashes.append([block.blockhash for block in node.ledger.chain])
    assert hashes[0] == hashes[1]
    with Validator(rpc_port=0, ws_port=0) as node:
        assert node.ledger.genesis_hash != hashes[0][0]
