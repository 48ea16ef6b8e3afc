"""Destinations against real accounts of the real programs (W5): each fault a row, each good case too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from chain.destination import (
    INCINERATOR,
    DestinationFault,
    check_destination,
    fault,
    parse_mint,
    parse_token_account,
    read_accounts,
    split_fault,
)
from chain.errors import ChainError, TransportError
from chain.rpc import RpcPool
from chain.tokens import (
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    associated_token_address,
)

from .paying import Net, new_wallet

F = DestinationFault
SOL = 1_000_000_000
CLOCK = "SysvarC1ock11111111111111111111111111111111"
MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"


@dataclass
class Place:
    net: Net
    pool: RpcPool
    usdc: str
    usdc_2022: str

    async def ask(self, address: str, mint: str | None = None, **more: object) -> str:
        return await check_destination(self.pool, address, mint, **more)  # type: ignore[arg-type]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    net = Net(slot_ms=None)
    await net.start(endpoints=1)
    async with net.pool() as pool:
        yield Place(net, pool, net.new_mint(), net.new_mint(TOKEN_2022_PROGRAM))
    await net.stop()


def extended(kind: int, *extensions: tuple[int, bytes], base: int = 165) -> bytes:
    """What follows the base of an account of the second token program: padding, kind, extensions."""
    tail = b"".join(n.to_bytes(2, "little") + len(v).to_bytes(2, "little") + v for n, v in extensions)
    return bytes(165 - base) + bytes([kind]) + tail


def an_off_curve_address() -> str:
    return str(Pubkey.find_program_address([b"vault"], Pubkey.from_string(MEMO))[0])


# Good destinations -----------------------------------------------------------------------------------------


async def test_w5_wallets_are_good_used_or_not(place: Place) -> None:
    used, fresh = new_wallet(), new_wallet()
    place.net.put(used, SOL)
    for address in (used, fresh):
        assert await place.ask(address, units=SOL) == ""
        for mint in (place.usdc, place.usdc_2022):
            assert await place.ask(address, mint, units=1) == ""


async def test_w5_a_token_account_that_is_theirs_is_good_also_if_it_requires_a_memo(place: Place) -> None:
    wallet = new_wallet()
    place.net.give_tokens(wallet, place.usdc, TOKEN_PROGRAM, 5)
    assert await place.ask(wallet, place.usdc) == ""
    wants_memo = extended(2, (7, b""), (8, b"\x01"))
    address = place.net.give_tokens(wallet, place.usdc_2022, TOKEN_2022_PROGRAM, 5, extensions=wants_memo)
    (account,) = await read_accounts(place.pool, [address])
    read = parse_token_account(account)
    assert read is not None
    assert read.requires_memo
    assert await place.ask(wallet, place.usdc_2022) == ""


async def test_w5_off_curve_needs_consent(place: Place) -> None:
    vault = an_off_curve_address()
    assert split_fault(await place.ask(vault))[0] == F.OFF_CURVE
    assert await place.ask(vault, allow_off_curve=True) == ""


async def test_w5_a_new_account_needs_the_rent_minimum_of_the_chain(place: Place) -> None:
    minimum = await place.pool.call("getMinimumBalanceForRentExemption", [0], type=int)
    fresh, poor = new_wallet(), new_wallet()
    place.net.put(poor, minimum)
    assert await place.ask(fresh, units=minimum) == ""
    assert await place.ask(poor, units=1) == ""
    verdict = await place.ask(fresh, units=minimum - 1)
    assert verdict == (
        f"below_rent_minimum: The wallet holds 0 lamports; {minimum - 1} more leave it below the {minimum} "
        f"that an account must hold. Ask for at least {minimum} lamports."
    )
    assert await place.ask(fresh, place.usdc, units=1) == "", "rent of a token account is ours to pay"


# Bad ones --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("", F.NOT_AN_ADDRESS, "empty"),
        ("hello world", F.NOT_AN_ADDRESS, "base58"),
        ("0" * 44, F.NOT_AN_ADDRESS, "'0'"),
        ("é" * 30, F.NOT_AN_ADDRESS, "base58"),
        ("1" * 31, F.NOT_AN_ADDRESS, "32 bytes"),
        ("1" * 33, F.NOT_AN_ADDRESS, "32 bytes"),
        ("z" * 44, F.NOT_AN_ADDRESS, "32 bytes"),
        ("1" * 10_000, F.NOT_AN_ADDRESS, "too long"),
        (INCINERATOR, F.BURN_ADDRESS, "destroyed"),
        (SYSTEM_PROGRAM, F.PROGRAM, "is a program"),
        (TOKEN_PROGRAM, F.PROGRAM, "is a program"),
        (MEMO, F.PROGRAM, "is a program"),
        (CLOCK, F.SYSVAR, "system variable"),
    ],
)
@pytest.mark.parametrize("is_token", [False, True])
async def test_w5_what_is_no_wallet_is_refused_with_its_reason(
    place: Place, address: str, code: DestinationFault, words: str, is_token: bool
) -> None:
    verdict = await place.ask(address, place.usdc if is_token else None, units=SOL, allow_off_curve=True)
    told, sentence = split_fault(verdict)
    assert told == code
    assert words in sentence
    assert verdict.isascii()
    assert len(verdict) <= 256


async def test_w5_ours_is_refused(place: Place) -> None:
    ours = new_wallet()
    verdict = await place.ask(ours, own={ours})
    assert split_fault(verdict)[0] == F.OWN_ADDRESS
    assert await place.ask(ours, own=()) == ""


async def test_w5_mints_and_token_accounts_are_refused_and_the_wallet_is_named(place: Place) -> None:
    wallet = new_wallet()
    for mint, program in ((place.usdc, TOKEN_PROGRAM), (place.usdc_2022, TOKEN_2022_PROGRAM)):
        assert split_fault(await place.ask(mint))[0] == F.MINT
        account = place.net.give_tokens(wallet, mint, program, 1)
        code, sentence = split_fault(await place.ask(account, mint))
        assert code == F.TOKEN_ACCOUNT
        assert wallet in sentence
    extended_mint = place.net.new_mint(TOKEN_2022_PROGRAM, data=extended(1, (3, bytes(32)), base=82))
    assert split_fault(await place.ask(extended_mint))[0] == F.MINT


async def test_w5_accounts_of_programs_are_no_wallets(place: Place) -> None:
    held = new_wallet()
    place.net.put(held, SOL, b"state", MEMO)
    assert split_fault(await place.ask(held))[0] == F.NOT_A_WALLET
    nonce = new_wallet()
    place.net.put(nonce, SOL, bytes(80), SYSTEM_PROGRAM)
    assert split_fault(await place.ask(nonce))[0] == F.NOT_A_WALLET
    multisig = new_wallet()
    place.net.put(multisig, SOL, bytes([1] * 355), TOKEN_PROGRAM)
    assert split_fault(await place.ask(multisig))[0] == F.NOT_A_WALLET


async def test_w5_a_token_account_that_was_handed_over_or_frozen_is_refused(place: Place) -> None:
    thief, victim, frozen = new_wallet(), new_wallet(), new_wallet()
    place.net.give_tokens(victim, place.usdc, TOKEN_PROGRAM, 0, holder=thief)
    code, sentence = split_fault(await place.ask(victim, place.usdc))
    assert code == F.TOKEN_ACCOUNT_NOT_THEIRS
    assert thief in sentence
    place.net.give_tokens(frozen, place.usdc, TOKEN_PROGRAM, 0, state=2)
    assert split_fault(await place.ask(frozen, place.usdc))[0] == F.TOKEN_ACCOUNT_FROZEN
    assert await place.ask(frozen, units=SOL) == "", "SOL goes to the wallet itself"


async def test_w5_a_mint_that_is_none_is_refused(place: Place) -> None:
    for wrong in (new_wallet(), MEMO):
        assert split_fault(await place.ask(new_wallet(), wrong))[0] == F.UNKNOWN_MINT


@pytest.mark.parametrize(
    ("extension", "code"),
    [
        ((9, b""), F.MINT_CANNOT_BE_PAID),  # non-transferable
        ((26, bytes(32) + b"\x01"), F.MINT_CANNOT_BE_PAID),  # paused
        ((26, bytes(32) + b"\x00"), None),
        ((14, bytes(32) + bytes([7] * 32)), F.MINT_CANNOT_BE_PAID),  # a hook is set
        ((14, bytes(64)), None),  # a hook could be set, none is
        ((6, b"\x02"), F.TOKEN_ACCOUNT_FROZEN),  # new accounts start frozen
        ((6, b"\x01"), None),
        ((1, bytes(108)), None),  # a transfer fee: the issuer takes it from what arrives
    ],
)
async def test_w5_extensions_of_a_mint_that_make_it_unpayable(
    place: Place, extension: tuple[int, bytes], code: DestinationFault | None
) -> None:
    mint = place.net.new_mint(TOKEN_2022_PROGRAM, data=extended(1, extension, base=82))
    (account,) = await read_accounts(place.pool, [mint])
    assert parse_mint(account) is not None
    verdict = await place.ask(new_wallet(), mint)
    assert split_fault(verdict)[0] == (code or "")


async def test_w5_each_fault_is_met_and_each_verdict_fits_a_command(place: Place) -> None:
    """The longest sentence each: addresses of 44 characters, amounts of 20 digits."""
    longest = "9" * 44
    for code in F:
        verdict = fault(code, f"{longest} é {longest}" + "x" * 300)
        assert len(verdict) == 256
        assert verdict.isascii()
        assert split_fault(verdict)[0] == code
    assert split_fault("") == ("", "")


async def test_a_chain_that_cannot_be_read_is_no_verdict(place: Place) -> None:
    place.net.faults[0].html()
    with pytest.raises(ChainError):
        await place.ask(new_wallet())
    place.net.faults[0].clear()
    slot = place.net.ledger.slot_at("finalized")
    assert await read_accounts(place.pool, [new_wallet()], "finalized", slot) == [None]
    with pytest.raises(TransportError, match=f"{slot + 1} is needed"):
        await read_accounts(place.pool, [str(Keypair().pubkey())], "finalized", slot + 1)


async def test_w5_the_associated_account_is_derived_with_the_program_of_the_mint(place: Place) -> None:
    wallet = new_wallet()
    # A frozen account under the other program's derivation has nothing to do with this mint.
    other = associated_token_address(wallet, place.usdc, TOKEN_2022_PROGRAM)
    place.net.put(other, SOL, bytes(165), MEMO)
    assert await place.ask(wallet, place.usdc) == ""
