"""Follow one person through a clip with pixels: windows, the person as the tracker wants it, the track."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dialogbuild.fit.evidence import Evidence
from dialogbuild.fit.init import start_pose
from dialogbuild.fit.params import Prior
from dialogbuild.fit.person import assemble_person
from dialogbuild.fit.rig import model_rig
from dialogbuild.fit.track import TrackFit, TrackOptions, track_clip
from dialogbuild.fit.view import View
from dialogbuild.head.model import HeadModel
from dialogbuild.pixels.looks import load_looks
from dialogbuild.pixels.windows import Faces, cut_windows

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]


def follow(
    model: HeadModel,
    looks: Path,
    person: int,
    shape: Array,
    source: Path,
    ingest: Path,
    pts: Array,
    start_tick: int,
    evidence: Evidence,
    view: View,
    prior: Prior,
    camera: Camera3,
    walk: Array,
    options: TrackOptions,
    progress: Callable[[int, int], None],
) -> tuple[TrackFit, float]:
    """Track one person; only this person's windows are held (0.25 MB a tick at most).

    Args:
        looks: the identity's file;  shape: (S,).
        ingest: the video's artefact, which says how it is read.
        pts: presentation stamp of each of the video's ticks;  start_tick: where the evidence begins.
        evidence: centred by ``view``.
        options: levels ask for at most the points that the looks have; the last takes all.

    Returns:
        the fit, and the wall seconds that its windows took.

    Raises:
        ConfigError: the looks belong to another head.
    """
    spec, by_person = load_looks(looks, model)
    rig, began = model_rig(model), time.perf_counter()
    _, face_px = start_pose(rig.with_shape(shape), camera, evidence.landmarks_px[evidence.usable])
    ticks = np.arange(start_tick, start_tick + len(evidence.usable))
    faces = Faces(ticks, evidence.landmarks_px, evidence.usable, float(np.median(face_px)), view)
    crops = cut_windows(source, ingest, pts, [faces])[0]
    cut_s = time.perf_counter() - began
    who = assemble_person(model, spec.build(model), rig, shape, by_person[person])
    options = replace(options, levels=_levels(options, spec.n_points))
    return track_clip(who, prior, camera, evidence, crops, walk, model.lid_expr, options, progress), cut_s


def _levels(options: TrackOptions, n_points: int) -> tuple[tuple[int, int, int], ...]:
    *coarse, (level, _, steps) = options.levels
    return (*((k, min(count, n_points), n) for k, count, n in coarse), (level, n_points, steps))
