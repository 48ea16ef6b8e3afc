"""Hand-made blocks in the wire form of `getBlock`, for tests of the scanner and the watcher.

Only JSON is made here: no rule of the scanner is repeated. Account 0 of a transaction pays the fee, as on
the real chain, so its lamports fall by it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from solders.keypair import Keypair
from solders.signature import Signature

from chain.scanner import ScannedBlock, Watchlist, scan_block
from chain.tokens import (
    ASSOCIATED_TOKEN_PROGRAM,
    NATIVE_SOL,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    WRAPPED_SOL_MINT,
    TokenMint,
    associated_token_address,
)

FEE = 5_000
RENT = 2_039_280


def digest(*parts: object) -> bytes:
    return hashlib.sha256("|".join(map(str, parts)).encode()).digest()


def address(name: str) -> str:
    """A wallet address that is always the same for a name."""
    return str(Keypair.from_seed(digest("wallet", name)).pubkey())


def signature(*parts: object) -> str:
    return str(Signature(digest("a", *parts) + digest("b", *parts)))


def blockhash(*parts: object) -> str:
    return str(Keypair.from_seed(digest("block", *parts)).pubkey())


USDC = TokenMint("USDC", address("usdc mint"), TOKEN_PROGRAM, 6)
PYUSD = TokenMint("PYUSD", address("pyusd mint"), TOKEN_2022_PROGRAM, 6)
WSOL = TokenMint("WSOL", WRAPPED_SOL_MINT, TOKEN_PROGRAM, 9)
TOKENS = (NATIVE_SOL, USDC, PYUSD, WSOL)

ALICE = address("alice's deposit address")
BOB = address("bob's deposit address")
PAYER = address("alice's own wallet")
STRANGER = address("somebody else")
HOT_WALLET = address("our hot wallet")


def ata(owner: str, token: TokenMint) -> str:
    assert token.mint is not None and token.program is not None
    return associated_token_address(owner, token.mint, token.program)


@dataclass
class Account:
    """One account of a forged transaction: lamports and, for a token account, tokens before and after."""

    key: str
    lamports: tuple[int, int] = (0, 0)
    signer: bool = False
    writable: bool = True
    source: str = "transaction"
    mint: str = ""
    program: str = ""
    owner: str = ""
    owner_before: str = ""  # where it differs from the owner after
    units: tuple[int | str | None, int | str | None] = (None, None)  # None: no entry


def wallet(
    key: str, before: int, after: int, *, signer: bool = False, source: str = "transaction"
) -> Account:
    return Account(key, (before, after), signer, source=source)


def token_account(
    key: str,
    token: TokenMint,
    owner: str,
    before: int | str | None,
    after: int | str | None,
    lamports: tuple[int, int] = (RENT, RENT),
) -> Account:
    return Account(
        key, lamports, mint=token.mint or "", program=token.program or "", owner=owner, units=(before, after)
    )


def program(key: str) -> Account:
    return Account(key, (1, 1), writable=False)


FEE_PAYER = wallet(STRANGER, 10**12, 10**12 - FEE, signer=True)
PROGRAMS = [program(SYSTEM_PROGRAM), program(TOKEN_PROGRAM), program(ASSOCIATED_TOKEN_PROGRAM)]


@dataclass
class Tx:
    """A transaction; `extra` lands in its meta as it is, `drop` removes fields of the meta."""

    accounts: list[Account]
    err: Any = None
    sig: str = ""
    version: Any = 0
    extra: dict[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    meta: Any = ...

    def to_json(self, seed: object) -> dict[str, Any]:
        meta: Any = {
            "err": self.err,
            "status": {"Ok": None} if self.err is None else {"Err": self.err},
            "fee": FEE,
            "preBalances": [a.lamports[0] for a in self.accounts],
            "postBalances": [a.lamports[1] for a in self.accounts],
            "preTokenBalances": self._tokens(0),
            "postTokenBalances": self._tokens(1),
            **self.extra,
        }
        for name in self.drop:
            del meta[name]
        item = {
            "version": self.version,
            "transaction": {
                "accountKeys": [
                    {"pubkey": a.key, "signer": a.signer, "source": a.source, "writable": a.writable}
                    for a in self.accounts
                ],
                "signatures": [self.sig or signature(seed)],
            },
            "meta": meta if self.meta is ... else self.meta,
        }
        if self.meta == "absent":
            del item["meta"]
        return item

    def _tokens(self, side: int) -> list[dict[str, Any]]:
        return [
            {
                "accountIndex": index,
                "mint": a.mint,
                "owner": (a.owner_before or a.owner) if side == 0 else a.owner,
                "programId": a.program,
                "uiTokenAmount": {
                    "amount": str(a.units[side]),
                    "decimals": 6,
                    # On purpose far from the raw amount: whoever reads it credits a fortune.
                    "uiAmount": 123456789.5,
                    "uiAmountString": "123456789.5",
                },
            }
            for index, a in enumerate(self.accounts)
            if a.units[side] is not None
        ]


def block(
    *txs: Tx,
    slot: int = 100,
    parent: int = 99,
    fork: str = "main",
    parent_fork: str = "main",
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The `result` of getBlock."""
    return {
        "blockHeight": slot - 10,
        "blockTime": 1_790_000_000 + slot,
        "blockhash": blockhash(fork, slot),
        "parentSlot": parent,
        "previousBlockhash": blockhash(parent_fork, parent),
        "transactions": [tx.to_json((fork, slot, position)) for position, tx in enumerate(txs)],
        **(extra or {}),
    }


def body(result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "result": result, "id": 1}).encode()


def sol_transfer(to: str, lamports: int, *, sender: str = PAYER, before: int = 0) -> Tx:
    return Tx(
        [
            wallet(sender, 10**12, 10**12 - lamports - FEE, signer=True),
            wallet(to, before, before + lamports),
            program(SYSTEM_PROGRAM),
        ]
    )


def token_transfer(
    to: str,
    token: TokenMint,
    units: int,
    *,
    sender: str = PAYER,
    before: int | None = 0,
    arrived: int | None = None,
) -> Tx:
    arrived = units if arrived is None else arrived
    return Tx(
        [
            wallet(sender, 10**12, 10**12 - FEE, signer=True),
            token_account(ata(sender, token), token, sender, 10**15, 10**15 - units),
            token_account(ata(to, token), token, to, before, (before or 0) + arrived),
            *PROGRAMS,
        ]
    )


def watchlist(**options: object) -> Watchlist:
    watched = Watchlist(TOKENS, own_signers=[HOT_WALLET], **options)  # type: ignore[arg-type]
    watched.add(ALICE)
    watched.add(BOB)
    return watched


def scan(*txs: Tx, watched: Watchlist | None = None) -> ScannedBlock:
    return scan_block(body(block(*txs)), 100, watched or watchlist())
