"""From a request to a message: the route of the money, simulation, price and blockhash.

Owns: what has to be read from the chain before a payout can be signed. Must not know: states, stores, keys.
Rules: blockhash and simulation at `confirmed` (W2); rent and prices are asked for, never remembered (W6).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import msgspec
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import Message

from chain.destination import (
    TOKEN_ACCOUNT_BYTES,
    parse_mint,
    parse_token_account,
    read_accounts,
    rent_exempt_minimum,
)
from chain.errors import ChainError
from chain.fees import compute_unit_limit_for, compute_unit_price_for
from chain.instructions import (
    LARGEST_COMPUTE_UNIT_LIMIT,
    build_message,
    compute_unit_limit,
    compute_unit_price,
    create_associated_token_account,
    memo,
    transfer_checked,
    transfer_lamports,
    unsigned_transaction,
    write_locked_accounts,
)
from chain.rpc import RpcPool
from chain.submission import PayoutRequest
from chain.tokens import associated_token_address

# Simulation errors that say the hot wallet is short. Text is searched, variants are not decoded (D5).
_SHORT_OF_FUNDS = ('"Custom":1}', "InsufficientFunds", "AccountNotFound")


class SimulationFailed(ChainError):
    """The payout would fail if it were sent; nothing was signed."""

    retry_safe = True

    def __init__(self, error: str, logs: tuple[str, ...]) -> None:
        super().__init__(f"simulation failed: {error}; {' | '.join(logs[-4:])}")
        self.error = error

    @property
    def is_short_of_funds(self) -> bool:
        return any(text in self.error.replace(" ", "") for text in _SHORT_OF_FUNDS)


@dataclass(frozen=True, slots=True)
class Route:
    """The accounts a payout goes through, and the rent it has to bring if the last one is missing."""

    source: str
    program: str = ""
    decimals: int = 9
    source_token: str = ""
    destination_token: str = ""
    rent_lamports: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message ready to be signed, with what it needs to be recognized as dead later."""

    message: Message
    blockhash: str
    last_valid_block_height: int
    slot: int


class _Context(msgspec.Struct):
    slot: int


class _LatestBlockhash(msgspec.Struct, rename="camel"):
    blockhash: str
    last_valid_block_height: int


class _Latest(msgspec.Struct):
    context: _Context
    value: _LatestBlockhash


class _SimulationValue(msgspec.Struct, rename="camel"):
    err: msgspec.Raw = msgspec.Raw(b"null")  # not `| None`: msgspec reads that as null only
    logs: list[str] | None = None
    units_consumed: int | None = None


class _Simulation(msgspec.Struct):
    value: _SimulationValue


class _PrioritizationFee(msgspec.Struct, rename="camel"):
    prioritization_fee: int


async def describe_route(pool: RpcPool, request: PayoutRequest, source: str) -> Route:
    """Find program, decimals, token accounts and rent of a payout. Raises ChainError.

    The rent is that of the token account that has to be created, if any; its size depends on the mint's
    extensions, so an existing account of the same mint (the source's own) gives the size.
    """
    if request.mint is None:
        return Route(source)
    (mint_account,) = await read_accounts(pool, [request.mint])
    mint = parse_mint(mint_account)
    if mint is None:
        raise ChainError(f"{request.mint} ({request.symbol}) is not a token mint on this cluster")
    source_token = associated_token_address(source, request.mint, mint.program)
    destination_token = associated_token_address(request.destination, request.mint, mint.program)
    ours, theirs = await read_accounts(pool, [source_token, destination_token])
    rent = 0
    if parse_token_account(theirs) is None:
        size = TOKEN_ACCOUNT_BYTES if ours is None else max(TOKEN_ACCOUNT_BYTES, len(ours.data))
        rent = await rent_exempt_minimum(pool, size)
    return Route(source, mint.program, mint.decimals, source_token, destination_token, rent)


async def draft_payout(
    pool: RpcPool, request: PayoutRequest, route: Route, largest_priority_fee_lamports: int, attempt: int
) -> Prepared:
    """Build the message of a payout: simulate it, size and price it, take the newest blockhash.

    Raises SimulationFailed if it would fail, ChainError if the chain cannot be read. Source: W2, W5, W6.
    """
    transfers = payout_instructions(request, route)
    trial = build_message(
        route.source, [compute_unit_limit(LARGEST_COMPUTE_UNIT_LIMIT), *transfers], str(Hash.default())
    )
    limit = compute_unit_limit_for(await _simulate(pool, trial))
    price = compute_unit_price_for(
        await _recent_prices(pool, write_locked_accounts(trial)),
        limit,
        largest_priority_fee_lamports,
        attempt,
    )
    # The blockhash comes last: its ~150 blocks should be spent on landing, not on preparing.
    latest = await pool.call("getLatestBlockhash", [{"commitment": "confirmed"}], type=_Latest)
    message = build_message(
        route.source,
        [compute_unit_limit(limit), compute_unit_price(price), *transfers],
        latest.value.blockhash,
    )
    return Prepared(
        message, latest.value.blockhash, latest.value.last_valid_block_height, latest.context.slot
    )


def payout_instructions(request: PayoutRequest, route: Route) -> list[Instruction]:
    """Return the instructions that pay.

    The memo makes the bytes the payout's own (see `PayoutRequest.memo`), and stands directly before the
    transfer because accounts that require a memo look there.
    """
    if request.note:
        return [memo(request.note)]
    if request.mint is None:
        transfer = transfer_lamports(route.source, request.destination, request.units)
        return [memo(request.memo), transfer]
    create = create_associated_token_account(
        payer=route.source, owner=request.destination, mint=request.mint, program=route.program
    )
    transfer = transfer_checked(
        source=route.source_token,
        mint=request.mint,
        destination=route.destination_token,
        owner=route.source,
        units=request.units,
        decimals=route.decimals,
        program=route.program,
    )
    # Always asked for, even if the account is there: it may be closed between now and then.
    return [create, memo(request.memo), transfer]


async def _simulate(pool: RpcPool, message: Message) -> int:
    encoded = base64.b64encode(unsigned_transaction(message)).decode()
    options = {
        "encoding": "base64",
        "commitment": "confirmed",
        "sigVerify": False,
        "replaceRecentBlockhash": True,
    }
    value = (await pool.call("simulateTransaction", [encoded, options], type=_Simulation)).value
    if bytes(value.err) != b"null":
        raise SimulationFailed(bytes(value.err).decode(), tuple(value.logs or ()))
    return value.units_consumed or 0


async def _recent_prices(pool: RpcPool, accounts: tuple[str, ...]) -> list[int]:
    answer = await pool.call("getRecentPrioritizationFees", [list(accounts)], type=list[_PrioritizationFee])
    return [sample.prioritization_fee for sample in answer]
