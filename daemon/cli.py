"""The command `makewhole`.

Owns: arguments, friendly errors, exit statuses; markets and lending have modules of their own. Rules: heavy
modules are imported by the command that needs them, so that `makewhole --help` answers at once; `--json`
prints what the API answered and nothing else; a `DaemonError` ends with its message and its `exit_status`,
anything else is a bug and shows its traceback.

Exit status: 0 done · 1 refused or failed · 2 configuration or usage · 3 database · 4 invariant broken ·
5 chain. `verify` and `verify-me`: 0 good · 1 rejected · 3 true, but holdings do not cover what is owed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from daemon import cli_lending, cli_trading
from daemon.cli_common import (
    DEFAULT_CONFIG,
    ConfigOption,
    IdOption,
    JsonOption,
    ask_daemon,
    load,
    market_assets,
    new_id,
    show,
    units_of,
)

if TYPE_CHECKING:
    from daemon.api.client import ApiClient

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
# Headings of `makewhole --help`.
RUN: Final = "Run and try out"
MONEY: Final = "Subaccounts and money"
TRADE: Final = "Markets, lending, liquidation"
PROOF: Final = "Proof of solvency"
KEEP: Final = "Configuration, keys, journal"


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


# -- running --


@app.command(rich_help_panel=RUN)
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
    loaded = load(config)

    def ready(parts: service.Daemon) -> None:
        logging.getLogger("makewhole").info(
            "running: sequence %d (%d entries replayed), control socket %s",
            parts.runner.sequence,
            parts.recovered.replayed,
            loaded.socket_path,
        )

    uvloop.run(service.run(loaded, from_genesis=from_genesis, on_ready=ready))


@app.command(rich_help_panel=RUN)
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


@app.command(rich_help_panel=RUN)
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


@app.command(rich_help_panel=RUN)
def demo(
    keep: Annotated[Path | None, typer.Option(help="Keep database and logs in this folder.")] = None,
) -> None:
    """Show the main road, end to end, on an embedded Solana and a real database. Under a minute."""
    from daemon.demo import demo as play

    raise typer.Exit(play(keep))


@app.command(rich_help_panel=RUN)
def crash(
    scenario: Annotated[
        str, typer.Option(help="calm, depeg, october, severe, or a scenario file.", metavar="NAME|FILE")
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
    loaded = load(config)
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


@app.command(rich_help_panel=MONEY)
def address(subaccount: str, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the deposit address of a subaccount (7/0, insurance_fund or fees); opens it if it is new."""
    from daemon import cli_tables

    async def ask(client: ApiClient) -> Any:
        if "/" in subaccount:
            return await client.post("subaccounts", subaccount=subaccount)
        return await client.get("address", subaccount=subaccount)

    show(ask_daemon(config, ask), as_json, cli_tables.address)


