"""Made-up stage results that keep the tables' contract: one dialogue video and what every stage would say about it.

Nothing here is fitted: numbers are smooth and consistent in shape, not true. It stands in for the upstream stages in
tests of what comes after them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dialogbuild.artifact import Inputs, Outcome, Stage, run_stage, write_json
from dialogbuild.dataset.schema import SAMPLES_PER_TICK
from dialogbuild.tables import write_table

N_EXPR, N_SHAPE = 8, 5
WIDTH, HEIGHT = 320, 180
HALF = ((80.0, 90.0), (240.0, 90.0))  # face centres of persons 0 and 1


@dataclass(frozen=True)
class Fabricated:
    """A video and its stage folders. ``clips`` maps clip id -> (start_tick, end_tick)."""

    video_id: str
    source: Path
    dirs: dict[str, Path]
    clips: dict[str, tuple[int, int]]

    def inputs(self, clip_id: str) -> Inputs:
        return Inputs(clip_id, self.video_id, self.source, {k: self.folder(k, clip_id) for k in self.dirs})

    def folder(self, stage: str, clip_id: str) -> Path:
        per_clip = stage in ("fit_flame", "quality")
        return self.dirs[stage] / clip_id if per_clip else self.dirs[stage]


def fabricate(
    root: Path, video_id: str = "talk-0001", n_ticks: int = 150, n_clips: int = 1, seed: int = 0, head: object = None
) -> Fabricated:
    """Write the video (320x180, 25 fps) and the stage folders below ``root``; coefficients are of ``head`` if given."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    stages = ("ingest", "tracks", "landmarks", "assign", "segment", "identity", "fit_flame", "quality")
    dirs = {name: root / name for name in stages}
    for path in dirs.values():
        path.mkdir()
    source = root / f"{video_id}.mp4"
    _video(source, n_ticks)
    edges = np.linspace(5, n_ticks, n_clips + 1).astype(int)
    clips = {f"{video_id}_c{i:03d}": (int(edges[i]), int(edges[i + 1])) for i in range(n_clips)}
    _ingest(dirs["ingest"], video_id, n_ticks, rng)
    _faces(dirs, n_ticks, rng)
    _assign(dirs["assign"], n_ticks)
    ids = np.array(list(clips), object)
    spans = np.array(list(clips.values()), np.int32)
    write_table(
        dirs["segment"] / "clips.parquet",
        {
            "clip_id": ids,
            "clip": np.arange(n_clips, dtype=np.int32),
            "start_tick": spans[:, 0],
            "end_tick": spans[:, 1],
            "n_ticks": spans[:, 1] - spans[:, 0],
            "shots": np.ones(n_clips, np.int32),
        },
    )
    n_expr, n_shape = (head.n_expr, head.n_shape) if head else (N_EXPR, N_SHAPE)  # type: ignore[attr-defined]
    _identity(dirs["identity"], rng, n_shape, n_expr, head.sha256 if head else "ab" * 32)  # type: ignore[attr-defined]
    for clip_id, (start, stop) in clips.items():
        _fit(dirs, clip_id, start, stop, rng, n_expr)
    return Fabricated(video_id, source, dirs, clips)


def _video(path: Path, n: int) -> None:
    from dialogbuild.media.encode import encode_video

    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32) + 0.5
    background = np.stack([40 + x / 8, 60 + y / 4, 80 + 0 * x], -1)

    def frames():
        for k in range(n):
            image = background.copy()
            for person, (cx, cy) in enumerate(HALF):
                dx, dy = x - cx - 3 * np.sin(k / 9 + person), y - cy
                image[(dx / 26) ** 2 + (dy / 34) ** 2 < 1] = (205, 160, 130) if person else (150, 105, 85)
                for side in (-10, 10):
                    image[(dx - side) ** 2 + (dy + 8) ** 2 < 9] = 30
                image[(dx / 10) ** 2 + ((dy - 16) / (2 + 3 * abs(np.sin(k / 3)))) ** 2 < 1] = (120, 30, 40)
            yield image.astype(np.uint8)

    encode_video(path, frames(), Fraction(25), (WIDTH, HEIGHT), 20, preset="ultrafast")


def _ingest(out: Path, video_id: str, n: int, rng: np.random.Generator) -> None:
    from dialogbuild.media.audio import write_flac

    video = {
        "video_id": video_id, "name": f"{video_id}.mp4", "sha256": f"{abs(hash_of(video_id)):064x}", "bytes": 1000,
        "container": "mp4", "video_codec": "h264", "pix_fmt": "yuv420p", "width_px": WIDTH, "height_px": HEIGHT,
        "rotation_deg": 0, "sar": [1, 1], "time_base": [1, 12800], "start_pts": 0, "n_frames": n, "is_vfr": False,
        "avg_fps": 25.0, "duration_s": n / 25, "fps": [25, 1], "n_ticks": n,
        "audio": {"codec": "aac", "sample_rate": 48000, "channels": 2, "offset_s": 0.0, "streams": 1},
    }  # fmt: skip
    write_json(out / "video.json", video)
    k = np.arange(n)
    write_table(
        out / "ticks.parquet",
        {"tick": k.astype(np.int32), "frame": k.astype(np.int32), "pts": k * 512, "repeated": np.zeros(n, bool)},
    )
    write_flac(out / "audio.flac", [(0.1 * rng.standard_normal(n * SAMPLES_PER_TICK)).astype(np.float32)])


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-8:].ljust(8), "big")


