"""A process that pays one payout from a store of files, and can kill itself at a save.

Started by test_payer_crashes.py with a task on its input; "signed-" dies before the record in state signed is
on disk, "signed+" after.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from solders.keypair import Keypair

from chain.payer import Payer, PayerOptions, PayoutRequest
from chain.rpc import RpcPool
from chain.signer import KeypairSigner
from chain.submission import PayoutRecord, decode_record, encode_record


class FileStore:
    """One file a payout, replaced whole and synced."""

    def __init__(self, folder: Path, kill_at: str) -> None:
        self.folder, self.kill_at = folder, kill_at

    def load_open(self) -> list[PayoutRecord]:
        records = [decode_record(path.read_bytes()) for path in self.folder.iterdir() if path.suffix == ""]
        return [record for record in records if not record.is_final]

    def load(self, payout_id: str) -> PayoutRecord | None:
        path = self.folder / payout_id
        return decode_record(path.read_bytes()) if path.exists() else None

    async def save(self, record: PayoutRecord) -> None:
        if self.kill_at == f"{record.state.value}-":
            os.kill(os.getpid(), signal.SIGKILL)
        temporary = self.folder / f"{record.id}.new"
        with temporary.open("wb") as file:
            file.write(encode_record(record))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / record.id)
        if self.kill_at == f"{record.state.value}+":
            os.kill(os.getpid(), signal.SIGKILL)


async def main(task: dict) -> None:
    pair = Keypair.from_bytes(bytes(task["secret"]))
    store = FileStore(Path(task["folder"]), task["kill_at"])
    async with RpcPool(task["urls"], requests_per_second=1_000) as pool:
        payer = Payer(
            pool, KeypairSigner(pair), str(pair.pubkey()), store, options=PayerOptions(interval_s=0.02)
        )
        results = payer.results()
        run = asyncio.create_task(payer.run())
        known = await payer.submit(PayoutRequest("w1", "SOL", None, task["units"], task["destination"]))
        if not known.is_final:
            await asyncio.wait_for(anext(results), 60)
        payer.stop()
        await run


if __name__ == "__main__":
    asyncio.run(main(json.load(sys.stdin)))
