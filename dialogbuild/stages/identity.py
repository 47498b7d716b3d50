"""identity: one shape per person and one focal length per video, from diverse keyframes of both persons.

Landmarks come first; then, with ``photometric``, pixels of the most diverse frames refine shapes and focal length, and
give every person a look: the colour of each surface point, and where the detector puts each landmark on this face.

reads   ingest     video.json           width_px, height_px;  ticks.parquet  pts;  pictures from the source
        shots      panes.parquet        shot, box_px: each pane has its own principal point, its centre
        tracks     tracks.parquet       track, tick, shot, detected, box_px
        landmarks  landmarks.parquet    track, tick, lmk_px, lmk_z_px, presence, ok, crop_px, mask_parts
        assign     persons.parquet      person;  track_person.parquet  track, person
        segment    clips.parquet        start_tick, end_tick
writes  identity.parquet   person, shape (S), shape_sigma (S), in the head model's coefficients
        camera.json        model_id, head_sha256, licence, focal_px, focal_sigma_px, width_px, height_px; cx_px, cy_px
                           (the picture's centre: where a pane is smaller, its own; see fit_flame),
                           n_keyframes (both persons), converged (of the landmark fit), expr_names;
                           method (``photometric`` or ``landmarks``), method_reason (why landmarks alone; empty
                           otherwise), focal_landmarks_px, focal_landmarks_sigma_px (what landmarks alone say);
                           persons: n_photometric_keyframes, photometric_independence (lower than the setting where
                           pixels contradicted the landmarks), shape_shift_mm (how far pixels moved the neutral face),
                           shape_split_half_mm (``pixels.refine``) of each, null where not measured
        look.npz           with method photometric: ``pixels.looks``
rejects too_few_keyframes (a person has hardly a frame with landmarks inside the clips)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage, write_json
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject
from dialogbuild.tables import Columns, read_table, write_table

if TYPE_CHECKING:
    from dialogbuild.fit.cover import Cover
    from dialogbuild.fit.identity import IdentityFit
    from dialogbuild.fit.person import PersonOptions
    from dialogbuild.fit.view import View
    from dialogbuild.head.model import HeadModel

Array = np.ndarray[Any, np.dtype[Any]]
_MAX_CANDIDATES = 3000  # frames per person that keyframes are chosen from; bounds memory for long videos


class Config(StageConfig):
    """Which head, and what is believed about shapes and lenses beforehand."""

    head: str = Field("procedural-v1", description="built-in or stored model's name, FLAME file, ICT-FaceKit folder")
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
    photometric: bool = Field(
        True, description="refine shapes and focal length from pixels, and learn looks; false = landmarks alone"
    )
    photometric_keyframes: int = Field(
        16, ge=4, le=48, description="frames per person whose pixels are compared; time grows with their square"
    )
    min_photometric_keyframes: int = Field(
        6, ge=4, description="frames; if a person has fewer that can be compared, everyone keeps the landmark identity"
    )
    photometric_independence: float = Field(
        0.1, gt=0, le=1, description="independent share of the keyframes' pixels; smaller = landmarks and priors count"
    )
    photometric_landmark_frames: float = Field(
        1.0, gt=0, description="how many frames' worth of landmarks stay in beside the pixels: the detector errs alike"
    )
    max_shape: float = Field(
        4.0, gt=0, description="a refined coefficient beyond this many sigmas: pixels misled, landmarks count instead"
    )
    surface_points: int = Field(
        3000, ge=500, le=20000, description="points of a face that the tracker compares; its time is proportional"
    )
    split_half: bool = Field(
        True, description="also solve each half of the keyframes, to say how far two shapes of a person differ"
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


@dataclass(frozen=True, eq=False)
class _Measured:
    """The video's measurements: per person its id, centred landmarks and usable at ``ticks`` (n,), cover, and view.

    Where a face is clear often enough, ticks with something in front of it are not usable.
    ``camera_scale``: of the people's cameras, see ``faces.panes.camera_scale``.
    """

    persons: Array
    ticks: Array
    people: list[tuple[Array, Array]]
    covers: list[Cover]
    views: list[View]
    camera_scale: float
    video: dict[str, Any]

    @property
    def image_px(self) -> tuple[float, float]:
        return float(self.video["width_px"]), float(self.video["height_px"])


@dataclass(frozen=True, eq=False)
class _Refined:
    """What pixels added: shapes and sigmas (persons, S), focal length, a record per person."""

    shapes: Array
    sigmas: Array
    focal_px: float
    focal_sigma_px: float
    records: list[dict[str, Any]]


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Gather both persons' landmarks inside the clips, solve for shapes and focal length, refine from pixels."""
    from dialogbuild.head import load_head

    measured = _measure(inputs, config)
    head = load_head(config.head)
    fit = _landmark_identity(head, measured, config)
    refined, why_not = _photometric(inputs, out, head, measured, fit, config)
    shapes, sigmas = (fit.shapes, fit.shape_sigmas) if refined is None else (refined.shapes, refined.sigmas)
    columns = {"shape": shapes.astype(np.float32), "shape_sigma": sigmas.astype(np.float32)}
    write_table(out / "identity.parquet", {"person": measured.persons.astype(np.int32), **columns})
    nothing = {
        "n_photometric_keyframes": 0,
        "photometric_independence": None,
        "shape_shift_mm": None,
        "shape_split_half_mm": None,
    }
    records = [nothing] * len(shapes) if refined is None else refined.records
    size = measured.image_px
    write_json(
        out / "camera.json",
        {
            "model_id": head.model_id,
            "head_sha256": head.sha256,
            "licence": head.licence,
            "focal_px": round(fit.focal_px if refined is None else refined.focal_px, 4),
            "focal_sigma_px": round(fit.focal_sigma_px if refined is None else refined.focal_sigma_px, 4),
            "focal_landmarks_px": round(fit.focal_px, 4),
            "focal_landmarks_sigma_px": round(fit.focal_sigma_px, 4),
            "method": "landmarks" if refined is None else "photometric",
            "method_reason": why_not,
            "persons": {str(p): r for p, r in zip(measured.persons, records, strict=True)},
            "cx_px": size[0] / 2,
            "cy_px": size[1] / 2,
            "width_px": measured.video["width_px"],
            "height_px": measured.video["height_px"],
            "n_keyframes": sum(len(f) for f in fit.frames),
            "expr_names": list(head.expr_names),
            "converged": fit.converged,
        },
    )


