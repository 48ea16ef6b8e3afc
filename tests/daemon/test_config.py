"""The configuration: every fault at once, each with its key, what was wrong and what would be right."""

from __future__ import annotations

import copy
import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from daemon import config as config_module
from daemon.config import Config, load_config, read_config
from daemon.config_example import example
from daemon.errors import ConfigError
from engine.params import AssetParams, MarketParams, Params, default_params

SOURCE = Path("/somewhere/makewhole.toml")
MINT = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
OTHER_MINT = "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB"


def good() -> dict[str, Any]:
    return {
        "cluster": {
            "genesis_hash": "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
            "endpoints": [{"url": "http://127.0.0.1:8899", "name": "a"}],
        },
        "keys": {"seed_file": "seed.hex"},
        "assets": {
            "USDC": {"mint": MINT, "token_program": "spl-token", "decimals": 6},
            "SOL": {"token_program": "native", "decimals": 9},
        },
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(good())
    table: Any = document
    *parents, last = path.split(".")
    for name in parents:
        table = table[int(name)] if isinstance(table, list) else table.setdefault(name, {})
    if value is ...:
        del table[last]
    else:
        table[last] = value
    return document


def faults_of(document: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_config(document, SOURCE)
    assert caught.value.exit_status == 2
    return caught.value.faults


def test_a_good_document_becomes_typed_settings() -> None:
    config = read_config(good(), SOURCE)
    assert config.data_directory == Path("/somewhere/makewhole-data")
    assert config.keys.seed_file == Path("/somewhere/seed.hex")
    assert config.token("SOL").mint is None
    assert {market.asset for market in config.params.markets} == {"SOL"}
    assert config.params.assets == tuple(
        next(one for one in default_params().assets if one.symbol == symbol) for symbol in ("USDC", "SOL")
    )
    assert config.engine_overrides == ()


def test_engine_parameters_are_overridden_by_name() -> None:
    document = good()
    document["engine"] = {"settlement_interval_ns": 2_000_000_000}
    document["assets"]["SOL"]["haircut_ppm"] = 60_000
    document["markets"] = {"SOL-PERP": {"max_leverage": 20}}
    config = read_config(document, SOURCE)
    assert config.params.settlement_interval_ns == 2_000_000_000
    assert config.params.assets[1].haircut_ppm == 60_000
    assert config.params.markets[0].max_leverage == 20
    assert set(config.engine_overrides) == {
        "assets.SOL.haircut_ppm",
        "engine.settlement_interval_ns",
        "markets.SOL-PERP.max_leverage",
    }


def test_r12_a_spot_market_is_described_by_what_it_has() -> None:
    document = good()
    assert [one.symbol for one in read_config(document, SOURCE).params.markets] == ["SOL-PERP", "SOL/USDC"]
    document["markets"] = {
        "SOL/USDC": {"taker_fee_ppm": 500, "lot_units": 100_000_000},
        "SOL/LARGE": {"kind": "spot", "asset": "SOL", "tick_e8": 100_000_000, "lot_units": 10**10},
    }
    _, usual, large = read_config(document, SOURCE).params.markets
    assert (usual.is_spot, usual.taker_fee_ppm, usual.lot_units) == (True, 500, 100_000_000)
    assert (large.symbol, large.is_spot, large.tick_e8, large.lot_units) == (
        "SOL/LARGE",
        True,
        100_000_000,
        10**10,
    )


def test_r9_the_lending_of_an_asset_is_a_table_of_its_own() -> None:
    document = good()
    document["assets"]["SOL"]["lending"] = {"borrow_limit_units": 5, "rate_at_full_ppm": 2_000_000}
    config = read_config(document, SOURCE)
    lending = config.params.assets[1].lending
    assert (lending.borrow_limit_units, lending.rate_at_full_ppm) == (5, 2_000_000)
    assert lending.optimal_utilization_ppm == 900_000
    assert "assets.SOL.lending" in config.engine_overrides


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("data_dir", "x", "data_dir: unknown key; did you mean `data_directory`?"),
        ("data_directory", "", "data_directory: is ''; should be a string in quotes, not empty"),
        ("cluster", ..., "cluster: missing; the table [cluster]"),
        ("cluster", "mainnet", "cluster: is 'mainnet'; should be a table, written [cluster]"),
        (
            "cluster.genesis_hash",
            "0OIl",
            "cluster.genesis_hash: is '0OIl'; should be the genesis hash, 32 bytes",
        ),
        ("cluster.genesis_hash", ..., "cluster.genesis_hash: missing; `makewhole config genesis URL`"),
        (
            "cluster.endpoints",
            [],
            "cluster.endpoints: is []; should be one or more tables [[cluster.endpoints]]",
        ),
        (
            "cluster.endpoints.0.url",
            "ftp://x",
            "cluster.endpoints[1].url: is 'ftp://x'; should be a URL, http://",
        ),
        (
            "cluster.endpoints.0.url",
            "http://a:b",
            "cluster.endpoints[1].url: is 'http://a:b'; should be a URL",
        ),
        ("cluster.endpoints.0.uri", "http://x", "cluster.endpoints[1].uri: unknown key; did you mean `url`?"),
        ("cluster.timeout_s", 0, "cluster.timeout_s: is 0; should be a number of seconds from 0.1 to 300"),
        ("cluster.timeout_s", True, "cluster.timeout_s: is true; should be a number of seconds"),
        (
            "cluster.requests_per_second",
            "20",
            "cluster.requests_per_second: is '20'; should be a whole number from 1",
        ),
        (
            "cluster.requests_per_second",
            1.5,
            "cluster.requests_per_second: is 1.5; should be a whole number from 1",
        ),
        (
            "keys",
            {},
            "keys: none is given; should be exactly one of seed_file, keystore_file, signer_command",
        ),
        (
            "keys.signer_command",
            ["signer"],
            "keys: seed_file and signer_command are given; should be exactly one of",
        ),
        ("keys", {"keystore_file": "x"}, "keys: keystore_file and keystore_password_file belong together"),
        ("keys", {"signer_command": ["x"]}, "keys: signer_command and address_file belong together"),
        ("keys", {"signer_command": "x y"}, "keys.signer_command: is 'x y'; should be a list of strings"),
        ("assets", ..., "assets: missing; a table [assets.SYMBOL]"),
        ("assets", [1], "assets: is [1]; should be tables, each written [assets.SYMBOL]"),
        ("assets.USDC", ..., "assets.USDC: missing; everything settles in it"),
        ("assets.SOL", ..., "assets.SOL: missing; network fees are paid in it"),
        (
            "assets.USDC.mint",
            ...,
            "assets.USDC.mint: missing; a token is known by its mint, never by its symbol",
        ),
        (
            "assets.USDC.mint",
            "nonsense!",
            "assets.USDC.mint: is 'nonsense!'; should be the mint, 32 bytes in base58",
        ),
        (
            "assets.USDC.token_program",
            "spl",
            "assets.USDC.token_program: is 'spl'; should be one of \"native\"",
        ),
        ("assets.USDC.decimals", 9, "assets.USDC.decimals: is 9; should be 6, as USDC has"),
        ("assets.USDC.decimals", -1, "assets.USDC.decimals: is -1; should be a whole number from 0 to 18"),
        ("assets.USDC.token_program", "native", 'assets.USDC: token_program = "native" is for SOL'),
        ("assets.SOL.haircut_pmm", 1, "assets.SOL.haircut_pmm: unknown key; did you mean `haircut_ppm`?"),
        ("assets.SOL.haircut_ppm", 1_000_000, "asset SOL: haircut_ppm must be 0 to 999999, not 1000000"),
        ("assets.SOL.haircut_ppm", "5%", "assets.SOL.haircut_ppm: is '5%'; should be a whole number"),
        (
            "assets.BONK",
            {"mint": OTHER_MINT, "token_program": "spl-token", "decimals": 5},
            "assets.BONK: has no default parameters, so it also needs base_weight_ppm",
        ),
        (
            "assets.BTC",
            {"mint": MINT, "token_program": "spl-token", "decimals": 8},
            "assets.BTC.mint: is the mint of USDC already",
        ),
        ("markets.SOL-PERP.max_leverage", 0, "market SOL-PERP: max_leverage must be 1 to 1000, not 0"),
        ("markets.BTC-PERP.max_leverage", 5, "markets.BTC-PERP.asset: 'BTC' has no table [assets.BTC]"),
        (
            "markets.SOL-PERP.asset",
            "SOLO",
            "markets.SOL-PERP.asset: 'SOLO' has no table [assets.SOLO]; did you",
        ),
        ("markets.DOGE-PERP.asset", "SOL", "markets.DOGE-PERP: has no default parameters, so it also needs"),
        ("markets.SOL/USDC.kind", "swap", "market SOL/USDC: kind 'swap' is unknown"),
        ("markets.SOL/USDC.lot_units", 1, "market SOL/USDC: tick_e8 x lot_units must be a whole number"),
        ("markets.SOL/USDC.tick_size", 1, "markets.SOL/USDC.tick_size: unknown key; did you mean"),
        ("markets.SOL/USDC.maker_fee_ppm", "0.1%", "markets.SOL/USDC.maker_fee_ppm: is '0.1%'; should be a"),
        ("assets.SOL.lending", 5, "assets.SOL.lending: is 5; should be a table of its own"),
        ("assets.SOL.lending.rate_ppm", 5, "assets.SOL.lending.rate_ppm: unknown key; did you mean"),
        ("assets.SOL.lending.reserve_fee_ppm", -1, "asset SOL: lending.reserve_fee_ppm must be 0 to"),
        ("engine.min_sources", 0, "min_sources must be 1 to 1000, not 0"),
        ("engine.settlement_interval_ns", 0, "settlement_interval_ns must be 1 to"),
        ("engine.settlement_intervall_ns", 1, "engine.settlement_intervall_ns: unknown key; did you mean"),
        ("daemon.clock", "sundial", 'daemon.clock: is \'sundial\'; should be one of "system", "manual"'),
        ("daemon.start_slot", -1, "daemon.start_slot: is -1; should be a whole number of at least 0"),
        ("payer.enabled", "yes", "payer.enabled: is 'yes'; should be true or false, without quotes"),
    ],
)
def test_each_fault_names_its_key_and_the_remedy(path: str, value: Any, expected: str) -> None:
    faults = faults_of(changed(path, value))
    assert any(fault.startswith(expected) for fault in faults), faults


