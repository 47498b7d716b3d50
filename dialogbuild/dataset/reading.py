"""One window of one clip as tensors: motion and other columns, sound, crop frames, masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dialogbuild.dataset.columns import Rows, Selection
from dialogbuild.dataset.reader import crop_frames
from dialogbuild.dataset.schema import CROP_PX, SAMPLES_PER_TICK, VALID_BITS
from dialogbuild.dataset.soundfiles import Sounds
from dialogbuild.dataset.store import Store
from dialogbuild.errors import ConfigError, DatasetError

Item = dict[str, Any]
Audio = Literal["persons", "mix", "all"]
SIDES: Final = ("left", "right")


@dataclass(frozen=True)
class Frames:
    """Which crop frames a window brings: every ``every_ticks``-th from its first tick on, scaled to ``size_px``."""

    every_ticks: int = 5
    size_px: int = 128

    def __post_init__(self) -> None:
        if self.every_ticks < 1 or not 16 <= self.size_px <= CROP_PX:
            raise ConfigError(f"frames need every_ticks >= 1 and 16 <= size_px <= {CROP_PX}, not {self}")


@dataclass(frozen=True)
class Spec:
    """What a window holds. See ``DialogWindows`` for the fields."""

    window_ticks: int
    selections: tuple[Selection, ...]
    audio: Audio | None
    video: Frames | None
    valid_mask: int


def bit_mask(names: tuple[str, ...]) -> int:
    """Bits of ``motion.valid`` by name. ConfigError for a name that the schema lacks."""
    unknown = sorted(set(names) - VALID_BITS.keys())
    if unknown:
        raise ConfigError(f"no valid bit {', '.join(unknown)}; there are {', '.join(VALID_BITS)}")
    return sum(1 << VALID_BITS[name] for name in set(names))


def by_side(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The persons of a manifest row by side of the picture. DatasetError when they do not have one each."""
    sides: dict[str, Mapping[str, Any]] = {}
    for role, about in row["persons"].items():
        sides[about["side"]] = {**about, "role": role}
    if set(sides) != set(SIDES):
        raise DatasetError(f"{row['id']}: its persons are not one left, one right: validate the dataset")
    return {side: sides[side] for side in SIDES}


class WindowReader:
    """Reads windows; picklable."""

    def __init__(self, store: Store, rows: Rows, sounds: Sounds, spec: Spec) -> None:
        self.spec = spec
        self._store, self._rows, self._sounds = store, rows, sounds

    def read(self, row: Mapping[str, Any], sides: Mapping[str, Mapping[str, Any]], start: int) -> Item:
        """The window that begins at tick ``start`` of the clip ``row``; nothing in it is shared with another item."""
        n = self.spec.window_ticks
        real = min(n, row["n_ticks"] - start)
        is_pad = torch.from_numpy(np.arange(n) >= real)
        item: Item = {"clip_id": row["id"], "start_tick": start, "is_pad": is_pad}
        for side in SIDES:
            item[side] = self._person(sides[side], row, start, real)
        if self.spec.audio in ("mix", "all"):
            item["mix"] = self._sound(row["mix"], row, start, real)
        return item

    def _person(self, about: Mapping[str, Any], row: Mapping[str, Any], start: int, real: int) -> Item:
        n = self.spec.window_ticks
        out: Item = {"role": about["role"]}
        for wanted in self.spec.selections:
            values = self._rows.values(about, wanted, start, start + real)
            own = torch.from_numpy(_padded(values, n))
            out.update(zip(wanted.names, own.split_with_sizes(wanted.widths, 1), strict=True))
        mask = np.uint32(self.spec.valid_mask)
        out["valid"] = torch.from_numpy(_padded((self._rows.bits(about, start, start + real) & mask) == mask, n))
        if self.spec.audio in ("persons", "all"):
            out["audio"] = self._sound(about["audio"], row, start, real)
        if self.spec.video is not None:
            out["frames"] = self._frames(about["video"], self.spec.video, start, real)
        return out

    def _sound(self, path: str, row: Mapping[str, Any], start: int, real: int) -> torch.Tensor:
        first, last = start * SAMPLES_PER_TICK, (start + real) * SAMPLES_PER_TICK
        samples = self._sounds.read(path, first, last, row["n_ticks"] * SAMPLES_PER_TICK)
        return torch.from_numpy(_padded(samples, self.spec.window_ticks * SAMPLES_PER_TICK))

    def _frames(self, path: str, wanted: Frames, start: int, real: int) -> torch.Tensor:
        """(F, 3, size, size) uint8 RGB; zeros where the window is padding."""
        offsets = range(0, self.spec.window_ticks, wanted.every_ticks)
        out = np.zeros((len(offsets), wanted.size_px, wanted.size_px, 3), np.uint8)
        ticks = [start + k for k in offsets if k < real]
        try:
            for k, image in enumerate(crop_frames(self._store.local(path), ticks, wanted.size_px)):
                out[k] = image
        except (OSError, LookupError, ValueError) as error:  # a decoder's InvalidDataError is a ValueError
            raise DatasetError(f"{path} cannot be read ({error}): validate the dataset") from None
        return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()


def _padded(values: NDArray[Any], n: int) -> NDArray[Any]:
    """A writable copy of its own, zeros after the last value."""
    if len(values) == n:
        return values.copy()
    out = np.zeros((n, *values.shape[1:]), values.dtype)
    out[: len(values)] = values
    return out
