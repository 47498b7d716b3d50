"""How far the labels are from the truth, on synthetic dialogues that went through the whole pipeline.

    make bench-accuracy        or        python benchmarks/accuracy.py --seeds 3 --seconds 12
    python benchmarks/accuracy.py --layout split_screen [--one-camera]

Each dialogue is rendered, encoded, and taken through every stage up to ``fit_flame``; only the video is given to
the pipeline. Compared with the truth, over all ticks and both people:

landmark_px     mean distance over 478 points, fitted head projected against the true head projected (px at 640x360)
raw_px          the same for the detected landmarks that the fit was given: the named baseline, in the same run
rotation_deg    angle between fitted and true head rotation (root then neck), no offset removed
rotation_rel    the same after removing each person's constant offset, for diagnosis
lateral_mm      distance of the head from its true place across the line of sight, in the axes of its camera
depth_pct       error of its distance, % (a wrong focal length is in it)
which_face      share of dialogues in which both faces have their own voice
turns_f1        turns and backchannels found, person right and both ends within 0.2 s
offset_px       length of the mean error vector over all points: a shift that no fit can mend, for diagnosis

With ``--layout split_screen`` each person has a camera of their own; ``--one-camera`` does not look for panes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dialogbuild.dialogue.metrics import turn_f1
from dialogbuild.head import load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.pose import HeadPose, pose_head, to_camera
from dialogbuild.head.rotation import log_so3, rodrigues
from dialogbuild.pipeline import Places, run_stages
from dialogbuild.recipe import load_recipe
from dialogbuild.stages import upstream_of
from dialogbuild.synth import DialogueSpec, Truth, make_dialogue
from dialogbuild.tables import Columns, read_table

Array = npt.NDArray[np.floating]
FIT_OK = 1 << 1


@dataclass(frozen=True)
class Score:
    """One dialogue's figures; per-frame errors are kept so that the total weighs every frame alike."""

    name: str
    fit_px: Array
    raw_px: Array
    rotation_deg: Array
    rotation_rel_deg: Array
    lateral_mm: Array
    depth_pct: Array
    offset_px: float
    right_faces: bool
    matched: tuple[int, int]  # matched turns, turns expected + found
    coverage: float


def head_rotation(root_rad: Array, neck_rad: Array) -> Array:
    """Rotation of the skull in head axes. (T, 3), (T, 3) rad -> (T, 3, 3)."""
    return rodrigues(root_rad) @ rodrigues(neck_rad)


def angle_deg(a: Array, b: Array) -> Array:
    """Angle between rotations. (T, 3, 3) twice -> (T,) degrees."""
    return np.degrees(np.linalg.norm(log_so3(np.swapaxes(a, 1, 2) @ b), axis=1))


def fitted_landmarks(motion: Columns, shape: Array, camera: dict[str, float]) -> Array:
    """The fitted head's 478 points in pixels. -> (T, 478, 2)."""
    model = load_head(camera["model_id"])
    pose = HeadPose(shape, *(motion[k] for k in ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "transl_m")))
    embedding = model.landmarks["mp478"]
    corners = model.faces[embedding.face_idx]
    used, where = np.unique(corners, return_inverse=True)
    vertices = to_camera(pose_head(model, pose, used), pose.transl_m)
    points = np.einsum("tnkc,nk->tnc", vertices[:, where.reshape(corners.shape)], embedding.bary)
    view = Camera(camera["focal_px"], 0.0, 0.0, camera["width_px"], camera["height_px"])
    return view.project(points) + np.stack([motion["cx_px"], motion["cy_px"]], axis=1)[:, None]


def score(truth: Truth, found: dict[str, Path], name: str) -> Score:
    """Compare one dialogue's artefacts with its truth."""
    persons = read_table(found["assign"] / "persons.parquet")
    motion = read_table(found["fit_flame"] / "motion.parquet")
    shapes = read_table(found["identity"] / "identity.parquet")["shape"]
    camera = json.loads((found["identity"] / "camera.json").read_text())
    rows = read_table(found["landmarks"] / "landmarks.parquet")
    linked = read_table(found["assign"] / "track_person.parquet")
    truth_of = {p.side: p for p in truth.persons[:2]}
    fit_px, raw_px, rotation, relative, lateral, depth, means = [], [], [], [], [], [], []
    for person, side in zip(persons["person"], persons["side"], strict=True):
        true = truth_of[str(side)]
        mine = motion["person"] == person
        part = {k: v[mine] for k, v in motion.items()}
        ok = (part["valid"] & FIT_OK) > 0
        frames = truth.tick_frames[part["src_tick"]]
        error = fitted_landmarks(part, shapes[person], camera) - true.landmarks_px[frames]
        fit_px.append(np.linalg.norm(error, axis=-1).mean(1)[ok])
        means.append(error[ok].mean((0, 1)))
        tracks = linked["track"][linked["person"] == person]
        seen = np.isin(rows["track"], tracks) & rows["ok"]
        raw = rows["lmk_px"][seen].reshape(-1, 478, 2) - true.landmarks_px[truth.tick_frames[rows["tick"][seen]]]
        raw_px.append(np.linalg.norm(raw, axis=-1).mean(1))
        fitted = head_rotation(part["root_rad"], part["neck_rad"])[ok]
        actual = head_rotation(true.pose.root_rad[frames], true.pose.neck_rad[frames])[ok]
        rotation.append(angle_deg(actual, fitted))
        place = true.pose.transl_m[frames][ok]
        lateral.append(1e3 * np.linalg.norm((part["transl_m"][ok] - place)[:, :2], axis=1))
        depth.append(100 * np.abs(part["transl_m"][ok, 2] / place[:, 2] - 1))
        offset = rodrigues(log_so3(np.swapaxes(actual, 1, 2) @ fitted).mean(0))
        relative.append(angle_deg(actual @ offset, fitted))
    right, matched = dialogue_score(truth, found, persons)
    return Score(
        name,
        np.concatenate(fit_px),
        np.concatenate(raw_px),
        np.concatenate(rotation),
        np.concatenate(relative),
        np.concatenate(lateral),
        np.concatenate(depth),
        float(np.linalg.norm(means, axis=1).mean()),
        right,
        matched,
        float(((motion["valid"] & FIT_OK) > 0).mean()),
    )


