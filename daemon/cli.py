"""The command `makewhole`.

Owns: arguments, friendly errors, exit statuses. Rules: heavy modules are imported by the command that
needs them, so that `makewhole --help` answers at once; `--json` prints what the API answered and nothing
else; a `DaemonError` ends with its message and its `exit_status`, anything else is a bug and shows its
traceback.

Exit status: 0 done · 1 refused or failed · 2 configuration or usage · 3 database · 4 invariant broken ·
5 chain. `verify` and `verify-me`: 0 good · 1 rejected · 3 true, but holdings do not cover what is owed.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from daemon.api.client import ApiClient
    from daemon.config import Config

app = typer.Typer(
    name="makewhole",
    help="A Solana deposit watcher, settlement client and margin engine; negative equity first, in the open.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Write and check the configuration.", no_args_is_help=True)
keys_app = typer.Typer(help="Make and keep the seed.", no_args_is_help=True)
journal_app = typer.Typer(help="Check and read the journal.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(keys_app, name="keys")
app.add_typer(journal_app, name="journal")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DEFAULT_CONFIG = Path("makewhole.toml")


def main() -> None:
    """Run the command line; ends the process with the exit status of what happened."""
    from chain.errors import ChainError
    from daemon.errors import DaemonError

    try:
        app()  # ends with SystemExit, also for a wrong option
    except DaemonError as error:
        typer.secho(f"makewhole: {error}", err=True, fg="red")
        raise SystemExit(error.exit_status) from None
    except ChainError as error:
        typer.secho(f"makewhole: {error}", err=True, fg="red")
        raise SystemExit(5) from None


def _loaded(path: Path) -> Config:
    from daemon.config import load_config

    return load_config(path)


def _ask(config_path: Path, question: Callable[[ApiClient], Awaitable[Any]]) -> Any:
    """Ask the running daemon of a configuration."""
    import asyncio

    from daemon.api.client import ApiClient

    config = _loaded(config_path)

    async def ask() -> Any:
        async with ApiClient(config.socket_path) as client:
            return await question(client)

    return asyncio.run(ask())


def _show(answer: Any, as_json: bool, table: Callable[[Any], None]) -> None:
    if as_json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(answer)).decode())
    else:
        table(answer)


def _units(config: Config, asset: str, amount: str) -> int:
    """Return base units of a decimal amount; the asset's decimals come from the configuration."""
    from chain.addresses import parse_amount
    from daemon.errors import DaemonError

    try:
        decimals = config.token(asset).decimals
    except StopIteration:
        known = ", ".join(sorted(one.token.symbol for one in config.assets))
        raise DaemonError(f"{asset!r} is not accepted here; accepted: {known}") from None
    try:
        return parse_amount(amount, decimals)
    except ValueError as error:
        raise DaemonError(str(error)) from None


# -- running --


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    from_genesis: Annotated[bool, typer.Option(help="Replay the whole journal, use no snapshot.")] = False,
    quiet: Annotated[bool, typer.Option(help="Log warnings only.")] = False,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    import logging

    import uvloop

    from daemon import service

    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    loaded = _loaded(config)

    def ready(parts: service.Daemon) -> None:
        logging.getLogger("makewhole").info(
            "running: sequence %d (%d entries replayed), control socket %s",
            parts.runner.sequence,
            parts.recovered.replayed,
            loaded.socket_path,
        )

    uvloop.run(service.run(loaded, from_genesis=from_genesis, on_ready=ready))


@app.command()
def localnet(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    rpc_port: Annotated[int, typer.Option(help="JSON-RPC over HTTP; 0 for a free port.")] = 8899,
    ws_port: Annotated[int, typer.Option(help="Subscriptions over WebSocket; 0 for a free port.")] = 8900,
    slot_ms: Annotated[int, typer.Option(help="Milliseconds per slot.")] = 400,
    ledger: Annotated[Path | None, typer.Option(help="Save the ledger here and start from it.")] = None,
    quiet: Annotated[bool, typer.Option(help="Print nothing but errors.")] = False,
) -> None:
    """Run an embedded Solana for wallets and tests."""
    from localnet.cli import run as serve

    raise typer.Exit(serve(host, rpc_port, ws_port, slot_ms, ledger, quiet))


