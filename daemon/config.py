"""From `makewhole.toml` to typed settings, with every fault named at once.

Owns the list of keys, their defaults and the commented example. Rules: an unknown key is a fault, never
ignored; nothing is read from the network; secrets are referred to by file or command and never stand in
the file itself. A key of `[engine]`, `[assets.X]` or `[markets.X]` that bears the name of an engine
parameter overrides it.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from daemon.config_reading import (
    REQUIRED,
    Key,
    Wrong,
    base58_32,
    boolean,
    choice,
    nearest,
    read_table,
    seconds,
    shown,
    text,
    url,
    whole,
    words,
)
from daemon.errors import ConfigError

if TYPE_CHECKING:
    from chain.tokens import TokenMint
    from engine.params import Params

TOKEN_PROGRAMS: Final = {
    "spl-token": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
    "token-2022": "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb",
}


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One node that we ask."""

    url: str
    ws_url: str | None
    name: str


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Which chain, and through whom."""

    genesis_hash: str
    endpoints: tuple[EndpointConfig, ...]
    requests_per_second: int
    max_in_flight: int
    timeout_s: float
    max_transaction_version: int


@dataclass(frozen=True, slots=True)
class KeysConfig:
    """Where the secret is: one of seed_file, keystore_file and signer_command is set."""

    seed_file: Path | None
    keystore_file: Path | None
    keystore_password_file: Path | None
    signer_command: tuple[str, ...] | None
    address_file: Path | None


@dataclass(frozen=True, slots=True)
class AssetConfig:
    """An asset as the chain knows it."""

    token: TokenMint
    cross_check_units: int | None


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """How often, how many, and by which clock."""

    clock: str
    start_slot: int | None
    poll_interval_s: float
    attest_interval_s: float
    snapshot_every: int
    batch_limit: int
    price_file: Path | None
    price_interval_s: float


@dataclass(frozen=True, slots=True)
class PayerConfig:
    """Limits of the payer."""

    enabled: bool
    interval_s: float
    max_priority_fee_lamports: int
    low_balance_lamports: int
    allow_single_endpoint_expiry: bool


@dataclass(frozen=True, slots=True)
class ProofConfig:
    """The proof of solvency: how often, where, and with whose secrets."""

    enabled: bool
    interval_s: float
    folder: Path | None
    master_secret_file: Path | None
    operator_key_file: Path | None
    workers: int


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `makewhole run` needs to know."""

    source: Path
    data_directory: Path
    cluster: ClusterConfig
    keys: KeysConfig
    assets: tuple[AssetConfig, ...]
    params: Params
    daemon: DaemonConfig
    payer: PayerConfig
    proof: ProofConfig
    engine_overrides: tuple[str, ...]

    @property
    def socket_path(self) -> Path:
        """Return the path of the control API's Unix socket."""
        return self.data_directory / "control.sock"

    @property
    def database_path(self) -> Path:
        """Return the path of the SQLite file."""
        return self.data_directory / "makewhole.sqlite"

    @property
    def proof_folder(self) -> Path:
        """Return the folder of bundles, and of the secrets behind them."""
        return self.proof.folder or self.data_directory / "proof"

    def token(self, symbol: str) -> TokenMint:
        """Return the chain's side of an asset; raises KeyError."""
        return next(asset.token for asset in self.assets if asset.token.symbol == symbol)


