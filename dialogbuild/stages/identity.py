"""identity: one shape per person and one focal length per video, from diverse keyframes of both persons.

reads   ingest     video.json           width_px, height_px
        tracks     tracks.parquet       track, tick, shot, detected
        landmarks  landmarks.parquet    track, tick, lmk_px, lmk_z_px, presence, ok
        assign     persons.parquet      person;  track_person.parquet  track, person
        segment    clips.parquet        start_tick, end_tick
writes  identity.parquet   person, shape (S), shape_sigma (S), in the head model's coefficients
        camera.json        model_id, head_sha256, licence, focal_px, focal_sigma_px, cx_px, cy_px, width_px, height_px,
                           n_keyframes (both persons), converged, expr_names
rejects too_few_keyframes (a person has hardly a frame with landmarks inside the clips)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage, write_json
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject
from dialogbuild.tables import Columns, read_table, write_table

Array = np.ndarray[Any, np.dtype[Any]]
_MAX_CANDIDATES = 3000  # frames per person that keyframes are chosen from; bounds memory for long videos


class Config(StageConfig):
    """Which head, and what is believed about shapes and lenses beforehand."""

    head: str = Field("procedural-v1", description="built-in model name, or path of a FLAME model file")
    keyframes: int = Field(64, ge=5, le=256, description="frames per person; beyond 64 the same errors repeat")
    min_keyframes: int = Field(5, ge=1, description="frames; fewer say too little about a face's depth")
    independent_keyframes: float = Field(
        6.0, gt=0, description="how many independent frames the keyframes are worth: the detector errs alike in all"
    )
    focal_over_width: float = Field(
        1.2, gt=0.2, lt=10, description="prior focal length / image width: a 45 degree view"
    )
    focal_log_sigma: float = Field(
        0.35, gt=0, description="width of that prior in log units: x 0.5 to x 2 at two sigmas"
    )
    shape_sigma: float = Field(1.0, gt=0, description="prior of a shape coefficient, in the model's units")
    expr_sigma: float | None = Field(
        None,
        gt=0,
        description="prior of an expression coefficient; none = 1 for statistical models, 0.5 for blendshapes",
    )


def candidate_ticks(clips: Columns, limit: int = _MAX_CANDIDATES) -> Array:
    """Ticks inside any clip, thinned evenly to at most ``limit``; ascending."""
    pairs = zip(clips["start_tick"], clips["end_tick"], strict=True)
    ticks = np.unique(np.concatenate([np.arange(a, b) for a, b in pairs]))
    return np.asarray(ticks[:: max(1, -(-len(ticks) // limit))])


def model_files(config: Config) -> Sequence[Path]:
    """What the head is made of."""
    from dialogbuild.head import head_files

    return head_files(config.head)


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Gather both persons' landmarks inside the clips and solve for shapes and focal length."""
    from dialogbuild.fit.evidence import LANDMARK_COLUMNS, gather
    from dialogbuild.fit.identity import IdentityOptions, fit_identity
    from dialogbuild.fit.normal import Robust
    from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
    from dialogbuild.fit.regions import LandmarkNoise
    from dialogbuild.fit.rig import model_rig
    from dialogbuild.head import load_head

    video = json.loads((inputs["ingest"] / "video.json").read_text())
    tracks = read_table(inputs["tracks"] / "tracks.parquet", ["track", "tick", "shot", "detected"])
    landmarks = read_table(inputs["landmarks"] / "landmarks.parquet", list(LANDMARK_COLUMNS))
    track_person = read_table(inputs["assign"] / "track_person.parquet")
    persons = np.sort(read_table(inputs["assign"] / "persons.parquet")["person"])
    ticks = candidate_ticks(read_table(inputs["segment"] / "clips.parquet"))
    people = []
    for person in persons:
        evidence = gather(tracks, landmarks, track_person, int(person), int(ticks[0]), int(ticks[-1]) + 1)
        pick = ticks - ticks[0]
        usable = evidence.usable[pick]
        if usable.sum() < config.min_keyframes:
            raise Reject("too_few_keyframes", person=int(person), usable=int(usable.sum()), needed=config.min_keyframes)
        people.append((evidence.landmarks_px[pick], usable))
    head = load_head(config.head)
    prior = make_prior(ParamLayout(head.n_expr), head, PriorSigmas(expr=config.expr_sigma))
    options = IdentityOptions(
        keyframes=config.keyframes,
        independent_keyframes=config.independent_keyframes,
        focal_over_width=config.focal_over_width,
        focal_log_sigma=config.focal_log_sigma,
        shape_sigma=config.shape_sigma,
    )
    size = (float(video["width_px"]), float(video["height_px"]))
    fit = fit_identity(model_rig(head), prior, people, size, LandmarkNoise(), Robust(), options)
    shapes, sigmas = fit.shapes.astype(np.float32), fit.shape_sigmas.astype(np.float32)
    write_table(out / "identity.parquet", {"person": persons.astype(np.int32), "shape": shapes, "shape_sigma": sigmas})
    write_json(
        out / "camera.json",
        {
            "model_id": head.model_id,
            "head_sha256": head.sha256,
            "licence": head.licence,
            "focal_px": round(fit.focal_px, 4),
            "focal_sigma_px": round(fit.focal_sigma_px, 4),
            "cx_px": size[0] / 2,
            "cy_px": size[1] / 2,
            "width_px": video["width_px"],
            "height_px": video["height_px"],
            "n_keyframes": sum(len(f) for f in fit.frames),
            "expr_names": list(head.expr_names),
            "converged": fit.converged,
        },
    )


STAGE = Stage(
    name="identity",
    version=2,
    unit="video",
    config=Config,
    run=run,
    reads=("ingest", "tracks", "landmarks", "assign", "segment"),
    models=model_files,
)
