"""The whole way as a wallet developer goes it: keystore, seed, payer, a validator with two endpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from solders.pubkey import Pubkey

from chain.addresses import FEES_ACCOUNT, DepositKeys
from chain.keystore import read_keystore, write_keystore
from chain.payer import Payer, PayerOptions, PayoutRequest, PayoutState
from chain.rpc import Endpoint, RpcPool
from chain.signer import Secret, SeedSigner
from chain.tokens import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, associated_token_address
from localnet import Validator

from .paying import MemoryStore, new_wallet, running


@pytest.mark.localnet(slot_ms=20)
@pytest.mark.parametrize("program", [TOKEN_PROGRAM, TOKEN_2022_PROGRAM])
async def test_w1_from_a_keystore_to_a_finalized_token_payout(
    validator: Validator, token_mint_factory: Callable[..., object], tmp_path: Path, program: str
) -> None:
    path = tmp_path / "seed.json"
    write_keystore(path, Secret(bytes(range(64))), Secret("a passphrase"), kind="seed", scrypt_n=2**14)
    keys = DepositKeys(read_keystore(path, Secret("a passphrase"), kind="seed").reveal())
    signer = SeedSigner(keys)
    hot_wallet = signer.add(FEES_ACCOUNT, 0)

    mint = validator.create_mint(decimals=6, program=Pubkey.from_string(program))
    validator.airdrop(Pubkey.from_string(hot_wallet), 5_000_000_000, settle=True)
    validator.mint_to(mint, Pubkey.from_string(hot_wallet), 1_000_000_000, settle=True)
    second = validator.endpoint("second")
    wallet = new_wallet()
    store = MemoryStore()
    async with RpcPool([Endpoint(validator.rpc_url), Endpoint(second.url)]) as pool:
        await pool.check_genesis(None)
        payer = Payer(pool, signer, hot_wallet, store, options=PayerOptions(interval_s=0.05))
        results = payer.results()
        async with running(payer):
            await payer.submit(PayoutRequest("w1", "USDC", str(mint.address), 250_000_000, wallet))
            await payer.submit(PayoutRequest("w2", "SOL", None, 1_000_000_000, wallet))
            done = {record.id: record for record in (await anext(results), await anext(results))}
    assert {record.state for record in done.values()} == {PayoutState.FINALIZED}
    token = validator.account(
        Pubkey.from_string(associated_token_address(wallet, str(mint.address), program))
    )
    assert token is not None
    assert int.from_bytes(token.data[64:72], "little") == 250_000_000
    paid = validator.account(Pubkey.from_string(wallet))
    assert paid is not None
    assert paid.lamports == 1_000_000_000
    left = validator.account(Pubkey.from_string(hot_wallet))
    assert left is not None
    cost = sum(record.network_fee_units for record in done.values())
    assert left.lamports == 5_000_000_000 - 1_000_000_000 - cost
    assert done["w1"].network_fee_units == token.lamports + 5_000, "rent of the new account and one fee"