def _faces(dirs: dict[str, Path], n: int, rng: np.random.Generator) -> None:
    """Person 0 is track 0; person 1 is track 1 with ticks 60..69 unseen; track 2 is a passer-by."""
    spans = [(0, np.arange(n)), (1, np.r_[np.arange(60), np.arange(70, n)]), (2, np.arange(20, 50))]
    track = np.concatenate([np.full(len(t), i) for i, t in spans]).astype(np.int32)
    tick = np.concatenate([t for _, t in spans]).astype(np.int32)
    centre = np.array([*HALF, (160.0, 40.0)])[track]
    centre[:, 0] += 3 * np.sin(tick / 9 + track)
    half = np.array([26.0, 34.0])
    box = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
    m = len(tick)
    common = {"track": track, "tick": tick}
    tracks = {**common, "shot": np.zeros(m, np.int32), "box_px": box, "score": np.full(m, 0.9, np.float32)}
    write_table(dirs["tracks"] / "tracks.parquet", {**tracks, "detected": np.ones(m, bool)})
    angle = rng.uniform(0, 2 * np.pi, 478)
    radius = np.sqrt(rng.uniform(0, 1, 478))
    points = np.stack([26 * radius * np.cos(angle), 34 * radius * np.sin(angle)], 1)
    lmk = (centre[:, None] + points[None]).reshape(m, 956).astype(np.float32)
    crop = np.concatenate([centre, np.full((m, 1), 90.0), np.zeros((m, 1))], 1).astype(np.float32)
    write_table(
        dirs["landmarks"] / "landmarks.parquet",
        {
            **common,
            "lmk_px": lmk,
            "lmk_z_px": np.zeros((m, 478), np.float32),
            "presence": np.full(m, 0.8, np.float32),
            "ok": tick % 40 != 39,
            "crop_px": crop,
            "mask_bits": np.array([bytes([0x3C]) * 512] * m, object),
            "mask_parts": np.array([bytes([0x18]) * 512 + bytes(512)] * m, object),
            "occluded": np.zeros(m, np.float32),
        },
    )


