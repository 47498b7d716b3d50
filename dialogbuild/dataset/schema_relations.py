"""The relation tables: one row per video, conversation, identity, track and turn."""

from __future__ import annotations

from typing import Final

from dialogbuild.dataset.schema_types import Column, Table


def _sound(name: str, meaning: str, unit: str, low: float | None = None, high: float | None = None) -> Column:
    return Column(name, "float32", meaning, unit, 0, low, high, "1.2.0")


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
        Column("cx_px", "float32", "principal point x in most rows; motion has it for each", "px"),
        Column("cy_px", "float32", "principal point y in most rows", "px"),
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

RELATIONS: Final = (VIDEOS, CONVERSATIONS, IDENTITIES, TRACKS, TURNS)
