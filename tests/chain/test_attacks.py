"""The attacks and odd deposits that scanning can meet, one named case each (D3, D5, D10).

Every case is a hand-made block and the exact credits and notices it must give: (account, units) and
(kind, account, units). The cases that need several blocks or nodes are in test_watcher_attacks.py.
"""

# ruff: noqa: E501 - the table is read by rows

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from chain.scanner import NoticeKind
from chain.tokens import TOKEN_PROGRAM, TokenMint

from .forge import (
    ALICE,
    BOB,
    FEE,
    FEE_PAYER,
    HOT_WALLET,
    PAYER,
    PROGRAMS,
    PYUSD,
    RENT,
    STRANGER,
    USDC,
    WSOL,
    Account,
    Tx,
    address,
    ata,
    program,
    scan,
    sol_transfer,
    token_account,
    token_transfer,
    wallet,
)

U64_MAX = 2**64 - 1
FAKE_USDC = TokenMint("USDC", address("a fake mint that calls itself USDC"), TOKEN_PROGRAM, 6)
LOOKALIKE_PROGRAM = address("a program that mimics the token program")
OTHER_ACCOUNT = address("a token account that is not the derived one")


@dataclass(frozen=True)
class Case:
    name: str
    txs: list[Tx]
    credits: list[tuple[str, int]] = field(default_factory=list)
    notices: list[tuple[NoticeKind, str, int]] = field(default_factory=list)


def failed(tx: Tx, err: object) -> Tx:
    tx.err = err
    return tx


def failed_bare() -> Tx:
    """A failed transaction of 2026: fee 0, no logs, no token balances, an error nobody knows."""
    tx = sol_transfer(ALICE, 5)
    tx.err = {"SomeErrorOfNextYear": {"deep": [1, 2, {"x": None}]}}
    tx.drop = ("preTokenBalances", "postTokenBalances")
    tx.extra = {"fee": 0}
    return tx


def lookup_table(tx: Tx, key: str) -> Tx:
    for account in tx.accounts:
        if account.key == key:
            account.source = "lookupTable"
    return tx


def versioned(tx: Tx, version: object) -> Tx:
    tx.version = version
    return tx


def handed_over() -> Tx:
    """SetAuthority(AccountOwner): a filled account of the stranger becomes alice's; no balance moves."""
    account = token_account(OTHER_ACCOUNT, USDC, ALICE, 700, 700)
    account.owner_before = STRANGER
    return Tx([FEE_PAYER, account, wallet(ALICE, 0, 0), *PROGRAMS])


def our_ata_taken() -> Tx:
    """Alice's own token account comes back with another owner: its tokens are not hers to credit."""
    account = token_account(ata(ALICE, USDC), USDC, STRANGER, 0, 700)
    account.owner_before = ALICE
    return Tx([FEE_PAYER, account, *PROGRAMS])


def filled_before_it_was_ours() -> Tx:
    account = token_account(ata(ALICE, USDC), USDC, ALICE, 0, 700)
    account.owner_before = STRANGER
    return Tx([FEE_PAYER, account, *PROGRAMS])


def lookalike() -> Tx:
    account = token_account(OTHER_ACCOUNT, USDC, ALICE, None, 9_000_000)
    account.program = LOOKALIKE_PROGRAM
    return Tx([FEE_PAYER, account, wallet(ALICE, 0, 0), program(LOOKALIKE_PROGRAM)])


def own_sweep() -> Tx:
    """Alice's address signs its own sweep to bob's address: even the receiving side is no deposit."""
    return Tx(
        [
            wallet(HOT_WALLET, 10**9, 10**9 - FEE, signer=True),
            wallet(ALICE, 900, 0, signer=True),
            wallet(BOB, 0, 900),
            token_account(ata(ALICE, USDC), USDC, ALICE, 50, 0),
            token_account(ata(BOB, USDC), USDC, BOB, 0, 50),
            *PROGRAMS,
        ]
    )


def own_close_paid_by_a_stranger() -> Tx:
    """Somebody else pays the fee, our hot wallet only co-signs: still our own transaction."""
    tx = own_close()
    tx.accounts[0] = wallet(HOT_WALLET, 5, 5, signer=True)
    tx.accounts.insert(0, FEE_PAYER)
    return tx


