"""One interface, two backends: the embedded validator and a driven `solana-test-validator`.

The driver's code runs here against a program that stands in for the real one; where the real one is
installed the same tests run against it, too.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from localnet import Validator, external
from localnet.errors import RpcError
from localnet.external import BackendFailed, BackendUnavailable, ExternalValidator, NotSupported
from localnet.minting import MintingFailed

if TYPE_CHECKING:
    from localnet.external import Backend

FAKE = Path(__file__).parent / "fake_test_validator.py"
SLOT_MS = 25


def put_stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let PATH hold a `solana-test-validator` that stands in for the real one."""
    program = folder / external.PROGRAM
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return program


@pytest.fixture
def fake_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in is on PATH."""
    return put_stand_in(tmp_path, monkeypatch)


REAL = pytest.param(
    "external",
    marks=[
        pytest.mark.optional_backend("solana-test-validator"),
        pytest.mark.skipif(
            external.find_program() is None,
            reason="solana-test-validator is not on PATH: the driver runs against its stand-in only",
        ),
    ],
)


@pytest.fixture(params=["embedded", "stand-in", REAL], scope="module")
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A running validator behind the common interface, one for all the tests: they use fresh accounts."""
    with ExitStack() as stack:
        if request.param == "embedded":
            yield stack.enter_context(Validator(rpc_port=0, ws_port=0, slot_ms=SLOT_MS))
            return
        if request.param == "stand-in":
            patched = stack.enter_context(pytest.MonkeyPatch.context())
            put_stand_in(tmp_path_factory.mktemp("bin"), patched)
        yield stack.enter_context(ExternalValidator(slot_ms=SLOT_MS))


def balance(backend: Backend, key: Pubkey, commitment: str = "confirmed") -> int:
    account = backend.account(key, commitment)
    return 0 if account is None else account.lamports


# --- the same tests for both


def test_slots_pass_and_become_final(backend: Backend) -> None:
    first = backend.rpc("getSlot", {"commitment": "processed"})
    assert isinstance(first, int)
    assert backend.advance(3) >= first + 3
    goal = backend.rpc("getSlot", {"commitment": "processed"})
    assert isinstance(goal, int)
    backend.finalize()
    finalized = backend.rpc("getSlot", {"commitment": "finalized"})
    assert isinstance(finalized, int)
    assert finalized >= goal - 1


def test_an_airdrop_arrives(backend: Backend) -> None:
    key = Keypair().pubkey()
    signature = backend.airdrop(key, 3_000_000_000, settle=True)
    assert balance(backend, key, "finalized") == 3_000_000_000
    history = backend.rpc("getSignaturesForAddress", str(key))
    assert isinstance(history, list)
    assert [entry["signature"] for entry in history] == [signature]


def test_mints_and_token_accounts(backend: Backend) -> None:
    owner, freezer = Keypair().pubkey(), Keypair().pubkey()
    keypair, authority = Keypair(), Keypair()
    mint = backend.create_mint(
        decimals=4, keypair=keypair, authority=authority, freeze_authority=freezer, settle=True
    )
    assert (mint.address, mint.decimals, mint.authority) == (keypair.pubkey(), 4, authority)
    account = backend.mint_to(mint, owner, 12_345, settle=True)
    assert backend.mint_to(mint, owner, 5, settle=True) == account
    amount = backend.rpc("getTokenAccountBalance", str(account))
    assert isinstance(amount, dict)
    assert (amount["value"]["amount"], amount["value"]["decimals"]) == ("12350", 4)
    info = backend.rpc("getAccountInfo", str(mint.address), {"encoding": "jsonParsed"})
    assert isinstance(info, dict)
    parsed = info["value"]["data"]["parsed"]["info"]
    assert parsed == {
        "decimals": 4,
        "freezeAuthority": str(freezer),
        "isInitialized": True,
        "mintAuthority": str(authority.pubkey()),
        "supply": "12350",
    }


def test_an_account_that_does_not_exist_is_none(backend: Backend) -> None:
    assert backend.account(Keypair().pubkey()) is None


def test_a_mint_at_a_used_address_fails(backend: Backend) -> None:
    keypair = Keypair()
    backend.create_mint(keypair=keypair, settle=True)
    with pytest.raises(MintingFailed):
        backend.create_mint(keypair=keypair)


def test_an_impossible_airdrop_is_a_value_error(backend: Backend) -> None:
    with pytest.raises(ValueError, match="airdrop failed"):
        backend.airdrop(Keypair().pubkey(), 2**63)


def test_refusals_are_rpc_errors(backend: Backend) -> None:
    with pytest.raises(RpcError) as refused:
        backend.rpc("getBalance", "not an address")
    assert refused.value.code == -32602


