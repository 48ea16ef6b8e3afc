"""May this address be paid? Answered from the chain, before money is reserved and again before signing.

Owns: the faults of a destination (W5) and the reading of mint and token accounts that the answer needs. Must
not know: who asks, or what happens to the payout.

Rules: a customer's typo must not become a loss. What cannot be given back by its holder (a mint, a token
account, a program, a burn address) is refused; an address without a private key only with consent; for tokens
the associated account is derived and looked at, never asked for. The answer is "" or "code: sentence"; the
sentence says what was wrong and what would be right.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

import msgspec
from solders.pubkey import Pubkey

from chain.addresses import is_on_curve, parse_address
from chain.errors import TransportError
from chain.rpc import RpcPool
from chain.submission import plain_sentence
from chain.tokens import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAMS, associated_token_address

NATIVE_LOADER: Final = "NativeLoader1111111111111111111111111111111"
SYSVAR_OWNER: Final = "Sysvar1111111111111111111111111111111111111"
INCINERATOR: Final = "1nc1nerator11111111111111111111111111111111"

MINT_BYTES: Final = 82
TOKEN_ACCOUNT_BYTES: Final = 165
# Token-2022: both kinds are padded to 165 bytes, then a byte says which kind, then (type, length, value).
_KIND_MINT: Final = 1
_KIND_TOKEN_ACCOUNT: Final = 2
_EXTENSION_DEFAULT_STATE: Final = 6
_EXTENSION_MEMO_REQUIRED: Final = 8
_EXTENSION_NON_TRANSFERABLE: Final = 9
_EXTENSION_TRANSFER_HOOK: Final = 14
_EXTENSION_PAUSABLE: Final = 26
_STATE_INITIALIZED: Final = 1
_STATE_FROZEN: Final = 2


class DestinationFault(enum.StrEnum):
    """Why a destination is refused; the first that applies, in this order."""

    NOT_AN_ADDRESS = "not_an_address"
    OWN_ADDRESS = "own_address"
    BURN_ADDRESS = "burn_address"
    PROGRAM = "program"
    SYSVAR = "sysvar"
    MINT = "mint"
    TOKEN_ACCOUNT = "token_account"  # noqa: S105 - a kind of account
    NOT_A_WALLET = "not_a_wallet"
    OFF_CURVE = "off_curve"
    BELOW_RENT_MINIMUM = "below_rent_minimum"
    UNKNOWN_MINT = "unknown_mint"
    MINT_CANNOT_BE_PAID = "mint_cannot_be_paid"
    TOKEN_ACCOUNT_NOT_THEIRS = "token_account_not_theirs"  # noqa: S105 - a state of an account
    TOKEN_ACCOUNT_FROZEN = "token_account_frozen"  # noqa: S105 - a state of an account


def fault(code: DestinationFault, sentence: str) -> str:
    """Join a fault code and its sentence into a verdict of printable ASCII, at most 256 characters."""
    return plain_sentence(f"{code.value}: {sentence}")


def split_fault(verdict: str) -> tuple[str, str]:
    """Split a verdict into (code, sentence); two empty strings for a good destination."""
    code, _, sentence = verdict.partition(": ")
    return code, sentence


class _Account(msgspec.Struct):
    lamports: int
    owner: str
    data: tuple[str, str]
    executable: bool


class _Context(msgspec.Struct):
    slot: int


class _Accounts(msgspec.Struct):
    context: _Context
    value: list[_Account | None]


@dataclass(frozen=True, slots=True)
class ChainAccount:
    """An account as an endpoint shows it."""

    address: str
    lamports: int
    owner: str
    data: bytes
    executable: bool


@dataclass(frozen=True, slots=True)
class MintAccount:
    """What a payout needs to know of a mint."""

    address: str
    program: str
    decimals: int
    extensions: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """What a payout needs to know of a token account."""

    mint: str
    owner: str
    units: int
    is_frozen: bool
    requires_memo: bool


async def read_accounts(
    pool: RpcPool, addresses: list[str], commitment: str = "confirmed", not_before_slot: int = 0
) -> list[ChainAccount | None]:
    """Read accounts as they are in one slot; None for one that does not exist.

    Raises TransportError if the answer is older than `not_before_slot`.
    """
    answer = await pool.call(
        "getMultipleAccounts", [addresses, {"encoding": "base64", "commitment": commitment}], type=_Accounts
    )
    if answer.context.slot < not_before_slot:
        raise TransportError(
            f"accounts were answered as of slot {answer.context.slot}, {not_before_slot} is needed"
        )
    if len(answer.value) != len(addresses):
        raise TransportError(f"asked for {len(addresses)} accounts, {len(answer.value)} were answered")
    return [
        None
        if account is None
        else ChainAccount(
            address,
            account.lamports,
            account.owner,
            base64.b64decode(account.data[0]),
            account.executable,
        )
        for address, account in zip(addresses, answer.value, strict=True)
    ]


async def rent_exempt_minimum(pool: RpcPool, data_bytes: int = 0) -> int:
    """Return the lamports an account of that size must hold; asked of the chain, for it changes."""
    return await pool.call("getMinimumBalanceForRentExemption", [data_bytes], type=int)


def parse_mint(account: ChainAccount | None) -> MintAccount | None:
    """Read a mint, or return None if the account is not one."""
    if account is None or account.owner not in TOKEN_PROGRAMS or not _is_mint(account):
        return None
    extensions = _extensions(account.data)
    return MintAccount(account.address, account.owner, account.data[44], extensions)


def parse_token_account(account: ChainAccount | None) -> TokenAccount | None:
    """Read a token account, or return None if the account is not one."""
    if (
        account is None
        or account.owner not in TOKEN_PROGRAMS
        or not _has_token_account_length(account)
        or account.data[108] not in {_STATE_INITIALIZED, _STATE_FROZEN}
    ):
        return None
    data = account.data
    return TokenAccount(
        mint=_address(data[0:32]),
        owner=_address(data[32:64]),
        units=int.from_bytes(data[64:72], "little"),
        is_frozen=data[108] == _STATE_FROZEN,
        requires_memo=_extensions(data).get(_EXTENSION_MEMO_REQUIRED, b"\0")[:1] == b"\1",
    )


async def check_destination(
    pool: RpcPool,
    address: str,
    mint: str | None,
    *,
    own: Container[str] = (),
    units: int | None = None,
    allow_off_curve: bool = False,
) -> str:
    """Return "" if `units` of `mint` (None: SOL) can be paid to the wallet `address`, else "code: sentence".

    Without `units` the rent minimum of a new account is not checked. A destination that requires a memo is
    good: every payout carries one. Raises ChainError if the chain cannot be read. Source: W5.
    """
    verdict = _check_text(address, own)
    if verdict:
        return verdict
    wanted = [address] if mint is None else [address, mint]
    accounts = await read_accounts(pool, wanted)
    verdict = _check_wallet(address, accounts[0], allow_off_curve)
    if verdict:
        return verdict
    if mint is None:
        return await _check_rent(pool, accounts[0], units)
    read_mint = parse_mint(accounts[1])
    if read_mint is None:
        return fault(
            DestinationFault.UNKNOWN_MINT,
            f"{mint} is not a token mint on this cluster; the asset cannot be paid from here.",
        )
    token_address = associated_token_address(address, mint, read_mint.program)
    (token_account,) = await read_accounts(pool, [token_address])
    return _check_token_account(address, token_address, token_account, read_mint)


def _check_text(address: str, own: Container[str]) -> str:
    try:
        parse_address(address)
    except ValueError as error:
        return fault(
            DestinationFault.NOT_AN_ADDRESS,
            f"{error}. A Solana wallet address is 32 bytes in base58, 32 to 44 letters and digits.",
        )
    if address in own:
        return fault(
            DestinationFault.OWN_ADDRESS,
            f"{address} is an address of this exchange. Give the address of your own wallet; to move money "
            "between your subaccounts use a transfer.",
        )
    if address == INCINERATOR:
        return fault(
            DestinationFault.BURN_ADDRESS,
            f"Whatever is sent to {address} is destroyed. Give the address of your own wallet.",
        )
    return ""


def _check_wallet(address: str, account: ChainAccount | None, allow_off_curve: bool) -> str:
    give = "Give the address of your own wallet."
    if address == SYSTEM_PROGRAM or (account is not None and _is_program(account)):
        return fault(DestinationFault.PROGRAM, f"{address} is a program, nobody could spend from it. {give}")
    if account is not None:
        if account.owner == SYSVAR_OWNER:
            return fault(DestinationFault.SYSVAR, f"{address} is a system variable of Solana. {give}")
        if parse_mint(account) is not None:
            return fault(
                DestinationFault.MINT,
                f"{address} is the mint of a token, not a wallet; what is sent to it is lost. {give}",
            )
        holder = parse_token_account(account)
        if holder is not None:
            return fault(
                DestinationFault.TOKEN_ACCOUNT,
                f"{address} is a token account. Give the address of the wallet that owns it, "
                f"{holder.owner}; its token account is found from there.",
            )
        if account.owner != SYSTEM_PROGRAM or account.data:
            return fault(
                DestinationFault.NOT_A_WALLET,
                f"{address} belongs to the program {account.owner} and holds {len(account.data)} bytes; a "
                f"wallet belongs to the System program and holds none. {give}",
            )
    if not allow_off_curve and not is_on_curve(address):
        return fault(
            DestinationFault.OFF_CURVE,
            f"{address} has no private key; it belongs to a program, such as a multisig vault. Allow "
            f"off-curve destinations if that is meant. {give}",
        )
    return ""


async def _check_rent(pool: RpcPool, account: ChainAccount | None, units: int | None) -> str:
    if units is None:
        return ""
    minimum = await rent_exempt_minimum(pool)
    held = 0 if account is None else account.lamports
    if held + units < minimum:
        return fault(
            DestinationFault.BELOW_RENT_MINIMUM,
            f"The wallet holds {held} lamports; {units} more leave it below the {minimum} that an account "
            f"must hold. Ask for at least {minimum - held} lamports.",
        )
    return ""


def _check_token_account(owner: str, address: str, account: ChainAccount | None, mint: MintAccount) -> str:
    unpayable = _why_unpayable(mint)
    if unpayable:
        return fault(
            DestinationFault.MINT_CANNOT_BE_PAID,
            f"Tokens of {mint.address} {unpayable}; ask for another asset.",
        )
    if account is None or (account.owner == SYSTEM_PROGRAM and not account.data):
        if mint.extensions.get(_EXTENSION_DEFAULT_STATE, b"")[:1] == bytes([_STATE_FROZEN]):
            return fault(
                DestinationFault.TOKEN_ACCOUNT_FROZEN,
                f"New accounts of the token {mint.address} start frozen. Create the token account of your "
                "wallet and have the issuer thaw it first.",
            )
        return ""
    held = parse_token_account(account)
    if held is None or held.owner != owner or held.mint != mint.address or account.owner != mint.program:
        return fault(
            DestinationFault.TOKEN_ACCOUNT_NOT_THEIRS,
            f"The token account {address} of this wallet was handed to "
            f"{held.owner if held else account.owner} and would not pay you. Give another wallet.",
        )
    if held.is_frozen:
        return fault(
            DestinationFault.TOKEN_ACCOUNT_FROZEN,
            f"The token account {address} of this wallet is frozen by the issuer of the token and cannot "
            "receive. Have it thawed, or give the address of another wallet.",
        )
    return ""


def _why_unpayable(mint: MintAccount) -> str:
    """Say which extension makes a plain transfer of this mint impossible; "" if none does.

    A transfer fee does not: the issuer takes it from what arrives, and an asset that came in must go out.
    """
    if _EXTENSION_NON_TRANSFERABLE in mint.extensions:
        return "cannot be transferred"
    pausable = mint.extensions.get(_EXTENSION_PAUSABLE, b"")
    if len(pausable) >= 33 and pausable[32]:
        return "are paused by their issuer"
    hook = mint.extensions.get(_EXTENSION_TRANSFER_HOOK, b"")
    if len(hook) >= 64 and any(hook[32:64]):
        return "call another program with every transfer, which this exchange does not do"
    return ""


def _is_program(account: ChainAccount) -> bool:
    return account.executable or account.owner == NATIVE_LOADER


def _is_mint(account: ChainAccount) -> bool:
    data = account.data
    if len(data) == MINT_BYTES:
        return True
    is_extended = account.owner == TOKEN_2022_PROGRAM and len(data) > TOKEN_ACCOUNT_BYTES
    return is_extended and data[TOKEN_ACCOUNT_BYTES] == _KIND_MINT


def _has_token_account_length(account: ChainAccount) -> bool:
    data = account.data
    if len(data) == TOKEN_ACCOUNT_BYTES:
        return True
    is_extended = account.owner == TOKEN_2022_PROGRAM and len(data) > TOKEN_ACCOUNT_BYTES
    return is_extended and data[TOKEN_ACCOUNT_BYTES] == _KIND_TOKEN_ACCOUNT


def _extensions(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = TOKEN_ACCOUNT_BYTES + 1
    while at + 4 <= len(data):
        kind = int.from_bytes(data[at : at + 2], "little")
        length = int.from_bytes(data[at + 2 : at + 4], "little")
        if kind == 0:
            break
        found[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def _address(data: bytes) -> str:
    return str(Pubkey.from_bytes(data))
