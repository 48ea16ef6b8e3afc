"""The story of the demo, chapter by chapter: what happens, why, and what is checked.

Ada trades too large and ends below zero; Ben was on the other side and is owed more than there is; Cleo
is careful. Every number on the screen was asked of the chain or of the daemon; none is written here but
the sums that people send and the figures that the checks expect.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chain.tokens import TokenMint
from daemon.api.client import ApiError
from daemon.cli_tables import amount, usd
from daemon.demo.checks import Checks
from daemon.demo.stage import SETTLEMENT_S, SLOT_MS, Stage, stage
from daemon.demo.wallets import Wallet, balance_of
from daemon.errors import DaemonError

USDC, SOL = 10**6, 10**9
ADA, BEN, CLEO = "7/0", "8/0", "9/0"
NAMES = {ADA: "Ada", BEN: "Ben", CLEO: "Cleo", "insurance_fund": "insurance fund", "fees": "hot wallet"}
Withdrawal = tuple[
    str, str, str, int, str, str
]  # id, subaccount, asset, units, destination, what is wrong with it


def play(keep: Path | None) -> int:
    """Play the whole demo; returns the exit status."""
    console = Console(highlight=False)
    checks = Checks(console)
    started = time.monotonic()
    try:
        if keep is not None:
            asyncio.run(_play(keep, console, checks))
        else:
            with tempfile.TemporaryDirectory(prefix="makewhole-demo-") as folder:
                asyncio.run(_play(Path(folder), console, checks))
    except (DaemonError, TimeoutError) as error:
        console.print(f"\n[bold red]The demo broke off:[/] {error}")
        return 1
    console.rule("[bold]What was claimed, and held")
    checks.show()
    console.print(
        f"\n{'[bold green]All of it held' if checks.all_held else '[bold red]Not all of it held'}[/] "
        f"({time.monotonic() - started:.0f} s)."
    )
    return 0 if checks.all_held else 1


async def _play(folder: Path, console: Console, checks: Checks) -> None:
    console.rule("[bold]makewhole demo")
    console.print("From a transfer on chain to a payout on chain, with a crash and two kills in between.\n")
    async with stage(folder) as made:
        story = Story(made, console, checks)
        for chapter in (
            story.a_chain_and_a_daemon,
            story.deposits,
            story.trades_and_a_crash,
            story.withdrawals_that_do_not_pass,
            story.a_deposit_and_a_kill,
            story.another_asset,
            story.payouts_and_another_kill,
            story.the_books,
        ):
            await chapter()


@dataclass(slots=True)
class Person:
    """Somebody with a wallet of their own and a subaccount here."""

    wallet: Wallet
    subaccount: str
    address: str


class Story:
    """Plays the chapters in their order."""

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
        table = Table(header_style="dim")
        for name in columns:
            table.add_column(name, justify="right" if name in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    async def waiting(self, what: str, question: Any, timeout_s: float = 15) -> Any:
        """Wait with a moving sign."""
        with self.console.status(f"[dim]{what} ..."):
            return await self.stage.until(what, question, timeout_s)

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

    def token(self, asset: str) -> TokenMint:
        """Return the chain's side of an asset."""
        return self.stage.usdc if asset == "USDC" else self.stage.sol

    # -- chapters --

    async def a_chain_and_a_daemon(self) -> None:
        """Start everything."""
        self.chapter(
            "A chain and a daemon",
            f"An embedded Solana runs the real token programs, a block every {SLOT_MS} ms, final 5 blocks later.",
            "The daemon is a process of its own, with a database on disk, and sees the chain through JSON-RPC only.",
        )
        with self.console.status("[dim]starting ..."):
            seconds = await self.stage.start()
        process = self.stage.process
        self.table(
            ("what", "where"),
            [
                ("Solana, JSON-RPC", self.stage.validator.rpc_url),
                ("Solana, WebSocket", self.stage.validator.ws_url),
                ("USDC mint (of this chain)", str(self.stage.usdc.mint)),
                ("daemon", f"process {process.pid if process else '-'}, up in {seconds:.1f} s"),
                ("its folder", str(self.stage.folder)),
            ],
        )

    async def deposits(self) -> None:
        """Everybody sends money."""
        self.chapter(
            "Everybody sends money",
            "Each subaccount has a deposit address of its own. Customers send from their own wallets; the operator "
            "fills the hot wallet, which pays withdrawals, and the insurance fund.",
        )
        with self.console.status("[dim]making wallets ..."):
            operator = await self.stage.wallet("the operator", 100 * SOL, 50_000 * USDC)
            for subaccount in (ADA, BEN, CLEO):
                wallet = await self.stage.wallet(NAMES[subaccount], 20 * SOL, 5_000 * USDC)
                issued = await self.client.post("subaccounts", subaccount=subaccount)
                self.people[subaccount] = Person(wallet, subaccount, issued["address"])
        for system in ("fees", "insurance_fund"):
            issued = await self.client.get("address", subaccount=system)
            self.people[system] = Person(operator, system, issued["address"])
        sent = [
            (who, asset, units, await self.pay_in(who, asset, units))
            for who, asset, units in (
                ("fees", "USDC", 20_000 * USDC),
                ("fees", "SOL", 20 * SOL),
                ("insurance_fund", "USDC", 300 * USDC),
                (ADA, "USDC", 1_000 * USDC),
                (BEN, "USDC", 2_000 * USDC),
                (CLEO, "USDC", 400 * USDC),
            )
        ]
        rows = []
        for who, asset, units, signature in sent:
            deposit = await self.credited(signature)
            rows.append(
                (
                    self.people[who].wallet.name,
                    NAMES[who],
                    amount(units, asset),
                    deposit["status"],
                    signature[:20] + "...",
                )
            )
            self.check.equal(
                f"deposit of {amount(units, asset)} to {NAMES[who]} credited in full",
                deposit["receipt"]["credited_units"],
                units,
            )
        self.table(("from the wallet of", "to", "amount", "status", "transaction"), rows, right=("amount",))

    async def pay_in(self, who: str, asset: str, units: int) -> str:
        """Send from a person's own wallet to their deposit address."""
        person = self.people[who]
        return await person.wallet.send(self.token(asset), person.address, units)

    async def trades_and_a_crash(self) -> None:
        """Ada ends below zero."""
        self.chapter(
            "Trades, and a crash",
            "SOL stands at $150. Ada buys 100 SOL of the perpetual from Ben with 1,000 USDC behind it. Cleo buys 10.",
        )
        await self.prices("150")
        for number, (buyer, size) in enumerate(((ADA, 100), (CLEO, 10))):
            await self.client.post(
                "trades", id=f"trade-{number}", market="SOL-PERP", buyer=buyer, seller=BEN,
                base_units=size * SOL, price="150", consents=[buyer, BEN],
            )  # fmt: skip
        await self.standing("before the crash")
        self.console.print(
            "\nSOL falls to $130 in one step. Ada is closed at that price, too late for her 1,000 USDC."
        )
        await self.prices("130")
        await self.ticked()
        await self.ticked()
        await self.standing("after the crash and a settlement")
        ada, ben = await self.view(ADA), await self.view(BEN)
        self.console.print(
            "Ada lost 2,000 and had 1,000. The insurance fund paid the 300 it had. The rest is her [bold]outstanding "
            f"negative equity[/]: {usd(ada['outstanding_negative_equity_usd6'])}.\nBen won 2,200 and is still owed "
            f"{usd(ben['unsettled_usd6'])}: a claim, not yet money."
        )
        self.check.equal(
            "Ada's outstanding negative equity is 700 USDC",
            ada["outstanding_negative_equity_usd6"],
            700 * USDC,
        )
        self.check.equal("Ben's unpaid claim is 700 USDC", ben["unsettled_usd6"], 700 * USDC)
        self.check.equal(
            "Ben got what there was: 2,000 + 1,500 USDC", ben["cash_units"], {"USDC": 3_500 * USDC}
        )

    async def standing(self, title: str) -> None:
        """Show where everybody stands."""
        rows = []
        for who in (ADA, BEN, CLEO, "insurance_fund"):
            view = await self.view(who)
            held = ", ".join(amount(units, asset) for asset, units in view["cash_units"].items()) or "nothing"
            base = sum(one["base_units"] for one in view["positions"])
            rows.append(
                (
                    NAMES[who],
                    held,
                    amount(base, "SOL") if base else "-",
                    usd(view["unsettled_usd6"]),
                    usd(view["margin"]["account_value_usd6"]),
                )
            )
        self.console.print(f"[dim]{title}[/]")
        self.table(
            ("who", "holds", "position", "unsettled", "worth"), rows, right=("position", "unsettled", "worth")
        )

    async def withdrawals_that_do_not_pass(self) -> None:
        """Each is refused for its own reason; one is queued."""
        self.chapter(
            "Withdrawals that do not pass",
            "While somebody's debt is unpaid, nobody may run off with the money it is owed from. Each answer says why, "
            "and where it is known, until when and how much would pass.",
        )
        await self.attested()
        ada, ben, cleo = (self.people[who].wallet.address for who in (ADA, BEN, CLEO))
        asked: list[tuple[Withdrawal, str]] = [
            (("no-1", ADA, "USDC", 100 * USDC, ada, ""), "outstanding_negative_equity"),
            (("no-2", BEN, "USDC", 4_000 * USDC, ben, "more than is settled"), "insufficient_settled_cash"),
            (
                ("no-3", CLEO, "USDC", 190 * USDC, cleo, "its position needs margin"),
                "insufficient_initial_margin",
            ),
            (("no-4", BEN, "USDC", USDC // 2, ben, ""), "below_minimum"),
            (
                ("no-5", BEN, "USDC", 50 * USDC, self.people[ADA].address, "one of our own addresses"),
                "destination_invalid",
            ),
            (
                ("no-6", BEN, "USDC", 50 * USDC, str(self.stage.usdc.mint), "the address of a mint"),
                "destination_invalid",
            ),
            (
                (
                    "no-7",
                    BEN,
                    "USDC",
                    50 * USDC,
                    "0x52908400098527886E0F7030069857D2E4169EE7",
                    "no Solana address",
                ),
                "destination_invalid",
            ),
        ]
        rows = []
        for (request_id, who, asset, units, destination, wrong), expected in asked:
            try:
                await self.client.post(
                    "withdrawals",
                    id=request_id,
                    subaccount=who,
                    asset=asset,
                    units=units,
                    destination=destination,
                )
                code, told, passes = "passed", "", None
            except ApiError as error:
                code, told, passes = error.code, error.error.message, error.error.would_pass_units
            note = f"{told.split('. ')[0].rstrip('.')}." + (
                f" {amount(passes, asset)} would pass." if passes else ""
            )
            rows.append((NAMES[who], amount(units, asset), code, note))
            self.check.equal(
                f"{NAMES[who]}'s withdrawal of {amount(units, asset)}{f' ({wrong})' if wrong else ''} is refused: {expected}",
                code,
                expected,
            )
        self.table(("who", "asked for", "refused", "what the answer says"), rows, right=("asked for",))
        await self.client.post(
            "withdrawals", id="ben-800", subaccount=BEN, asset="USDC", units=800 * USDC, destination=ben
        )
        queued = await self.client.get("withdrawal", id="ben-800")
        minutes = ((queued["until_ns"] or 0) - time.time_ns()) / 60e9
        self.console.print(
            f"Ben asks for 800 USDC of his settled cash. That is good, and waits: [bold]{queued['status']}[/] by the "
            f"{queued['gate']} gate until the debt is gone, {minutes:.0f} minutes at most."
        )
        self.check.equal(
            "Ben's withdrawal of 800 USDC is queued by the pool gate",
            (queued["status"], queued["gate"]),
            ("queued", "pool"),
        )

    async def a_deposit_and_a_kill(self) -> None:
        """Ada pays part of the debt while the daemon dies."""
        self.chapter(
            "Ada looks before she pays, and the daemon is killed",
            "Before she sends 500 USDC, Ada asks what would happen to it.",
        )
        preview = await self.preview(ADA, "USDC", 500 * USDC)
        before = await self.client.get("status", full="true")
        signature = await self.pay_in(ADA, "USDC", 500 * USDC)
        pid = self.stage.kill()
        self.console.print(
            f"She sends it. [bold red]The daemon (process {pid}) is killed without warning[/] (SIGKILL) before the transfer "
            "is final. The chain goes on without it."
        )
        with self.console.status("[dim]the chain goes on for a second ..."):
            await asyncio.sleep(1)
            seconds = await self.stage.start()
        self.console.print(
            f"A new daemon is up in {seconds:.1f} s, from snapshot and journal, and reads the blocks it missed."
        )
        deposit = await self.credited(signature)
        status = await self.client.get("status")
        self.check.equal(
            "the journal goes on after the kill where it ended",
            status["sequence"] >= before["sequence"],
            True,
        )
        self.receipt(deposit["receipt"], preview)
        entries = [
            one for one in await self.client.get("deposits", subaccount=ADA) if one["signature"] == signature
        ]
        self.check.equal("after the kill the deposit is credited exactly once", len(entries), 1)
        self.check.equal(
            "of Ada's 500 USDC all went to the debt",
            (deposit["receipt"]["applied_units"], deposit["receipt"]["credited_units"]),
            (500 * USDC, 0),
        )
        await self.ticked()
        ben = await self.view(BEN)
        self.console.print(
            f"At the next settlement it reached Ben: his claim is down to {usd(ben['unsettled_usd6'])}."
        )
        self.check.equal("Ben's claim fell by exactly what Ada paid", ben["unsettled_usd6"], 200 * USDC)

    async def preview(self, who: str, asset: str, units: int) -> Any:
        """Ask what a deposit would do, and show the answer."""
        told = await self.client.post("preview", subaccount=who, asset=asset, units=units)
        self.table(
            ("preview", "to the debt", "credited", "rate", "owed before", "owed after"),
            [
                (
                    amount(units, asset),
                    amount(told["applied_units"], asset),
                    amount(told["credited_units"], asset),
                    usd(told["rate_e8"] // 100),
                    usd(told["outstanding_before_usd6"]),
                    usd(told["outstanding_after_usd6"]),
                )
            ],
        )
        return told

    def receipt(self, receipt: Any, preview: Any) -> None:
        """Show a receipt and hold it against its preview."""
        asset = receipt["asset"]
        self.table(
            ("receipt", "to the debt", "credited", "rate", "owed before", "owed after"),
            [
                (
                    amount(receipt["deposited_units"], asset),
                    amount(receipt["applied_units"], asset),
                    amount(receipt["credited_units"], asset),
                    usd(receipt["rate_e8"] // 100),
                    usd(receipt["outstanding_before_usd6"]),
                    usd(receipt["outstanding_after_usd6"]),
                )
            ],
        )
        names = (
            "applied_units",
            "applied_usd6",
            "credited_units",
            "rate_e8",
            "outstanding_before_usd6",
            "outstanding_after_usd6",
        )
        self.check.equal(
            f"the receipt for {amount(receipt['deposited_units'], asset)} is the preview, to the unit",
            {name: receipt[name] for name in names}, {name: preview[name] for name in names},
        )  # fmt: skip

    async def another_asset(self) -> None:
        """The rest of the debt is paid in SOL."""
        self.chapter(
            "The rest in another asset, and everybody is whole",
            "Ada sends 4 SOL. SOL pays a debt at the index price less a haircut of 5%: 130 x 0.95 = 123.5 dollars. Only "
            "what the debt needs is taken, rounded up to one lamport; the rest is hers.",
        )
        await self.prices("130")
        preview = await self.preview(ADA, "SOL", 4 * SOL)
        deposit = await self.credited(await self.pay_in(ADA, "SOL", 4 * SOL))
        self.receipt(deposit["receipt"], preview)
        applied = -(
            -200 * USDC * SOL * 100 // 12_350_000_000
        )  # 200 dollars at 123.5, rounded up to a lamport
        self.check.equal(
            "to the debt went 200 / 123.5 SOL, rounded up", deposit["receipt"]["applied_units"], applied
        )
        self.check.equal(
            "the rest was credited to Ada", (await self.view(ADA))["cash_units"], {"SOL": 4 * SOL - applied}
        )
        self.console.print(
            "The insurance fund bought that SOL from her and owes 200 USDC for it. The operator sends the fund 400 USDC on chain."
        )
        await self.credited(await self.pay_in("insurance_fund", "USDC", 400 * USDC))
        await self.ticked()
        await self.ticked()
        await self.standing("now")
        ada, ben, fund = await self.view(ADA), await self.view(BEN), await self.view("insurance_fund")
        self.console.print("[bold green]Ada owes nothing. Ben is made whole.[/]")
        self.check.equal(
            "Ada owes nothing", (ada["outstanding_negative_equity_usd6"], ada["unsettled_usd6"]), (0, 0)
        )
        self.check.equal("Ben was made whole: no claim is left", ben["unsettled_usd6"], 0)
        self.check.equal(
            "the fund holds what it bought and what is left",
            fund["cash_units"],
            {"SOL": applied, "USDC": 200 * USDC},
        )

    async def payouts_and_another_kill(self) -> None:
        """Withdrawals land, although the daemon dies on the way."""
        self.chapter(
            "Payouts on chain, and the daemon is killed again",
            "With the debt gone the gate is open: Ben's 800 USDC go out by themselves. Ada takes 2 SOL home.",
        )
        ada, ben = self.people[ADA].wallet, self.people[BEN].wallet
        held = {ADA: await ada.balance(self.stage.sol), BEN: 5_000 * USDC - 2_000 * USDC}
        await self.attested()
        await self.prices("130")
        await self.client.post(
            "withdrawals", id="ada-2", subaccount=ADA, asset="SOL", units=2 * SOL, destination=ada.address
        )

        async def in_flight() -> bool:
            payouts = await self.client.get("payouts")
            return any(one["id"] == "ada-2" and one["signature"] for one in payouts)

        await self.waiting("waiting for the payout to be signed", in_flight)
        pid = self.stage.kill()
        self.console.print(
            f"[bold red]The daemon (process {pid}) is killed[/] with a signed payout on its way."
        )
        with self.console.status("[dim]starting again ..."):
            await asyncio.sleep(0.5)
            await self.stage.start()

        async def settled() -> Any:
            payouts = await self.client.get("payouts")
            return payouts if len(payouts) == 2 and all(one["settled_sequence"] for one in payouts) else None

        payouts = await self.waiting("waiting for both payouts to be final", settled, 20)
        rows = [
            (
                NAMES[one["subaccount"]],
                amount(one["units"], one["asset"]),
                one["state"],
                amount(one["network_fee_units"], "SOL"),
                one["signature"][:20] + "...",
            )
            for one in payouts
        ]
        self.table(
            ("to the wallet of", "amount", "on chain", "network fee (the operator's)", "transaction"),
            rows,
            right=("amount",),
        )
        self.check.equal(
            "Ben's wallet received exactly 800 USDC, once",
            await ben.balance(self.stage.usdc),
            held[BEN] + 800 * USDC,
        )
        self.check.equal(
            "Ada's wallet received exactly 2 SOL, once",
            await ada.balance(self.stage.sol),
            held[ADA] + 2 * SOL,
        )
        self.check.equal(
            "both payouts are final", [one["state"] for one in payouts], ["finalized", "finalized"]
        )

    async def the_books(self) -> None:
        """Chain and ledger agree; the journal replays."""
        self.chapter(
            "The books",
            "At the end the chain is asked what all addresses hold, and the journal is replayed from its first entry.",
        )
        status = await self.attested()
        rows = [
            tuple(
                amount(line[f"{name}_units"], line["asset"]) for name in ("holdings", "owed", "unexplained")
            )
            for line in status["reserves"]
        ]
        self.table(
            ("held on chain", "owed", "unexplained"), rows, right=("held on chain", "owed", "unexplained")
        )
        for line in status["reserves"]:
            asset = line["asset"]
            found = 0
            for person in self.people.values():
                found += await balance_of(self.stage.pool, person.address, self.token(asset))
            self.check.equal(
                f"{asset}: what the chain says we hold is what we owe, to the unit", found, line["owed_units"]
            )
            self.check.equal(f"{asset}: nothing is unexplained", line["unexplained_units"], 0)
        self.check.equal("every invariant holds", status["breaches"], [])
        self.check.equal(
            "no claim, no debt, no payout is open",
            (status["claims_usd6"], status["debtors"], status["payouts_open"]),
            (0, 0, 0),
        )
        self.check.equal("the daemon stops in good order", await self.stage.stop(), 0)
        await asyncio.to_thread(self.replay)

    def replay(self) -> None:
        """Replay the journal from its first entry, as `makewhole journal verify` does."""
        from daemon.journal_tools import replayed
        from daemon.store.database import Database
        from engine.invariants import check
        from engine.state import state_hash

        database = Database(self.stage.folder / "data" / "makewhole.sqlite", read_only=True)
        try:
            state, chain_hash = replayed(database, None)
            snapshot = database.snapshot()
        finally:
            database.close()
        self.console.print(
            f"{state.sequence} journal entries replayed: state hash {state_hash(state)[:24]}..., journal hash "
            f"{chain_hash.hex()[:24]}..."
        )
        self.check.equal(
            "the replay gives the state the daemon stopped with",
            state_hash(state),
            snapshot.state_hash if snapshot else None,
        )
        self.check.equal("every invariant holds after the replay", check(state), [])
