"""The same windows read in the order in which they lie: for object stores, where random access is what costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from dialogbuild.dataset.columns import DEFAULT_COLUMNS, ParquetRows
from dialogbuild.dataset.reading import Audio, Frames, Item, WindowReader
from dialogbuild.dataset.sampler import Uneven, permute, rank_length
from dialogbuild.dataset.soundfiles import PassingSounds
from dialogbuild.dataset.store import Store, cache_folder
from dialogbuild.dataset.windows import Keep, Plan, make_spec
from dialogbuild.errors import ConfigError

Indexes = NDArray[np.int64]
_HELD_BYTES = 512 * 2**20  # a pool of eight clips of a minute takes 12 MB of motion, 140 MB with landmarks


def stream_order(clip_of: Indexes, n_clips: int, pool_clips: int, seed: int, epoch: int) -> Indexes:
    """Windows in shuffled blocks of ``pool_clips`` clips, shuffled within each block. (n,) -> (n,) int64 permutation.

    Args:
        clip_of: clip of every window, ascending.
        pool_clips: 0 keeps the order as it is.
    """
    if pool_clips == 0:
        return np.arange(len(clip_of), dtype=np.int64)
    clips = permute(np.arange(n_clips), n_clips, seed, epoch)
    borders = np.searchsorted(clip_of, np.arange(n_clips + 1))
    out = [np.zeros(0, np.int64)]
    for first in range(0, n_clips, pool_clips):
        block = [np.arange(borders[c], borders[c + 1]) for c in clips[first : first + pool_clips]]
        windows = np.concatenate(block)
        # another stream of numbers than the clips': blocks of equal length must not be shuffled alike
        out.append(windows[permute(np.arange(len(windows)), len(windows), seed + 1 + first, epoch)])
    return np.concatenate(out)


def share(n: int, rank: int, world: int, worker: int, workers: int, uneven: Uneven) -> Indexes:
    """Positions of one worker of one rank: contiguous, so that each reads its own clips. (m,) int64.

    Every rank gets ``rank_length`` positions; what "repeat" fills up with is the start of the order.
    """
    if n == 0:
        return np.zeros(0, np.int64)
    length = rank_length(n, world, uneven)
    first, last = length * worker // workers, length * (worker + 1) // workers
    return (rank * length + np.arange(first, last, dtype=np.int64)) % n


class DialogStream(IterableDataset[Item]):
    """Windows as ``DialogWindows`` gives them, clip after clip, each row group and sound file read once per pool.

    Nothing but the dataset's small files (and crop videos, if wanted) is kept on disk. Ranks get equally many windows;
    within a rank, workers share them. The order depends on (seed, epoch) and, with workers, on how many there are. It
    cannot be resumed within an epoch: use ``DialogWindows`` with ``DialogLoader`` for that.

    Call ``set_epoch`` before each pass, and do not use persistent workers: they keep the epoch they were started in.

    Args:
        rank, world, uneven: see ``DialogSampler``.
        pool_clips: how many clips are mixed, hence held in memory, at a time; 0 reads in the dataset's order.
        seed: of the order of clips and of windows within a pool.

    The rest, and what is raised: see ``DialogWindows``.
    """

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        window_ticks: int = 100,
        stride_ticks: int | None = None,
        *,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        audio: Audio | bool = True,
        video: Frames | None = None,
        pad: bool = False,
        keep: Keep | None = None,
        valid: Sequence[str] = ("fit_ok",),
        cache: Path | str | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        uneven: Uneven = "repeat",
        pool_clips: int = 8,
    ) -> None:
        if world < 1 or not 0 <= rank < world or uneven not in ("repeat", "drop") or pool_clips < 0:
            raise ConfigError(f"no stream for rank {rank} of {world}, uneven={uneven!r}, pool_clips={pool_clips}")
        store = Store(root, cache_folder(cache))
        self.spec = make_spec(store, window_ticks, columns, audio, video, valid)
        self._plan = Plan(store, split, window_ticks if stride_ticks is None else stride_ticks, pad, self.spec)
        rows = ParquetRows(store, _HELD_BYTES)
        if keep is not None:
            self._plan.keep(keep, rows, window_ticks)
        self._reader = WindowReader(store, rows, PassingSounds(store, 3 * (pool_clips + 1)), self.spec)
        self._split: tuple[int, int, Uneven] = (rank, world, uneven)
        self._seed, self._pool, self.epoch = seed, pool_clips, 0

    def __len__(self) -> int:
        """Windows of this rank."""
        return rank_length(len(self._plan.start_of), self._split[1], self._split[2])

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the passes that start from now on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Item]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        plan = self._plan
        order = stream_order(plan.clip_of, len(plan.clips), self._pool, self._seed, self.epoch)
        rank, world, uneven = self._split
        for index in order[share(len(order), rank, world, worker, workers, uneven)]:
            clip = plan.clip_of[index]
            yield self._reader.read(plan.clips[clip], plan.sides[clip], int(plan.start_of[index]))