async def test_subscriptions_are_at_the_next_port(backend: Backend) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(backend.ws_url) as socket:
        await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "slotSubscribe"})
        assert isinstance((await socket.receive_json(timeout=60))["result"], int)
        assert (await socket.receive_json(timeout=60))["method"] == "slotNotification"
    assert int(backend.ws_url.rsplit(":", 1)[1]) == int(backend.rpc_url.rsplit(":", 1)[1]) + 1


# --- what only the driver has


def test_the_command_line_and_the_end_of_the_program(fake_on_path: Path) -> None:
    with ExternalValidator(slot_ms=100, arguments=["--slots-per-epoch", "64"]) as validator:
        folder = validator._folder
        assert folder is not None
        options = json.loads((folder / "ledger" / "options.json").read_text())
        process = validator._process
        assert process is not None
    assert options["ticks_per_slot"] == 16
    assert options["slots_per_epoch"] == 64
    assert (options["quiet"], options["reset"], options["bind_address"]) == (True, True, "127.0.0.1")
    assert options["rpc_port"] == validator.rpc_port
    assert process.returncode == 0
    assert not folder.exists()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", validator.rpc_port))
    validator.stop()


async def test_it_is_an_async_context_manager_and_can_start_again(fake_on_path: Path) -> None:
    validator = ExternalValidator(slot_ms=SLOT_MS)
    for _ in range(2):
        async with validator:
            assert validator.rpc("getHealth") == "ok"
            with pytest.raises(RuntimeError, match="is running"):
                validator.start()


def test_slots_have_at_least_two_ticks(fake_on_path: Path) -> None:
    with ExternalValidator(slot_ms=1) as validator:
        assert validator.advance(2) > 2


def test_further_endpoints_are_faulty_separately(fake_on_path: Path) -> None:
    with ExternalValidator(slot_ms=SLOT_MS) as validator:
        one, two = validator.endpoint("one"), validator.endpoint("two")
        assert validator.endpoint("one") is one
        assert one.url != two.url
        one.faults.lie_height(1_000_000)
        port = int(one.url.rsplit(":", 1)[1])
        lying = external.RpcClient("127.0.0.1", port).call("getSlot")
        honest = external.RpcClient("127.0.0.1", int(two.url.rsplit(":", 1)[1])).call("getSlot")
        assert lying >= 1_000_000 > honest
        assert validator.faults.endpoint("one") is one.faults
        with pytest.raises(ValueError, match="this backend cannot skip slots or reorganize"):
            validator.faults.skip_slots()


def test_what_it_cannot_do_is_said(fake_on_path: Path) -> None:
    validator = ExternalValidator()
    for attempt in (
        validator.pause,
        validator.resume,
        validator.warp,
        lambda: validator.save("x"),
        lambda: validator.restore("x"),
        lambda: validator.set_account(Keypair().pubkey(), lamports=1),
    ):
        with pytest.raises(
            NotSupported, match=r"solana-test-validator cannot .*; the embedded validator can"
        ):
            attempt()


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BackendUnavailable, match=r"solana-test-validator is not on PATH"):
        ExternalValidator().start()


def test_a_program_that_crashes_at_start_is_quoted(
    fake_on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "crash")
    words = "ended with status 1: Error: failed to start validator: .* no space left"
    with pytest.raises(BackendFailed, match=words):
        ExternalValidator().start()


def test_a_program_that_never_answers_is_given_up_and_ended(
    fake_on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "deaf")
    validator = ExternalValidator(start_timeout_s=1.5)
    with pytest.raises(BackendFailed, match=r"solana-test-validator is not healthy after 1.5 s"):
        validator.start()
    assert (validator._process, validator._folder) == (None, None)


def test_a_program_that_dies_is_noticed_while_waiting(
    fake_on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "dies")
    with ExternalValidator(slot_ms=SLOT_MS) as validator:
        with pytest.raises((BackendFailed, OSError)) as failed:
            validator.advance(100_000)
        assert "status 3" in str(failed.value) or isinstance(failed.value, OSError)


def test_a_chain_that_stands_still_is_not_waited_for_forever(
    fake_on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "stuck")
    with (
        ExternalValidator(slot_ms=SLOT_MS, call_timeout_s=0.3) as validator,
        pytest.raises(BackendFailed, match=r"has not processed slot \d+ after 0.3 s"),
    ):
        validator.advance(5)


def test_a_program_that_ignores_the_signal_is_killed(
    fake_on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "stubborn")
    monkeypatch.setattr(external, "_STOP_S", 0.2)
    validator = ExternalValidator(slot_ms=SLOT_MS).start()
    process = validator._process
    assert process is not None
    validator.stop()
    assert process.returncode == -9


def test_free_port_ranges_avoid_taken_ports() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        taken = holder.getsockname()[1]
        for _ in range(20):
            first = external._free_port_range(8)
            assert taken not in range(first, first + 8)
