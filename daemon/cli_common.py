"""What the commands of `makewhole` share: options, the way to the daemon, amounts as people write them.

Rules: heavy modules are imported where they are needed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from daemon.api.client import ApiClient
    from daemon.config import Config
    from engine.params import MarketParams

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
IdOption = Annotated[str, typer.Option("--id", help="Your own id; the same id again is the same request.")]
DEFAULT_CONFIG: Final = Path("makewhole.toml")


def load(path: Path) -> Config:
    """Read the configuration; raises `ConfigError` naming every fault."""
    from daemon.config import load_config

    return load_config(path)


def ask_daemon(config_path: Path, question: Callable[[ApiClient], Awaitable[Any]]) -> Any:
    """Ask the running daemon of a configuration."""
    import asyncio

    from daemon import cli_tables
    from daemon.api.client import ApiClient

    config = load(config_path)
    cli_tables.know_decimals({one.token.symbol: one.token.decimals for one in config.assets})

    async def ask() -> Any:
        async with ApiClient(config.socket_path) as client:
            return await question(client)

    return asyncio.run(ask())


def get(config_path: Path, path: str, **query: str | None) -> Any:
    """Ask one question; parts of the query that are None are left out."""
    given = {name: value for name, value in query.items() if value is not None}
    return ask_daemon(config_path, lambda client: client.get(path, **given))


def post(config_path: Path, path: str, **body: Any) -> Any:
    """Give one command."""
    return ask_daemon(config_path, lambda client: client.post(path, **body))


def show(answer: Any, as_json: bool, table: Callable[[Any], None]) -> None:
    """Print an answer: for machines as it came, for people as a table."""
    if as_json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(answer)).decode())
    else:
        table(answer)


def new_id(chosen: str) -> str:
    """Return the id that was chosen, or a new one."""
    import secrets

    return chosen or f"cli-{secrets.token_hex(8)}"


def units_of(config: Config, asset: str, amount: str) -> int:
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


def market_of(config: Config, market: str) -> MarketParams:
    """Return a market's parameters; raises `DaemonError` naming the markets there are."""
    from daemon.errors import DaemonError

    for one in config.params.markets:
        if one.symbol == market:
            return one
    known = ", ".join(one.symbol for one in config.params.markets)
    raise DaemonError(f"market {market!r} is not listed here; listed: {known}")


def market_assets(config_path: Path) -> dict[str, str]:
    """Return from each market to the asset whose units its sizes are."""
    return {one.symbol: one.asset for one in load(config_path).params.markets}
