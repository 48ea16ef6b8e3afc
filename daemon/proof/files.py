"""The folder of a proof of solvency: bundles for everybody, and what only the exchange may read.

    00000007.bundle        the whole bundle, for everybody; its head is in the database as well
    00000007.<hash>.body   the unsigned body of an epoch that is fixed and not sealed yet
    00000007.<hash>.secret opens every commitment of the epoch: records are made from it (mode 0600)

Rules: a file appears under its name whole or not at all: written beside it, synced, renamed, the folder
synced. The folder is 0700 because of the secrets; bundles can be copied from it. Secrets of old epochs are
removed (`SECRETS_KEPT` stay); bundles never are. Must not know the database, the curve.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SECRETS_KEPT: Final = 3


class ProofFolder:
    """Names and writes the files of epochs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the folder; remove what a killed process left half written."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in self.path.glob("*.partial"):
            leftover.unlink(missing_ok=True)

    def bundle(self, epoch: int) -> Path:
        """Name the bundle of an epoch."""
        return self.path / f"{epoch:08d}.bundle"

    def body(self, epoch: int, bundle_hash: bytes) -> Path:
        """Name the body of an epoch that is not sealed."""
        return self.path / f"{epoch:08d}.{bundle_hash.hex()}.body"

    def secret(self, epoch: int, bundle_hash: bytes) -> Path:
        """Name what opens an epoch."""
        return self.path / f"{epoch:08d}.{bundle_hash.hex()}.secret"

    def newest_bundle(self) -> int:
        """Return the number of the newest bundle here, 0 for none."""
        return max(
            (int(path.stem) for path in self.path.glob("*.bundle") if path.stem.isdecimal()), default=0
        )

    def tidy(self, epoch: int, bundle_hash: bytes) -> None:
        """Remove bodies, secrets of attempts that were not kept, and secrets of old epochs."""
        for path in self.path.glob("*.body"):
            path.unlink(missing_ok=True)
        for path in self.path.glob("*.secret"):
            number, _, found = path.stem.partition(".")
            is_old = int(number) <= epoch - SECRETS_KEPT
            if is_old or (int(number) == epoch and found != bundle_hash.hex()):
                path.unlink(missing_ok=True)


def write_whole(path: Path, *parts: bytes, mode: int = 0o600) -> None:
    """Write a file so that it is there whole and durable, or not at all."""
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