@app.command()
def airdrop(
    address: Annotated[str, typer.Argument(help="Who gets it.")],
    asset: Annotated[str, typer.Argument(help="SOL or USDC.")],
    amount: Annotated[str, typer.Argument(help="How much, such as 100 or 0.5.")],
    url: Annotated[str, typer.Option(help="JSON-RPC of a localnet.")] = "http://127.0.0.1:8899",
) -> None:
    """Give an address test money on a localnet; returns when it is confirmed."""
    import asyncio

    from daemon.airdrop import airdrop as give

    signature = asyncio.run(give(url, address, asset, amount))
    typer.echo(f"{amount} {asset} for {address}, confirmed in {signature}")


@app.command()
def demo(
    keep: Annotated[Path | None, typer.Option(help="Keep database and logs in this folder.")] = None,
) -> None:
    """Show the main road, end to end, on an embedded Solana and a real database. Under a minute."""
    from daemon.demo import demo as show

    raise typer.Exit(show(keep))


@app.command()
def crash(
    scenario: Annotated[
        str, typer.Option(help="calm, october, severe, or a scenario file.", metavar="NAME|FILE")
    ] = "october",
    accounts: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many customers.")] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 1,
    out: Annotated[Path, typer.Option(help="The folder for results.json and report.html.")] = Path("crash"),
    sweep: Annotated[
        str,
        typer.Option(
            help="One run per value of a scenario key: fund.size=0.1,0.5,2", metavar="KEY=V1,V2,..."
        ),
    ] = "",
    quiet: Annotated[bool, typer.Option(help="Write the files, print nothing.")] = False,
) -> None:
    """Replay a market crash through the engine; results.json and a report for the browser."""
    from daemon.crash.command import crash as replay

    raise typer.Exit(replay(scenario, accounts, seed, out, sweep, quiet))


# -- configuration and keys --


@config_app.command("init")
def config_init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = DEFAULT_CONFIG,
    url: Annotated[str, typer.Option(help="A node to fill in the chain from, such as a localnet.")] = "",
) -> None:
    """Write a commented example; an existing file is never overwritten."""
    from daemon.config_example import example, example_for
    from daemon.errors import DaemonError

    text = example_for(url) if url else example()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise DaemonError(f"{path} exists and is not overwritten") from None
    except OSError as error:
        raise DaemonError(f"{path} cannot be written: {error.strerror}") from None
    typer.echo(f"{path} written. Next: makewhole keys new seed.hex, then makewhole config check -c {path}")


