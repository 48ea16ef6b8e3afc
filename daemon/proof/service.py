"""Makes an epoch of the proof of solvency every interval, exactly one for each number, whatever happens.

Theory of operation. Two signed bundles for one epoch are proof of fraud that anybody can show, so the
operator's key signs nothing that the database does not already hold for ever:

    picture   ledger and holdings at one block; copied while the writer waits, milliseconds
    prove     a worker process; the reserves' keys sign the challenges; body and secret go to the folder
    fix       the database holds (epoch, hash, header); one row an epoch, one row a previous hash
    seal      the operator signs that header (ed25519: the same bytes each time); the bundle is in the folder
    order     signature and memo are stored in one transaction; the payer publishes the memo as it pays
              payouts, and what it cost is booked by `PayNetworkFee`

Killed before `fix`, the attempt is forgotten: nobody has seen it, and another one takes its number. Killed
after it, `resume` signs the very same header. A database from a backup does not know what its later self
signed: the folder and the chain do, and both are asked before the first epoch of a start (`_check_unknown`).

Must not know: HTTP, how a proof is made.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

from chain.errors import ChainError
from chain.rpc import RpcPool
from chain.signer import KeypairSigner, Secret, Signer
from daemon.config import Config
from daemon.errors import ConfigError
from daemon.inbox import AddressBook
from daemon.keys import HOT_WALLET, Keyring, read_private
from daemon.killpoints import KillPoints
from daemon.projection import PUBLICATION
from daemon.proof import balances
from daemon.proof import messages as msg
from daemon.proof.checking import newest_published
from daemon.proof.files import ProofFolder, write_whole
from daemon.proof.workshop import ProofFailed, Workshop
from daemon.reserves import HeldAccount, Picture, Reserves
from daemon.runner import Runner
from daemon.store.rows import Batch, EpochRow, PayoutRow
from engine.units import PPM, SETTLEMENT_ASSET
from solvency import verifier

_log = logging.getLogger(__name__)
_NS: Final = 10**9
_LONGEST_RETRY_S: Final = 30.0
_RECORDS_CACHED: Final = 256  # some 100 kB to 500 kB each
_MASTER_BYTES: Final = 32
_ACCOUNTS_AT_ONCE: Final = 500  # some milliseconds of the event loop


@dataclass(slots=True)
class _Secrets:
    """Who signs bundles, and the secret behind every commitment."""

    operator: Signer
    operator_address: str
    master: Secret

    def __repr__(self) -> str:
        return f"_Secrets(operator={self.operator_address})"


class ProofService:
    """One maker of epochs for one daemon."""

    def __init__(
        self, config: Config, runner: Runner, reserves: Reserves, addresses: AddressBook, keyring: Keyring,
        pool: RpcPool, *, kill_points: KillPoints | None = None,
        on_alarm: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._runner = runner
        self._reserves = reserves
        self._addresses = addresses
        self._keyring = keyring
        self._pool = pool
        self._passing = (kill_points or KillPoints()).passing
        self._alarm = on_alarm or (lambda _: None)
        self.folder = ProofFolder(config.proof_folder)
        self._secrets: _Secrets | None = None
        self._workshop: Workshop | None = None
        self._workshop_epoch = 0
        self._records: OrderedDict[str, bytes] = OrderedDict()
        self._making = asyncio.Lock()
        self._asking = asyncio.Lock()  # a record is asked of the worker of its own epoch, or not at all
        self._checked = False

    # -- life --

    async def run(self) -> None:
        """Make an epoch at every interval; one that fails is an alarm, is tried again, and ends nothing."""
        retry_s, wait_s = 1.0, 0.0
        work: Callable[[], Awaitable[EpochRow | None]] = self.resume
        while True:
            await asyncio.sleep(wait_s)
            try:
                await work()
                work, retry_s = self.make, 1.0
                wait_s = await self._wait_s()
            except (
                *(ProofFailed, ChainError, ConfigError, balances.UnknownBalance),
                *(TimeoutError, OSError),  # such as a disk that is full
            ) as error:
                self._alarm(f"no proof of solvency: {error or type(error).__name__}")
                wait_s = min(retry_s, self._config.proof.interval_s)
                retry_s = min(_LONGEST_RETRY_S, retry_s * 2)

    async def close(self) -> None:
        """End the worker."""
        if self._workshop is not None:
            await self._workshop.close()
            self._workshop = None

    async def _wait_s(self) -> float:
        """Wait out the interval since the last epoch; a whole one on the first start."""
        rows = await self.epochs(last=1)
        if not rows:
            return self._config.proof.interval_s
        age_s = (time.time_ns() - verifier.read_header(rows[0].header).time_ns) / _NS
        return min(self._config.proof.interval_s, max(0.0, self._config.proof.interval_s - age_s))

    # -- one epoch --

    async def make(self) -> EpochRow:
        """Make the next epoch, or finish the one that a crash left; returns it, its memo ordered.

        Raises ProofFailed, ChainError, ConfigError, UnknownBalance or TimeoutError.
        """
        async with self._making:
            known = self._open_secrets()
            unfinished = await self._prepare()
            if unfinished is not None:
                return await self._finish(unfinished, known)
            begun = asyncio.get_running_loop().time()
            picture = await self._reserves.picture(balances.take_picture)
            self._passing("proof.pictured")
            workshop = await Workshop.open()
            try:
                proved = await self._prove(workshop, picture, known)
                self._passing("proof.proved")
                row = await self._fix(proved)
                self._passing("proof.fixed")
                row = await self._finish(row, known, workshop)
            except BaseException:
                await workshop.close()
                raise
            async with self._asking:
                await self._replace_workshop(workshop, row.epoch)
            _log.info(
                "proof of solvency: epoch %d, sequence %d, %.1f s, bundle %s",
                *(
                    row.epoch,
                    picture.ledger.sequence,
                    asyncio.get_running_loop().time() - begun,
                    row.hash.hex(),
                ),
            )
            return row

    async def resume(self) -> EpochRow | None:
        """Finish the epoch that a crash left between `fix` and `order`, if there is one."""
        async with self._making:
            unfinished = await self._prepare()
            return None if unfinished is None else await self._finish(unfinished, self._open_secrets())

    async def _prepare(self) -> EpochRow | None:
        self.folder.prepare()
        rows = await self.epochs(last=1)
        if not self._checked:
            await self._check_unknown(rows[0] if rows else None)
            self._checked = True
        return rows[0] if rows and rows[0].signature is None else None

    async def _check_unknown(self, last: EpochRow | None) -> None:
        """Raise ProofFailed if the folder or the chain holds an epoch that this database does not know."""
        known = 0 if last is None else last.epoch
        found = self.folder.newest_bundle()
        where = str(self.folder.path)
        if found <= known:
            published = await newest_published(self._pool, self._keyring.hot_wallet)
            if published is not None and (
                published.epoch > known or (published.epoch == known and last and published.hash != last.hash)
            ):
                found, where = published.epoch, f"the chain (memo of {self._keyring.hot_wallet})"
            else:
                return
        raise ProofFailed(
            f"{where} has a bundle of epoch {found}, this database knows {known}: it comes from an older "
            "backup. A second bundle for an epoch would be proof of fraud; restore the newest database, or "
            "give the proof a new operator key, hot wallet and folder"
        )

    async def _prove(
        self, workshop: Workshop, picture: Picture[balances.Picture], known: _Secrets
    ) -> msg.Proved:
        rows = await self.epochs(last=1)
        ledger = self._after(verifier.read_header(rows[0].header) if rows else None, picture)
        reserves, owners = await self._reserve_accounts(picture)
        owed = {name for name, _, _ in ledger.set_apart} | {row.subaccount for row in ledger.rows}
        per_message = Workshop.ROWS_IN_A_MESSAGE
        job = msg.Prove(
            epoch=rows[0].epoch + 1 if rows else 1,
            previous_hash=rows[0].hash if rows else bytes(32),
            slot=picture.holdings.slot,
            assets=self._terms(picture),
            picture=ledger.without_rows(),
            ids={name: address for name, address in self._addresses.all() if name in owed},
            set_aside=picture.set_aside_units,
            reserves=reserves,
            operator=bytes(Pubkey.from_string(known.operator_address)),
            master=known.master.reveal(),
            folder=str(self.folder.path.absolute()),
            workers=self._config.proof.workers,
            row_messages=-(-len(ledger.rows) // per_message),
        )

        async def sign(owner: bytes, text: bytes) -> bytes:
            return await self._keyring.sign_challenge(text, owners[owner])

        def progress(step: msg.Progress) -> None:
            _log.info("proof of solvency %d: %s %d of %d", job.epoch, step.stage, step.done, step.total)

        return await workshop.prove(job, ledger.rows, sign, progress)

    def _after(
        self, previous: verifier.Header | None, picture: Picture[balances.Picture]
    ) -> balances.Picture:
        """Date a picture so that it follows the last bundle: later in time, nothing else earlier."""
        time_ns = self._runner.clock.now_ns()
        if previous is not None:
            if picture.holdings.slot < previous.slot:
                raise ProofFailed(f"the node is behind the last bundle's slot {previous.slot}")
            time_ns = max(time_ns, previous.time_ns + 1)
        return picture.ledger.at(time_ns)

    async def _reserve_accounts(
        self, picture: Picture[balances.Picture]
    ) -> tuple[list[msg.Reserve], dict[bytes, str]]:
        """Return what is held, and whose key signs for it; what nobody can sign for does not count."""
        reserves, owners, unsigned = [], {}, 0
        for number, (held, units) in enumerate(picture.holdings.accounts):
            if number % _ACCOUNTS_AT_ONCE == 0:
                await asyncio.sleep(0)
            subaccount = self._addresses.subaccount(held.address)
            if not self._keyring.can_sign_challenge(subaccount):
                unsigned += 1
                continue
            owner = bytes(Pubkey.from_string(held.address))
            owners[owner] = subaccount
            reserves.append(_reserve(held, owner, units))
        if unsigned:
            self._alarm(f"{unsigned} reserve accounts are left out of the proof: the signer lacks their keys")
        return reserves, owners

    def _terms(self, picture: Picture[balances.Picture]) -> list[msg.AssetTerms]:
        """Return the assets as the bundle names them: USDC first, price = index, weight = 1 - haircut."""
        ledger, terms = picture.ledger, []
        params = {one.symbol: one for one in self._config.params.assets}
        tokens = sorted(
            (one.token for one in self._config.assets), key=lambda t: t.symbol != SETTLEMENT_ASSET
        )
        for token in tokens:
            asset = params[token.symbol]
            price_e8 = 10**8 if token.symbol == SETTLEMENT_ASSET else ledger.prices_e8.get(token.symbol, 0)
            weight = PPM - asset.haircut_ppm
            in_use = ledger.liabilities_units.get(token.symbol, 0) or picture.holdings.units.get(
                token.symbol, 0
            )
            if not price_e8 and in_use:
                raise ProofFailed(f"{token.symbol} has no index price yet, so its holdings cannot be valued")
            if not price_e8:
                price_e8, weight = 1, 0  # nobody has any: the format asks for a price above zero
            identity = bytes(32) if token.mint is None else bytes(Pubkey.from_string(token.mint))
            terms.append(msg.AssetTerms(token.symbol, identity, token.decimals, price_e8, weight))
        return terms

    async def _fix(self, proved: msg.Proved) -> EpochRow:
        header = verifier.read_header(proved.header)
        row = EpochRow(header.epoch, header.hash, header.previous, proved.header)
        await self._runner.submit_all([], lambda _, batch: batch.epochs.append(row))
        return row

    async def _finish(self, row: EpochRow, known: _Secrets, workshop: Workshop | None = None) -> EpochRow:
        """Sign and publish an epoch that is fixed; doing it again gives the same bytes."""
        header = verifier.read_header(row.header)
        if header.operator != bytes(Pubkey.from_string(known.operator_address)):
            raise ProofFailed(f"epoch {row.epoch} was fixed for another operator key; put that key back")
        signature = await known.operator.sign(verifier.operator_message(row.hash), known.operator_address)
        if not self._is_sealed(row, signature):
            opened = workshop or await Workshop.open()
            try:
                folder = str(self.folder.path.absolute())
                sealed = await opened.seal(msg.Seal(row.epoch, row.header, signature, folder))
                _log.info("proof of solvency %d: sealed, %d bytes", row.epoch, sealed.size)
            finally:
                if workshop is None:
                    await opened.close()
        self._passing("proof.sealed")
        memo = verifier.memo_text(row.epoch, row.hash)
        hot_wallet = self._keyring.hot_wallet

        def order(_: object, batch: Batch) -> None:
            batch.payouts.append(
                PayoutRow(memo, PUBLICATION, HOT_WALLET, "SOL", 0, hot_wallet, self._runner.sequence)
            )
            batch.sealed.append((row.epoch, signature, memo))

        await self._runner.submit_all([], order)
        self._passing("proof.ordered")
        return EpochRow(row.epoch, row.hash, row.previous, row.header, signature, memo)

    def _is_sealed(self, row: EpochRow, signature: bytes) -> bool:
        path = self.folder.bundle(row.epoch)
        if not path.exists():
            return False
        with path.open("rb") as file:
            head = file.read(4 + len(row.header) + len(signature))
        if head[4:] != row.header + signature:
            raise ProofFailed(
                f"{path} is another bundle than the one this database has fixed; nothing is signed"
            )
        return True

    # -- questions --

    async def epochs(self, *, last: int | None = None, epoch: int | None = None) -> list[EpochRow]:
        """Return epochs, oldest first."""
        return await self._runner.in_store(lambda database: database.epochs(last=last, epoch=epoch))

    async def publication(self, row: EpochRow) -> PayoutRow | None:
        """Return how far the memo of an epoch is."""
        rows = await self._runner.in_store(
            lambda database: database.payouts(payout_id=row.publication) if row.publication else []
        )
        return rows[0] if rows else None

    @property
    def publisher(self) -> str:
        """Return the address whose memos publish bundles."""
        return self._keyring.hot_wallet

    def customer_id(self, subaccount: str) -> str | None:
        """Return the id under which a subaccount is counted: its deposit address."""
        return self._addresses.address(subaccount)

    async def record(self, customer_id: str) -> tuple[EpochRow, bytes]:
        """Return the last sealed epoch and the customer's record of it, b"" without a balance in it.

        Made when first asked for, cached until the next epoch. Raises ProofFailed without any epoch.
        """
        async with self._asking:
            rows = [row for row in await self.epochs(last=2) if row.signature is not None]
            if not rows:
                raise ProofFailed("no proof of solvency has been made yet")
            row = rows[-1]
            workshop = self._workshop
            if row.epoch != self._workshop_epoch or workshop is None or not workshop.is_alive:
                workshop = await Workshop.open()
                try:
                    await workshop.load(str(self.folder.secret(row.epoch, row.hash)))
                except BaseException:
                    await workshop.close()
                    raise
                await self._replace_workshop(workshop, row.epoch)
            found = self._records.get(customer_id)
            if found is None:
                found = self._records[customer_id] = await workshop.record(customer_id)
                if len(self._records) > _RECORDS_CACHED:
                    self._records.popitem(last=False)
            return row, found

    async def _replace_workshop(self, workshop: Workshop, epoch: int) -> None:
        """Let another worker answer; the caller holds `_asking`."""
        old, self._workshop, self._workshop_epoch = self._workshop, workshop, epoch
        self._records.clear()
        if old is not None:
            await old.close()

    # -- secrets --

    def _open_secrets(self) -> _Secrets:
        """Read the operator's key and the master secret; raises ConfigError, SignerError."""
        if self._secrets is None:
            settings, operator = self._config.proof, self._keyring.signer
            address = self._keyring.hot_wallet
            if settings.operator_key_file is not None:
                operator = KeypairSigner.from_file(settings.operator_key_file)
                (address,) = operator.addresses()
            self.folder.prepare()
            self._secrets = _Secrets(operator, address, self._master())
        return self._secrets

    def _master(self) -> Secret:
        path = self._config.proof.master_secret_file or self.folder.path / "master.hex"
        if self._config.proof.master_secret_file is None and not path.exists():
            write_whole(path, secrets.token_bytes(_MASTER_BYTES).hex().encode() + b"\n")
        try:
            master = Secret(bytes.fromhex(read_private(path).decode("ascii").strip()))
        except (ValueError, UnicodeDecodeError):
            master = Secret(b"")
        if len(master) != _MASTER_BYTES:
            # What was found is not shown: it may be most of a secret.
            raise ConfigError(str(path), ["is no master secret; should be 32 bytes as 64 hexadecimal digits"])
        return master


def _reserve(held: HeldAccount, owner: bytes, units: int) -> msg.Reserve:
    return msg.Reserve(held.symbol, bytes(Pubkey.from_string(held.account)), owner, units)
