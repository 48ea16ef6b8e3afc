"""The second half of the story: previews, deposits that settle the debt, payouts, two kills, the books."""

from __future__ import annotations

import asyncio
from typing import Any

from daemon.cli_tables import amount, usd
from daemon.demo.teller import ADA, BEN, NAMES, SOL, USDC, Teller
from daemon.demo.wallets import balance_of


class Whole(Teller):
    """Everybody is made whole."""

    async def a_deposit_and_a_kill(self) -> None:
        """Ada pays part of the debt while the daemon dies."""
        self.chapter(
            "Ada looks before she pays, and the daemon is killed",
            "Before she sends 500 USDC, Ada asks what would happen to them.",
        )
        preview = await self.preview(ADA, "USDC", 500 * USDC)
        signature = await self.pay_in(ADA, "USDC", 500 * USDC)
        before = await self.client.get("status")
        on_chain = await self.chain_status(signature)
        pid = self.stage.kill()
        self.console.print(
            f"She sends them. [bold red]The daemon (process {pid}) is killed without warning[/] while "
            f"her transfer is only {on_chain}. The chain goes on without it."
        )
        self.check.equal("the daemon died before the transfer was final", on_chain != "finalized", True)
        with self.console.status("[dim]the chain goes on for a second ..."):
            await asyncio.sleep(1)
            on_chain = await self.chain_status(signature)
            seconds = await self.stage.start()
        self.check.equal("the transfer became final while no daemon ran", on_chain, "finalized")
        await self.same_journal(before)
        self.console.print(
            f"A new process is up in {seconds:.1f} s, from snapshot and journal, and reads the blocks "
            "it missed."
        )
        deposit = await self.credited(signature)
        self.receipt(deposit["receipt"], preview)
        found = [d for d in await self.client.get("deposits", subaccount=ADA) if d["signature"] == signature]
        self.check.equal("Ada's deposit is credited once, although the daemon was killed", len(found), 1)
        split = (deposit["receipt"]["applied_units"], deposit["receipt"]["credited_units"])
        self.check.equal("of Ada's 500 USDC all went to the debt", split, (500 * USDC, 0))
        await self.ticked()
        claim_usd6 = (await self.view(BEN))["unsettled_usd6"]
        self.console.print(
            f"At the next settlement they reached Ben: his claim is down to {usd(claim_usd6)}."
        )
        self.check.equal("Ben's claim fell by exactly what Ada paid", claim_usd6, 200 * USDC)

    async def same_journal(self, before: Any) -> None:
        """Check that the journal told before a kill is the one that is there after it."""
        sequence = str(before["sequence"])
        entries = await self.client.get("journal", first=sequence, last=sequence)
        self.check.equal(
            f"the journal up to entry {sequence} survived the kill, hash for hash",
            [entry["hash"] for entry in entries],
            [before["journal_hash"]],
        )

    async def another_asset(self) -> None:
        """The rest of the debt is paid in SOL."""
        self.chapter(
            "The rest in another asset",
            "Ada sends 4 SOL. SOL pays a debt at the index price less a haircut of 5%: 130 x 0.95 = "
            "123.5 dollars. Only what the debt needs is taken, rounded up to one lamport. The rest is hers.",
        )
        await self.prices("130")
        preview = await self.preview(ADA, "SOL", 4 * SOL)
        deposit = await self.credited(await self.pay_in(ADA, "SOL", 4 * SOL))
        self.receipt(deposit["receipt"], preview)
        applied = -(-200 * SOL * 10 // 1_235)  # 200 dollars at 123.5, rounded up to a lamport
        receipt = deposit["receipt"]
        self.check.equal("200 / 123.5 SOL went to the debt, rounded up", receipt["applied_units"], applied)
        ada = await self.view(ADA)
        self.check.equal("the rest was credited to Ada", ada["cash_units"], {"SOL": 4 * SOL - applied})
        self.console.print(
            "The insurance fund took that SOL and owes 200 USDC for it. The operator sends the fund "
            "400 USDC on chain."
        )
        await self.credited(await self.pay_in("insurance_fund", "USDC", 400 * USDC))
        await self.ticked()
        await self.ticked()
        await self.standing("now")
        ada, ben, fund = await self.view(ADA), await self.view(BEN), await self.view("insurance_fund")
        self.console.print(
            "[bold green]Ada owes nothing. Ben is made whole.[/] His claim was paid in these steps:"
        )
        await self.claims()
        owes = (ada["outstanding_negative_equity_usd6"], ada["unsettled_usd6"])
        self.check.equal("Ada owes nothing", owes, (0, 0))
        self.check.equal("Ben was made whole: no claim is left", ben["unsettled_usd6"], 0)
        self.check.equal(
            "the fund holds what it took and what is left",
            fund["cash_units"],
            {"SOL": applied, "USDC": 200 * USDC},
        )

    async def claims(self) -> None:
        """Show from the journal how Ben's claim was paid."""
        rows = []
        paid = 0
        for entry in await self.client.get("journal"):
            for event in entry["outcome"].get("events", []):
                if event.get("type") == "ClaimPaid" and event["subaccount"] == BEN:
                    paid += event["units"]
                    left = usd(event["remaining_usd6"])
                    rows.append((str(entry["sequence"]), amount(event["units"], "USDC"), left))
        self.table(("journal entry", "paid to Ben", "still owed"), rows, ("paid to Ben", "still owed"))
        self.check.equal("the journal shows every unit of the 2,200 that Ben won", paid, 2_200 * USDC)

    async def payouts_and_another_kill(self) -> None:
        """Withdrawals land, although the daemon dies on the way."""
        self.chapter(
            "Payouts on chain, and the daemon is killed again",
            "With the debt gone the gate is open: Ben's 800 USDC go out by themselves. Ada takes 2 SOL home.",
        )
        ada, ben = self.people[ADA].wallet, self.people[BEN].wallet
        ada_held = await ada.balance(self.stage.sol)
        await self.attested()
        await self.prices("130")
        await self.client.post(
            "withdrawals", id="ada-2", subaccount=ADA, asset="SOL", units=2 * SOL, destination=ada.address
        )

        async def signed() -> Any:
            payouts = await self.client.get("payouts")
            return next((one for one in payouts if one["id"] == "ada-2" and one["signature"]), None)

        payout = await self.waiting("waiting for the payout to be signed", signed)
        pid = self.stage.kill()
        self.check.equal("the daemon died before Ada's payout was settled", payout["settled_sequence"], None)
        self.console.print(
            f"[bold red]The daemon (process {pid}) is killed[/] with Ada's payout {payout['state']}, "
            "not yet final."
        )
        with self.console.status("[dim]starting again ..."):
            await asyncio.sleep(0.5)
            await self.stage.start()

        async def settled() -> Any:
            payouts = await self.client.get("payouts")
            return payouts if len(payouts) == 2 and all(one["settled_sequence"] for one in payouts) else None

        payouts = await self.waiting("waiting for both payouts to be final", settled, 20)
        self.payouts(payouts)
        ben_now, ada_now = await ben.balance(self.stage.usdc), await ada.balance(self.stage.sol)
        self.check.equal(
            "Ben's wallet received exactly 800 USDC, once", ben_now, (5_000 - 2_000 + 800) * USDC
        )
        self.check.equal("Ada's wallet received exactly 2 SOL, once", ada_now, ada_held + 2 * SOL)
        landed = next(one["signature"] for one in payouts if one["id"] == "ada-2")
        self.check.equal(
            "the payout signed before the kill is the one that landed", landed, payout["signature"]
        )

    def payouts(self, payouts: Any) -> None:
        """Show payouts."""
        rows = [
            (
                NAMES[one["subaccount"]],
                amount(one["units"], one["asset"]),
                one["state"],
                amount(one["network_fee_units"], "SOL"),
                one["signature"][:16] + "...",
            )
            for one in payouts
        ]
        self.table(
            ("to", "amount", "on chain", "network fee", "transaction"), rows, ("amount", "network fee")
        )

    async def the_books(self) -> None:
        """Chain and ledger agree; the journal replays."""
        self.chapter(
            "The books",
            "The chain is asked what all addresses hold, and the journal is replayed from its first entry.",
        )
        status = await self.attested()
        names = ("holdings", "owed", "unexplained")
        rows = [
            (line["asset"], *(amount(line[f"{name}_units"], line["asset"]) for name in names))
            for line in status["reserves"]
        ]
        columns = ("asset", "held on chain", "owed", "unexplained")
        self.table(columns, rows, columns[1:])
        for line in status["reserves"]:
            asset, held = line["asset"], 0
            for person in self.people.values():
                held += await balance_of(self.stage.pool, person.address, self.token(asset))
            claim = f"{asset}: what the chain says we hold is what we owe, to the unit"
            self.check.equal(claim, held, line["owed_units"])
        self.check.equal("every invariant holds", status["breaches"], [])
        open_items = (status["claims_usd6"], status["debtors"], status["payouts_open"])
        self.check.equal("no claim, no debt and no payout is open", open_items, (0, 0, 0))
        self.check.equal("the daemon stops in good order", await self.stage.stop(), 0)
        await asyncio.to_thread(self.replay)

    def replay(self) -> None:
        """Replay the journal from its first entry, as `makewhole journal verify` does."""
        from daemon.journal_tools import replayed
        from daemon.store.database import Database
        from engine.invariants import check
        from engine.snapshot import state_hash

        database = Database(self.stage.folder / "data" / "makewhole.sqlite", read_only=True)
        try:
            state, chain_hash = replayed(database, None)
            snapshot = database.snapshot()
        finally:
            database.close()
        self.console.print(
            f"{state.sequence} journal entries replayed. State hash {state_hash(state)[:16]}..., "
            f"journal hash {chain_hash.hex()[:16]}..."
        )
        stopped_with = snapshot.state_hash if snapshot else None
        self.check.equal(
            "the replay gives the state the daemon stopped with", state_hash(state), stopped_with
        )
        self.check.equal("every invariant holds after the replay", check(state), [])