@app.command(rich_help_panel=MONEY)
def subaccount(subaccount: str, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show a subaccount: balances, positions, margin, what it owes and what it may withdraw."""
    from daemon import cli_tables

    show(
        ask_daemon(config, lambda client: client.get("subaccount", subaccount=subaccount)),
        as_json,
        lambda told: cli_tables.subaccount(told, market_assets(config)),
    )


@app.command(rich_help_panel=MONEY)
def preview(
    subaccount: str,
    asset: str,
    amount: str,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what a deposit would do now, before any money is sent."""
    from daemon import cli_tables

    units = units_of(load(config), asset, amount)
    answer = ask_daemon(
        config, lambda client: client.post("preview", subaccount=subaccount, asset=asset, units=units)
    )
    show(answer, as_json, lambda body: cli_tables.preview(body, asset))


@app.command(rich_help_panel=MONEY)
def deposits(
    subaccount: Annotated[str | None, typer.Argument(help="All without one.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List deposits with their receipts: applied and credited, to the unit."""
    from daemon import cli_tables

    query = {} if subaccount is None else {"subaccount": subaccount}
    show(ask_daemon(config, lambda client: client.get("deposits", **query)), as_json, cli_tables.deposits)


@app.command(rich_help_panel=MONEY)
def withdraw(
    subaccount: str,
    asset: str,
    amount: str,
    destination: str,
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Ask for a payout; refused says why, until when, and how much would pass."""
    from daemon import cli_tables

    units = units_of(load(config), asset, amount)
    chosen = new_id(request_id)
    body = {
        "subaccount": subaccount,
        "asset": asset,
        "units": units,
        "destination": destination,
        "id": chosen,
    }
    answer = ask_daemon(config, lambda client: client.post("withdrawals", **body))
    show({"id": chosen, **answer}, as_json, cli_tables.done)


@app.command(rich_help_panel=MONEY)
def cancel_withdrawal(
    subaccount: str,
    withdrawal_id: str,
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take back a withdrawal that is still queued; once its payout is ordered it goes out."""
    from daemon import cli_tables

    body = {"id": new_id(request_id), "subaccount": subaccount, "withdrawal_id": withdrawal_id}
    answer = ask_daemon(config, lambda client: client.post("withdrawals/cancel", **body))
    show({"id": body["id"], **answer}, as_json, cli_tables.done)


@app.command(rich_help_panel=MONEY)
def withdrawal(
    withdrawal_id: str, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Show a withdrawal: queued, reserved, paid or returned, and its transaction on chain."""
    from daemon import cli_tables

    show(
        ask_daemon(config, lambda client: client.get("withdrawal", id=withdrawal_id)),
        as_json,
        cli_tables.withdrawal,
    )


@app.command(rich_help_panel=MONEY)
def status(
    config: ConfigOption = DEFAULT_CONFIG,
    full: Annotated[bool, typer.Option(help="Also check every invariant and hash the state.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how the daemon is: scan, reserves against what is owed, fund, debts and claims."""
    from daemon import cli_tables

    answer = ask_daemon(config, lambda client: client.get("status", full=str(full).lower()))
    show(answer, as_json, cli_tables.status)


# -- the proof of solvency --


@app.command(rich_help_panel=PROOF)
def prove(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Make a proof of solvency now and publish its hash; works with and without a running daemon."""
    from daemon.proof import desk

    show(desk.prove(load(config)), as_json, desk.show_made)


@app.command(rich_help_panel=PROOF)
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


@app.command(rich_help_panel=PROOF)
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
    raise typer.Exit(desk.verify_me(load(config), subaccount, url=url, expected=expected or None, save=save))


@app.command(rich_help_panel=PROOF)
def reserves(
    config: ConfigOption = DEFAULT_CONFIG,
    last: Annotated[int, typer.Option(min=1, help="How many epochs of history.")] = 144,
    html: Annotated[Path | None, typer.Option(help="Write a page with a chart here.")] = None,
    name: Annotated[str, typer.Option(help="The exchange's name on the page.")] = "Makewhole",
    as_json: JsonOption = False,
) -> None:
    """Show what the last bundles say to the public: holdings, liabilities, rates, deficit, claims, fund."""
    from daemon.proof import desk

    history = desk.summaries(load(config), last)
    if as_json:
        typer.echo(desk.as_json(history))
    else:
        desk.show_reserves(history, html, name)


# -- the journal --


@journal_app.command("verify")
def journal_verify(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Replay the whole journal from its beginning: every hash, every outcome, every invariant."""
    from daemon.journal_tools import verify

    verify(load(config).database_path)


@journal_app.command("replay")
def journal_replay(
    config: ConfigOption = DEFAULT_CONFIG,
    until: Annotated[int | None, typer.Option(help="The last sequence to apply; all without it.")] = None,
) -> None:
    """Replay the journal up to a sequence and print the state hash there."""
    from daemon.journal_tools import replay_until

    replay_until(load(config).database_path, until)


@journal_app.command("export")
def journal_export(
    config: ConfigOption = DEFAULT_CONFIG,
    subaccount: Annotated[str | None, typer.Option(help="Only entries that name this subaccount.")] = None,
) -> None:
    """Print the journal as JSON lines: sequence, command, outcome, hash."""
    from daemon.journal_tools import export

    export(load(config).database_path, subaccount)


# -- the rest, by subject --

for name, group in {**cli_trading.GROUPS, **cli_lending.GROUPS}.items():
    app.add_typer(group, name=name, rich_help_panel=TRADE)
for command in (*cli_trading.COMMANDS, *cli_lending.COMMANDS):
    app.command(rich_help_panel=TRADE)(command)
app.add_typer(config_app, name="config", rich_help_panel=KEEP)
app.add_typer(keys_app, name="keys", rich_help_panel=KEEP)
app.add_typer(journal_app, name="journal", rich_help_panel=KEEP)


if __name__ == "__main__":
    main()
