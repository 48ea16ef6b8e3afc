"""Test money on a local chain: SOL from its faucet, USDC from the mint that every localnet shares.

Owns: what `makewhole airdrop` does, as an ordinary client over JSON-RPC. Rules: works on chains that have a
faucet and the local mint, and says so on any other; returns when the money can be spent. Must not know the
daemon's keys or database.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final

from solders.pubkey import Pubkey

from chain.addresses import parse_address, parse_amount
from chain.errors import ChainError, RpcError
from chain.instructions import assemble_transaction, build_message
from chain.rpc import RpcPool
from daemon.errors import DaemonError
from localnet.local_usdc import LOCAL_USDC
from localnet.minting import issue_instructions

_DECIMALS: Final = {"SOL": 9, "USDC": LOCAL_USDC.decimals}
_CONFIRMED: Final = {"commitment": "confirmed"}
_AUTHORITY_LAMPORTS: Final = 1_000_000_000
_PATIENCE_S: Final = 20.0
_STEP_S: Final = 0.1


async def airdrop(url: str, address: str, asset: str, amount: str) -> str:
    """Give an address test money and return the signature once it is confirmed.

    Raises DaemonError for an unknown asset, a bad address or amount, and a chain that has no such money.
    """
    if asset not in _DECIMALS:
        raise DaemonError(f"there is no local {asset}; there are {' and '.join(_DECIMALS)}")
    try:
        owner, units = parse_address(address), parse_amount(amount, _DECIMALS[asset])
    except ValueError as error:
        raise DaemonError(str(error)) from None
    if not units:
        raise DaemonError(f"0 {asset} cannot be given; the amount must be above zero")
    async with RpcPool([url]) as pool:
        if asset == "SOL":
            signature = await _faucet(pool, owner, units)
        else:
            signature = await _mint(pool, owner, units)
        await _confirmed(pool, signature)
    return signature


async def _faucet(pool: RpcPool, address: str, lamports: int) -> str:
    try:
        return await pool.call("requestAirdrop", [address, lamports], type=str)
    except RpcError as error:
        raise DaemonError(f"no faucet: {error}. `makewhole localnet` has one.") from None


async def _mint(pool: RpcPool, owner: str, units: int) -> str:
    mint = await pool.call("getAccountInfo", [str(LOCAL_USDC.address), {"encoding": "base64", **_CONFIRMED}])
    if mint["value"] is None:
        raise DaemonError(f"this chain has no local USDC ({LOCAL_USDC}); `makewhole localnet` has it")
    authority = LOCAL_USDC.authority.pubkey()
    balance = await pool.call("getBalance", [str(authority), _CONFIRMED])
    if balance["value"] < _AUTHORITY_LAMPORTS:
        await _confirmed(pool, await _faucet(pool, str(authority), 100 * _AUTHORITY_LAMPORTS))
    latest = await pool.call("getLatestBlockhash", [_CONFIRMED])
    issue = issue_instructions(authority, LOCAL_USDC, Pubkey.from_string(owner), units)
    message = build_message(str(authority), issue, latest["value"]["blockhash"])
    signed = assemble_transaction(message, [bytes(LOCAL_USDC.authority.sign_message(bytes(message)))])
    options = {"encoding": "base64", "preflightCommitment": "confirmed"}
    return await pool.call("sendTransaction", [base64.b64encode(signed).decode(), options], type=str)


async def _confirmed(pool: RpcPool, signature: str) -> None:
    for _ in range(int(_PATIENCE_S / _STEP_S)):
        statuses: dict[str, Any] = await pool.call("getSignatureStatuses", [[signature]])
        status = statuses["value"][0]
        if status is not None and status["err"] is not None:
            raise DaemonError(f"the transaction {signature} failed: {status['err']}")
        if status is not None and status["confirmationStatus"] in ("confirmed", "finalized"):
            return
        await asyncio.sleep(_STEP_S)
    raise ChainError(
        f"{signature} was sent and is not confirmed after {_PATIENCE_S:.0f} s; do slots advance?"
    )


async def describe_cluster(url: str) -> tuple[str, str | None]:
    """Return a chain's genesis hash, and the local USDC mint if it has it."""
    async with RpcPool([url]) as pool:
        genesis = await pool.check_genesis(None)
        found = await pool.call(
            "getAccountInfo", [str(LOCAL_USDC.address), {"encoding": "base64", **_CONFIRMED}]
        )
        return genesis, str(LOCAL_USDC) if found["value"] is not None else None
