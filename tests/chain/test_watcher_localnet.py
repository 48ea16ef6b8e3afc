"""The watcher against a real ledger that runs the real token programs, over real sockets.

What test_attacks.py forges is made here by the programs themselves, as far as they can be made to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer

from chain.addresses import DepositKeys
from chain.rpc import Endpoint, RpcPool
from chain.scanner import Credit, NoticeKind, Watchlist
from chain.tokens import (
    NATIVE_SOL,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    WRAPPED_SOL_MINT,
    TokenMint,
    associated_token_address,
)
from chain.watcher import Alarm, AlarmKind, DepositWatcher, WatcherOptions
from localnet import Validator

from .onchain import (
    FAST,
    credits_of,
    drain,
    notices_of,
    open_account,
    pool_for,
    scan_all,
    send,
    token_instruction,
)
from .test_watcher import until

SOL = 10**9
KEYS = DepositKeys(bytes(range(64)))
ALICE = KEYS.address(1, 0)
BOB = KEYS.address(2, 0)


class Town:
    """A validator, a customer with SOL and USDC of her own, and a watchlist with two deposit addresses."""

    def __init__(self, validator: Validator) -> None:
        self.validator = validator
        self.customer = Keypair()
        validator.airdrop(self.customer.pubkey(), 100 * SOL)
        self.mint = validator.create_mint(decimals=6)
        self.source = validator.mint_to(self.mint, self.customer.pubkey(), 1_000_000)
        self.usdc = TokenMint("USDC", str(self.mint), TOKEN_PROGRAM, 6)
        self.wsol = TokenMint("WSOL", WRAPPED_SOL_MINT, TOKEN_PROGRAM, 9)
        self.watchlist = Watchlist([NATIVE_SOL, self.usdc, self.wsol])
        self.watchlist.add(ALICE)
        self.watchlist.add(BOB)

    def send(self, *instructions: Any, signers: tuple[Keypair, ...] = (), **options: Any) -> str:
        return send(self.validator, instructions, self.customer, *signers, **options)

    def sol(self, to: str, lamports: int) -> Any:
        return transfer(
            TransferParams(
                from_pubkey=self.customer.pubkey(), to_pubkey=Pubkey.from_string(to), lamports=lamports
            )
        )

    def open(self, owner: str, mint: Pubkey | None = None, program: str = TOKEN_PROGRAM) -> Any:
        return open_account(
            self.customer.pubkey(),
            Pubkey.from_string(owner),
            mint or self.mint.address,
            Pubkey.from_string(program),
        )

    def pay(self, destination: str, units: int) -> Any:
        data = b"\x0c" + units.to_bytes(8, "little") + bytes([6])  # TransferChecked
        return token_instruction(
            TOKEN_PROGRAM, data, writable=(str(self.source), destination), readonly=(str(self.mint),),
            signer=str(self.customer.pubkey()), mint_second=True,
        )  # fmt: skip

    def ata(self, owner: str, token: TokenMint | None = None) -> str:
        token = token or self.usdc
        return associated_token_address(owner, token.mint or "", token.program or "")


@pytest.fixture
def town(validator: Validator) -> Town:
    return Town(validator)


async def test_sol_and_tokens_arrive_exactly_and_once(town: Town) -> None:
    sol = town.send(town.sol(ALICE, 3 * SOL))
    usdc = town.send(town.open(ALICE), town.pay(town.ata(ALICE), 250))
    again = town.send(town.pay(town.ata(ALICE), 7), town.pay(town.ata(ALICE), 3))
    blocks = await scan_all(town.validator, town.watchlist)
    sender = str(town.customer.pubkey())
    assert [(c.signature, c.account, c.symbol, c.units, c.sender) for c in credits_of(blocks)] == [
        (sol, ALICE, "SOL", 3 * SOL, sender),
        (usdc, town.ata(ALICE), "USDC", 250, sender),
        (again, town.ata(ALICE), "USDC", 10, sender),
    ]
    assert notices_of(blocks) == []
    assert [b.slot for b in blocks] == sorted({b.slot for b in blocks})
    # From any checkpoint on, the same again (D4).
    middle = blocks[len(blocks) // 2]
    rest = await scan_all(town.validator, town.watchlist, checkpoint=middle.checkpoint)
    assert rest == blocks[len(blocks) // 2 + 1 :]


async def test_a_failed_transaction_credits_nothing(town: Town) -> None:
    town.send(town.open(ALICE))
    before = await scan_all(town.validator, town.watchlist)
    town.send(town.sol(ALICE, 5), town.pay(town.ata(ALICE), 10**12), expect_failure=True)
    blocks = await scan_all(town.validator, town.watchlist, checkpoint=before[-1].checkpoint)
    assert (credits_of(blocks), notices_of(blocks)) == ([], [])


async def test_a_v1_transaction_is_credited(town: Town) -> None:
    town.send(town.sol(ALICE, 5_000_000), version=1)
    assert [c.units for c in credits_of(await scan_all(town.validator, town.watchlist))] == [5_000_000]


async def test_fake_mint_and_handed_over_account_are_listed_and_not_credited(town: Town) -> None:
    fake = town.validator.create_mint(decimals=6)
    town.validator.mint_to(fake, Pubkey.from_string(ALICE), 10**9)
    # A filled account of the customer that is not a derived one becomes alice's by SetAuthority.
    account = Keypair()
    rent: Any = town.validator.rpc("getMinimumBalanceForRentExemption", 165)
    create = create_account(
        CreateAccountParams(
            from_pubkey=town.customer.pubkey(), to_pubkey=account.pubkey(), lamports=rent, space=165,
            owner=Pubkey.from_string(TOKEN_PROGRAM),
        )
    )  # fmt: skip
    initialize = token_instruction(  # InitializeAccount3
        TOKEN_PROGRAM, b"\x12" + bytes(town.customer.pubkey()),
        writable=(str(account.pubkey()),), readonly=(str(town.mint),),
    )  # fmt: skip
    town.send(create, initialize, town.pay(str(account.pubkey()), 700), signers=(account,))
    hand_over = token_instruction(  # SetAuthority(AccountOwner)
        TOKEN_PROGRAM, b"\x06\x02\x01" + bytes(Pubkey.from_string(ALICE)),
        writable=(str(account.pubkey()),), signer=str(town.customer.pubkey()),
    )  # fmt: skip
    # With a lamport to bob, so that the transaction names somebody we watch.
    town.send(hand_over, town.sol(BOB, SOL))
    blocks = await scan_all(town.validator, town.watchlist)
    assert [(c.account, c.units) for c in credits_of(blocks)] == [(BOB, SOL)]
    assert (NoticeKind.UNDERIVED_ACCOUNT, str(account.pubkey()), 700) in [
        (n.kind, n.account, n.units) for n in notices_of(blocks)
    ]
    unknown = [n for n in notices_of(blocks) if n.kind is NoticeKind.UNKNOWN_TOKEN]
    assert {n.mint for n in unknown} == {str(fake)}


async def test_wrapped_sol_is_a_token_deposit_once(town: Town) -> None:
    account = town.ata(ALICE, town.wsol)
    town.send(town.open(ALICE, Pubkey.from_string(WRAPPED_SOL_MINT)))
    sync = token_instruction(TOKEN_PROGRAM, b"\x11", writable=(account,))  # SyncNative
    town.send(town.sol(account, 3_000), sync)
    town.send(town.sol(account, 500))  # nobody synced yet
    town.send(sync)
    blocks = await scan_all(town.validator, town.watchlist)
    assert [(c.account, c.symbol, c.units) for c in credits_of(blocks)] == [
        (account, "WSOL", 3_000),
        (account, "WSOL", 500),
    ]
    assert [(n.kind, n.units) for n in notices_of(blocks)] == [(NoticeKind.MISDIRECTED_LAMPORTS, 500)]


async def test_wallet_funded_by_closing_an_account(town: Town) -> None:
    wsol = Pubkey.from_string(WRAPPED_SOL_MINT)
    own = associated_token_address(str(town.customer.pubkey()), WRAPPED_SOL_MINT, TOKEN_PROGRAM)
    close = token_instruction(  # CloseAccount
        TOKEN_PROGRAM, b"\x09", writable=(own, ALICE), signer=str(town.customer.pubkey())
    )
    sync = token_instruction(TOKEN_PROGRAM, b"\x11", writable=(own,))
    town.send(town.open(str(town.customer.pubkey()), wsol), town.sol(own, SOL), sync)
    rent: Any = town.validator.rpc("getMinimumBalanceForRentExemption", 165)
    town.send(close)
    found = credits_of(await scan_all(town.validator, town.watchlist))
    assert [(c.account, c.symbol, c.units) for c in found] == [(ALICE, "SOL", SOL + rent)]


async def test_our_own_sweep_is_no_deposit(town: Town) -> None:
    town.send(town.sol(ALICE, 2 * SOL), town.open(ALICE), town.pay(town.ata(ALICE), 90), town.open(BOB))
    alice = KEYS.keypair(1, 0)
    move = transfer(
        TransferParams(from_pubkey=alice.pubkey(), to_pubkey=Pubkey.from_string(BOB), lamports=SOL)
    )
    send(town.validator, [move], alice)
    blocks = await scan_all(town.validator, town.watchlist)
    # In one transaction accounts come in the order of its message, which depends on their keys.
    assert {(c.account, c.units) for c in credits_of(blocks)} == {(ALICE, 2 * SOL), (town.ata(ALICE), 90)}
    assert [(n.kind, n.account, n.units) for n in notices_of(blocks)] == [
        (NoticeKind.OWN_TRANSACTION, ALICE, -SOL - 5_000),
        (NoticeKind.OWN_TRANSACTION, BOB, SOL),
    ]


async def test_a_frozen_token_account_is_an_alarm(validator: Validator) -> None:
    authority = Keypair()
    validator.airdrop(authority.pubkey(), SOL)
    program = Pubkey.from_string(TOKEN_2022_PROGRAM)
    mint = validator.create_mint(program=program, freeze_authority=authority.pubkey())
    account = validator.mint_to(mint, Pubkey.from_string(ALICE), 900)
    freeze = token_instruction(  # FreezeAccount
        TOKEN_2022_PROGRAM, b"\x0a", writable=(str(account),), readonly=(str(mint),),
        signer=str(authority.pubkey()),
    )  # fmt: skip
    send(validator, [freeze], authority)
    watchlist = Watchlist([TokenMint("EUR", str(mint), TOKEN_2022_PROGRAM, mint.decimals)])
    watchlist.add(ALICE)
    alarms: list[Alarm] = []
    async with pool_for(validator) as pool:
        watcher = DepositWatcher(pool, watchlist, start_slot=0, options=FAST, on_alarm=alarms.append)
        blocks = await drain(watcher, validator)
    assert [(c.symbol, c.units) for c in credits_of(blocks)] == [("EUR", 900)]
    assert [n.kind for n in notices_of(blocks)] == [NoticeKind.ACCOUNT_TOUCHED, NoticeKind.FROZEN]
    assert [a.kind for a in alarms] == [AlarmKind.ACCOUNT]


async def test_skipped_slots_are_proven_by_the_parent_link(town: Town) -> None:
    town.send(town.sol(ALICE, SOL))
    town.validator.faults.skip_slots(5)
    town.validator.advance(6)
    town.send(town.sol(BOB, SOL))
    blocks = await scan_all(town.validator, town.watchlist)
    assert max(b.slot - b.parent_slot for b in blocks) == 6
    assert [(c.account, c.units) for c in credits_of(blocks)] == [(ALICE, SOL), (BOB, SOL)]


async def test_d8_seen_at_confirmed_then_credited_at_finalized(town: Town) -> None:
    seen: list[Credit] = []
    options = WatcherOptions(poll_interval_s=0.02)
    async with pool_for(town.validator) as pool:
        watcher = DepositWatcher(pool, town.watchlist, options=options, on_seen=seen.append)
        deposits = aiter(watcher)
        arriving = asyncio.create_task(anext(deposits))  # type: ignore[arg-type]
        await until(lambda: watcher.checkpoint is not None)
        value: Any = town.validator.rpc("getSlot", {"commitment": "finalized"})
        town.validator.rpc("requestAirdrop", ALICE, SOL)
        town.validator.advance(2)  # confirmed trails by 1, finalized by 2
        await until(lambda: seen)
        assert not arriving.done() or town.validator.rpc("getSlot", {"commitment": "finalized"}) > value
        town.validator.finalize()
        credit = await asyncio.wait_for(arriving, 60)
        await deposits.aclose()  # type: ignore[attr-defined]
    assert credit == seen[0]
    assert (credit.account, credit.units) == (ALICE, SOL)


async def test_d8_a_reorganized_deposit_is_voided_and_never_credited(
    validator_factory: Callable[..., Validator],
) -> None:
    validator = validator_factory(confirmed_lag=1, finality_lag=8)
    town = Town(validator)
    seen: list[Credit] = []
    voided: list[Credit] = []
    options = WatcherOptions(poll_interval_s=0.02)
    async with pool_for(validator) as pool:
        watcher = DepositWatcher(
            pool, town.watchlist, options=options, on_seen=seen.append, on_voided=voided.append
        )
        found: list[Credit] = []

        async def consume() -> None:
            async with contextlib.aclosing(watcher.deposits()) as deposits:
                async for deposit in deposits:
                    found.append(deposit)

        consuming = asyncio.create_task(consume())
        await until(lambda: watcher.checkpoint is not None)
        validator.rpc("requestAirdrop", ALICE, SOL)
        validator.advance(3)
        await until(lambda: seen)
        validator.faults.reorg(3)
        validator.finalize()
        await until(lambda: voided)
        validator.airdrop(Pubkey.from_string(BOB), SOL)
        validator.finalize()
        await until(lambda: found)
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
    assert [(c.account, c.units) for c in found] == [(BOB, SOL)]
    assert voided == seen[: len(voided)]
    assert voided[0].account == ALICE


FAULTS: dict[str, Callable[[Any, int], Any]] = {
    "withheld as null": lambda faults, slot: faults.withhold(slot),
    "withheld as skipped": lambda faults, slot: faults.withhold(slot, answer="-32007"),
    "withheld as not available": lambda faults, slot: faults.withhold(slot, answer="-32004"),
    "cleaned up": lambda faults, slot: faults.withhold(slot, answer="-32001"),
    "swapped": lambda faults, slot: faults.swap(slot, slot - 1),
    "repeated": lambda faults, slot: faults.repeat(slot, of=slot - 1),
    "inflated": lambda faults, slot: faults.alter("inflate", slot),
    "without meta": lambda faults, slot: faults.alter("no_meta", slot),
    "a transaction twice": lambda faults, slot: faults.alter("twice", slot),
    "another blockhash": lambda faults, slot: faults.alter("blockhash", slot),
    "another parent": lambda faults, slot: faults.alter("parent_slot", slot),
    "another previous blockhash": lambda faults, slot: faults.alter("previous_blockhash", slot),
    "HTML": lambda faults, slot: faults.html(methods=("getBlock",)),
    "empty": lambda faults, slot: faults.empty(methods=("getBlock",)),
    "cut": lambda faults, slot: faults.cut(methods=("getBlock",)),
    "garbled": lambda faults, slot: faults.garble(methods=("getBlock",)),
    "dropped": lambda faults, slot: faults.drop(),
    "throttled": lambda faults, slot: faults.throttle(retry_after_s=1),
    "lagging": lambda faults, slot: faults.lag(100),
    "ahead of the cluster": lambda faults, slot: faults.lie_height(50),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_one_bad_node_among_three_neither_loses_nor_adds_a_deposit(town: Town, name: str) -> None:
    town.send(town.sol(ALICE, SOL))
    signature = town.send(town.open(ALICE), town.pay(town.ata(ALICE), 250))
    town.send(town.sol(BOB, 2 * SOL))
    landed: Any = town.validator.rpc("getTransaction", signature, {"maxSupportedTransactionVersion": 1})
    FAULTS[name](town.validator.faults, landed["slot"])
    async with pool_for_unchecked(town.validator) as pool:
        watcher = DepositWatcher(pool, town.watchlist, start_slot=0, options=FAST)
        blocks = await drain(watcher, town.validator)
    assert [(c.account, c.units) for c in credits_of(blocks)] == [
        (ALICE, SOL),
        (town.ata(ALICE), 250),
        (BOB, 2 * SOL),
    ]
    assert watcher.alarms.active == {}
    assert town.validator.faults.log, "the fault never fired: this test would show nothing"


@contextlib.asynccontextmanager
async def pool_for_unchecked(validator: Validator) -> Any:
    """Three endpoints without the genesis check, which a dead one would delay."""
    endpoints = [Endpoint(validator.rpc_url, validator.ws_url, "main")]
    for name in ("b", "c"):
        extra = validator.endpoint(name)
        endpoints.append(Endpoint(extra.url, extra.ws_url, name))
    async with RpcPool(
        endpoints,
        requests_per_second=10_000,
        first_back_off_s=0.01,
        longest_back_off_s=0.05,
        attempts=2,
        timeout_s=2,
    ) as pool:
        yield pool


async def test_watching_begins_on_a_chain_that_has_only_its_genesis_block(validator: Validator) -> None:
    watchlist = Watchlist([NATIVE_SOL])
    watchlist.add(ALICE)
    async with pool_for(validator) as pool:
        watcher = DepositWatcher(pool, watchlist, options=FAST)
        arriving = asyncio.create_task(anext(watcher.deposits()))
        await until(lambda: watcher.checkpoint is not None)
        assert watcher.checkpoint is not None
        assert watcher.checkpoint.slot == 0
        validator.airdrop(Pubkey.from_string(ALICE), SOL)
        credit = await asyncio.wait_for(arriving, 60)
    assert (credit.account, credit.units) == (ALICE, SOL)


@pytest.mark.localnet(slot_ms=50)
async def test_on_a_clock_deposits_arrive_by_themselves(validator: Validator) -> None:
    watchlist = Watchlist([NATIVE_SOL])
    watchlist.add(ALICE)
    async with pool_for(validator) as pool:
        watcher = DepositWatcher(pool, watchlist)
        arriving = asyncio.create_task(anext(watcher.deposits()))
        await until(lambda: watcher.checkpoint is not None)
        validator.rpc("requestAirdrop", ALICE, SOL)
        credit = await asyncio.wait_for(arriving, 60)
    assert (credit.account, credit.units) == (ALICE, SOL)