def _measure(inputs: Inputs, config: Config) -> _Measured:
    from dialogbuild.faces.panes import camera_scale, track_views
    from dialogbuild.fit.evidence import LANDMARK_COLUMNS, gather
    from dialogbuild.fit.view import centred, person_view

    video = json.loads((inputs["ingest"] / "video.json").read_text())
    size = (int(video["width_px"]), int(video["height_px"]))
    tracks = read_table(inputs["tracks"] / "tracks.parquet", ["track", "tick", "shot", "detected", "box_px"])
    offset_px, box_px = track_views(tracks, read_table(inputs["shots"] / "panes.parquet"), size)
    landmarks = read_table(inputs["landmarks"] / "landmarks.parquet", list(LANDMARK_COLUMNS))
    track_person = read_table(inputs["assign"] / "track_person.parquet")
    persons = np.sort(read_table(inputs["assign"] / "persons.parquet")["person"])
    ticks = candidate_ticks(read_table(inputs["segment"] / "clips.parquet"))
    people, covers, views, scales = [], [], [], []
    for person in persons:
        evidence = gather(tracks, landmarks, track_person, int(person), int(ticks[0]), int(ticks[-1]) + 1)
        pick = ticks - ticks[0]
        usable = evidence.usable[pick]
        if usable.sum() < config.min_keyframes:
            raise Reject("too_few_keyframes", person=int(person), usable=int(usable.sum()), needed=config.min_keyframes)
        covers.append(evidence.cover[pick])
        clear = usable & ~covers[-1].any() if len(covers[-1]) else usable
        usable = clear if clear.sum() >= config.keyframes else usable
        view = person_view(evidence, offset_px, box_px, size)
        people.append((centred(evidence, view).landmarks_px[pick], usable))
        views.append(view.at(pick))
        scales.append(camera_scale(views[-1].box_px[usable], size))
    return _Measured(persons, ticks, people, covers, views, float(np.median(np.concatenate(scales))), video)


def _landmark_identity(head: HeadModel, measured: _Measured, config: Config) -> IdentityFit:
    from dialogbuild.fit.identity import IdentityOptions, fit_identity
    from dialogbuild.fit.normal import Robust
    from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
    from dialogbuild.fit.regions import LandmarkNoise
    from dialogbuild.fit.rig import model_rig

    prior = make_prior(ParamLayout(head.n_expr), head, PriorSigmas(expr=config.expr_sigma))
    options = IdentityOptions(
        keyframes=config.keyframes,
        independent_keyframes=config.independent_keyframes,
        focal_over_width=config.focal_over_width * measured.camera_scale,
        focal_log_sigma=config.focal_log_sigma,
        shape_sigma=config.shape_sigma,
    )
    size = measured.image_px
    return fit_identity(model_rig(head), prior, measured.people, size, LandmarkNoise(), Robust(), options)


