"""The first half of the story: deposits, trades, a crash, and withdrawals that do not pass."""

from __future__ import annotations

import time

from daemon.api.client import ApiError
from daemon.cli_tables import amount, usd
from daemon.demo.stage import SLOT_MS
from daemon.demo.teller import ADA, BEN, CLEO, DORA, NAMES, SOL, USDC, Person, Teller


class Crash(Teller):
    """Ada ends below zero."""

    async def a_chain_and_a_daemon(self) -> None:
        """Start everything."""
        self.chapter(
            "A chain and a daemon",
            f"An embedded Solana runs the real token programs: a block every {SLOT_MS} ms, final 5 "
            "blocks later.",
            "The daemon is a process of its own with a database on disk. It sees the chain through "
            "JSON-RPC only.",
        )
        with self.console.status("[dim]starting ..."):
            seconds = await self.stage.start()
        process = self.stage.process
        self.table(
            ("what", "where"),
            [
                ("Solana, JSON-RPC", self.stage.validator.rpc_url),
                ("Solana, WebSocket", self.stage.validator.ws_url),
                ("USDC of this chain", str(self.stage.usdc.mint)),
                ("daemon", f"process {process.pid if process else '-'}, up in {seconds:.1f} s"),
                ("its folder", str(self.stage.folder)),
            ],
        )

    async def deposits(self) -> None:
        """Everybody sends money."""
        self.chapter(
            "Everybody sends money",
            "Each subaccount has a deposit address of its own. Customers send from their own "
            "wallets. The operator fills the hot wallet, which pays withdrawals, and the insurance fund.",
        )
        with self.console.status("[dim]making wallets ..."):
            operator = await self.stage.wallet("the operator", 100 * SOL, 50_000 * USDC)
            for subaccount in (ADA, BEN, CLEO, DORA):
                wallet = await self.stage.wallet(NAMES[subaccount], 20 * SOL, 5_000 * USDC)
                issued = await self.client.post("subaccounts", subaccount=subaccount)
                self.people[subaccount] = Person(wallet, subaccount, issued["address"])
        for system in ("fees", "insurance_fund"):
            issued = await self.client.get("address", subaccount=system)
            self.people[system] = Person(operator, system, issued["address"])
        wanted = (
            ("fees", "USDC", 20_000 * USDC),
            ("fees", "SOL", 20 * SOL),
            ("insurance_fund", "USDC", 300 * USDC),
            (ADA, "USDC", 1_000 * USDC),
            (BEN, "USDC", 2_000 * USDC),
            (CLEO, "USDC", 400 * USDC),
            (DORA, "USDC", 3_000 * USDC),
        )
        sent = [(*one, await self.pay_in(*one)) for one in wanted]
        rows = []
        for who, asset, units, signature in sent:
            deposit = await self.credited(signature)
            sender, shown = self.people[who].wallet.name, amount(units, asset)
            rows.append((sender, NAMES[who], shown, deposit["status"], signature[:16] + "..."))
            self.check.equal(
                f"{shown} for {NAMES[who]} credited in full", deposit["receipt"]["credited_units"], units
            )
        self.table(("sent by", "for", "amount", "status", "transaction"), rows, ("amount",))

    async def trades_and_a_crash(self) -> None:
        """Ada ends below zero."""
        self.chapter(
            "Trades, and a crash",
            "SOL stands at $150. Ada buys 100 SOL of the perpetual from Ben, with 1,000 USDC behind "
            "it. Cleo buys 10.",
            "Dora is a backstop provider: she has agreed to take over positions that must be closed, at "
            "the mark price.",
        )
        await self.client.post("backstop/register", subaccount=DORA)
        capacity_usd6 = 20_000 * USDC
        await self.client.post(
            "backstop/capacity",
            subaccount=DORA,
            market="SOL-PERP",
            per_minute_usd6=capacity_usd6,
            per_hour_usd6=10 * capacity_usd6,
        )
        await self.prices("150")
        await self.trade("trade-ada", ADA, BEN, 100, "150")
        await self.trade("trade-cleo", CLEO, BEN, 10, "150")
        await self.standing("before the crash")
        self.console.print(
            "SOL falls to $130 in one step. Dora takes Ada's 100 SOL there: too late for Ada's 1,000 USDC. "
            "Ben takes his profit: he buys the 100 SOL back from Dora."
        )
        await self.prices("130")
        await self.trade("trade-dora", BEN, DORA, 100, "130")
        await self.ticked()
        await self.ticked()
        await self.standing("after the crash and a settlement")
        ada, ben = await self.view(ADA), await self.view(BEN)
        debt_usd6, claim_usd6 = ada["outstanding_negative_equity_usd6"], ben["unsettled_usd6"]
        self.console.print(
            "Ada lost 2,000 and had 1,000. The insurance fund paid the 300 it had. The rest is her "
            f"[bold]outstanding negative equity[/]: [bold red]{usd(debt_usd6)}[/].\n"
            f"Ben won 2,200 and is still owed [bold]{usd(claim_usd6)}[/]: a claim, not yet money."
        )
        self.check.equal(
            "Dora neither gained nor lost by it",
            (await self.view(DORA))["cash_units"],
            {"USDC": 3_000 * USDC},
        )
        self.check.equal("Ada's outstanding negative equity is 700 USDC", debt_usd6, 700 * USDC)
        self.check.equal("Ben's unpaid claim is 700 USDC", claim_usd6, 700 * USDC)
        self.check.equal(
            "Ben got what there was: his 2,000 and 1,500 more", ben["cash_units"], {"USDC": 3_500 * USDC}
        )

    async def trade(self, trade_id: str, buyer: str, seller: str, size: int, price: str) -> None:
        """Book a trade in SOL-PERP to which both sides consent."""
        await self.client.post(
            "trades",
            id=trade_id,
            market="SOL-PERP",
            buyer=buyer,
            seller=seller,
            base_units=size * SOL,
            price=price,
            consents=[buyer, seller],
        )

    async def withdrawals_that_do_not_pass(self) -> None:
        """Each is refused for its own reason; one is queued."""
        self.chapter(
            "Withdrawals that do not pass",
            "Each answer says why, and where it is known, until when and how much would pass.",
        )
        await self.attested()
        ada, ben, cleo = (self.people[who].wallet.address for who in (ADA, BEN, CLEO))
        ours, mint = self.people[ADA].address, str(self.stage.usdc.mint)
        ethereum = "0x52908400098527886E0F7030069857D2E4169EE7"
        asked = (
            (ADA, 100 * USDC, ada, "she is in debt", "outstanding_negative_equity"),
            (BEN, 4_000 * USDC, ben, "a claim is no cash", "insufficient_settled_cash"),
            (CLEO, 190 * USDC, cleo, "her position needs margin", "insufficient_initial_margin"),
            (BEN, USDC // 2, ben, "too little", "below_minimum"),
            (BEN, 50 * USDC, ours, "to an address of ours", "destination_invalid"),
            (BEN, 50 * USDC, mint, "to the mint of USDC", "destination_invalid"),
            (BEN, 50 * USDC, ethereum, "to an Ethereum address", "destination_invalid"),
        )
        rows = []
        for number, (who, units, destination, why, expected) in enumerate(asked):
            code, note = await self.refused(f"no-{number}", who, units, destination)
            rows.append((NAMES[who], amount(units, "USDC"), code, note))
            claim = f"{NAMES[who]}'s {amount(units, 'USDC')} ({why}): refused, {expected}"
            self.check.equal(claim, code, expected)
        self.table(("who", "asked for", "refused", "the answer"), rows, ("asked for",))
        await self.queued(ben)

    async def refused(self, request_id: str, who: str, units: int, destination: str) -> tuple[str, str]:
        """Ask for a withdrawal that must not pass; returns the code and the gist of the answer."""
        request = {"id": request_id, "subaccount": who, "asset": "USDC", "units": units}
        try:
            await self.client.post("withdrawals", **request, destination=destination)
        except ApiError as refusal:
            error = refusal.error
            statement, _, detail = error.message.partition(". ")
            note = f"{detail.partition(': ')[0]}." if error.code == "destination_invalid" else f"{statement}."
            if error.would_pass_units:
                note = f"{note} {amount(error.would_pass_units, 'USDC')} would pass."
            return error.code, note.replace("..", ".")
        return "passed", ""

    async def queued(self, destination: str) -> None:
        """Ben asks for money that is his while Ada's debt is unpaid."""
        await self.client.post(
            "withdrawals",
            id="ben-800",
            subaccount=BEN,
            asset="USDC",
            units=800 * USDC,
            destination=destination,
        )
        found = await self.client.get("withdrawal", id="ben-800")
        minutes = ((found["until_ns"] or 0) - time.time_ns()) / 60e9
        self.console.print(
            "Ben also asks for 800 USDC of the cash he has. It is his, and it waits: while a debt is "
            "unpaid and the fund is empty, nobody runs off first. It is "
            f"[bold]{found['status']}[/] by the {found['gate']} gate until the debt is gone, for "
            f"{minutes:.0f} minutes at most."
        )
        self.check.equal(
            "Ben's 800 USDC are queued by the pool gate", (found["status"], found["gate"]), ("queued", "pool")
        )