@config_app.command("check")
def config_check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Name every fault at once; needs neither network nor database."""
    loaded = _loaded(config)
    assets = ", ".join(one.token.symbol for one in loaded.assets)
    markets = ", ".join(one.symbol for one in loaded.params.markets)
    typer.echo(
        f"{config} is good: assets {assets}; markets {markets}; {len(loaded.cluster.endpoints)} endpoint(s)"
    )
    if len(loaded.cluster.endpoints) < 2:
        typer.echo(
            "one endpoint only: nothing it says can be cross-checked; add a second one before real money"
        )
    for name in loaded.engine_overrides:
        typer.echo(f"differs from the default: {name}")


@config_app.command("genesis")
def config_genesis(url: Annotated[str, typer.Argument(help="The address of a node's JSON-RPC.")]) -> None:
    """Ask a node for the genesis hash of its chain."""
    import asyncio

    from chain.rpc import RpcPool

    async def ask() -> str:
        async with RpcPool([url]) as pool:
            return await pool.check_genesis(None)

    typer.echo(asyncio.run(ask()))


@keys_app.command("new")
def keys_new(path: Annotated[Path, typer.Argument(help="Where to write the seed.")]) -> None:
    """Make a new seed, readable by its owner only. It is the one secret to back up."""
    import os
    import secrets

    from daemon.errors import DaemonError

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise DaemonError(f"{path} exists and is not overwritten") from None
    except OSError as error:
        raise DaemonError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_bytes(64).hex() + "\n")
    typer.echo(f"{path} written. Every deposit address derives from it: back it up, and never lose it.")


@keys_app.command("encrypt")
def keys_encrypt(
    seed: Annotated[Path, typer.Argument(help="The seed file.")],
    keystore: Annotated[Path, typer.Argument(help="Where to write the encrypted keystore.")],
) -> None:
    """Encrypt a seed file under a password."""
    from chain.keystore import write_keystore
    from chain.signer import Secret
    from daemon.keys import read_seed

    secret = read_seed(seed)
    password = Secret(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    write_keystore(keystore, secret, password, kind="seed")
    typer.echo(f"{keystore} written. Check that it opens before you remove {seed}.")


# -- customers --


@app.command()
def address(subaccount: str, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the deposit address of a subaccount (7/0, insurance_fund or fees); opens it if it is new."""
    from daemon import cli_tables

    async def ask(client: ApiClient) -> Any:
        if "/" in subaccount:
            return await client.post("subaccounts", subaccount=subaccount)
        return await client.get("address", subaccount=subaccount)

    _show(_ask(config, ask), as_json, cli_tables.address)


