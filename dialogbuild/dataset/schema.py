"""The dataset's contract in one place: every table, column, unit, path and version.

The writer, the validator, ``meta/schema.json`` and ``docs/schema.md`` are all driven by ``TABLES``. Change a column
here and nowhere else, raise ``FORMAT_VERSION`` (major: old readers must refuse; minor: columns were added, each with
``since``) and regenerate the page with ``python -m dialogbuild.dataset.docs_page docs/schema.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

FORMAT_VERSION: Final = "1.2.0"
AUDIO_RATE_HZ: Final = 16_000
TICK_HZ: Final = 25
SAMPLES_PER_TICK: Final = AUDIO_RATE_HZ // TICK_HZ
CROP_PX: Final = 512
N_LANDMARKS: Final = 478
LANDMARK_STEP_PX: Final = 1 / 64  # landmarks are rounded to this: far below the detector's noise, half the bytes
DEPTH_STEP_PX: Final = 1 / 16
MASK_BYTES: Final = 64 * 64 // 8
ROLES: Final = ("A", "B")  # role of person 0, 1
SPLITS: Final = ("train", "val", "test")

# Logical names, as a commit lists them. ``{h}`` is the first 16 hex digits of the content's SHA-256.
FRAMES_PATH: Final = "frames/{family}/{split}-{h}.parquet"
MEDIA_PATH: Final = "media/{stem}-{h}{suffix}"
TABLE_NAME: Final = "tables/{table}.parquet"
MANIFEST_NAME: Final = "manifests/{split}.jsonl"
INDEX_NAME: Final = "manifests/{split}.jsonl.idx"
CONVENTION_NAME: Final = "meta/conventions/{id}.json"
INFO_NAME, SCHEMA_NAME, STATS_NAME = "meta/info.json", "meta/schema.json", "meta/stats.json"
CARD_NAME: Final = "meta/README.md"
OBJECT_PATH: Final = "commits/objects/{stem}-{h}{suffix}"  # where the small named files live, one per content

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


@dataclass(frozen=True)
class Column:
    """One column. ``width`` 0 is a scalar; k or a symbol (``E``, ``S``) is a fixed-size list or fixed-size binary.

    ``since`` is the format version that brought it; a dataset of an older one does not have it.
    """

    name: str
    dtype: str  # Arrow's name: int8 int32 int64 uint32 float32 float64 bool string binary
    meaning: str
    unit: str = ""
    width: int | str = 0
    low: float | None = None  # closed range that the validator enforces
    high: float | None = None
    since: str = "1.0.0"


@dataclass(frozen=True)
class Table:
    """One Parquet table. ``row_group`` > 0 marks a frame family, whose row groups never cross a track."""

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    row_group: int = 0

    def column(self, name: str) -> Column:
        """The column of that name. KeyError when there is none."""
        return {c.name: c for c in self.columns}[name]

    def at(self, version: str) -> Table:
        """The table as a dataset of that format version has it: without the columns that came later."""
        return replace(self, columns=tuple(c for c in self.columns if _parts(c.since) <= _parts(version)))


def _rad(name: str, meaning: str, k: int) -> Column:
    return Column(name, "float32", meaning + ", axis-angle", "rad", k, -20.0, 20.0)


def _sigma(name: str, meaning: str, unit: str, since: str = "1.0.0") -> Column:
    text = f"posterior standard deviation of {meaning}; 0 where not fitted"
    return Column(name, "float32", text, unit, 0, 0, None, since)


def _pixel(name: str, meaning: str, unit: str, high: float | None = None) -> Column:
    return Column(name, "float32", meaning, unit, 0, 0, high, "1.1.0")


def _sound(name: str, meaning: str, unit: str, low: float | None = None, high: float | None = None) -> Column:
    return Column(name, "float32", meaning, unit, 0, low, high, "1.2.0")


_ROW_KEY = (
    Column("track_id", "string", "stream of one person in one conversation; see tracks"),
    Column("tick", "int32", "index on the clip's 25 fps timeline, 0 at the clip's start", "tick", 0, 0),
)

VIDEOS = Table(
    "videos",
    "one row per source video; the video itself is not part of the dataset",
    ("video_id",),
    (
        Column("video_id", "string", "stable id derived at ingest"),
        Column("name", "string", "file name at ingest"),
        Column("sha256", "string", "SHA-256 of the source file, hex"),
        Column("bytes", "int64", "size of the source file", "byte", 0, 0),
        Column("container", "string", "container format"),
        Column("video_codec", "string", "codec of the video stream"),
        Column("width_px", "int32", "displayed width (rotation and pixel aspect applied)", "px", 0, 1),
        Column("height_px", "int32", "displayed height", "px", 0, 1),
        Column("rotation_deg", "int32", "rotation that the container asks for", "degree"),
        Column("tb_num", "int64", "time base of pts, numerator", "", 0, 1),
        Column("tb_den", "int64", "time base of pts, denominator", "", 0, 1),
        Column("start_pts", "int64", "pts of the first frame", "time base"),
        Column("n_frames", "int64", "frames found by a full decode", "frame", 0, 1),
        Column("is_vfr", "bool", "frame durations vary"),
        Column("duration_s", "float64", "duration of the video stream", "s", 0, 0),
        Column("n_ticks", "int64", "ticks of the 25 fps timeline", "tick", 0, 1),
        Column("licence", "string", "licence of the source, from the source list; 'unknown' when not stated"),
        Column("consent_ref", "string", "reference to the consent record; 'unknown' when not stated"),
    ),
)

CONVERSATIONS = Table(
    "conversations",
    "one row per clip: a stretch of a video in which the same two people talk",
    ("conversation_id",),
    (
        Column("conversation_id", "string", "clip id"),
        Column("video_id", "string", "source video"),
        Column("start_tick", "int32", "first tick, on the video's timeline", "tick", 0, 0),
        Column("end_tick", "int32", "one past the last tick (half-open)", "tick", 0, 1),
        Column("n_ticks", "int32", "length T", "tick", 0, 1),
        Column("first_pts", "int64", "presentation stamp of the source frame at the first tick", "time base"),
        Column("last_pts", "int64", "presentation stamp of the source frame at the last tick", "time base"),
        Column("n_shots", "int32", "shots that the clip spans", "", 0, 1),
        Column("speak_s_0", "float32", "person 0 speaks (overlap included)", "s", 0, 0),
        Column("speak_s_1", "float32", "person 1 speaks (overlap included)", "s", 0, 0),
        Column("overlap_s", "float32", "both speak", "s", 0, 0),
        Column("silence_s", "float32", "nobody speaks", "s", 0, 0),
        Column("n_turns", "int32", "turns, backchannels not counted", "", 0, 0),
        Column("n_backchannels", "int32", "backchannels", "", 0, 0),
        _sound(
            "av_offset_ms",
            "how late the source's sound is against its picture; negative = early; 0 where its sigma is 0",
            "ms",
        ),
        _sound("av_offset_sigma_ms", "posterior standard deviation of av_offset_ms; 0 = not measured", "ms", 0),
        _sound(
            "av_offset_applied_ms",
            "by how much this clip's sound was moved earlier than in the source; where the offset that is left is "
            "measured and within two sigma of zero, motion.valid has sync_ok",
            "ms",
        ),
        Column("split", "string", "train, val or test"),
    ),
)

IDENTITIES = Table(
    "identities",
    "one row per person; splits are assigned to connected components of identities and conversations",
    ("identity_id",),
    (
        Column("identity_id", "string", "video id and person; nobody is recognised across videos"),
        Column("video_id", "string", "source video"),
        Column("person", "int8", "0 or 1", "", 0, 0, 1),
        Column("shape", "float32", "identity coefficients, one value for all clips of the video", "sigma", "S"),
        Column("shape_sigma", "float32", "posterior standard deviation of shape", "sigma", "S", 0),
        Column("shape_method", "string", "photometric (pixels and landmarks) or landmarks", "", 0, None, None, "1.1.0"),
        Column(
            "shape_split_half_mm",
            "float32",
            "distance of the neutral faces from either half of the keyframes; 0 = not measured",
            "mm",
            0,
            0,
            None,
            "1.1.0",
        ),
        Column("split", "string", "train, val or test"),
    ),
)

TRACKS = Table(
    "tracks",
    "one row per person and conversation: where its frame rows and media are",
    ("track_id",),
    (
        Column("track_id", "string", "conversation id and person"),
        Column("conversation_id", "string", "see conversations"),
        Column("identity_id", "string", "see identities"),
        Column("person", "int8", "0 or 1", "", 0, 0, 1),
        Column("role", "string", "A (person 0) or B (person 1)"),
        Column("side", "string", "left or right in the picture, by mean face position"),
        Column("focal_px", "float32", "focal length, fx = fy", "px", 0, 1),
        Column("focal_sigma_px", "float32", "posterior standard deviation of focal_px", "px", 0, 0),
        Column("cx_px", "float32", "principal point x", "px"),
        Column("cy_px", "float32", "principal point y", "px"),
        Column("width_px", "int32", "image size that the intrinsics belong to", "px", 0, 1),
        Column("height_px", "int32", "image size that the intrinsics belong to", "px", 0, 1),
        Column("n_rows", "int32", "frame rows, equal to the conversation's n_ticks", "row", 0, 1),
        Column("row_offset", "int64", "first row in each of the three family files", "row", 0, 0),
        Column("motion_file", "string", "frames/motion file"),
        Column("landmarks_file", "string", "frames/landmarks file"),
        Column("quality_file", "string", "frames/quality file"),
        Column("video_file", "string", "512x512 crop, one frame per tick"),
        Column("audio_file", "string", "this person's audio, n_rows*640 samples"),
        Column("mix_file", "string", "the conversation's mono mix, n_rows*640 samples"),
        Column("valid_frac", "float32", "share of rows whose fit_ok bit is set", "", 0, 0, 1),
        Column(
            "audio_method",
            "string",
            "how audio_file was made: stereo (the person's own channel) or mask (the mix, the other's turns muted; "
            "where motion.state is 3 it holds both voices)",
            "",
            0,
            None,
            None,
            "1.2.0",
        ),
        _sound(
            "bleed_db",
            "median level of audio_file while the other speaks alone over that while this one does; 0 = not measured",
            "dB",
        ),
        _sound(
            "bleed_corr",
            "greatest correlation of both audio_files within 10 ms while the other speaks alone: 1 = what is left "
            "there is the other's voice, 0 = it is not, or was not measured",
            "",
            0,
            1,
        ),
        Column("convention_id", "string", "meta/conventions/<id>.json"),
    ),
)

TURNS = Table(
    "turns",
    "who speaks when; ticks and samples count from the clip's start, intervals are half-open",
    ("conversation_id", "turn"),
    (
        Column("conversation_id", "string", "see conversations"),
        Column("turn", "int32", "index in time order", "", 0, 0),
        Column("track_id", "string", "the speaker's stream"),
        Column("person", "int8", "0 or 1", "", 0, 0, 1),
        Column("start_tick", "int32", "first tick", "tick", 0, 0),
        Column("end_tick", "int32", "one past the last tick", "tick", 0, 1),
        Column("start_sample", "int64", "first sample at 16 kHz", "sample", 0, 0),
        Column("end_sample", "int64", "one past the last sample", "sample", 0, 1),
        Column("kind", "string", "turn or backchannel"),
        Column("gap_s", "float32", "from the other's end to this start; negative means overlap", "s"),
        Column("confidence", "float32", "mean posterior of the speaker over the turn", "", 0, 0, 1),
        Column("clipped", "bool", "the turn goes on beyond the clip's border"),
    ),
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
RELATIONS: Final = (VIDEOS, CONVERSATIONS, IDENTITIES, TRACKS, TURNS)
TABLES: Final[Mapping[str, Table]] = {t.name: t for t in (*RELATIONS, *FAMILIES)}


def major(version: str) -> int:
    """The part of a semantic version that must agree. ValueError for anything that is not ``a.b.c``."""
    return _parts(version)[0]


def _parts(version: str) -> tuple[int, int, int]:
    a, b, c = version.split(".")
    return int(a), int(b), int(c)
