"""How the demo tells: chapters, tables, waiting, and the questions that every chapter asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from chain.tokens import TokenMint
from daemon.api.client import ApiError
from daemon.cli_tables import amount, usd
from daemon.demo.checks import Checks
from daemon.demo.stage import SETTLEMENT_S, Stage
from daemon.demo.wallets import Wallet

USDC, SOL = 10**6, 10**9
ADA, BEN, CLEO, DORA = "7/0", "8/0", "9/0", "10/0"
NAMES = {
    ADA: "Ada",
    BEN: "Ben",
    CLEO: "Cleo",
    DORA: "Dora",
    "insurance_fund": "insurance fund",
    "fees": "hot wallet",
}


@dataclass(slots=True)
class Person:
    """Somebody with a wallet of their own and a subaccount here."""

    wallet: Wallet
    subaccount: str
    address: str


class Teller:
    """Tells a story about a stage, and keeps score."""

    def __init__(self, made: Stage, console: Console, checks: Checks) -> None:
        self.stage = made
        self.client = made.client
        self.console = console
        self.check = checks
        self.people: dict[str, Person] = {}
        self.chapters = 0

    # -- telling --

    def chapter(self, title: str, *sentences: str) -> None:
        """Begin a chapter."""
        self.chapters += 1
        self.console.print()
        self.console.rule(f"[bold]{self.chapters}. {title}", align="left")
        for sentence in sentences:
            self.console.print(sentence)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
        """Show rows."""
        table = Table(header_style="dim", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in columns:
            table.add_column(name, justify="right" if name in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    async def waiting(self, what: str, question: Any, timeout_s: float = 15) -> Any:
        """Wait with a moving sign."""
        with self.console.status(f"[dim]{what} ..."):
            return await self.stage.until(what, question, timeout_s)

    # -- asking --

    async def view(self, subaccount: str) -> Any:
        """Ask for a subaccount."""
        return await self.client.get("subaccount", subaccount=subaccount)

    async def credited(self, signature: str) -> Any:
        """Wait until a transfer is final and in the ledger; returns the deposit with its receipt."""

        async def found() -> Any:
            deposits = await self.client.get("deposits")
            return next((d for d in deposits if d["signature"] == signature and d["sequence"]), None)

        return await self.waiting("waiting for the transfer to become final", found)

    async def ticked(self) -> None:
        """Wait for the next settlement."""
        due = (await self.client.get("status"))["next_settlement_ns"]

        async def settled() -> bool:
            return bool((await self.client.get("status"))["next_settlement_ns"] > due)

        await self.waiting(f"waiting for the settlement, every {SETTLEMENT_S} s", settled)

    async def attested(self) -> Any:
        """Compare the chain's holdings with what is owed, now."""

        async def done() -> bool:
            try:
                await self.client.post("attest")
            except ApiError as error:
                if error.error.final:
                    raise
                return False
            return True

        await self.waiting("reading what all our addresses hold on chain", done)
        return await self.client.get("status", full="true")

    async def prices(self, dollars: str) -> None:
        """Set index and mark of SOL."""
        await self.client.post("prices", index={"SOL": dollars}, mark={"SOL-PERP": dollars})

    async def chain_status(self, signature: str) -> str:
        """Ask the chain how far a transaction is: processed, confirmed, finalized, or unknown."""
        answer = await self.stage.pool.call("getSignatureStatuses", [[signature]])
        found = answer["value"][0]
        return "unknown" if found is None else str(found["confirmationStatus"])

    def token(self, asset: str) -> TokenMint:
        """Return the chain's side of an asset."""
        return self.stage.usdc if asset == "USDC" else self.stage.sol

    async def pay_in(self, who: str, asset: str, units: int) -> str:
        """Send from a person's own wallet to their deposit address."""
        person = self.people[who]
        return await person.wallet.send(self.token(asset), person.address, units)

    # -- showing --

    async def standing(self, title: str) -> None:
        """Show where everybody stands."""
        rows = []
        for who in (ADA, BEN, CLEO, DORA, "insurance_fund"):
            view = await self.view(who)
            held = "\n".join(amount(units, asset) for asset, units in view["cash_units"].items())
            base = sum(one["base_units"] for one in view["positions"])
            rows.append(
                (
                    NAMES[who],
                    held or "nothing",
                    amount(base, "SOL") if base else "-",
                    usd(view["unsettled_usd6"]),
                    usd(view["margin"]["account_value_usd6"]),
                )
            )
        self.console.print(f"\n[dim italic]{title}[/]")
        self.table(
            ("who", "holds", "position", "unsettled", "worth"),
            rows,
            ("holds", "position", "unsettled", "worth"),
        )

    async def preview(self, who: str, asset: str, units: int) -> Any:
        """Ask what a deposit would do, and show the answer."""
        told = await self.client.post("preview", subaccount=who, asset=asset, units=units)
        self._deposit("preview", asset, units, told)
        return told

    def receipt(self, receipt: Any, preview: Any) -> None:
        """Show a receipt and hold it against its preview."""
        asset, units = receipt["asset"], receipt["deposited_units"]
        self._deposit("receipt", asset, units, receipt)
        names = (
            "applied_units",
            "applied_usd6",
            "credited_units",
            "rate_e8",
            "outstanding_before_usd6",
            "outstanding_after_usd6",
        )
        self.check.equal(
            f"the receipt for {amount(units, asset)} is the preview, to the unit",
            {name: receipt[name] for name in names},
            {name: preview[name] for name in names},
        )

    def _deposit(self, kind: str, asset: str, units: int, told: Any) -> None:
        columns = (kind, "to the debt", "credited", "rate", "owed", "then owed")
        row = (
            amount(units, asset),
            amount(told["applied_units"], asset),
            amount(told["credited_units"], asset),
            usd(told["rate_e8"] // 100),
            usd(told["outstanding_before_usd6"]),
            usd(told["outstanding_after_usd6"]),
        )
        self.table(columns, [row], columns[1:])
