"""The order of training: a pure function of (length, seed, epoch, rank, world), and where in it a run stands.

The shuffle is a Feistel network over splitmix64 with cycle walking: integer arithmetic only, so that an order is the
same on every machine and with every library version, needs no memory, and can start anywhere. Luby & Rackoff, "How to
construct pseudorandom permutations from pseudorandom functions", 1988; Black & Rogaway, "Ciphers with arbitrary finite
domains", 2002 (cycle walking); Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014 (the mixer).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import ConfigError

Indexes = NDArray[np.int64]
Uneven = Literal["repeat", "drop"]

_ROUNDS: Final = 6
_WORD: Final = 2**64
_GOLDEN: Final = 0x9E3779B97F4A7C15
_CHUNK: Final = 1 << 14  # positions per step of the iterator: bounds its memory
STATE_VERSION: Final = 1


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's output function, element by element."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _keys(seed: int, epoch: int) -> NDArray[np.uint64]:
    start = _mix(np.array([seed % _WORD], np.uint64)) + np.uint64(epoch * _GOLDEN % _WORD)
    steps = np.array([(k + 1) * _GOLDEN % _WORD for k in range(_ROUNDS)], np.uint64)
    return _mix(_mix(start) + steps)


def permute(positions: NDArray[Any], n: int, seed: int, epoch: int) -> Indexes:
    """Where a shuffle of ``range(n)`` puts what stands at ``positions``. (m,) in [0, n) -> (m,) int64 in [0, n).

    For all n positions this is a permutation.
    """
    if n < 2:
        return np.zeros(len(positions), np.int64)
    half = np.uint64(((n - 1).bit_length() + 1) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = _keys(seed, epoch)
    out = np.asarray(positions).astype(np.uint64)
    outside = np.arange(len(out))
    while len(outside):  # the network permutes the next power of four; what falls beyond n goes through it again
        left, right = out[outside] >> half, out[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mix(right + key) & mask)
        out[outside] = (left << half) | right
        outside = outside[out[outside] >= n]
    return out.astype(np.int64)


def rank_length(n: int, world: int, uneven: Uneven, start: int = 0) -> int:
    """How many items every rank gets from position ``start`` of the common order on."""
    left = max(n - start, 0)
    return left // world if uneven == "drop" else -(-left // world)


class DialogSampler:
    """Indexes of one rank in the order of one epoch: rank, rank + world, ... of the common shuffled order.

    All ranks get equally many. Where ``world`` does not divide n, ``uneven="repeat"`` fills up with the first of the
    order (no item is missing, up to world - 1 come twice), ``"drop"`` leaves the last ones out (none comes twice).

    Iterating changes nothing: ``epoch`` and ``position`` say where an iteration starts. A loader moves them on with
    ``consume``. The position counts items of all ranks, so that a run may go on with another number of ranks.

    Args:
        n: number of items.
        fingerprint: what the indexes refer to; a state of another fingerprint is refused.

    Raises:
        ConfigError: impossible arguments.
    """

    def __init__(
        self,
        n: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        uneven: Uneven = "repeat",
        fingerprint: str = "",
    ) -> None:
        if n < 0 or world < 1 or not 0 <= rank < world or uneven not in ("repeat", "drop"):
            raise ConfigError(f"no sampler of {n} items, rank {rank} of {world}, uneven={uneven!r}")
        self.n, self.seed, self.rank, self.world = n, seed, rank, world
        self.shuffle, self.uneven, self.fingerprint = shuffle, uneven, fingerprint
        self.epoch, self.position = 0, 0

    def __len__(self) -> int:
        """Items that this rank still gets in this epoch."""
        return rank_length(self.n, self.world, self.uneven, self.position)

    def __iter__(self) -> Iterator[int]:
        """The indexes that are left of this epoch, as they are now; later changes do not touch an iterator."""
        return self._indexes(self.position, len(self), self.epoch)

    def _indexes(self, start: int, count: int, epoch: int) -> Iterator[int]:
        for first in range(0, count, _CHUNK):
            steps = np.arange(first, min(first + _CHUNK, count), dtype=np.int64)
            positions = (start + self.rank + self.world * steps) % self.n
            found = permute(positions, self.n, self.seed, epoch) if self.shuffle else positions
            yield from found.tolist()

    def consume(self, items: int) -> None:
        """Say that the training loop got ``items`` more on every rank. After the last, the next epoch begins."""
        self.position += items * self.world
        if len(self) == 0:
            self.epoch, self.position = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; nothing happens when the sampler already stands in it."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the sequence follows from; plain JSON types, the same on every rank."""
        names = ("seed", "epoch", "position", "n", "shuffle", "uneven", "fingerprint")
        return {"version": STATE_VERSION, **{name: getattr(self, name) for name in names}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken; seed, epoch and position come from it.

        Raises:
            ConfigError: it belongs to other data or another order; going on would silently repeat or lose items.
        """
        mine = {"version": STATE_VERSION, **{k: getattr(self, k) for k in ("n", "shuffle", "uneven", "fingerprint")}}
        wrong = [f"{k} {state.get(k)!r}, here {v!r}" for k, v in mine.items() if state.get(k) != v]
        if wrong:
            raise ConfigError(
                f"the state does not fit this data: {'; '.join(wrong)}. Open the commit and the windows of the run "
                "that saved it, or start a new epoch without the state"
            )
        self.seed, self.epoch, self.position = int(state["seed"]), int(state["epoch"]), int(state["position"])
        self.consume(0)  # with more ranks than items are left, "drop" leaves nothing of this epoch
