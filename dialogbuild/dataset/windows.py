"""Windows of a fixed length over the clips of a split, as a map-style torch dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from dialogbuild.dataset.cache import MAX_BYTES, ColumnCache
from dialogbuild.dataset.columns import DEFAULT_COLUMNS, CachedRows, ParquetRows, Rows, select
from dialogbuild.dataset.conventions import canonical
from dialogbuild.dataset.reading import SIDES, Audio, Frames, Item, Spec, WindowReader, bit_mask, by_side
from dialogbuild.dataset.schema import FAMILIES, SPLITS
from dialogbuild.dataset.soundfiles import CachedSounds, SeekingSounds, Sounds
from dialogbuild.dataset.store import Store, cache_folder
from dialogbuild.errors import ConfigError

Indexes = NDArray[np.int64]


@dataclass(frozen=True)
class Keep:
    """Which windows are worth training on: both persons have all ``bits`` set on ``min_share`` of the ticks."""

    min_share: float = 0.5  # of the window's ticks, padding counted as not valid
    bits: tuple[str, ...] = ("fit_ok",)

    def __post_init__(self) -> None:
        if not 0 <= self.min_share <= 1:
            raise ConfigError(f"min_share is a share of 1, not {self.min_share}")
        bit_mask(self.bits)


def window_starts(n_ticks: int, window_ticks: int, stride_ticks: int, pad: bool) -> Indexes:
    """First ticks of a clip's windows. (m,) int64.

    Without padding, windows that lie wholly inside the clip. With it, as many as it takes to show every tick that the
    stride does not jump over; the last may reach beyond the clip.
    """
    beyond = n_ticks - window_ticks
    if pad:
        return np.arange(1 + max(-(-beyond // stride_ticks), 0), dtype=np.int64) * stride_ticks
    return np.arange(beyond // stride_ticks + 1 if beyond >= 0 else 0, dtype=np.int64) * stride_ticks


class Plan:
    """The clips of a split and the windows over them; shared by both forms of the reader.

    Attributes:
        clip_of, start_of: (n,) index into ``clips`` and first tick of every window, in the manifest's order.
        fingerprint: changes with the data and with everything that changes what an index means.
    """

    def __init__(self, store: Store, split: str, stride_ticks: int, pad: bool, spec: Spec) -> None:
        if split not in SPLITS:
            raise ConfigError(f"split is one of {', '.join(SPLITS)}, not {split!r}")
        if spec.window_ticks < 1 or stride_ticks < 1:
            raise ConfigError(f"window_ticks {spec.window_ticks} and stride_ticks {stride_ticks} must be at least 1")
        self.clips = store.dataset.split(split)
        self.sides = [by_side(row) for row in self.clips]
        starts = [window_starts(r["n_ticks"], spec.window_ticks, stride_ticks, pad) for r in self.clips]
        self.clip_of = np.repeat(np.arange(len(starts)), [len(s) for s in starts]).astype(np.int64)
        self.start_of = np.concatenate([np.zeros(0, np.int64), *starts])
        about = [store.commit.number, store.commit.inputs, split, spec.window_ticks, stride_ticks, pad]
        self.fingerprint = _hash(about)

    def keep(self, rule: Keep, rows: Rows, window_ticks: int) -> None:
        """Leave out the windows that the rule does not want."""
        mask = np.uint32(bit_mask(rule.bits))
        good = np.ones(len(self.start_of), bool)
        for k, row in enumerate(self.clips):
            mine = np.flatnonzero(self.clip_of == k)
            first = self.start_of[mine]
            last = np.minimum(first + window_ticks, row["n_ticks"])
            for side in SIDES:
                bits = rows.bits(self.sides[k][side], 0, row["n_ticks"])
                total = np.concatenate([[0], np.cumsum((bits & mask) == mask)])
                good[mine] &= total[last] - total[first] >= rule.min_share * window_ticks
        self.clip_of, self.start_of = self.clip_of[good], self.start_of[good]
        self.fingerprint = _hash([self.fingerprint, asdict(rule)])

    def paths(self) -> dict[str, list[str]]:
        """The files of every family that hold these clips' rows."""
        persons = [about for sides in self.sides for about in sides.values()]
        return {f.name: sorted({about["files"][f.name] for about in persons}) for f in FAMILIES}


