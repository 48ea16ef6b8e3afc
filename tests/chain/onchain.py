"""Real transactions on a localnet, and the watcher's view of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from chain.rpc import Endpoint, RpcPool
from chain.scanner import Checkpoint, Credit, Notice, ScannedBlock, Watchlist
from chain.tokens import ASSOCIATED_TOKEN_PROGRAM
from chain.watcher import DepositWatcher, WatcherOptions
from localnet import Validator

FAST = WatcherOptions(poll_interval_s=0.02, longest_retry_s=0.05, early_notice=False)


def send(
    validator: Validator,
    instructions: Sequence[Instruction],
    *signers: Keypair,
    tables: Sequence[AddressLookupTableAccount] = (),
    version: int = 0,
    expect_failure: bool = False,
) -> str:
    """Send over JSON-RPC, finalize, and return the signature; the first signer pays."""
    value: Any = validator.rpc("getLatestBlockhash", {"commitment": "processed"})
    recent = Hash.from_string(value["value"]["blockhash"])
    payer = signers[0].pubkey()
    message = (
        MessageV1.try_compile(payer, list(instructions), recent)
        if version == 1
        else MessageV0.try_compile(payer, list(instructions), list(tables), recent)
    )
    wire = base64.b64encode(bytes(VersionedTransaction(message, list(signers)))).decode()
    options = {"encoding": "base64", "skipPreflight": True}
    signature = str(validator.rpc("sendTransaction", wire, options))
    validator.finalize()
    status: Any = validator.rpc("getSignatureStatuses", [signature], {"searchTransactionHistory": True})
    (landed,) = status["value"]
    assert landed is not None, f"{signature} did not land"
    assert (landed["err"] is not None) is expect_failure, landed
    return signature


def open_account(payer: Pubkey, owner: Pubkey, mint: Pubkey, program: Pubkey) -> Instruction:
    """CreateIdempotent of the associated token program."""
    account = Pubkey.find_program_address(
        [bytes(owner), bytes(program), bytes(mint)], Pubkey.from_string(ASSOCIATED_TOKEN_PROGRAM)
    )[0]
    metas = [
        AccountMeta(payer, True, True),
        AccountMeta(account, False, True),
        AccountMeta(owner, False, False),
        AccountMeta(mint, False, False),
        AccountMeta(Pubkey.default(), False, False),
        AccountMeta(program, False, False),
    ]
    return Instruction(Pubkey.from_string(ASSOCIATED_TOKEN_PROGRAM), bytes([1]), metas)


def token_instruction(
    program: str,
    data: bytes,
    *,
    writable: Sequence[str],
    readonly: Sequence[str] = (),
    signer: str = "",
    mint_second: bool = False,
) -> Instruction:
    """An instruction of a token program: writable accounts, then read-only ones, then the authority."""
    metas = [AccountMeta(Pubkey.from_string(key), False, True) for key in writable]
    others = [AccountMeta(Pubkey.from_string(key), False, False) for key in readonly]
    metas = [metas[0], *others, *metas[1:]] if mint_second else [*metas, *others]
    if signer:
        metas.append(AccountMeta(Pubkey.from_string(signer), True, False))
    return Instruction(Pubkey.from_string(program), data, metas)


@contextlib.asynccontextmanager
async def pool_for(validator: Validator, *names: str, **options: Any) -> AsyncIterator[RpcPool]:
    """A pool on the main endpoint and further ones on the same ledger."""
    endpoints = [Endpoint(validator.rpc_url, validator.ws_url, "main")]
    for name in names:
        extra = validator.endpoint(name)
        endpoints.append(Endpoint(extra.url, extra.ws_url, name))
    options = {
        "requests_per_second": 10_000,
        "first_back_off_s": 0.01,
        "longest_back_off_s": 0.05,
        "attempts": 2,
    } | options
    async with RpcPool(endpoints, **options) as pool:
        await pool.check_genesis(None)
        yield pool


async def scan_all(
    validator: Validator, watchlist: Watchlist, *, checkpoint: Checkpoint | None = None
) -> list[ScannedBlock]:
    """Every finalized block there is now, through the watcher over real sockets."""
    async with pool_for(validator) as pool:
        start = None if checkpoint is not None else 0
        watcher = DepositWatcher(pool, watchlist, checkpoint=checkpoint, start_slot=start, options=FAST)
        return await drain(watcher, validator)


async def drain(watcher: DepositWatcher, validator: Validator) -> list[ScannedBlock]:
    """Take blocks up to the finalized head."""
    head: Any = validator.rpc("getSlot", {"commitment": "finalized"})
    taken: list[ScannedBlock] = []
    if watcher.checkpoint is not None and watcher.checkpoint.slot >= head:
        return taken
    async with asyncio.timeout(60), contextlib.aclosing(watcher.blocks()) as blocks:
        async for block in blocks:
            taken.append(block)
            if block.slot >= head:
                break
    return taken


def credits_of(blocks: Sequence[ScannedBlock]) -> list[Credit]:
    return [credit for block in blocks for credit in block.credits]


def notices_of(blocks: Sequence[ScannedBlock]) -> list[Notice]:
    return [notice for block in blocks for notice in block.notices]
