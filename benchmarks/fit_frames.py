"""Some frames of a clip, each a problem of its own to compare optimisers on: the tracker's, less its smoother."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fit_data import FitClip
from fit_photometric import Known, clip_crops, known_of

from dialogbuild.fit import track
from dialogbuild.fit.appearance import Look
from dialogbuild.fit.clip import landmark_frames
from dialogbuild.fit.crops import Crops
from dialogbuild.fit.gauss_newton import SolverOptions, solve_frames
from dialogbuild.fit.landmarks import LandmarkBlock
from dialogbuild.fit.normal import total_cost
from dialogbuild.fit.photometric import PhotometricBlock
from dialogbuild.fit.track import TrackOptions
from dialogbuild.head.model import HeadModel

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Frames:
    """Some frames of a clip, ready to be refined by anyone.

    Attributes:
        at: (n,) rows of the clip;  theta: (n, P) start;  landmarks: their block, n frames.
        crops: n windows;  look: light and points' albedo.
        start_s: CPU time per frame that the landmark fit took.
    """

    clip: FitClip
    known: Known
    at: Array
    theta: Array
    landmarks: LandmarkBlock
    crops: Crops
    look: Look
    options: TrackOptions
    start_s: float

    def block(self, theta: Array, level: int = 0, count: int | None = None) -> PhotometricBlock:
        """The points as evidence, visibility and shading as at theta (n, P)."""
        person, images = self.known.person, self.crops.rgb
        count = person.surface.n_points if count is None else count
        for _ in range(level):
            images = track.halved(images)
        rows = np.zeros(len(theta), np.int64)
        lights = (rows, [self.look])
        pieces = (person, self.known.camera, theta, self.crops, images, level, count, lights, rows, self.options)
        return track._pixels(*pieces)


def prepare(clip: FitClip, model: HeadModel, at: Array) -> Frames:
    """Start and evidence of the frames ``at``, from a landmark fit of the clip's frames."""
    known, options = known_of(clip, model), TrackOptions()
    person, crops = known.person, clip_crops(clip)
    assert clip.linked.all(), "one light per clip"
    evidence = track._without_offsets(person, known.camera, clip.evidence)
    clock = time.process_time()
    frames = landmark_frames(person.landmark_rig, known.prior, known.camera, evidence, track._starting(options.clip))
    start_s = (time.process_time() - clock) / len(frames.at)
    _, looks = track._lights(person, known.camera, frames, crops, evidence)
    rows = np.flatnonzero(np.isin(frames.at, at))
    assert len(rows) == len(at), "a frame without landmarks"
    block = track._take(frames.block, rows)
    return Frames(clip, known, at, frames.fit.theta[rows], block, crops.part(at), looks[0], options, start_s)


def gauss_newton(frames: Frames) -> Array:
    """The tracker's own levels, without smoother: theta (n, P)."""
    theta = frames.theta
    for level, count, steps in frames.options.levels:
        blocks = [frames.landmarks, frames.block(theta, level, count)]
        fit = solve_frames(blocks, frames.known.prior, theta, SolverOptions(steps, 0.05, 1e-3))
        theta = np.where(fit.finite[:, None], fit.theta, theta)
    return theta


def energy_of(frames: Frames, theta: Array, block: PhotometricBlock) -> Array:
    """The one yardstick (n,): cost of landmarks, points seen at the start, and prior, by the compiled blocks."""
    blocks = [frames.landmarks, block, frames.known.prior.block]
    return total_cost(blocks, theta, np.arange(len(theta)))


def spread_over(clip: FitClip, count: int) -> Array:
    """Rows of up to ``count`` frames with landmarks, evenly spread over the clip."""
    usable = np.flatnonzero(clip.usable)
    return np.asarray(usable[np.unique(np.linspace(0, len(usable) - 1, min(count, len(usable))).round().astype(int))])