@dataclasses.dataclass(frozen=True, slots=True)
class Inner:
    rate_ppm: int = 1
    name: str = "x"


@dataclasses.dataclass(frozen=True, slots=True)
class Outer:
    limit_units: int
    inner: Inner = Inner(rate_ppm=7)


def test_parameters_that_are_nested_are_nested_tables() -> None:
    def overridden(given: dict[str, Any]) -> tuple[Any, list[str]]:
        faults: list[str] = []
        values = config_module.read_table(given, "o", config_module._parameter_keys(Outer, set()), faults)
        return config_module._override(Outer(5), Outer, "o", {}, values, faults), faults

    assert overridden({}) == (Outer(5), [])
    assert overridden({"inner": {"name": "y"}}) == (Outer(5, Inner(7, "y")), [])
    assert overridden({"limit_units": -3, "inner": {"rate_ppm": -2}}) == (Outer(-3, Inner(-2)), [])
    assert overridden({"inner": {"rate_pm": 2}})[1] == [
        "o.inner.rate_pm: unknown key; did you mean `rate_ppm`?"
    ]
    assert overridden({"inner": 2})[1] == ["o.inner: is 2; should be a table of its own"]


def test_endpoint_names_must_differ() -> None:
    document = good()
    document["cluster"]["endpoints"] *= 2
    assert faults_of(document) == ("cluster.endpoints: two are called 'a'; each needs its own name",)