def own_close() -> Tx:
    """Our hot wallet closes alice's empty token account; the rent comes back to her address."""
    return Tx(
        [
            wallet(HOT_WALLET, 10**9, 10**9 - FEE, signer=True),
            token_account(ata(ALICE, USDC), USDC, ALICE, 0, None, lamports=(RENT, 0)),
            wallet(ALICE, 0, RENT),
            *PROGRAMS,
        ]
    )


def ata_opened(units: int = 0) -> Tx:
    """The sender pays the rent of alice's token account."""
    return Tx(
        [
            wallet(PAYER, 10**12, 10**12 - FEE - RENT, signer=True),
            token_account(ata(PAYER, USDC), USDC, PAYER, 10**9, 10**9 - units),
            token_account(ata(ALICE, USDC), USDC, ALICE, None, units, lamports=(0, RENT)),
            wallet(ALICE, 0, 0),
            *PROGRAMS,
        ]
    )


def misdirected(token: TokenMint, lamports: int) -> Tx:
    account = token_account(ata(ALICE, token), token, ALICE, 0, 0, lamports=(RENT, RENT + lamports))
    return Tx([wallet(PAYER, 10**12, 10**12 - FEE - lamports, signer=True), account, *PROGRAMS])


def misdirected_to_no_account() -> Tx:
    """Lamports to the derived address before any token account exists there."""
    return Tx(
        [wallet(PAYER, 10**12, 10**12 - FEE - 77, signer=True), wallet(ata(ALICE, USDC), 0, 77), *PROGRAMS]
    )


def wrapped_with_sync() -> Tx:
    account = token_account(ata(ALICE, WSOL), WSOL, ALICE, 0, 3_000, lamports=(RENT, RENT + 3_000))
    return Tx([wallet(PAYER, 10**12, 10**12 - FEE - 3_000, signer=True), account, *PROGRAMS])


def late_sync() -> Tx:
    """SyncNative turns 3,000 lamports that came earlier into wrapped SOL: amount moves, lamports do not."""
    account = token_account(ata(ALICE, WSOL), WSOL, ALICE, 0, 3_000, lamports=(RENT + 3_000, RENT + 3_000))
    return Tx([FEE_PAYER, account, *PROGRAMS])


def swap_output() -> Tx:
    """A pool pays alice; its authority signs nothing, so nobody is the sender."""
    pool = address("a pool's authority")
    return Tx(
        [
            wallet(PAYER, 10**12, 10**12 - FEE, signer=True),
            token_account(ata(PAYER, PYUSD), PYUSD, PAYER, 10**6, 0),
            token_account(ata(pool, PYUSD), PYUSD, pool, 0, 10**6),
            token_account(ata(pool, USDC), USDC, pool, 10**9, 10**9 - 998_000),
            token_account(ata(ALICE, USDC), USDC, ALICE, 2_000, 1_000_000),
            *PROGRAMS,
        ]
    )


def closed_into_address() -> Tx:
    """CloseAccount of the sender's wrapped SOL, with alice's address as where the lamports go."""
    return Tx(
        [
            wallet(PAYER, 10**9, 10**9 - FEE, signer=True),
            token_account(ata(PAYER, WSOL), WSOL, PAYER, 5_000, None, lamports=(RENT + 5_000, 0)),
            wallet(ALICE, 10, 10 + RENT + 5_000),
            program(TOKEN_PROGRAM),
        ]
    )


def unwrapped_into_address() -> Tx:
    """unwrap_lamports of 2026: SOL leaves a wrapped account with no System transfer and no close."""
    return Tx(
        [
            wallet(PAYER, 10**9, 10**9 - FEE, signer=True),
            token_account(ata(PAYER, WSOL), WSOL, PAYER, 5_000, 1_000, lamports=(RENT + 5_000, RENT + 1_000)),
            wallet(ALICE, 0, 4_000),
            program(TOKEN_PROGRAM),
        ]
    )


def excess_withdrawn() -> Tx:
    """withdraw_excess_lamports of a mint goes to alice's address."""
    return Tx(
        [
            wallet(PAYER, 10**9, 10**9 - FEE, signer=True),
            Account(address("a mint with excess lamports"), (10**7, 10**6)),
            wallet(ALICE, 0, 9 * 10**6),
            program(TOKEN_PROGRAM),
        ]
    )