_TOP: Final = (
    Key("data_directory", text, "makewhole-data", "where the database, the lock and the control socket live"),
    Key("cluster", lambda v: v, REQUIRED, "the table [cluster] says which chain and through which endpoints"),
    Key("keys", lambda v: v, REQUIRED, "the table [keys] says where the seed or the signer is"),
    Key("assets", lambda v: v, REQUIRED, "a table [assets.SYMBOL] for each asset that is accepted"),
    Key("markets", lambda v: v, {}, "a table [markets.SYMBOL] for each market whose parameters differ"),
    Key("engine", lambda v: v, {}, "engine parameters that differ from the defaults"),
    Key("daemon", lambda v: v, {}, "intervals and sizes"),
    Key("payer", lambda v: v, {}, "limits of the payer"),
    Key("proof", lambda v: v, {}, "the proof of solvency"),
)
_CLUSTER: Final = (
    Key(
        "genesis_hash",
        base58_32("the genesis hash"),
        REQUIRED,
        "`makewhole config genesis URL` asks a node for it",
    ),
    Key("endpoints", lambda v: v, REQUIRED, "at least one [[cluster.endpoints]] with a url"),
    Key("requests_per_second", whole(1, 100_000), 20, "per endpoint"),
    Key("max_in_flight", whole(1, 1000), 16, "requests without an answer, per endpoint"),
    Key("timeout_s", seconds(0.1, 300), 15.0, "for one request"),
    Key(
        "max_transaction_version", whole(0, 255), 1, "the newest transaction version that blocks may contain"
    ),
)
_ENDPOINT: Final = (
    Key("url", url("http", "https"), REQUIRED, "the address of the node's JSON-RPC"),
    Key("ws_url", url("ws", "wss"), None, "the address of its subscriptions; without one the watcher polls"),
    Key("name", text, None, "how logs call it; the host of the url without one"),
)
_KEYS: Final = (
    Key("seed_file", text, None, "64 bytes, as 128 hexadecimal digits, readable by its owner only"),
    Key("keystore_file", text, None, "an encrypted keystore made by `makewhole keys encrypt`"),
    Key("keystore_password_file", text, None, "the password of the keystore, readable by its owner only"),
    Key("signer_command", words, None, "a program that signs, with its arguments; no key is in this process"),
    Key("address_file", text, None, "with signer_command: a JSON object from subaccount to deposit address"),
)
_DAEMON: Final = (
    Key(
        "clock", choice("system", "manual"), "system", "manual: time moves only by the control API, for tests"
    ),
    Key(
        "start_slot",
        whole(0),
        None,
        "where a new data directory starts to scan; without one: at the newest final slot",
    ),
    Key("poll_interval_s", seconds(0.01, 60), 0.25, "between two looks for a new block when no hint comes"),
    Key("attest_interval_s", seconds(0.1, 3600), 15.0, "between two looks at the on-chain holdings"),
    Key("snapshot_every", whole(1), 100_000, "journal entries between two snapshots"),
    Key("batch_limit", whole(1, 100_000), 1000, "commands that share one transaction at most"),
    Key("price_file", text, None, "a JSON file with index and mark prices or quotes, read again and again"),
    Key("price_interval_s", seconds(0.05, 3600), 1.0, "between two looks at the price file"),
)
_PAYER: Final = (
    Key("enabled", boolean, True, "false: withdrawals are accepted and wait"),
    Key(
        "interval_s", seconds(0.05, 60), 1.5, "between two looks at a payout, and two sends of the same bytes"
    ),
    Key("max_priority_fee_lamports", whole(0, 10_000_000_000), 200_000, "paid at most for one payout"),
    Key("low_balance_lamports", whole(0), 100_000_000, "below this the hot wallet raises an alarm"),
    Key(
        "allow_single_endpoint_expiry",
        boolean,
        False,
        "weaker: one endpoint's word that a payout is dead is enough",
    ),
)
_PROOF: Final = (
    Key("enabled", boolean, True, "false: no bundle is made by itself; `makewhole prove` still makes one"),
    Key("interval_s", seconds(1, 86_400), 600.0, "between two bundles"),
    Key("folder", text, None, 'where bundles are kept; default: "proof" in the data directory'),
    Key("master_secret_file", text, None, "32 bytes as 64 hexadecimal digits; default: made in the folder"),
    Key("operator_key_file", text, None, "a keypair file whose key signs bundles; default: the hot wallet"),
    Key("workers", whole(1, 64), 1, "processes that prove, each of them at the lowest priority"),
)
_CHAIN_SIDE: Final = (
    Key(
        "mint",
        base58_32("the mint"),
        None,
        'the mint\'s address; SOL itself has none, but token_program = "native"',
    ),
    Key("token_program", choice("native", *TOKEN_PROGRAMS), REQUIRED, "which program keeps its accounts"),
    Key("decimals", whole(0, 18), REQUIRED, "of the mint; SOL has 9"),
    Key(
        "cross_check_units",
        whole(0),
        None,
        "deposits above this are looked up on a second endpoint before they count",
    ),
)


