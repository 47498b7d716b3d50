"""Where to look for faces, frame after frame: closely where they were, everywhere now and then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from dialogbuild.faces.detect import FaceDetector, Image, Sightings, merge
from dialogbuild.faces.tracklets import match_cost


@dataclass(frozen=True)
class SearchRule:
    """How often, in ticks.

    Attributes:
        search_ticks: between searches of the whole picture.
        tile_ticks: between searches on tiles, for the smallest faces.
        hold_ticks: for how long a place is looked at after its face was last seen there.
    """

    search_ticks: int
    tile_ticks: int
    hold_ticks: int


@dataclass
class _Place:
    box_px: npt.NDArray[np.float32]
    tick: int
    velocity: npt.NDArray[np.float32]

    def at(self, tick: int) -> npt.NDArray[np.float32]:
        return np.asarray(self.box_px + min(tick - self.tick, 4) * self.velocity, np.float32)


class Lookout:
    """Looks at the frames of a video in order. Call ``new_shot`` before the first frame of each shot."""

    def __init__(self, detector: FaceDetector, rule: SearchRule) -> None:
        self._detector, self._rule = detector, rule
        self.new_shot()

    def new_shot(self) -> None:
        """Forget where faces were: search everywhere at the next look."""
        self._places: list[_Place] = []
        self._searched: int | None = None
        self._tiled: int | None = None

    def __call__(self, rgb: Image, tick: int) -> Sightings:
        """The faces of one frame; those found by looking closely come first. ``rgb`` (H, W, 3)."""
        rule = self._rule
        self._places = [p for p in self._places if tick - p.tick <= rule.hold_ticks]
        found = Sightings.join([])
        if self._places:
            found = self._detector.around(rgb, np.stack([p.at(tick) for p in self._places]))
        if self._searched is None or tick - self._searched >= rule.search_ticks:
            tiles = self._tiled is None or tick - self._tiled >= rule.tile_ticks
            found = merge(found, self._detector.everywhere(rgb, tiles))
            self._searched, self._tiled = tick, tick if tiles else self._tiled
        self._note(found, tick)
        return found

    def _note(self, found: Sightings, tick: int) -> None:
        known, fresh = self._places, set(range(len(found)))
        if known and fresh:
            cost = match_cost(np.stack([p.at(tick) for p in known]), found.box_px)
            for k, j in zip(*linear_sum_assignment(cost), strict=True):
                if cost[k, j] <= 1.0:
                    fresh.discard(int(j))
                    steps = max(tick - known[k].tick, 1)
                    velocity = (found.box_px[j] - known[k].box_px) / steps
                    known[k] = _Place(
                        found.box_px[j], tick, np.asarray(0.5 * (velocity + known[k].velocity), np.float32)
                    )
        still = np.zeros(4, np.float32)
        self._places += [_Place(found.box_px[j], tick, still) for j in sorted(fresh)]
