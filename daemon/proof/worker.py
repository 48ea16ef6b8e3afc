"""The process that proves: `python -m daemon.proof.worker`, spoken to through its pipes (`messages`).

Owns: the computing of one epoch and, afterwards, its records. Rules: lowest scheduling priority, so that the
daemon goes first; it dies with the daemon (its input ends, and the kernel is asked to end it with its
parent); it holds no key that signs anything: signatures come through the pipe. Must not know the database,
the chain.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import structs

from daemon.proof import messages as msg
from daemon.proof.balances import OwnedRow, UnknownBalance, balances
from daemon.proof.files import ProofFolder, write_whole
from solvency.encode import bundle as encode_bundle
from solvency.epoch import Epoch, UnknownCustomer
from solvency.keys import MasterSecret
from solvency.model import Holding, Snapshot, SnapshotFault
from solvency.prover import ProverFault, ReserveSignature, begin, prove
from solvency.verifier import (
    Asset,
    Rejected,
    bundle_hash,
    check_sums,
    memo_text,
    operator_message,
    read_header,
)

NICENESS: Final = 15
_SET_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG
_STEPS_TOLD: Final = 20


class Worker:
    """Answers one daemon until its input ends."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._epoch: Epoch | None = None
        self._told = ("", 0)

    def work(self) -> None:
        """Answer questions until there are no more."""
        while (question := self._read()) is not None:
            try:
                self._answer(question)
            except (
                UnknownBalance,
                SnapshotFault,
                ProverFault,
                Rejected,
                ValueError,
                OSError,
                MemoryError,
            ) as error:
                self._say(msg.Failed(type(error).__name__, str(error)))

    def _answer(self, question: msg.Question) -> None:
        match question:
            case msg.Prove():
                self._prove(question)
            case msg.Seal():
                self._seal(question)
            case msg.Load():
                self._epoch = Epoch.load(Path(question.path).read_bytes())
                self._say(msg.Loaded())
            case msg.Record():
                self._record(question.customer_id)
            case _:
                raise ValueError(f"{type(question).__name__} answers nothing")

    def _prove(self, job: msg.Prove) -> None:
        rows: list[OwnedRow] = []
        for _ in range(job.row_messages):
            part = self._read()
            if not isinstance(part, msg.Rows):
                return
            rows += part.rows
        draft = begin(_snapshot(job, rows), job.operator)
        self._say(msg.Challenges([(one.owner, one.message) for one in draft.challenges]))
        answer = self._read()
        if not isinstance(answer, msg.Signatures):
            return  # the daemon gave up
        epoch = prove(
            draft,
            MasterSecret(job.master),
            [ReserveSignature(signature) for signature in answer.signatures],
            workers=job.workers,
            progress=self._progress,
        )
        folder = ProofFolder(Path(job.folder))
        write_whole(folder.secret(job.epoch, epoch.hash), epoch.dump())
        write_whole(folder.body(job.epoch, epoch.hash), epoch.body)
        self._epoch = epoch
        self._say(msg.Proved(epoch.header_bytes, epoch.operator_message, epoch.memo))

    def _seal(self, job: msg.Seal) -> None:
        folder, digest = ProofFolder(Path(job.folder)), bundle_hash(job.header)
        bundle = encode_bundle(job.header, job.signature, folder.body(job.epoch, digest).read_bytes())
        check_sums(bundle)  # nobody is to see a bundle that the verifier would refuse
        write_whole(folder.bundle(job.epoch), bundle, mode=0o644)
        folder.tidy(job.epoch, digest)
        self._say(msg.Sealed(len(bundle)))

    def _record(self, customer_id: str) -> None:
        if self._epoch is None:
            raise ValueError("no epoch is open here")
        try:
            self._say(msg.Made(self._epoch.record(customer_id)))
        except UnknownCustomer:
            self._say(msg.Made(b""))

    def _progress(self, stage: str, done: int, total: int) -> None:
        step = done * _STEPS_TOLD // max(1, total)
        if (stage, step) != self._told:
            self._told = (stage, step)
            self._say(msg.Progress(stage, done, total))

    def _read(self) -> msg.Question | None:
        head = self._source.read(msg.LENGTH_BYTES)
        if len(head) < msg.LENGTH_BYTES:
            return None
        return msg.decode_question(self._source.read(int.from_bytes(head, "big")))

    def _say(self, message: msg.Message) -> None:
        self._sink.write(msg.encode(message))
        self._sink.flush()


def facts(header: bytes) -> tuple[bytes, bytes, str]:
    """Return (hash, what the operator signs, memo) of a header."""
    digest = bundle_hash(header)
    return digest, operator_message(digest), memo_text(read_header(header).epoch, digest)


def _snapshot(job: msg.Prove, rows: list[OwnedRow]) -> Snapshot:
    picture = structs.replace(job.picture, rows=rows)
    customers, in_clear = balances(
        picture, job.set_aside, lambda name: job.ids.get(name, f"subaccount {name}")
    )
    return Snapshot(
        epoch=job.epoch,
        previous_hash=job.previous_hash,
        sequence=picture.sequence,
        time_ns=picture.time_ns,
        slot=job.slot,
        assets=tuple(
            Asset(one.symbol, one.identity, one.decimals, one.price_e8, one.weight_ppm) for one in job.assets
        ),
        accounts=customers,
        open_accounts=in_clear,
        holdings=[Holding(one.symbol, one.account, one.owner, one.units) for one in job.reserves],
    )


def main() -> None:
    """Serve the parent on the inherited pipes."""
    os.nice(NICENESS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to hear
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between the messages
    Worker(sys.stdin.buffer, sink).work()


if __name__ == "__main__":
    main()
