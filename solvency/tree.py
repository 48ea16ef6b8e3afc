"""Pedersen Merkle-sum tree over the accounts without debt, one per asset and one for claims.

Owns: building the tree, in worker processes if asked, and what a path needs afterwards (amounts, blindings,
points and hashes of every node). Rules: leaves stand in the order of their tags, so a position says nothing
about a customer and nothing about the last epoch; empty places hold commitments to zero under blindings of
their own and look like any leaf; a sum that would not fit 64 bits stops the prover. Must not know what an
account is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from solvency import verifier
from solvency.curve import ProverFault, commitment
from solvency.verifier import CURVE_ORDER, MAX_U64

CHUNK_DEPTH = 12  # 4,096 leaves a task: half a second of work, so progress moves and workers stay level
Leaf = tuple[bytes, int, int]  # tag, amount, blinding
Progress = Callable[[str, int, int], None]


@dataclass(slots=True, repr=False)
class Level:
    """Hold the nodes of one level, packed."""

    wires: bytes
    hashes: bytes
    values: array[int]
    blindings: bytes

    def node(self, index: int) -> tuple[bytes, bytes, int, int]:
        """Return (point, hash, amount, blinding) of a node."""
        return (
            self.wires[33 * index : 33 * index + 33],
            self.hashes[32 * index : 32 * index + 32],
            self.values[index],
            int.from_bytes(self.blindings[32 * index : 32 * index + 32], "big"),
        )


def _pack(wires: list[bytes], hashes: list[bytes], values: list[int], blindings: list[int]) -> Level:
    packed = b"".join(blinding.to_bytes(32, "big") for blinding in blindings)
    return Level(b"".join(wires), b"".join(hashes), array("Q", values), packed)


def _fold(wires: list[bytes], hashes: list[bytes], values: list[int], blindings: list[int]) -> list[Level]:
    """Build every level above the given nodes, theirs included; points are added, not committed anew."""
    levels = [_pack(wires, hashes, values, blindings)]
    points = [verifier.load_point(wire) for wire in wires]
    while len(points) > 1:
        places = range(0, len(points), 2)
        hashes = [verifier.node_hash(wires[i], wires[i + 1], hashes[i], hashes[i + 1]) for i in places]
        sums = [verifier.add_points((points[i], points[i + 1])) for i in places]
        points = [point for point in sums if point is not None]
        values = [values[i] + values[i + 1] for i in places]
        blindings = [(blindings[i] + blindings[i + 1]) % CURVE_ORDER for i in places]
        if len(points) != len(sums) or max(values) > MAX_U64:
            raise ProverFault("a sum of the tree does not fit")
        wires = [verifier.save_point(point) for point in points]
        levels.append(_pack(wires, hashes, values, blindings))
    return levels


def build_chunk(context: bytes, number: int, leaves: Sequence[Leaf]) -> list[Level]:
    """Build the subtree over a power of two of leaves."""
    wires = [commitment(value, blinding) for _, value, blinding in leaves]
    hashes = [
        verifier.leaf_hash(context, number, leaf[0], wire) for leaf, wire in zip(leaves, wires, strict=True)
    ]
    return _fold(wires, hashes, [leaf[1] for leaf in leaves], [leaf[2] for leaf in leaves])


def _join(chunks: Sequence[list[Level]]) -> list[Level]:
    """Put subtrees of one size side by side and build what stands above them."""
    joined = [
        Level(
            b"".join(level.wires for level in row),
            b"".join(level.hashes for level in row),
            array("Q", [value for level in row for value in level.values]),
            b"".join(level.blindings for level in row),
        )
        for row in zip(*chunks, strict=True)
    ]
    tops = [joined[-1].node(index) for index in range(len(chunks))]
    above = _fold([t[0] for t in tops], [t[1] for t in tops], [t[2] for t in tops], [t[3] for t in tops])
    return joined + above[1:]


@dataclass(slots=True, repr=False)
class SumTree:
    """Hold a built tree; everything but the root is secret."""

    number: int
    tags: list[bytes]
    levels: list[Level]

    @property
    def depth(self) -> int:
        """Return the number of siblings on a path."""
        return len(self.levels) - 1

    @property
    def root(self) -> tuple[bytes, bytes, int, int]:
        """Return (point, hash, amount, blinding) of the root."""
        return self.levels[-1].node(0)

    def find(self, tag: bytes) -> int | None:
        """Return the place of a leaf, or None."""
        index = bisect_left(self.tags, tag)
        return index if index < len(self.tags) and self.tags[index] == tag else None

    def siblings(self, index: int) -> list[tuple[int, int]]:
        """Return (level, index) of the siblings on the way up from a leaf."""
        return [(level, (index >> level) ^ 1) for level in range(self.depth)]


def padded_size(count: int) -> int:
    """Return the smallest power of two that holds `count` leaves, at least 1."""
    return 1 << max(0, count - 1).bit_length()


def build(
    context: bytes,
    number: int,
    leaves: list[Leaf],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> SumTree:
    """Build the tree over leaves whose number is a power of two; sorts them by tag."""
    leaves.sort(key=lambda leaf: leaf[0])
    if len(leaves) != padded_size(len(leaves)):
        raise ProverFault("the leaves are not padded")
    size = 1 << CHUNK_DEPTH
    parts = [leaves[i : i + size] for i in range(0, len(leaves), size)]
    run = map if executor is None else executor.map
    chunks: list[list[Level]] = []
    for chunk in run(build_chunk, [context] * len(parts), [number] * len(parts), parts):
        chunks.append(chunk)
        if progress is not None:
            progress(f"tree {number}", min(len(chunks) * size, len(leaves)), len(leaves))
    return SumTree(number, [leaf[0] for leaf in leaves], _join(chunks))