def load_config(path: Path) -> Config:
    """Read and check a configuration file; raises `ConfigError` naming every fault in it."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            str(path), [f"cannot be read: {error.strerror}; `makewhole config init` writes one"]
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"is not UTF-8 text (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"is not TOML: {error}"]) from error
    return read_config(document, path)


def read_config(document: Mapping[str, Any], source: Path) -> Config:
    """Check a parsed document; relative paths count from the file's own folder."""
    faults: list[str] = []
    top = read_table(document, "", _TOP, faults)
    cluster = _cluster(top["cluster"], faults)
    keys = _keys(top["keys"], source.parent, faults)
    daemon = _daemon(top["daemon"], source.parent, faults)
    payer = PayerConfig(**read_table(top["payer"], "payer", _PAYER, faults))
    proof = _proof(top["proof"], source.parent, faults)
    assets, params, overrides = _assets_and_params(top, faults)
    if faults or cluster is None or params is None:
        raise ConfigError(str(source), faults)
    return Config(
        source=source,
        data_directory=_below(source.parent, top["data_directory"]),
        cluster=cluster,
        keys=keys,
        assets=assets,
        params=params,
        daemon=daemon,
        payer=payer,
        proof=proof,
        engine_overrides=overrides,
    )


def _below(folder: Path, name: str) -> Path:
    return folder / Path(name).expanduser()


def _cluster(table: object, faults: list[str]) -> ClusterConfig | None:
    if table is None:
        return None
    before = len(faults)
    values = read_table(table, "cluster", _CLUSTER, faults)
    listed = values.pop("endpoints")
    endpoints = []
    if listed is not None and (not isinstance(listed, list) or not listed):
        faults.append(
            f"cluster.endpoints: is {shown(listed)}; should be one or more tables [[cluster.endpoints]]"
        )
    for number, item in enumerate(listed if isinstance(listed, list) else (), start=1):
        found = read_table(item, f"cluster.endpoints[{number}]", _ENDPOINT, faults)
        endpoints.append(
            EndpointConfig(found["url"], found["ws_url"], found["name"] or str(found["url"]).split("//")[-1])
        )
    names = [endpoint.name for endpoint in endpoints]
    twice = sorted({name for name in names if names.count(name) > 1})
    faults.extend(f"cluster.endpoints: two are called {name!r}; each needs its own name" for name in twice)
    return ClusterConfig(endpoints=tuple(endpoints), **values) if len(faults) == before else None


def _keys(table: object, folder: Path, faults: list[str]) -> KeysConfig:
    if table is None:
        return KeysConfig(None, None, None, None, None)
    values = read_table(table, "keys", _KEYS, faults)
    given = [name for name in ("seed_file", "keystore_file", "signer_command") if values[name] is not None]
    if len(given) != 1 and isinstance(table, Mapping):
        which = "none is given" if not given else " and ".join(given) + " are given"
        faults.append(f"keys: {which}; should be exactly one of seed_file, keystore_file, signer_command")
    if (values["keystore_file"] is None) != (values["keystore_password_file"] is None):
        faults.append("keys: keystore_file and keystore_password_file belong together")
    if (values["signer_command"] is None) != (values["address_file"] is None):
        faults.append("keys: signer_command and address_file belong together; a signer derives no addresses")

    def path(name: str) -> Path | None:
        return None if values[name] is None else _below(folder, values[name])

    return KeysConfig(
        path("seed_file"),
        path("keystore_file"),
        path("keystore_password_file"),
        values["signer_command"],
        path("address_file"),
    )


