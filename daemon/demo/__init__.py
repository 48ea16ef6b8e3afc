"""`makewhole demo`: the main road from a transfer on chain to a payout on chain, in under a minute.

`story` tells it, `stage` is what it is played on (an embedded Solana and a daemon in a process of its
own), `wallets` are the customers' own, `checks` keeps score. Nothing is simulated but the chain's
validators and the people.
"""

from __future__ import annotations

from pathlib import Path


def demo(keep: Path | None = None) -> int:
    """Play the demo; returns 0 only if everything it claims was checked and held."""
    from daemon.demo.story import play

    return play(keep)