def make_spec(
    store: Store,
    window_ticks: int,
    columns: Sequence[str],
    audio: Audio | bool,
    video: Frames | None,
    valid: Sequence[str],
) -> Spec:
    """Check what a user asked for. ConfigError names what is wrong."""
    if audio not in (True, False, "persons", "mix", "all"):
        raise ConfigError(f"audio is True, False, 'persons', 'mix' or 'all', not {audio!r}")
    sound: Audio | None = "all" if audio is True else (audio or None)
    chosen = select(columns, store.dataset.info["widths"], store.dataset.info["format_version"])
    return Spec(window_ticks, chosen, sound, video, bit_mask(tuple(valid)))


class DialogWindows(TorchDataset[Item]):
    """Windows of both persons of a dialogue, aligned with their sound. Map-style: ``windows[i]``, ``len(windows)``.

    An item, T = window_ticks::

        clip_id str, start_tick int
        is_pad          (T,) bool, the clip had ended
        left, right     a dict for each person, by side of the picture:
          role          "A" or "B", as in the tracks table
          <column>      (T, k) float32 in the schema's unit; k = 1 for scalars; zeros where padded
          valid         (T,) bool, all ``valid`` bits are set; False where padded
          audio         (T*640,) float32 at 16 kHz; sample k*640 belongs to the start of tick k
          frames        (F, 3, size, size) uint8 RGB crops at ticks 0, every_ticks, ...
        mix             (T*640,) float32

    Every item owns its memory. Windows never cross clips. Columns are read from a memory-mapped cache that is made
    on the first use of a file, and from Parquet where the cache folder cannot be written.

    Args:
        root: the dataset's folder, or its URL for fsspec; of a remote one, sound is fetched file by file when needed.
        split: train, val or test.
        window_ticks: T; one tick is 0.04 s.
        stride_ticks: between windows; None = T, so that windows do not overlap.
        columns: of motion, landmarks and quality; see ``columns.select``.
        audio: True = both persons and the mix, or "persons", "mix", False.
        video: crop frames, decoded from the crop videos: slow, so leave frames out where possible.
        pad: also use clips and ends of clips that are shorter than a window.
        keep: leave out windows with too few valid ticks.
        valid: bits of ``motion.valid`` that make up the item's ``valid``.
        cache: folder for the cache, False for none; None = ``$XDG_CACHE_HOME/dialogbuild``.
        cache_sound: also keep decoded sound there, 345 MB per hour of conversation; ten times faster than FLAC.
        cache_bytes: what the cache may take; the least recently used goes first.

    Raises:
        ConfigError: an argument is impossible.
        DatasetError: no dataset there, or a file is not what was committed.
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
        cache: Path | str | bool | None = None,
        cache_sound: bool = False,
        cache_bytes: int = MAX_BYTES,
    ) -> None:
        folder = cache_folder(None if isinstance(cache, bool) else cache)
        store = Store(root, folder)
        self.spec = make_spec(store, window_ticks, columns, audio, video, valid)
        plan = Plan(store, split, window_ticks if stride_ticks is None else stride_ticks, pad, self.spec)
        rows: CachedRows | ParquetRows
        sounds: Sounds = SeekingSounds(store)
        if cache is False:
            rows = ParquetRows(store)
        else:
            columns_cache = ColumnCache(folder / "columns", cache_bytes)
            rows = CachedRows(store, columns_cache, self.spec.selections, plan.paths())
            sounds = CachedSounds(store, columns_cache) if cache_sound else sounds
        if keep is not None:
            plan.keep(keep, rows, window_ticks)
        self.uses_cache = isinstance(rows, CachedRows) and rows.complete
        self._plan, self._reader = plan, WindowReader(store, rows, sounds, self.spec)

    def __len__(self) -> int:
        return len(self._plan.start_of)

    def __getitem__(self, index: int) -> Item:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        clip = self._plan.clip_of[index]
        return self._reader.read(self._plan.clips[clip], self._plan.sides[clip], int(self._plan.start_of[index]))

    @property
    def fingerprint(self) -> str:
        """Equal for two readers whose indexes mean the same windows. 64 hex digits."""
        return self._plan.fingerprint

    def where(self, index: int) -> tuple[str, int]:
        """Clip id and first tick of a window, without reading it."""
        row: Mapping[str, Any] = self._plan.clips[self._plan.clip_of[index]]
        return row["id"], int(self._plan.start_of[index])


def _hash(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()