def _daemon(table: object, folder: Path, faults: list[str]) -> DaemonConfig:
    values = read_table(table, "daemon", _DAEMON, faults)
    if values["price_file"] is not None:
        values["price_file"] = _below(folder, values["price_file"])
    return DaemonConfig(**values)


def _proof(table: object, folder: Path, faults: list[str]) -> ProofConfig:
    values = read_table(table, "proof", _PROOF, faults)
    for name in ("folder", "master_secret_file", "operator_key_file"):
        if values[name] is not None:
            values[name] = _below(folder, values[name])
    return ProofConfig(**values)


# -- assets, markets and the engine's parameters --


_NEEDED: Final = {
    "USDC": "everything settles in it",
    "SOL": 'network fees are paid in it (token_program = "native", decimals = 9)',
}


def _table(value: object) -> object:
    if not isinstance(value, Mapping):
        raise Wrong("a table of its own")
    return value


def _parameter(value: object) -> object:
    if not isinstance(value, bool | int | str):
        raise Wrong("a whole number, true, false or a string")
    return value


_READERS: Final[Mapping[Any, Any]] = {int: whole(-(2**63)), bool: boolean, str: text}


def parameter_kinds(kind: type) -> dict[str, Any]:
    """Return the type of every field of an engine parameter class, by name."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _parameter_keys(kind: type, without: set[str]) -> list[Key]:
    """One key for each field of an engine parameter class; a nested class is a nested table."""
    return [
        Key(
            name,
            _table if dataclasses.is_dataclass(wanted) else _READERS.get(wanted, _parameter),
            None,
            "an engine parameter",
        )
        for name, wanted in parameter_kinds(kind).items()
        if name not in without
    ]


def _override(
    base: Any, kind: type, path: str, fixed: Mapping[str, object], given: Mapping[str, Any], faults: list[str]
) -> Any:
    """Return `base`, or a new `kind`, with the given fields set; None and a fault if one is missing."""
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, wanted in parameter_kinds(kind).items():
        if dataclasses.is_dataclass(wanted) and name in chosen:
            assert isinstance(wanted, type)  # noqa: S101  # is_dataclass also holds for instances
            inner = read_table(chosen[name], f"{path}.{name}", _parameter_keys(wanted, set()), faults)
            nested = getattr(base, name) if base is not None else None
            chosen[name] = _override(nested, wanted, f"{path}.{name}", {}, inner, faults)
    try:
        if base is not None:
            return dataclasses.replace(base, **{**fixed, **chosen})
        missing = [
            field.name
            for field in dataclasses.fields(kind)
            if field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
            and field.name not in chosen
            and field.name not in fixed
        ]
        if missing:
            faults.append(f"{path}: has no default parameters, so it also needs {', '.join(missing)}")
            return None
        return kind(**fixed, **chosen)
    except (ValueError, TypeError) as error:
        faults.append(f"{path}: {error}")
        return None


def _assets_and_params(
    top: Mapping[str, Any], faults: list[str]
) -> tuple[tuple[AssetConfig, ...], Params | None, tuple[str, ...]]:
    from engine.params import AssetParams, MarketParams, Params, default_params, params_faults

    before = len(faults)
    defaults = default_params()
    known_assets = {asset.symbol: asset for asset in defaults.assets}
    overrides: list[str] = []
    chain_side: list[AssetConfig] = []
    assets: list[Any] = []
    tables = _tables(top["assets"], "assets", faults)
    if tables:
        absent = [(symbol, what) for symbol, what in _NEEDED.items() if symbol not in tables]
        faults.extend(f"assets.{symbol}: missing; {what}" for symbol, what in absent)
    asset_keys = _parameter_keys(AssetParams, {"symbol", "decimals"})
    for symbol, table in tables.items():
        path = f"assets.{symbol}"
        values = read_table(table, path, [*_CHAIN_SIDE, *asset_keys], faults)
        token = _token(
            symbol, path, {key.name: values.pop(key.name) for key in _CHAIN_SIDE}, chain_side, faults
        )
        if token is None:
            continue
        overrides += [f"{path}.{name}" for name, value in values.items() if value is not None]
        fixed = {"symbol": symbol, "decimals": token.decimals}
        base = known_assets.get(symbol)
        if base is not None and base.decimals != token.decimals:
            faults.append(f"{path}.decimals: is {token.decimals}; should be {base.decimals}, as {symbol} has")
            continue
        assets.append(_override(base, AssetParams, path, fixed, values, faults))
    markets = _markets(top["markets"], defaults, set(tables), MarketParams, overrides, faults)
    general = read_table(top["engine"], "engine", _parameter_keys(Params, {"assets", "markets"}), faults)
    overrides += [f"engine.{name}" for name, value in general.items() if value is not None]
    if len(faults) > before:
        return (), None, ()
    params = _override(
        defaults, Params, "engine", {"assets": tuple(assets), "markets": tuple(markets)}, general, faults
    )
    if params is not None and len(faults) == before:
        faults.extend(params_faults(params))
    return tuple(chain_side), params, tuple(overrides)


def _tables(found: object, path: str, faults: list[str]) -> dict[str, object]:
    if found is None:
        return {}
    if not isinstance(found, Mapping) or not all(isinstance(value, Mapping) for value in found.values()):
        faults.append(f"{path}: is {shown(found)}; should be tables, each written [{path}.SYMBOL]")
        return {}
    return dict(found)


def _token(
    symbol: str, path: str, values: dict[str, Any], chain_side: list[AssetConfig], faults: list[str]
) -> TokenMint | None:
    from chain.tokens import TokenMint

    program, mint = values["token_program"], values["mint"]
    if program is None or values["decimals"] is None:
        return None
    if program == "native" and (mint is not None or symbol != "SOL"):
        faults.append(f'{path}: token_program = "native" is for SOL, which has no mint')
        return None
    if program != "native" and mint is None:
        faults.append(f"{path}.mint: missing; a token is known by its mint, never by its symbol")
        return None
    taken = next((asset.token.symbol for asset in chain_side if mint and asset.token.mint == mint), None)
    if taken is not None:
        faults.append(f"{path}.mint: is the mint of {taken} already; each asset has a mint of its own")
        return None
    try:
        token = TokenMint(symbol, mint, TOKEN_PROGRAMS.get(program), values["decimals"])
    except ValueError as error:
        faults.append(f"{path}: {error}")
        return None
    chain_side.append(AssetConfig(token, values["cross_check_units"]))
    return token


def _markets(
    found: object, defaults: Params, assets: set[str], kind: type, overrides: list[str], faults: list[str]
) -> list[Any]:
    """Return the default markets of the accepted assets, with overrides, and those described in full.

    A new spot market begins with the default parameters of spot markets: margin ratios do not concern it.
    """
    from engine.params import SPOT, spot_market

    tables = _tables(found, "markets", faults)
    known = {market.symbol: market for market in defaults.markets}
    keys = _parameter_keys(kind, {"symbol"})
    markets = []
    for symbol in [*known, *(name for name in tables if name not in known)]:
        path = f"markets.{symbol}"
        base = known.get(symbol)
        if symbol not in tables:
            if base is not None and base.asset in assets:
                markets.append(base)
            continue
        values = read_table(tables[symbol], path, keys, faults)
        asset = values.get("asset") or (base.asset if base else None)
        if asset is not None and asset not in assets:
            faults.append(f"{path}.asset: {asset!r} has no table [assets.{asset}]; {nearest(asset, assets)}")
            continue
        overrides += [f"{path}.{name}" for name, value in values.items() if value is not None]
        if base is None and asset is not None and values.get("kind") == SPOT:
            base = spot_market(symbol, asset, tick_e8=1_000_000, lot_units=10_000_000)
        market = _override(base, kind, path, {"symbol": symbol}, values, faults)
        if market is not None:
            markets.append(market)
    return markets
