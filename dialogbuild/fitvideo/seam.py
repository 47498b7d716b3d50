"""The one place where this tool meets the solvers: faces of one shot in, their shapes, camera and motion out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from dialogbuild.faces.panes import camera_scale
from dialogbuild.fit.clip import ClipFit, fit_clip
from dialogbuild.fit.evidence import Evidence
from dialogbuild.fit.identity import IdentityFit, IdentityOptions, fit_identity
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import ParamLayout, Prior, PriorSigmas, make_prior
from dialogbuild.fit.regions import LandmarkNoise
from dialogbuild.fit.rig import Rig, model_rig
from dialogbuild.fit.smoother import WalkSigmas, walk_sigma
from dialogbuild.fit.track import TrackFit
from dialogbuild.fit.uncertainty import DetectorBias, with_systematic
from dialogbuild.fit.view import View, centred, with_centre_sigma
from dialogbuild.fitvideo.pixels import (
    LandmarkFace,
    Pictures,
    clip_options,
    joined_tracks,
    refine_faces,
    track_part,
    track_rows,
)
from dialogbuild.head.model import HeadModel
from dialogbuild.stages.fit_flame import Config as FitConfig
from dialogbuild.stages.identity import Config as IdentityConfig

Array = np.ndarray[Any, np.dtype[Any]]
ReadFrames = Callable[[int, int], Iterator[tuple[int, Array]]]
METHOD = "photometric"
VERSION = 3  # bump with every change of what comes out
_CANDIDATES = 3000  # frames per face that keyframes are chosen from
_TOGETHER = 4  # faces whose shapes are solved with the focal length; the dense system grows with all their coefficients
_KNOWN_FOCAL = 1e-3  # log sigma that holds the focal length for the others
_CHUNK_TICKS, _OVERLAP_TICKS = 750, 50  # bounds memory: each tick keeps a covariance


@dataclass(frozen=True)
class Settings:
    """The values of the stages ``identity`` and ``fit_flame``, whose meaning they keep."""

    identity: IdentityConfig
    fit: FitConfig


@dataclass(frozen=True, eq=False)
class FaceFit:
    """One face: shape and its sigma (S,), the focal length, the motion over the ticks of its evidence in the axes of
    its own camera, and what pixels say of it (None: landmarks alone)."""

    shape: Array
    shape_sigma: Array
    focal_px: float
    focal_sigma_px: float
    motion: ClipFit
    pixels: TrackFit | None = None


def fit_faces(
    head: HeadModel,
    people: Sequence[Evidence],
    views: Sequence[View],
    first_ticks: Sequence[int],
    read_frames: ReadFrames,
    image_px: tuple[int, int],
    device: str,
    progress: Callable[[int, int], None],
    settings: Settings,
) -> list[FaceFit]:
    """Fit the faces of one shot, which share a focal length: to pixels and landmarks, or to landmarks alone.

    Args:
        people: each face's measurements on its own ticks, with at least one usable.
        views: each face's pane on these ticks.
        first_ticks: the video's tick at which each face's evidence begins.
        read_frames: (start, stop) in the video's ticks to (tick, rgb (H, W, 3) uint8).
        image_px: width and height.
        device: ``cpu`` or ``cuda``.
        progress: (done, total) in face-ticks.
    """
    del device  # the compiled engine of the processor; the torch engine gives the same numbers (tests/fit)
    rig = model_rig(head)
    layout = ParamLayout(head.n_expr)
    total, done = sum(len(p.usable) for p in people), 0
    prior = make_prior(layout, head, PriorSigmas(expr=settings.identity.expr_sigma))
    people = [centred(evidence, own) for evidence, own in zip(people, views, strict=True)]
    scale = float(np.median(np.concatenate([camera_scale(own.box_px, image_px) for own in views])))
    focal = settings.identity.focal_over_width * scale
    settings = replace(settings, identity=settings.identity.model_copy(update={"focal_over_width": focal}))
    found = _identities(rig, prior, people, image_px, settings.identity)
    view = (found.focal_px, image_px[0] / 2, image_px[1] / 2)
    pictures = Pictures(people, views, first_ticks, read_frames)
    known = None
    if settings.identity.photometric and settings.fit.photometric:
        known = refine_faces(head, rig, prior, pictures, found.faces, view, image_px[0], settings.identity)
    if known is not None:
        view = (known.focal_px, *view[1:])
    focal_sigma_px = found.focal_sigma_px if known is None else known.focal_px * known.focal_log_sigma
    prior = make_prior(layout, head, PriorSigmas(expr=settings.fit.expr_sigma))
    walk = walk_sigma(layout, WalkSigmas(), head.lid_expr) / settings.fit.smoothing
    fits = []
    for k, (evidence, face) in enumerate(zip(people, found.faces, strict=True)):
        parts: list[tuple[ClipFit, TrackFit | None]] = []
        for outer, inner in chunks(len(evidence.usable)):
            kept = slice(inner.start - outer.start, inner.stop - outer.start)
            if known is None:
                own = rig.with_shape(face.shape)
                clip = fit_clip(
                    own, prior, view, cut(evidence, outer), walk, head.lid_expr, clip_options(settings.fit)
                )  # fmt: skip
                clip = with_systematic(clip, DetectorBias(), focal_sigma_px / view[0])
                parts.append((_rows(clip, kept), None))
            else:
                track = track_part(
                    known, k, pictures, outer, cut(evidence, outer), prior, view, walk, head, settings.fit
                )
                parts.append((_rows(track.clip, kept), track_rows(track, kept)))
            done += inner.stop - inner.start
            progress(done, total)
        shape, sigma = (face.shape, face.shape_sigma) if known is None else known.shapes[k]
        motion = with_centre_sigma(_joined([clip for clip, _ in parts]), views[k], view[0])
        pixels = None if known is None else joined_tracks([t for _, t in parts if t is not None])
        fits.append(FaceFit(shape, sigma, view[0], focal_sigma_px, motion, pixels))
    return fits


@dataclass(frozen=True, eq=False)
class _Identities:
    """Everyone from landmarks, and the focal length of the faces seen the longest."""

    faces: list[LandmarkFace]
    focal_px: float
    focal_sigma_px: float


def _identities(
    rig: Rig, prior: Prior, people: Sequence[Evidence], image_px: tuple[int, int], config: IdentityConfig
) -> _Identities:
    """Shapes of all faces from landmarks; the faces seen the longest give the focal length."""
    options = IdentityOptions(
        keyframes=config.keyframes,
        independent_keyframes=config.independent_keyframes,
        focal_over_width=config.focal_over_width,
        focal_log_sigma=config.focal_log_sigma,
        shape_sigma=config.shape_sigma,
    )
    size = (float(image_px[0]), float(image_px[1]))
    measured, at = [], []
    for person in people:
        pick = np.arange(0, len(person.usable), max(1, -(-len(person.usable) // _CANDIDATES)))
        pick = pick if person.usable[pick].any() else np.arange(len(person.usable))
        measured.append((person.landmarks_px[pick], person.usable[pick]))
        at.append(pick)
    order = np.argsort([-int(p.usable.sum()) for p in people], kind="stable")
    main = np.sort(order[:_TOGETHER])
    joint = fit_identity(rig, prior, [measured[i] for i in main], size, LandmarkNoise(), Robust(), options)

    def face(i: int, fit: IdentityFit, k: int) -> LandmarkFace:
        ticks = at[i][fit.frames[k]]
        return LandmarkFace(fit.shapes[k], fit.shape_sigmas[k], ticks, fit.theta[k])

    faces = {int(i): face(int(i), joint, k) for k, i in enumerate(main)}
    known = replace(options, focal_over_width=joint.focal_px / size[0], focal_log_sigma=_KNOWN_FOCAL)
    for i in order[_TOGETHER:]:
        alone = fit_identity(rig, prior, [measured[i]], size, LandmarkNoise(), Robust(), known)
        faces[int(i)] = face(int(i), alone, 0)
    return _Identities([faces[i] for i in range(len(people))], joint.focal_px, joint.focal_sigma_px)


def chunks(n: int, size: int = _CHUNK_TICKS, overlap: int = _OVERLAP_TICKS) -> list[tuple[slice, slice]]:
    """Ticks [0, n) in nearly equal parts of at most ``size``: for each what is solved, and the part of it that is kept.

    Two seconds on either side are solved as well and dropped: the trajectory forgets its ends within them.
    """
    edges = np.linspace(0, n, max(1, -(-n // size)) + 1).round().astype(int).tolist()
    return [(slice(max(0, a - overlap), min(n, b + overlap)), slice(a, b)) for a, b in pairwise(edges)]


def cut(evidence: Evidence, part: slice) -> Evidence:
    """The ticks of a slice."""
    rows = {name: values[part] for name, values in vars(evidence).items() if name != "linked"}
    return Evidence(**rows, linked=evidence.linked[part.start : part.stop - 1])


def _rows(fit: ClipFit, part: slice) -> ClipFit:
    return ClipFit(**{name: values[part] for name, values in vars(fit).items()})


def _joined(parts: Sequence[ClipFit]) -> ClipFit:
    return ClipFit(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})
