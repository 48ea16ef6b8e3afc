"""Reads what a finalized payout did to the hot wallet, from the balances around it.

Owns: the cost of a landing. Must not know: endpoints' health, records' states.
Rule: what the payout cost is what the source lost beyond it, from pre and post balances: fee, priority
fee and the rent of an account it created. Never computed from our own intentions: the chain's balances are
what the ledger has to agree with. Balances that do not show the payout are a contradiction, not a cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from chain.rpc import RpcPool
from chain.submission import PayoutRequest


class _TokenAmount(msgspec.Struct):
    amount: str


class _TokenBalance(msgspec.Struct, rename="camel"):
    account_index: int
    mint: str
    ui_token_amount: _TokenAmount


class _Meta(msgspec.Struct, rename="camel"):
    fee: int
    pre_balances: list[int]
    post_balances: list[int]
    err: msgspec.Raw = msgspec.Raw(b"null")  # not `| None`: msgspec reads that as null only
    pre_token_balances: list[_TokenBalance] | None = None
    post_token_balances: list[_TokenBalance] | None = None


class _Message(msgspec.Struct, rename="camel"):
    account_keys: list[str]


class _Transaction(msgspec.Struct):
    message: _Message
    signatures: list[str]


class Landing(msgspec.Struct, frozen=True):
    """A finalized transaction as an endpoint tells it."""

    slot: int
    transaction: _Transaction
    meta: _Meta

    @property
    def error(self) -> str:
        err = bytes(self.meta.err)
        return "" if err == b"null" else err.decode()


@dataclass(frozen=True, slots=True)
class LandingCost:
    """The lamports a landing cost beyond the payout, or why its balances cannot be believed."""

    network_fee_units: int
    contradiction: str = ""


async def read_landing(pool: RpcPool, signature: str) -> Landing | None:
    """Return the finalized transaction, or None if the endpoint has not got it yet. Raises ChainError."""
    options = {"encoding": "json", "commitment": "finalized", "maxSupportedTransactionVersion": 0}
    landing: Landing | None = await pool.call("getTransaction", [signature, options], type=Landing | None)
    return landing


def cost_of_landing(landing: Landing, request: PayoutRequest, source: str, source_token: str) -> LandingCost:
    """Return pre - post lamports of the source, less the payout if it was in SOL and landed without error.

    `source_token` is the source's token account ("" for SOL): it must have lost exactly the units paid.
    """
    keys, meta = landing.transaction.message.account_keys, landing.meta
    if not keys or keys[0] != source or not meta.pre_balances or not meta.post_balances:
        return LandingCost(0, f"{source} is not the payer of the transaction")
    lost_lamports = meta.pre_balances[0] - meta.post_balances[0]
    paid = 0 if landing.error else request.units
    cost = lost_lamports - (paid if request.mint is None else 0)
    if cost < meta.fee:
        return LandingCost(
            0, f"the source lost {lost_lamports} lamports, which does not cover payout and fee of {meta.fee}"
        )
    if request.mint is not None and not landing.error:
        if source_token not in keys:
            return LandingCost(0, f"the transaction does not touch {source_token}")
        index = keys.index(source_token)
        lost = _units(meta.pre_token_balances, index) - _units(meta.post_token_balances, index)
        if lost != request.units:
            return LandingCost(
                0, f"the token account {source_token} lost {lost} units, not the {request.units} to be paid"
            )
    return LandingCost(cost)


def _units(balances: list[_TokenBalance] | None, index: int) -> int:
    return next((int(b.ui_token_amount.amount) for b in balances or () if b.account_index == index), 0)
