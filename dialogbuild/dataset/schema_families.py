"""The frame families: one row per face-frame, the same rows in the same order in each."""

from __future__ import annotations

from typing import Final

from dialogbuild.dataset.schema_types import Column, Table

MASK_BYTES: Final = 64 * 64 // 8
MASK_PARTS_BYTES: Final = 2 * MASK_BYTES

VALID_BITS: Final = {
    "detected": 0,
    "fit_ok": 1,
    "interpolated": 2,
    "occluded": 3,
    "sync_ok": 4,
    "shot_boundary": 5,
    "landmarks_ok": 6,
    "eyes_ok": 7,
}
STATES: Final = {"silence": 0, "person_0": 1, "person_1": 2, "both": 3}
# Codes of ``fit_reason``: what a tick's fit rests on, or why it has none. From 0 on those of ``fit.track.REASONS``.
FIT_REASONS: Final = {
    "landmarks_only": -1,  # pixels were not used in this clip
    "ok": 0,  # pixels and landmarks
    "no_landmarks": 1,  # no fit, or interpolated
    "no_fit": 2,  # no plausible head explains the landmarks; or interpolated
    "few_visible": 3,  # landmarks alone, because too little of the face can be compared
    "occluded": 4,  # landmarks alone, because too much of the face has another colour
    "poor_colour": 5,  # landmarks alone, because colours are off everywhere
}


def _rad(name: str, meaning: str, k: int) -> Column:
    return Column(name, "float32", meaning + ", axis-angle", "rad", k, -20.0, 20.0)


def _sigma(name: str, meaning: str, unit: str, since: str = "1.0.0") -> Column:
    text = f"posterior standard deviation of {meaning}; 0 where not fitted"
    return Column(name, "float32", text, unit, 0, 0, None, since)


def _pixel(name: str, meaning: str, unit: str, high: float | None = None) -> Column:
    return Column(name, "float32", meaning, unit, 0, 0, high, "1.1.0")


def _centre(name: str, axis: str) -> Column:
    text = f"principal point {axis} of the camera that shows the person: in a split picture its pane's centre"
    return Column(name, "float32", text, "px", 0, None, None, "1.3.0")


_ROW_KEY = (
    Column("track_id", "string", "stream of one person in one conversation; see tracks"),
    Column("tick", "int32", "index on the clip's 25 fps timeline, 0 at the clip's start", "tick", 0, 0),
)

MOTION = Table(
    "motion",
    "head parameters and speaking state; every tick of both persons has a row, unseen ticks hold neutral values",
    ("track_id", "tick"),
    (
        *_ROW_KEY,
        Column("src_tick", "int32", "tick on the video's timeline", "tick", 0, 0),
        Column("frame", "int32", "source frame shown at the tick's centre", "frame", 0, 0),
        Column("pts", "int64", "presentation stamp of that frame", "time base"),
        Column("state", "int8", "0 silence, 1 person 0, 2 person 1, 3 both", "", 0, 0, 3),
        Column("p_speak", "float32", "posterior that this person speaks", "", 0, 0, 1),
        Column("p_overlap", "float32", "posterior that both speak", "", 0, 0, 1),
        Column("expr", "float32", "expression coefficients", "sigma", "E"),
        _rad("root_rad", "rotation of the head about the root joint", 3),
        _rad("neck_rad", "neck joint", 3),
        _rad("jaw_rad", "jaw joint", 3),
        _rad("eyes_rad", "the subject's left eye, then right eye", 6),
        Column("lids", "float32", "closure of the subject's left and right lid; 0 open, 1 closed", "", 2, -0.5, 1.5),
        Column("transl_m", "float32", "head position in camera axes (x right, y down, z forward)", "m", 3, -1e3, 1e3),
        Column("valid", "uint32", "bit mask: " + ", ".join(f"{b} {n}" for n, b in VALID_BITS.items())),
        _centre("cx_px", "x"),
        _centre("cy_px", "y"),
    ),
    row_group=1000,
)

