"""A USDC for local chains: one mint whose address and authority are the same on every localnet.

Owns: the two keypairs, derived from a published phrase, and the mint made from them. They are no secret, so
that any tool can mint test money; nobody may ever use them elsewhere. `makewhole localnet` creates the mint
at its start, `makewhole airdrop` mints it, `makewhole config init --url` writes its address.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from solders.keypair import Keypair

from . import programs
from .minting import Mint

if TYPE_CHECKING:
    from .validator import Validator

_MINT_KEYPAIR: Final = Keypair.from_seed(hashlib.sha256(b"makewhole localnet: mint of USDC").digest())
_AUTHORITY: Final = Keypair.from_seed(hashlib.sha256(b"makewhole localnet: authority of USDC").digest())

LOCAL_USDC: Final = Mint(_MINT_KEYPAIR.pubkey(), 6, programs.TOKEN, _AUTHORITY)


def ensure_local_usdc(validator: Validator) -> Mint:
    """Create the mint unless a restored ledger has it already. Raises MintingFailed."""
    if validator.account(LOCAL_USDC.address) is None:
        validator.create_mint(decimals=LOCAL_USDC.decimals, keypair=_MINT_KEYPAIR, authority=_AUTHORITY)
    return LOCAL_USDC