def batch() -> Tx:
    """One `batch` instruction of P-token: two transfers to alice and one to bob, no logs at all."""
    tx = Tx(
        [
            wallet(PAYER, 10**12, 10**12 - FEE, signer=True),
            token_account(ata(PAYER, USDC), USDC, PAYER, 1_000, 400),
            token_account(ata(ALICE, USDC), USDC, ALICE, 0, 500),  # 200 + 300
            token_account(ata(BOB, USDC), USDC, BOB, 7, 107),
            *PROGRAMS,
        ]
    )
    tx.extra = {"logMessages": []}
    return tx


def several_kinds() -> Tx:
    return Tx(
        [
            wallet(PAYER, 10**12, 10**12 - FEE - 55, signer=True),
            wallet(ALICE, 0, 55),
            token_account(ata(PAYER, USDC), USDC, PAYER, 1_000, 900),
            token_account(ata(ALICE, USDC), USDC, ALICE, 0, 100),
            token_account(ata(PAYER, PYUSD), PYUSD, PAYER, 1_000, 800),
            token_account(ata(ALICE, PYUSD), PYUSD, ALICE, 0, 200),
            *PROGRAMS,
        ]
    )


def unlisted(mint: str, extension: str) -> Tx:
    """A token of an extension we do not accept arrives: it is a mint that is not on the list, no more."""
    token = TokenMint("X", address(mint), PYUSD.program, 6)
    account = token_account(ata(ALICE, token), token, ALICE, None, 500, lamports=(0, RENT))
    tx = Tx([FEE_PAYER, account, wallet(ALICE, 0, 0), *PROGRAMS])
    tx.extra = {extension: {"unknown": True}}
    return tx


def permanent_delegate() -> Tx:
    """The mint's permanent delegate takes tokens without our signature."""
    return Tx(
        [
            FEE_PAYER,
            token_account(ata(ALICE, PYUSD), PYUSD, ALICE, 900, 100),
            token_account(ata(STRANGER, PYUSD), PYUSD, STRANGER, 0, 800),
            *PROGRAMS,
        ]
    )


def frozen() -> Tx:
    """FreezeAccount writes the account and moves nothing."""
    return Tx([FEE_PAYER, token_account(ata(ALICE, PYUSD), PYUSD, ALICE, 900, 900), *PROGRAMS])


def memo_games() -> Tx:
    """A memo that names bob's address, on a transfer to alice: addresses are unique, memos say nothing."""
    tx = sol_transfer(ALICE, 1_000)
    tx.accounts.append(program("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"))
    tx.extra = {"logMessages": [f'Program log: Memo (len 44): "deposit for {BOB}"'], "memo": BOB}
    return tx


def close_of_own_account_by_permanent_delegate() -> Tx:
    return Tx(
        [FEE_PAYER, token_account(ata(ALICE, PYUSD), PYUSD, ALICE, 900, None, lamports=(RENT, 0)), *PROGRAMS]
    )


def lamports_taken_from_ata() -> Tx:
    account = token_account(ata(ALICE, USDC), USDC, ALICE, 5, 5, lamports=(RENT + 50, RENT))
    return Tx([wallet(STRANGER, 10**9, 10**9 - FEE + 50, signer=True), account, *PROGRAMS])


ALICE_USDC, ALICE_PYUSD, ALICE_WSOL = ata(ALICE, USDC), ata(ALICE, PYUSD), ata(ALICE, WSOL)
FAKE_ATA = ata(ALICE, FAKE_USDC)