def _photometric(
    inputs: Inputs, out: Path, head: HeadModel, measured: _Measured, fit: IdentityFit, config: Config
) -> tuple[_Refined | None, str]:
    """Refine everyone and write ``look.npz``; or None and why not. All or nobody: the focal length is shared."""
    from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
    from dialogbuild.fit.person import Keyframes, refine_people
    from dialogbuild.fit.rig import model_rig
    from dialogbuild.pixels import looks, refine, windows

    why_not = refine.why_not(head) if config.photometric else "switched_off"
    if why_not:
        return None, why_not
    rig, size = model_rig(head), measured.image_px
    camera = (fit.focal_px, size[0] / 2, size[1] / 2)
    chosen, faces = [], []
    for (points, _), view, at, theta, shape in zip(
        measured.people, measured.views, fit.frames, fit.theta, fit.shapes, strict=True
    ):
        seen = refine.Seen(measured.ticks[at], theta, points[at], shape, view.at(at))
        seen, face_px = refine.keyframes(rig, seen, camera, config.photometric_keyframes)
        if len(seen.ticks) < config.min_photometric_keyframes:
            return None, "too_few_keyframes"
        chosen.append(seen)
        faces.append(windows.Faces(seen.ticks, seen.landmarks_px, np.ones(len(seen.ticks), bool), face_px, seen.view))
    pts = read_table(inputs["ingest"] / "ticks.parquet", ["pts"])["pts"]
    crops = windows.cut_windows(inputs.source, inputs["ingest"], pts, faces, inputs.progress)
    people = []
    for s, c, cover in zip(chosen, crops, measured.covers, strict=True):
        own = cover[np.searchsorted(measured.ticks, s.ticks)].placed(s.landmarks_px)
        people.append(Keyframes(s.theta, s.landmarks_px, replace(c, cover=own)))
    spec, options = looks.SurfaceSpec(config.surface_points), _options(config, measured.camera_scale)
    surface = spec.build(head)
    prior = make_prior(ParamLayout(head.n_expr), head, PriorSigmas(expr=config.expr_sigma))
    found, focal_px, log_sigma = refine_people(head, surface, rig, prior, people, fit.shapes, camera, size[0], options)
    if max(float(np.abs(f.shape).max()) for f in found) > config.max_shape * config.shape_sigma:
        return None, "implausible_shape"
    records = []
    for person, start, refined in zip(people, fit.shapes, found, strict=True):
        apart = None
        if config.split_half:
            apart = refine.split_half_mm(
                head, surface, rig, prior, person, start, camera, refined, focal_px, size[0], options
            )  # fmt: skip
        records.append(
            {
                "n_photometric_keyframes": len(person.theta),
                "photometric_independence": round(refined.independence, 6),
                "shape_shift_mm": round(refine.shape_distance_mm(head, start, refined.shape), 4),
                "shape_split_half_mm": apart if apart is None else round(apart, 4),
            }
        )
    by_person = {int(p): f.look for p, f in zip(measured.persons, found, strict=True)}
    looks.save_looks(out / "look.npz", head, spec, by_person)
    shapes, sigmas = (np.stack([getattr(f, name) for f in found]) for name in ("shape", "shape_sigma"))
    return _Refined(shapes, sigmas, focal_px, focal_px * log_sigma, records), ""


def _options(config: Config, camera_scale: float) -> PersonOptions:
    from dialogbuild.fit.bundle import BundleOptions
    from dialogbuild.fit.person import PersonOptions

    bundle = BundleOptions(
        keyframes=config.photometric_keyframes,
        independence=config.photometric_independence,
        landmark_frames=config.photometric_landmark_frames,
        focal_over_width=config.focal_over_width * camera_scale,
        focal_log_sigma=config.focal_log_sigma,
        shape_sigma=config.shape_sigma,
    )
    return PersonOptions(points=config.surface_points, bundle=bundle)


STAGE = Stage(
    name="identity",
    version=5,
    unit="video",
    config=Config,
    run=run,
    reads=("ingest", "shots", "tracks", "landmarks", "assign", "segment"),
    models=model_files,
)
