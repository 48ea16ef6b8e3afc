"""The commented example that `makewhole config init` writes; a test loads it and misses no key in it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final

EXAMPLE: Final = """\
# makewhole.toml: all that `makewhole run` needs to know. `makewhole config check` names every fault at once.
# Relative paths count from this file's folder. A key that is commented out stands at its default.

data_directory = "makewhole-data"    # database, lock and control socket

[cluster]
# Which chain. `makewhole config genesis URL` asks a node; a node of another chain is refused.
genesis_hash = "{genesis_hash}"
# requests_per_second = 20           # per endpoint
# max_in_flight = 16                 # requests without an answer, per endpoint
# timeout_s = 15.0
# max_transaction_version = 1        # newer blocks halt the scan with an alarm until this is raised

# Two endpoints of different operators: cross-checks and proofs of death need two independent words.
[[cluster.endpoints]]
name = "first"
url = "{url}"
ws_url = "{ws_url}"                  # wakes the watcher up; without it the watcher polls

# [[cluster.endpoints]]
# name = "second"
# url = "https://another-operator.example"

[keys]
# Exactly one of these three. `makewhole keys new seed.hex` makes a seed.
seed_file = "seed.hex"               # 64 bytes as 128 hexadecimal digits, chmod 600
# keystore_file = "seed.keystore"    # made by `makewhole keys encrypt`
# keystore_password_file = "password"
# signer_command = ["my-signer", "--slot", "1"]   # signs elsewhere; then addresses come from a file
# address_file = "addresses.json"    # {{"fees": "...", "insurance_fund": "...", "7/0": "..."}}

# What is accepted. A token is known by mint and program, never by its symbol.
# USDC and SOL are needed; USDC, SOL and BTC have default parameters, another asset names all of its own.
[assets.USDC]
mint = "{usdc_mint}"
token_program = "spl-token"          # or "token-2022"
decimals = 6
# cross_check_units = 100000000000   # more is looked up on a second endpoint; without it every deposit is

[assets.SOL]
token_program = "native"
decimals = 9
{asset_parameters}
# Markets of accepted assets have default parameters; a table changes some of them. A name with a slash
# stands in quotes: [markets."SOL/USDC"]. Another spot market says kind = "spot", its asset, its tick and lot;
# another perpetual names all of its own.
{market_parameters}
# Parameters of the engine. They are part of the journal's first hash: chosen once, before the first start.
# [engine]
{engine_parameters}
# [daemon]
# clock = "system"                   # "manual": time moves only by the control API, for tests
# start_slot = 0                     # where a new data directory starts; default: the newest final slot
# poll_interval_s = 0.25             # between two looks for a new block when no hint comes
# attest_interval_s = 15.0           # between two looks at the on-chain holdings
# snapshot_every = 100000            # journal entries between two snapshots
# batch_limit = 1000                 # commands that share one transaction at most
# price_file = "prices.json"         # {{"index": {{"SOL": "150.25"}}, "mark": {{"SOL-PERP": "150.3"}}}}
#                                    # or what sources say, of which index and marks are made (R13):
#                                    # {{"quotes": {{"SOL": [{{"feed": "a", "source": "b", "price": "1"}}]}}}}
# price_interval_s = 1.0

# [payer]
# enabled = true                     # false: withdrawals are accepted and wait
# interval_s = 1.5                   # between two looks at a payout, and two sends of the same bytes
# max_priority_fee_lamports = 200000
# low_balance_lamports = 100000000   # below this the hot wallet raises an alarm
# allow_single_endpoint_expiry = false

# The proof of solvency (docs/SOLVENCY.md): a bundle for everybody to check, its hash on chain.
# [proof]
# enabled = true                     # false: only `makewhole prove` makes one
# interval_s = 600.0
# folder = "proof"                   # default: "proof" in the data directory
# master_secret_file = "master.hex"  # 32 bytes as 64 hexadecimal digits; default: made in the folder
# operator_key_file = "operator.json"  # signs bundles; default: the hot wallet does
# workers = 1                        # processes that prove, at the lowest priority
"""

MAINNET_GENESIS: Final = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
MAINNET_USDC: Final = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"


def example(
    *,
    genesis_hash: str = MAINNET_GENESIS,
    url: str = "https://api.mainnet-beta.solana.com",
    ws_url: str = "wss://api.mainnet-beta.solana.com",
    usdc_mint: str = MAINNET_USDC,
) -> str:
    """Return the example, filled in for a cluster, with every engine parameter at its default."""
    from engine.params import default_params

    params = default_params()
    sol = next(asset for asset in params.assets if asset.symbol == "SOL")
    market = next(market for market in params.markets if market.symbol == "SOL-PERP")
    return EXAMPLE.format(
        genesis_hash=genesis_hash,
        url=url,
        ws_url=ws_url,
        usdc_mint=usdc_mint,
        asset_parameters=_settings(sol, "assets.SOL", {"symbol", "decimals"}),
        market_parameters="# [markets.SOL-PERP]\n" + _settings(market, "markets.SOL-PERP", {"symbol"}),
        engine_parameters=_settings(params, "engine", {"assets", "markets"}),
    )


def example_for(url: str) -> str:
    """Return the example for the chain behind a node: its genesis hash, and the local USDC where it has it.

    The WebSocket is taken to be on the next port, as on a localnet, or behind the same name.
    """
    import asyncio
    from urllib.parse import urlsplit

    from daemon.airdrop import describe_cluster

    genesis, local_usdc = asyncio.run(describe_cluster(url))
    there = urlsplit(url)
    port = "" if there.port is None else f":{there.port + 1}"
    ws_url = f"{'wss' if there.scheme == 'https' else 'ws'}://{there.hostname}{port}"
    return example(genesis_hash=genesis, url=url, ws_url=ws_url, usdc_mint=local_usdc or MAINNET_USDC)


def _settings(value: Any, path: str, without: set[str]) -> str:
    """Write the fields of a parameter class as commented settings; a nested class becomes a table below."""
    lines, below = [], []
    for field in dataclasses.fields(value):
        found = getattr(value, field.name)
        if field.name in without:
            continue
        if dataclasses.is_dataclass(found):
            nested = f"{path}.{field.name}"
            below.append(f"# [{nested}]\n" + _settings(found, nested, set()))
        else:
            lines.append(f"# {field.name} = {json.dumps(found)}\n")
    return "".join([*lines, *below])