LANDMARKS = Table(
    "landmarks",
    "2D evidence in pixels of the displayed source frame, and the way from there into the crop video",
    ("track_id", "tick"),
    (
        *_ROW_KEY,
        Column("box_px", "float32", "face box x0, y0, x1, y1; zeros when unseen", "px", 4),
        Column("lmk_px", "float32", "478 landmarks x, y, to 1/64 px; zeros when landmarks_ok is clear", "px", 956),
        Column(
            "lmk_z_px", "float32", "relative depth of the landmarks, as the detector gives it, to 1/16 px", "px", 478
        ),
        Column("presence", "float32", "the landmark model's own confidence", "", 0, 0, 1),
        Column("crop_m", "float32", "2x3 row-major, source px -> crop px; both with pixel centres at .5", "", 6),
        Column("crop_ok", "bool", "the crop video shows this person at this tick (else black)"),
        Column("mask_box_px", "float32", "square that mask_bits covers: cx, cy, side, roll (px, px, px, rad)", "", 4),
        Column("mask_bits", "binary", "64x64 person mask, row-major, most significant bit first", "", MASK_BYTES),
        Column(
            "mask_parts",
            "binary",
            "two more such planes a, b: face a, hair b, in front of the face a and b; else clothes or background",
            "",
            MASK_PARTS_BYTES,
            since="1.4.0",
        ),
        Column(
            "occluded", "float32", "share of the face's outline that something is in front of", "", 0, 0, 1, "1.4.0"
        ),
    ),
    row_group=500,
)

QUALITY = Table(
    "quality",
    "how far each row can be trusted",
    ("track_id", "tick"),
    (
        *_ROW_KEY,
        Column("reproj_px", "float32", "median landmark reprojection error", "px", 0, 0),
        Column("reproj_lips_px", "float32", "the same over the lips", "px", 0, 0),
        Column("reproj_eyes_px", "float32", "the same over the eyes", "px", 0, 0),
        Column("reproj_brows_px", "float32", "the same over the brows", "px", 0, 0),
        Column("reproj_pct_iod", "float32", "reproj_px relative to the outer-eye distance", "%", 0, 0),
        Column("face_size_px", "float32", "outer-eye distance in the source frame", "px", 0, 0),
        Column("yaw_deg", "float32", "head rotation about the vertical axis, relative to the camera", "degree"),
        Column("pitch_deg", "float32", "head rotation, nodding", "degree"),
        Column("roll_deg", "float32", "head rotation in the picture plane", "degree"),
        Column(
            "blur", "float32", "sharpness of the face: Laplacian variance over variance (see stage quality)", "", 0, 0
        ),
        Column("brightness", "float32", "mean luma of the face", "", 0, 0, 255),
        Column(
            "jitter_mm", "float32", "acceleration of the fitted face with the head held still, per tick^2", "mm", 0, 0
        ),
        Column("lip_gap_px", "float32", "fitted minus detected opening of the lips", "px"),
        Column("lid_gap_px", "float32", "fitted minus detected opening of the lids", "px"),
        Column("visible", "bool", "the face is in the picture and not hidden"),
        _sigma("sigma_root_rad", "root_rad", "rad"),
        _sigma("sigma_transl_m", "transl_m", "m"),
        _sigma("sigma_expr", "expr", "sigma"),
        _sigma("sigma_jaw_rad", "jaw_rad", "rad"),
        _sigma("sigma_lip_mm", "the opening between the lips", "mm"),
        _sigma("sigma_eyes_rad", "the eyes' pitch and yaw", "rad", "1.1.0"),
        _sigma("sigma_lid_mm", "the opening between the lids", "mm", "1.1.0"),
        _sigma("sigma_face_mm", "a face point per axis, in the head's own frame", "mm", "1.1.0"),
        _pixel("colour_l1", "mean absolute colour error of the visible skin; 0 = not compared", "", 1),
        _pixel("colour_psnr_db", "peak signal-to-noise ratio of the same; 0 = not compared", "dB"),
        _pixel("visible_frac", "share of the face's surface points that could be compared", "", 1),
        Column("iterations", "int16", "damped steps of the solver", "", 0, 0, None, "1.1.0"),
        Column(
            "fit_reason",
            "int8",
            "what the fit rests on, or why there is none: " + ", ".join(f"{c} {n}" for n, c in FIT_REASONS.items()),
            "",
            0,
            -1,
            5,
            "1.1.0",
        ),
    ),
    row_group=1000,
)

FAMILIES: Final = (MOTION, LANDMARKS, QUALITY)