def dialogue_score(truth: Truth, found: dict[str, Path], persons: Columns) -> tuple[bool, tuple[int, int]]:
    """Whether each face has its own voice, and the turns matched out of those expected plus found."""
    turns = read_table(found["assign"] / "turns.parquet")
    states = read_table(found["assign"] / "states.parquet")
    true_of = {p.side: p.person for p in truth.persons[:2]}
    right = True
    for person, side in zip(persons["person"], persons["side"], strict=True):
        speaks = states[f"p_speak_{person}"] > 0.5
        own = truth.speaking[: len(speaks), true_of[str(side)]]
        other = truth.speaking[: len(speaks), 1 - true_of[str(side)]]
        right &= bool((speaks == own).mean() > (speaks == other).mean())
    side_of = {int(p): true_of[str(s)] for p, s in zip(persons["person"], persons["side"], strict=True)}
    columns = (turns["person"], turns["start_s"], turns["end_s"])
    hypothesis = [(side_of[int(p)], float(a), float(b)) for p, a, b in zip(*columns, strict=True)]
    reference = [(turn.person, turn.start_s, turn.end_s) for turn in truth.turns]
    result = turn_f1(reference, hypothesis, 0.2)
    return right, (result.n_matched, result.n_ref + result.n_hyp)


def measure(spec: DialogueSpec, folder: Path, panes: bool = True) -> Score:
    """Render, run, compare. ``panes``: look for split screens."""
    name = f"seed {spec.seed}{' swapped' if spec.swap_sides else ''}"
    video = folder / name.replace(" ", "_") / "dialogue.mp4"
    video.parent.mkdir()
    truth = make_dialogue(spec, video)
    recipe = load_recipe("demo", upstream_of("fit_flame"), {"shots": {"panes": panes}})
    finished = run_stages(recipe, video, Places(folder / f"{video.parent.name}_out"), quiet=True)
    ended = {row.stage: row for row in finished.entries}
    if ended.get("fit_flame") is None or ended["fit_flame"].status != "ok":
        last = finished.entries[-1]
        raise SystemExit(f"{name} ended at {last.stage}: {last.status} {last.reason} {last.values}")
    return score(truth, {stage: Path(row.path) for stage, row in ended.items() if row.path}, name)


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--layout", choices=("same_shot", "split_screen", "close_ups"), default="same_shot")
    parser.add_argument("--one-camera", action="store_true", help="do not look for the panes of split screens")
    args = parser.parse_args()
    specs = [
        DialogueSpec(seed=s, duration_s=args.seconds, layout=args.layout, swap_sides=s % 2 == 1)
        for s in range(args.seeds)
    ]
    head = ("dialogue", "raw px", "fit px", "offset px", "rot deg", "rot rel", "side mm", "depth %", "which face",
            "turns F1", "coverage")  # fmt: skip
    print(("{:<16}" + "{:>11}" * (len(head) - 1)).format(*head))
    scores = []
    with tempfile.TemporaryDirectory() as tmp:
        for spec in specs:
            s = measure(spec, Path(tmp), not args.one_camera)
            scores.append(s)
            frames = (s.rotation_deg, s.rotation_rel_deg, s.lateral_mm, s.depth_pct)
            values = (s.raw_px.mean(), s.fit_px.mean(), s.offset_px, *(values.mean() for values in frames))
            numbers = "".join(f"{v:>11.2f}" for v in values)
            f1 = 2 * s.matched[0] / s.matched[1]
            print(f"{s.name:<16}{numbers}{'right' if s.right_faces else 'WRONG':>11}{f1:>11.2f}{s.coverage:>11.2f}")
    fit = np.concatenate([s.fit_px for s in scores])
    raw = np.concatenate([s.raw_px for s in scores])
    print(f"\nfit against the landmarks it was given: {raw.mean() / fit.mean():.2f}x closer to the truth")
    line = {
        "landmark_px": round(float(fit.mean()), 3),
        "rotation_deg": round(float(np.concatenate([s.rotation_deg for s in scores]).mean()), 3),
        "lateral_mm": round(float(np.concatenate([s.lateral_mm for s in scores]).mean()), 2),
        "depth_pct": round(float(np.concatenate([s.depth_pct for s in scores]).mean()), 2),
        "which_face": round(float(np.mean([s.right_faces for s in scores])), 3),
        "turns_f1": round(2 * sum(s.matched[0] for s in scores) / sum(s.matched[1] for s in scores), 3),
        "raw_px": round(float(raw.mean()), 3),
        "coverage": round(float(np.mean([s.coverage for s in scores])), 3),
        "dialogues": len(scores),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