def _assign(out: Path, n: int) -> None:
    """Person 0 speaks, then person 1, 10 ticks of overlap between them, silence at the end."""
    k = np.arange(n)
    zero, one = k < n // 2, (k >= n // 2 - 10) & (k < n - 20)
    state = (zero + 2 * one).astype(np.int8)
    p0, p1 = (np.where(s, 0.97, 0.03).astype(np.float32) for s in (zero, one))
    f32, i32 = np.float32, np.int32
    write_table(
        out / "states.parquet",
        {"tick": k.astype(i32), "state": state, "p_speak_0": p0, "p_speak_1": p1,
         "p_overlap": (p0 * p1).astype(f32), "face_seen_0": np.ones(n, bool), "face_seen_1": np.ones(n, bool)},
    )  # fmt: skip
    write_table(
        out / "persons.parquet",
        {"person": np.array([0, 1], i32), "side": np.array(["left", "right"], object),
         "voice": np.array([1, 0], i32), "tracks": np.array(["[0]", "[1]"], object),
         "seen_s": np.array([6, 6], f32), "speak_s": np.array([3, 3], f32)},
    )  # fmt: skip
    write_table(
        out / "track_person.parquet",
        {"track": np.array([0, 1, 2], i32), "person": np.array([0, 1, -1], i32),
         "confidence": np.array([0.9, 0.9, 0.9], f32)},
    )  # fmt: skip
    start, end = np.array([0, n // 2 - 10, n // 4]), np.array([n // 2, n - 20, n // 4 + 8])
    write_table(
        out / "turns.parquet",
        {"person": np.array([0, 1, 1], i32), "start_tick": start.astype(i32), "end_tick": end.astype(i32),
         "start_s": start / 25, "end_s": end / 25 + 0.01, "gap_s": np.array([0, -0.4, 0], f32),
         "kind": np.array(["turn", "turn", "backchannel"], object), "confidence": np.array([0.9, 0.8, 0.6], f32)},
    )  # fmt: skip
    write_json(out / "assign.json", {"posterior": 0.99, "margin": 0.8})


def _identity(out: Path, rng: np.random.Generator, n_shape: int, n_expr: int, sha256: str) -> None:
    write_table(
        out / "identity.parquet",
        {
            "person": np.array([0, 1], np.int32),
            "shape": rng.standard_normal((2, n_shape)).astype(np.float32),
            "shape_sigma": np.full((2, n_shape), 0.3, np.float32),
        },
    )
    camera = {
        "model_id": "procedural-v1", "head_sha256": sha256, "licence": "Apache-2.0", "focal_px": 400.0,
        "focal_sigma_px": 20.0, "cx_px": WIDTH / 2, "cy_px": HEIGHT / 2, "width_px": WIDTH, "height_px": HEIGHT,
        "n_keyframes": 12, "expr_names": [f"e{i}" for i in range(n_expr)], "method": "photometric",
        "method_reason": "", "persons": {"0": {"shape_split_half_mm": 1.25}, "1": {"shape_split_half_mm": None}},
    }  # fmt: skip
    write_json(out / "camera.json", camera)


def _fit(dirs: dict[str, Path], clip_id: str, start: int, stop: int, rng: np.random.Generator, n_expr: int) -> None:
    n = stop - start
    k = np.tile(np.arange(n), 2)
    src = k + start
    person = np.repeat([0, 1], n).astype(np.int32)
    seen = ~((person == 1) & (src >= 60) & (src < 70))
    f32 = np.float32

    def wave(width: int, scale: float) -> np.ndarray:
        phase = rng.uniform(0, 6, width)
        return (scale * np.sin(k[:, None] / 7 + phase) * seen[:, None]).astype(f32)

    transl = wave(3, 0.01)
    centre = np.array([[(x - WIDTH / 2) / 400 * 1.3, (y - HEIGHT / 2) / 400 * 1.3, 1.3] for x, y in HALF])[person]
    transl += np.where(seen[:, None], centre, 0).astype(f32)
    rows = {"person": person, "tick": k.astype(np.int32), "src_tick": src.astype(np.int32)}
    motion = {
        **rows, "frame": src.astype(np.int32), "pts": src * 512, "expr": wave(n_expr, 0.3), "root_rad": wave(3, 0.2),
        "neck_rad": wave(3, 0.1), "jaw_rad": wave(3, 0.1), "eyes_rad": wave(6, 0.1), "lids": abs(wave(2, 0.5)),
        "transl_m": transl, **{s: np.where(seen, 0.02, 0).astype(f32) for s in
        ("sigma_root_rad", "sigma_transl_m", "sigma_expr", "sigma_jaw_rad", "sigma_lip_mm", "sigma_eyes_rad",
         "sigma_lid_mm", "sigma_face_mm", "colour_l1")},
        "colour_psnr_db": np.where(seen, 31, 0).astype(f32), "visible_frac": np.where(seen, 0.6, 0).astype(f32),
        "iterations": np.where(seen, 9, 0).astype(np.int16), "fit_reason": np.where(seen, 0, 1).astype(np.int8),
        "reproj_px": np.where(seen, 1.2, 0).astype(f32), "valid": np.where(seen, 0b11010011, 0).astype(np.uint32),
        "cx_px": np.full(2 * n, WIDTH / 2, f32), "cy_px": np.full(2 * n, HEIGHT / 2, f32),
    }  # fmt: skip
    out = dirs["fit_flame"] / clip_id
    out.mkdir()
    write_table(out / "motion.parquet", motion)
    write_json(out / "fit.json", {"iterations": 8})
    out = dirs["quality"] / clip_id
    out.mkdir()
    noise = abs(rng.normal(1.0, 0.3, 2 * n)).astype(f32)
    names = (
        "reproj_lips_px",
        "reproj_eyes_px",
        "reproj_brows_px",
        "reproj_pct_iod",
        "face_size_px",
        "blur",
        "brightness",
        "jitter_mm",
        "lip_gap_px",
        "lid_gap_px",
    )
    angles = {f"{a}_deg": wave(1, 12)[:, 0] for a in ("yaw", "pitch", "roll")}
    quality = {
        **rows,
        "reproj_px": motion["reproj_px"] * noise,
        **dict.fromkeys(names, noise),
        **{name: motion[name] for name in ("colour_psnr_db", "visible_frac", "sigma_face_mm")},
        **angles,
        "visible": seen,
    }
    write_table(out / "quality.parquet", quality)
    numbers = {"coverage": float(seen.mean()), "reproj_pct_median": 1.2, "face_size_px_p5": 31.0, "speech_s": 2.0}
    numbers |= {"colour_psnr_db_median": 30.5, "pixels_used": 0.9, "shape_split_half_mm": 1.25}
    about = {"persons": {"0": numbers, "1": {**numbers, "speech_s": 1.4}}, "n_ticks": n, "overlap_s": 0.4}
    write_json(out / "quality.json", {**about, "model_id": "procedural-v1"})


def shard_parts(made: Fabricated, work: Path, clips: list[str] | None = None) -> list[Path]:
    """Run the real shard stage over some clips of a fabricated video (all by default); the artefact folders."""
    from dialogbuild.stages.shard import STAGE

    outcomes = [shard_outcome(STAGE, made, clip, work) for clip in clips or made.clips]
    return [o.path for o in outcomes if o.path is not None]


def shard_outcome(stage: Stage, made: Fabricated, clip_id: str, work: Path, **config: object) -> Outcome:
    return run_stage(stage, made.inputs(clip_id), stage.config(**config), work, "0" * 20, {"stage": "shard"})
