"""The photometric half of ``seam``: keyframes out of the video, refined people, and tracks of parts of a shot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dialogbuild.fit.clip import ClipFit, ClipOptions
from dialogbuild.fit.crops import Crops, cut_crops, plan_windows
from dialogbuild.fit.evidence import Evidence
from dialogbuild.fit.gauss_newton import SolverOptions
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import Prior
from dialogbuild.fit.person import Keyframes, PersonOptions, assemble_person, refine_people
from dialogbuild.fit.photometric import ColourError, PhotometricNoise
from dialogbuild.fit.regions import LandmarkNoise
from dialogbuild.fit.rig import Rig
from dialogbuild.fit.surface import build_surface
from dialogbuild.fit.track import Person, TrackFit, TrackOptions, track_clip
from dialogbuild.fit.view import View, centred_crops, in_picture
from dialogbuild.head.model import HeadModel
from dialogbuild.pixels import refine
from dialogbuild.stages.fit_flame import Config as FitConfig
from dialogbuild.stages.identity import Config as IdentityConfig

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]
ReadFrames = Callable[[int, int], Iterator[tuple[int, Array]]]


@dataclass(frozen=True, eq=False)
class LandmarkFace:
    """One face from landmarks: shape and sigma (S,), and theta (n, P) at some of its own ticks (n,)."""

    shape: Array
    shape_sigma: Array
    ticks: Array
    theta: Array


@dataclass(frozen=True, eq=False)
class Pictures:
    """Where the faces' pixels are: centred measurements on own ticks, the views that centred them, the video's tick of
    each first one, and the reader."""

    people: Sequence[Evidence]
    views: Sequence[View]
    first_ticks: Sequence[int]
    read_frames: ReadFrames

    def windows(self, k: int, ticks: Array, face_px: float) -> Crops:
        """Centred windows of face ``k`` at its own ticks (n,), ascending."""
        evidence, first = self.people[k], self.first_ticks[k]
        usable = evidence.usable[ticks].astype(bool)
        view = self.views[k].at(ticks)
        origin, step, side = plan_windows(in_picture(evidence.landmarks_px[ticks], view), usable, face_px)
        return centred_crops(cut_crops(self._frames(ticks, first), origin, usable, step, side), view)

    def _frames(self, ticks: Array, first: int) -> Iterator[tuple[int, Array]]:
        """(row, picture) of each tick; neighbours are read in one go."""
        breaks = np.flatnonzero(np.diff(ticks) != 1) + 1
        row = 0
        for run in np.split(ticks, breaks):
            for _, rgb in self.read_frames(first + int(run[0]), first + int(run[-1]) + 1):
                yield row, rgb
                row += 1


@dataclass(frozen=True, eq=False)
class Known:
    """The faces as the tracker wants them, their shapes with sigmas, face sizes in px, and the focal length."""

    persons: list[Person]
    shapes: list[tuple[Array, Array]]
    face_px: list[float]
    focal_px: float
    focal_log_sigma: float


def refine_faces(
    head: HeadModel,
    rig: Rig,
    prior: Prior,
    pictures: Pictures,
    faces: Sequence[LandmarkFace],
    view: Camera3,
    image_width_px: float,
    config: IdentityConfig,
) -> Known | None:
    """Shapes, focal length and looks from pixels; None where the head or a face does not allow it."""
    if refine.why_not(head):
        return None
    people, sizes = [], []
    for k, face in enumerate(faces):
        points = pictures.people[k].landmarks_px[face.ticks]
        seen = refine.Seen(face.ticks, face.theta, points, face.shape, pictures.views[k].at(face.ticks))
        seen, face_px = refine.keyframes(rig, seen, view, config.photometric_keyframes)
        if len(seen.ticks) < config.min_photometric_keyframes:
            return None
        people.append(Keyframes(seen.theta, seen.landmarks_px, pictures.windows(k, seen.ticks, face_px)))
        sizes.append(face_px)
    base = PersonOptions()
    bundle = replace(
        base.bundle,
        keyframes=config.photometric_keyframes,
        focal_over_width=config.focal_over_width,
        focal_log_sigma=config.focal_log_sigma,
        shape_sigma=config.shape_sigma,
    )
    options = PersonOptions(points=config.surface_points, bundle=bundle)
    surface = build_surface(head, options.points)
    shapes = np.stack([f.shape for f in faces])
    found, focal_px, log_sigma = refine_people(
        head, surface, rig, prior, people, shapes, view, float(image_width_px), options
    )
    persons = [assemble_person(head, surface, rig, f.shape, f.look) for f in found]
    return Known(persons, [(f.shape, f.shape_sigma) for f in found], sizes, focal_px, log_sigma)


def track_part(
    known: Known,
    k: int,
    pictures: Pictures,
    part: slice,
    evidence: Evidence,
    prior: Prior,
    view: Camera3,
    walk: Array,
    head: HeadModel,
    config: FitConfig,
) -> TrackFit:
    """Track face ``k`` through a part of its ticks; ``evidence`` is that part's."""
    crops = pictures.windows(k, np.arange(part.start, part.stop), known.face_px[k])
    noise = replace(PhotometricNoise(), skin=config.pixel_sigma, independence=config.pixel_independence)
    options = replace(TrackOptions(), clip=clip_options(config), noise=noise)
    *coarse, (level, _, steps) = options.levels
    count = known.persons[k].surface.n_points
    levels = (*((a, min(n, count), b) for a, n, b in coarse), (level, count, steps))
    options = replace(options, levels=levels)
    return track_clip(known.persons[k], prior, view, evidence, crops, walk, head.lid_expr, options)


def clip_options(config: FitConfig) -> ClipOptions:
    """The landmark part of the stage's settings."""
    return ClipOptions(
        noise=replace(LandmarkNoise(), independence=config.independence),
        robust=Robust("student", config.student_dof),
        solver=SolverOptions(max_iterations=config.max_iterations),
        max_error=config.max_error,
        max_gap=config.max_gap_ticks,
        depth_sigma=config.depth_sigma,
    )


def track_rows(track: TrackFit, part: slice) -> TrackFit:
    """Some ticks of what pixels say; the trajectory goes its own way."""
    after, before = (
        ColourError(c.l1[part], c.psnr_db[part], c.outliers[part]) for c in (track.colour, track.colour_start)
    )
    return TrackFit(_clip_rows(track.clip, part), after, before, track.visible[part], track.reason[part])


def joined_tracks(parts: Sequence[TrackFit]) -> TrackFit:
    """Parts one after another."""

    def colour(name: str) -> ColourError:
        own = [getattr(p, name) for p in parts]
        return ColourError(*(np.concatenate([getattr(c, f) for c in own]) for f in ("l1", "psnr_db", "outliers")))

    clip = ClipFit(**{n: np.concatenate([vars(p.clip)[n] for p in parts]) for n in vars(parts[0].clip)})
    visible, reason = (np.concatenate([getattr(p, n) for p in parts]) for n in ("visible", "reason"))
    return TrackFit(clip, colour("colour"), colour("colour_start"), visible, reason)


def _clip_rows(fit: ClipFit, part: slice) -> ClipFit:
    return ClipFit(**{name: values[part] for name, values in vars(fit).items()})