@app.command()
def subaccount(subaccount: str, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show a subaccount: balances, positions, margin, what it owes and what it may withdraw."""
    from daemon import cli_tables

    _show(
        _ask(config, lambda client: client.get("subaccount", subaccount=subaccount)),
        as_json,
        cli_tables.subaccount,
    )


@app.command()
def preview(
    subaccount: str,
    asset: str,
    amount: str,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what a deposit would do now, before any money is sent."""
    from daemon import cli_tables

    units = _units(_loaded(config), asset, amount)
    answer = _ask(
        config, lambda client: client.post("preview", subaccount=subaccount, asset=asset, units=units)
    )
    _show(answer, as_json, lambda body: cli_tables.preview(body, asset))


@app.command()
def deposits(
    subaccount: Annotated[str | None, typer.Argument(help="All without one.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List deposits with their receipts: applied and credited, to the unit."""
    from daemon import cli_tables

    query = {} if subaccount is None else {"subaccount": subaccount}
    _show(_ask(config, lambda client: client.get("deposits", **query)), as_json, cli_tables.deposits)


@app.command()
def withdraw(
    subaccount: str,
    asset: str,
    amount: str,
    destination: str,
    request_id: Annotated[
        str, typer.Option("--id", help="Your own id; the same id again is the same request.")
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Ask for a payout; refused says why, until when, and how much would pass."""
    import secrets

    from daemon import cli_tables

    units = _units(_loaded(config), asset, amount)
    chosen = request_id or f"cli-{secrets.token_hex(8)}"
    body = {
        "subaccount": subaccount,
        "asset": asset,
        "units": units,
        "destination": destination,
        "id": chosen,
    }
    answer = _ask(config, lambda client: client.post("withdrawals", **body))
    _show({"id": chosen, **answer}, as_json, cli_tables.done)


@app.command()
def withdrawal(
    withdrawal_id: str, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Show a withdrawal: queued, reserved, paid or returned, and its transaction on chain."""
    from daemon import cli_tables

    _show(
        _ask(config, lambda client: client.get("withdrawal", id=withdrawal_id)),
        as_json,
        cli_tables.withdrawal,
    )


@app.command()
def status(
    config: ConfigOption = DEFAULT_CONFIG,
    full: Annotated[bool, typer.Option(help="Also check every invariant and hash the state.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how the daemon is: scan, reserves against what is owed, fund, debts and claims."""
    from daemon import cli_tables

    answer = _ask(config, lambda client: client.get("status", full=str(full).lower()))
    _show(answer, as_json, cli_tables.status)


# -- the proof of solvency --


@app.command()
def prove(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Make a proof of solvency now and publish its hash; works with and without a running daemon."""
    from daemon.proof import desk

    _show(desk.prove(_loaded(config)), as_json, desk.show_made)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle file.")],
    operator: Annotated[str | None, typer.Option(help="The operator's key: base58 or hex.")] = None,
    url: Annotated[str | None, typer.Option(help="A node of your own: looks up the memo.")] = None,
    publisher: Annotated[str | None, typer.Option(help="Whose memos; default: the operator's.")] = None,
    published: Annotated[str | None, typer.Option(help="The hash of the memo, in hex.")] = None,
    previous: Annotated[Path | None, typer.Option(help="The bundle before this one.")] = None,
    threads: Annotated[int, typer.Option(help="Threads that check range proofs.")] = 2,
) -> None:
    """Check everything public about a bundle. Status 1: rejected; 3: true, but holdings do not cover."""
    from daemon.proof import desk

    raise typer.Exit(
        desk.verify(
            bundle,
            operator=operator,
            publisher=publisher,
            url=url,
            hash_hex=published,
            previous=previous,
            threads=threads,
        )
    )


@app.command()
def verify_me(
    subaccount: str,
    balance: Annotated[list[str] | None, typer.Option(help="What you know: NAME=UNITS; repeat.")] = None,
    url: Annotated[str | None, typer.Option(help="A node of your own instead of the configured.")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the record here, for other verifiers.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Check that a subaccount is counted in the last bundle, and the bundle on chain."""
    from daemon.errors import DaemonError
    from daemon.proof import desk

    try:
        expected = {name: int(units) for name, _, units in (one.rpartition("=") for one in balance or [])}
    except ValueError:
        raise DaemonError("a balance is NAME=UNITS, such as USDC=1000000") from None
    raise typer.Exit(
        desk.verify_me(_loaded(config), subaccount, url=url, expected=expected or None, save=save)
    )


@app.command()
def reserves(
    config: ConfigOption = DEFAULT_CONFIG,
    last: Annotated[int, typer.Option(min=1, help="How many epochs of history.")] = 144,
    html: Annotated[Path | None, typer.Option(help="Write a page with a chart here.")] = None,
    name: Annotated[str, typer.Option(help="The exchange's name on the page.")] = "Makewhole",
    as_json: JsonOption = False,
) -> None:
    """Show what the last bundles say to the public: holdings, liabilities, rates, deficit, claims, fund."""
    from daemon.proof import desk

    history = desk.summaries(_loaded(config), last)
    if as_json:
        typer.echo(desk.as_json(history))
    else:
        desk.show_reserves(history, html, name)


# -- the journal --


@journal_app.command("verify")
def journal_verify(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Replay the whole journal from its beginning: every hash, every outcome, every invariant."""
    from daemon.journal_tools import verify

    verify(_loaded(config).database_path)


@journal_app.command("replay")
def journal_replay(
    config: ConfigOption = DEFAULT_CONFIG,
    until: Annotated[int | None, typer.Option(help="The last sequence to apply; all without it.")] = None,
) -> None:
    """Replay the journal up to a sequence and print the state hash there."""
    from daemon.journal_tools import replay_until

    replay_until(_loaded(config).database_path, until)


@journal_app.command("export")
def journal_export(
    config: ConfigOption = DEFAULT_CONFIG,
    subaccount: Annotated[str | None, typer.Option(help="Only entries that name this subaccount.")] = None,
) -> None:
    """Print the journal as JSON lines: sequence, command, outcome, hash."""
    from daemon.journal_tools import export

    export(_loaded(config).database_path, subaccount)


if __name__ == "__main__":
    main()