CASES = [
    Case("plain SOL", [sol_transfer(ALICE, 1_500)], [(ALICE, 1_500)]),
    Case("plain token", [token_transfer(ALICE, USDC, 25)], [(ALICE_USDC, 25)]),
    Case("failed transaction with a transfer inside", [failed(sol_transfer(ALICE, 5), {"InstructionError": [0, {"Custom": 1}]})]),
    Case("failed transaction with an error nobody knows", [failed_bare()]),
    Case("failed token transfer", [failed(token_transfer(ALICE, USDC, 5), "AccountInUse")]),
    Case(
        "fake mint with our symbol",
        [Tx([FEE_PAYER, token_account(FAKE_ATA, FAKE_USDC, ALICE, None, 10**12), wallet(ALICE, 0, 0), *PROGRAMS])],
        notices=[(NoticeKind.UNKNOWN_TOKEN, FAKE_ATA, 10**12)],
    ),
    Case("fake mint that names only its own account", [token_transfer(ALICE, FAKE_USDC, 10**12)]),
    Case("look-alike token program", [lookalike()], notices=[(NoticeKind.UNKNOWN_TOKEN, OTHER_ACCOUNT, 9_000_000)]),
    Case("transfer by CPI, swap output", [swap_output()], [(ALICE_USDC, 998_000)]),
    Case("batch instruction", [batch()], [(ALICE_USDC, 500), (ata(BOB, USDC), 100)]),
    Case("address only in a lookup table", [lookup_table(sol_transfer(ALICE, 9), ALICE)], [(ALICE, 9)]),
    Case(
        "token account only in a lookup table",
        [lookup_table(token_transfer(ALICE, USDC, 9), ALICE_USDC)],
        [(ALICE_USDC, 9)],
    ),
    Case("v1 transaction", [versioned(sol_transfer(ALICE, 9), 1)], [(ALICE, 9)]),
    Case("legacy transaction", [versioned(sol_transfer(ALICE, 9), "legacy")], [(ALICE, 9)]),
    Case("version of the next decade", [versioned(sol_transfer(ALICE, 9), {"v": "two"})], [(ALICE, 9)]),
    Case("wallet funded by closing an account", [closed_into_address()], [(ALICE, RENT + 5_000)]),
    Case("wallet funded by unwrap", [unwrapped_into_address()], [(ALICE, 4_000)]),
    Case("wallet funded by withdraw of excess lamports", [excess_withdrawn()], [(ALICE, 9 * 10**6)]),
    Case(
        "own sweep",
        [own_sweep()],
        notices=[
            (NoticeKind.OWN_TRANSACTION, ALICE, -900),
            (NoticeKind.OWN_TRANSACTION, BOB, 900),
            (NoticeKind.OWN_TRANSACTION, ALICE_USDC, -50),
            (NoticeKind.OWN_TRANSACTION, ata(BOB, USDC), 50),
        ],
    ),
    Case("own rent reclaim by closing the token account", [own_close()], notices=[(NoticeKind.OWN_TRANSACTION, ALICE, RENT)]),
    Case(
        "own transaction whose fee a stranger pays",
        [own_close_paid_by_a_stranger()],
        notices=[(NoticeKind.OWN_TRANSACTION, ALICE, RENT)],
    ),
    Case("lamports to the token account", [misdirected(USDC, 123)], notices=[(NoticeKind.MISDIRECTED_LAMPORTS, ALICE_USDC, 123)]),
    Case(
        "lamports to a token account that does not exist yet",
        [misdirected_to_no_account()],
        notices=[(NoticeKind.MISDIRECTED_LAMPORTS, ALICE_USDC, 77)],
    ),
    Case(
        "lamports to the wrapped SOL account without SyncNative",
        [misdirected(WSOL, 3_000)],
        notices=[(NoticeKind.MISDIRECTED_LAMPORTS, ALICE_WSOL, 3_000)],
    ),
    Case("rent for creating the token account", [ata_opened()]),
    Case("rent for creating the token account, with a first deposit", [ata_opened(600)], [(ALICE_USDC, 600)]),
    Case(
        "SetAuthority hands over a filled account that is not derived",
        [handed_over()],
        notices=[(NoticeKind.UNDERIVED_ACCOUNT, OTHER_ACCOUNT, 700)],
    ),
    Case("the derived account has another owner after", [our_ata_taken()], notices=[(NoticeKind.OWNER_CHANGED, ALICE_USDC, 700)]),
    Case(
        "the derived account had another owner before",
        [filled_before_it_was_ours()],
        notices=[(NoticeKind.OWNER_CHANGED, ALICE_USDC, 700)],
    ),
    Case("wrapped SOL is a token deposit, once", [wrapped_with_sync()], [(ALICE_WSOL, 3_000)]),
    Case("wrapped SOL by a later SyncNative", [late_sync()], [(ALICE_WSOL, 3_000)]),
    Case(
        "several credits in one signature",
        [several_kinds()],
        [(ALICE, 55), (ALICE_USDC, 100), (ALICE_PYUSD, 200)],
    ),
    Case(
        "two transfers to one account in one transaction",
        [token_transfer(ALICE, USDC, 30 + 12)],
        [(ALICE_USDC, 42)],
    ),
    Case("Token-2022 transfer fee: what arrived", [token_transfer(ALICE, PYUSD, 1_000, arrived=990)], [(ALICE_PYUSD, 990)]),
    Case(
        "confidential transfer extension",
        [unlisted("confidential", "confidentialTransfer")],
        notices=[(NoticeKind.UNKNOWN_TOKEN, ata(ALICE, TokenMint("X", address("confidential"), PYUSD.program, 6)), 500)],
    ),
    Case(
        "non-transferable mint",
        [unlisted("soulbound", "nonTransferable")],
        notices=[(NoticeKind.UNKNOWN_TOKEN, ata(ALICE, TokenMint("X", address("soulbound"), PYUSD.program, 6)), 500)],
    ),
    Case(
        "extension nobody knows",
        [unlisted("of next year", "extensionOfNextYear")],
        notices=[(NoticeKind.UNKNOWN_TOKEN, ata(ALICE, TokenMint("X", address("of next year"), PYUSD.program, 6)), 500)],
    ),
    Case("scaled or interest-bearing UI amount: raw amount", [token_transfer(ALICE, PYUSD, 7)], [(ALICE_PYUSD, 7)]),
    Case("frozen token account", [frozen()], notices=[(NoticeKind.ACCOUNT_TOUCHED, ALICE_PYUSD, 0)]),
    Case("outflow by permanent delegate", [permanent_delegate()], notices=[(NoticeKind.NEGATIVE_DIFFERENCE, ALICE_PYUSD, -800)]),
    Case(
        "token account burnt and closed without us",
        [close_of_own_account_by_permanent_delegate()],
        notices=[(NoticeKind.NEGATIVE_DIFFERENCE, ALICE_PYUSD, -900)],
    ),
    Case(
        "lamports taken from the token account",
        [lamports_taken_from_ata()],
        notices=[(NoticeKind.NEGATIVE_DIFFERENCE, ALICE_USDC, -50)],
    ),
    Case(
        "account emptied and refilled: net difference only",
        [Tx([FEE_PAYER, token_account(ALICE_USDC, USDC, ALICE, 500, 520), *PROGRAMS])],
        [(ALICE_USDC, 20)],
    ),
    Case(
        "account emptied and half refilled: negative is an alarm",
        [Tx([FEE_PAYER, token_account(ALICE_USDC, USDC, ALICE, 500, 480), *PROGRAMS])],
        notices=[(NoticeKind.NEGATIVE_DIFFERENCE, ALICE_USDC, -20)],
    ),
    Case(
        "SOL leaves the address without our signature",
        [Tx([FEE_PAYER, wallet(ALICE, 500, 480)])],
        notices=[(NoticeKind.NEGATIVE_DIFFERENCE, ALICE, -20)],
    ),
    Case("memo games", [memo_games()], [(ALICE, 1_000)]),
    Case("address mentioned, nothing moved", [Tx([FEE_PAYER, wallet(ALICE, 500, 500)])]),
    Case("u64 maximum of a token", [token_transfer(ALICE, USDC, 0, arrived=U64_MAX)], [(ALICE_USDC, U64_MAX)]),
    Case("u64 maximum of lamports", [Tx([FEE_PAYER, wallet(ALICE, 0, U64_MAX)])], [(ALICE, U64_MAX)]),
    Case(
        "one above 2**53, where floats lose units",
        [token_transfer(ALICE, USDC, 0, arrived=2**53 + 1), Tx([FEE_PAYER, wallet(BOB, 0, 2**53 + 1)])],
        [(ALICE_USDC, 2**53 + 1), (BOB, 2**53 + 1)],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_d3_attack(case: Case) -> None:
    scanned = scan(*case.txs)
    assert [(c.account, c.units) for c in scanned.credits] == case.credits
    assert [(n.kind, n.account, n.units) for n in scanned.notices] == case.notices
    # Scanning again changes nothing, and keys are unique (D4).
    assert scan(*case.txs) == scanned
    assert len({c.key for c in scanned.credits}) == len(scanned.credits)


def test_alarms_are_exactly_the_losses_without_our_signature() -> None:
    alarms = {
        (notice.kind, case.name) for case in CASES for notice in scan(*case.txs).notices if notice.is_alarm
    }
    assert {name for _, name in alarms} == {
        "the derived account has another owner after",
        "the derived account had another owner before",
        "outflow by permanent delegate",
        "token account burnt and closed without us",
        "lamports taken from the token account",
        "account emptied and half refilled: negative is an alarm",
        "SOL leaves the address without our signature",
    }