def test_all_faults_are_told_at_once() -> None:
    document = good()
    document["colour"] = "red"
    document["cluster"]["timeout_s"] = -1
    document["keys"] = {"seed_fil": "x"}
    document["assets"]["SOL"]["decimals"] = "nine"
    document["engine"] = {"gate_max_ns": "soon"}
    document["daemon"] = {"batch_limit": 0}
    faults = faults_of(document)
    for part in (
        "colour",
        "cluster.timeout_s",
        "keys.seed_fil",
        "assets.SOL.decimals",
        "engine.gate_max_ns",
        "daemon.batch_limit",
    ):
        assert sum(fault.startswith(f"{part}:") for fault in faults) == 1, (part, faults)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read: No such file or directory; `makewhole config init` writes one"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
        (b"a = \n", "is not TOML: "),
        (b"a = 1\na = 2\n", "is not TOML: "),
    ],
)
def test_an_unreadable_file_is_one_clear_fault(content: bytes | None, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "makewhole.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(expected)


# -- the example --


def uncommented(text: str) -> str:
    """The example with every commented setting switched on."""
    return re.sub(r"(?m)^# (?=(\[|[a-z_0-9]+ = ))", "", text)


def test_the_example_is_good_as_written(tmp_path: Path) -> None:
    path = tmp_path / "makewhole.toml"
    path.write_text(example())
    config = load_config(path)
    assert [asset.token.symbol for asset in config.assets] == ["USDC", "SOL"]


def _fields(kind: Any, path: str, without: set[str]) -> set[str]:
    named: set[str] = set()
    for name, wanted in config_module.parameter_kinds(kind).items():
        if dataclasses.is_dataclass(wanted):
            named |= _fields(wanted, f"{path}.{name}", set())
        elif name not in without:
            named.add(f"{path}.{name}")
    return named


def _keys_of_the_reader() -> set[str]:
    tables = {
        "cluster": config_module._CLUSTER,
        "cluster.endpoints": config_module._ENDPOINT,
        "keys": config_module._KEYS,
        "assets": config_module._CHAIN_SIDE,
        "daemon": config_module._DAEMON,
        "payer": config_module._PAYER,
        "proof": config_module._PROOF,
    }
    named = {f"{table}.{key.name}" for table, keys in tables.items() for key in keys}
    named |= _fields(AssetParams, "assets", {"symbol"}) | _fields(MarketParams, "markets", {"symbol"})
    named |= _fields(Params, "engine", {"assets", "markets"})
    return named - {"cluster.endpoints"}  # shown as the table itself


def test_the_example_shows_every_key_and_only_known_ones() -> None:
    shown: set[str] = set()
    table = ""
    for line in uncommented(example()).splitlines():
        if header := re.match(r"\[+([^\]]+)\]+", line):
            table = header.group(1)
            table = re.sub(r"^(assets|markets)\.[^.]+", r"\1", table)
        elif (setting := re.match(r"([a-z_0-9]+) = ", line)) and table:
            shown.add(f"{table}.{setting.group(1)}")
    assert shown == _keys_of_the_reader()


def test_the_defaults_shown_in_the_example_are_the_defaults() -> None:
    text = uncommented(example())
    document = tomllib.loads(text)
    document["keys"] = {"seed_file": "seed.hex"}
    document["cluster"]["endpoints"] = document["cluster"]["endpoints"][:1]
    document["assets"]["USDC"].pop("cross_check_units")
    for name in ("start_slot", "price_file"):
        document["daemon"].pop(name)
    for name in ("folder", "master_secret_file", "operator_key_file"):
        document["proof"].pop(name)
    switched_on = read_config(document, SOURCE)
    as_written = read_config(tomllib.loads(example()), SOURCE)
    for field in dataclasses.fields(Config):
        if field.name != "engine_overrides":
            assert getattr(switched_on, field.name) == getattr(as_written, field.name), field.name
