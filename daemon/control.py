"""What a customer or an operator can ask of a running daemon, whatever the door they come through.

Owns: opening subaccounts and issuing addresses, requests to withdraw with the chain's verdict on the
destination, and all else that touches the chain; orders and lending are `daemon.trading`'s, questions about
markets `daemon.markets`'s. Rules: an address is watched and durable before it is shown (D10); the same
request again gives the first answer; a refusal carries the engine's reason. Must not know: HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from chain.destination import (
    TOKEN_ACCOUNT_BYTES,
    check_destination,
    read_accounts,
    rent_exempt_minimum,
)
from chain.payer import Payer, Ruling
from chain.rpc import RpcPool
from chain.submission import IllegalTransition, PayoutState, decode_record
from chain.tokens import TokenMint, associated_token_address
from chain.watcher import Lag
from chain.watchlist import Watchlist
from daemon import views
from daemon.answers import done, refusal, run
from daemon.api import bodies
from daemon.clock import Clock, ManualClock
from daemon.inbox import AddressBook, Inbox, tick
from daemon.journal_tools import in_words
from daemon.keys import Keyring, UnknownAddress
from daemon.markets import LISTED_AT_MOST, Markets
from daemon.proof.questions import ProofQuestions
from daemon.proof.service import ProofService
from daemon.reserves import Reserves
from daemon.runner import Build, Runner
from daemon.store.rows import Batch, DepositRow, PayoutRow
from daemon.trading import Trading
from engine.commands import (
    AcceptHeldDeposit,
    CancelWithdrawal,
    OpenSubaccount,
    RequestWithdrawal,
    ReturnHeldDeposit,
    SetOnDebt,
    Transfer,
)
from engine.outcome import Rejected
from engine.units import MAX_TEXT_LENGTH

# What sending a held deposit back costs its sender: one signature and a token account that may be missing.
RETURN_FEE_SIGNATURE_LAMPORTS = 5_000


@dataclass(slots=True)
class Control:
    """Everything the API can do."""

    runner: Runner
    inbox: Inbox
    reserves: Reserves
    addresses: AddressBook
    keyring: Keyring
    watchlist: Watchlist
    pool: RpcPool
    tokens: dict[str, TokenMint]
    clock: Clock
    genesis_hash: str
    payer: Payer
    lag: Callable[[], Lag]
    alarms: Callable[[], list[str]]
    proof: ProofService
    trading: Trading
    markets: Markets

    # -- subaccounts and addresses --

    async def open_subaccount(self, request: bodies.OpenSubaccountRequest) -> bodies.AddressBody:
        """Open a subaccount and issue its address; again for one that is open just shows the address."""
        known = self.addresses.address(request.subaccount)
        if known is not None:
            return self._address(request.subaccount, known)
        try:
            address = self.keyring.address(request.subaccount)
        except UnknownAddress as error:
            raise refusal("malformed_command", str(error), 400) from error

        def add(answers: Any, batch: Batch) -> None:
            if answers[0].sequence is not None and not isinstance(answers[0].outcome, Rejected):
                batch.addresses.append((request.subaccount, address))

        # Watched first: from the moment anybody can know the address, nothing sent to it is missed.
        self.watchlist.add(address)
        self.addresses.expect(request.subaccount, address)
        answer = await self.runner.submit(
            lambda now: OpenSubaccount(
                f"open:{request.subaccount}", now, request.subaccount, request.on_debt
            ),
            add,
        )
        done(answer)
        self.addresses.add(request.subaccount, address)
        return self._address(request.subaccount, address)

    def address(self, subaccount: str) -> bodies.AddressBody:
        """Show the address that was issued to a subaccount."""
        known = self.addresses.address(subaccount)
        if known is None:
            raise refusal("unknown_subaccount", f"subaccount {subaccount!r} has no deposit address yet", 404)
        return self._address(subaccount, known)

    def _address(self, subaccount: str, address: str) -> bodies.AddressBody:
        return bodies.AddressBody(
            subaccount,
            address,
            {
                token.symbol: associated_token_address(address, token.mint, token.program)
                for token in self.tokens.values()
                if token.mint is not None and token.program is not None
            },
        )

    async def subaccount(self, subaccount: str) -> bodies.SubaccountBody:
        """Show a subaccount."""
        address = self.addresses.address(subaccount)
        view = await self.runner.ask(lambda state: views.subaccount_view(state, subaccount, address))
        if view is None:
            raise refusal("unknown_subaccount", f"subaccount {subaccount!r} is not open", 404)
        return view

    async def set_on_debt(self, request: bodies.OnDebtRequest) -> bodies.DoneBody:
        """Choose between apply and hold."""
        return await self._run(
            lambda now: SetOnDebt(
                f"on-debt:{request.subaccount}:{now}", now, request.subaccount, request.on_debt
            )
        )

    # -- deposits --

    async def preview(self, request: bodies.PreviewRequest) -> dict[str, Any]:
        """Show what a deposit would do now."""
        self._known_asset(request.asset)
        if request.units <= 0:
            raise refusal("amount_not_positive", "the amount must be above zero", 400)
        if request.units >= 2**64:
            raise refusal(
                "amount_too_large", "the amount is larger than the largest amount a token can have", 400
            )
        await self.subaccount(request.subaccount)
        return await self.runner.ask(
            lambda state: views.preview_view(state, request.subaccount, request.asset, request.units)
        )

    async def deposits(self, subaccount: str | None, key: str | None) -> list[bodies.DepositBody]:
        """List the newest deposits with their receipts, oldest first."""
        rows = await self.runner.in_store(
            lambda database: database.deposits(subaccount=subaccount, key=key, limit=LISTED_AT_MOST)
        )
        return [_deposit_body(row) for row in rows]

    async def accept_held(self, request: bodies.DepositRequest) -> bodies.DoneBody:
        """Take a held deposit: the debt first, the rest credited."""
        return await self._run(
            lambda now: AcceptHeldDeposit(f"accept:{request.deposit_id}", now, request.deposit_id)
        )

    async def return_held(self, request: bodies.DepositRequest) -> bodies.DoneBody:
        """Send a held deposit back to its sender, if the sender is known and can be paid."""
        rows = await self.runner.in_store(lambda database: database.deposits(key=request.deposit_id))
        if not rows:
            raise refusal("unknown_deposit", f"no deposit {request.deposit_id!r}", 404)
        token = self._known_asset(rows[0].symbol)
        verdict = await self._destination_fault(rows[0].sender, token, rows[0].units)
        if verdict:
            raise refusal("destination_invalid", f"the sender cannot be paid: {verdict}")
        fee = await self._return_fee_lamports(token, rows[0].sender)
        return await self._run(
            lambda now: ReturnHeldDeposit(
                f"return-held:{request.deposit_id}:{now}", now, request.deposit_id, fee
            )
        )

    async def _return_fee_lamports(self, token: TokenMint, destination: str) -> int:
        if token.mint is None or token.program is None:
            return RETURN_FEE_SIGNATURE_LAMPORTS
        account = associated_token_address(destination, token.mint, token.program)
        (found,) = await read_accounts(self.pool, [account])
        rent = 0 if found is not None else await rent_exempt_minimum(self.pool, TOKEN_ACCOUNT_BYTES)
        return RETURN_FEE_SIGNATURE_LAMPORTS + rent

    # -- transfers, time --

    async def transfer(self, request: bodies.TransferRequest) -> bodies.DoneBody:
        """Move settled cash inside one account."""
        return await self._run(
            lambda now: Transfer(
                request.id, now, request.source, request.target, request.asset, request.units
            )
        )

    async def tick(self) -> bodies.DoneBody:
        """Settle now."""
        return await self._run(tick)

    async def attest(self) -> bodies.DoneBody:
        """Look at the on-chain holdings now and attest them."""
        return done(await self.reserves.attest())

    def set_clock(self, request: bodies.ClockRequest) -> bodies.DoneBody:
        """Move the manual clock."""
        if not isinstance(self.clock, ManualClock):
            raise refusal("clock_is_not_manual", 'the clock follows the machine; set daemon.clock = "manual"')
        if not self.clock.set(request.time_ns):
            raise refusal("time_went_back", f"the clock stands at {self.clock.now_ns()} and never goes back")
        return bodies.DoneBody(None, [])

    # -- withdrawals --

    async def withdraw(self, request: bodies.WithdrawRequest) -> bodies.DoneBody:
        """Ask for a payout; the chain's verdict on the destination goes into the command as data."""
        token = self._known_asset(request.asset)
        first = await self.runner.ask(
            lambda state: state.answers.get(request.id) or state.recent_answers.get(request.id)
        )
        if first is not None and isinstance(first[0], RequestWithdrawal):
            verdict = first[0].destination_fault  # a repetition is judged by the verdict of the first time
        elif 0 < request.units < 2**64:
            verdict = await self._destination_fault(request.destination, token, request.units)
        else:
            verdict = ""
        return await self._run(
            lambda now: RequestWithdrawal(
                request.id,
                now,
                request.subaccount,
                request.asset,
                request.units,
                request.destination,
                verdict,
            )
        )

    async def _destination_fault(self, destination: str, token: TokenMint, units: int) -> str:
        verdict = await check_destination(self.pool, destination, token.mint, own=self.addresses, units=units)
        return verdict.encode("ascii", "replace").decode()[:MAX_TEXT_LENGTH]

    async def cancel_withdrawal(self, request: bodies.CancelWithdrawalRequest) -> bodies.DoneBody:
        """Take back a withdrawal that is still queued: its units come back to cash (R31)."""
        return await self._run(
            lambda now: CancelWithdrawal(request.id, now, request.subaccount, request.withdrawal_id)
        )

    async def withdrawal(self, withdrawal_id: str) -> bodies.WithdrawalBody:
        """Show a withdrawal with its payout."""
        found = await self.runner.ask(lambda state: state.withdrawals.get(withdrawal_id))
        if found is None:
            raise refusal("unknown_withdrawal", f"no withdrawal {withdrawal_id!r}", 404)
        rows = await self.runner.in_store(lambda database: database.payouts(payout_id=withdrawal_id))
        return bodies.WithdrawalBody(
            id=withdrawal_id,
            subaccount=found.subaccount,
            asset=found.asset,
            units=found.units,
            destination=found.destination,
            status=found.status,
            gate=found.gate,
            until_ns=found.until_ns or None,
            payout=_payout_body(rows[0]) if rows else None,
        )

    async def payouts(self, subaccount: str | None) -> list[bodies.PayoutBody]:
        """List the newest payouts in the order in which they were ordered."""
        rows = await self.runner.in_store(
            lambda database: database.payouts(subaccount=subaccount, limit=LISTED_AT_MOST)
        )
        return [_payout_body(row) for row in rows]

    async def rule(self, request: bodies.RuleRequest) -> bodies.PayoutBody:
        """Carry out an operator's ruling on a payout in manual review."""
        try:
            ruling = Ruling[request.ruling.upper()]
        except KeyError:
            known = ", ".join(one.name.lower() for one in Ruling)
            raise refusal("malformed_request", f"ruling {request.ruling!r}; known: {known}", 400) from None
        try:
            await self.payer.rule(
                request.id, ruling, request.why, network_fee_units=request.network_fee_units
            )
        except KeyError:
            raise refusal("unknown_withdrawal", f"no payout {request.id!r}", 404) from None
        except IllegalTransition as error:
            raise refusal("ruling_not_possible", str(error)) from error
        rows = await self.runner.in_store(lambda database: database.payouts(payout_id=request.id))
        return _payout_body(rows[0])

    # -- the proof of solvency --

    @property
    def solvency(self) -> ProofQuestions:
        """Return what can be asked of the proof of solvency."""
        return ProofQuestions(self.proof, lambda code, why, status: refusal(code, why, status))

    # -- the whole --

    async def status(self, *, full: bool) -> bodies.StatusBody:
        """Show how the daemon is; `full` adds the state hash and every invariant."""
        sequence_and_hash = self.runner.sequence, self.runner.hash.hex()
        health = await self.runner.ask(lambda state: views.health_view(state, full=full))
        rows = await self.runner.in_store(lambda database: database.payouts(unsettled=True))
        holdings = self.reserves.last
        return bodies.StatusBody(
            sequence=sequence_and_hash[0],
            journal_hash=sequence_and_hash[1],
            clock="manual" if isinstance(self.clock, ManualClock) else "system",
            cluster_genesis_hash=self.genesis_hash,
            scanned_slot=self.inbox.scanned_slot,
            lag_slots=self.lag().slots,
            lag_seconds=round(self.lag().seconds, 3),
            attested_slot=None if holdings is None else holdings.slot,
            reserves=[
                msgspec.convert(line, bodies.LineBody, from_attributes=True) for line in self.reserves.lines
            ],
            payouts_open=len(rows),
            payouts_in_review=sum(row.state == PayoutState.MANUAL_REVIEW for row in rows),
            alarms=self.alarms(),
            **health,
        )

    async def journal(self, first: int, last: int | None) -> list[bodies.JournalEntryBody]:
        """Show a range of the journal, at most 1000 entries."""
        last = first + 999 if last is None else min(last, first + 999)
        rows = await self.runner.in_store(lambda database: list(database.journal(first, last)))
        return [
            bodies.JournalEntryBody(row.sequence, *in_words(row.command, row.outcome), row.hash.hex())
            for row in rows
        ]

    async def notices(self) -> list[dict[str, Any]]:
        """List what was seen on chain that is no deposit."""
        rows = await self.runner.in_store(lambda database: database.notices())
        return [{"slot": r.slot, "kind": r.kind, "subject": r.subject, "detail": r.detail} for r in rows]

    # -- shared --

    async def _run(self, build: Build) -> bodies.DoneBody:
        return await run(self.runner, build)

    def _known_asset(self, symbol: str) -> TokenMint:
        token = self.tokens.get(symbol)
        if token is None:
            raise refusal(
                "unknown_asset",
                f"{symbol!r} is not accepted here; accepted: {', '.join(sorted(self.tokens))}",
                400,
            )
        return token


def _deposit_body(row: DepositRow) -> bodies.DepositBody:
    receipt: Any = None
    if row.receipt is not None:
        receipt = row.receipt.decode() if row.status == "refused" else msgspec.json.decode(row.receipt)
    return bodies.DepositBody(
        deposit_id=row.key,
        signature=row.signature,
        subaccount=row.subaccount,
        asset=row.symbol,
        units=row.units,
        sender=row.sender,
        slot=row.slot,
        status=row.status,
        sequence=row.sequence,
        receipt=receipt,
    )


def _payout_body(row: PayoutRow) -> bodies.PayoutBody:
    record = None if row.record is None else decode_record(row.record)
    return bodies.PayoutBody(
        id=row.id,
        kind=row.kind,
        subaccount=row.subaccount,
        asset=row.symbol,
        units=row.units,
        destination=row.destination,
        state=row.state,
        signature=row.signature,
        network_fee_units=0 if record is None else record.network_fee_units,
        failure="" if record is None else record.failure,
        settled_sequence=row.settled_sequence,
    )
