"""Face tracks against the truth of crowd scenes: identity, false positives, links to persons, speed and memory.

    make bench-tracks      or      python benchmarks/tracks.py --seeds 2 --link --cache DIR

Seven kinds of scene (``synth.crowd_scenes``: people cross, leave and return, turn away, come from far, cuts and
close-ups, photographs and insets) at 1280x720 go through ingest, shots, tracks and landmarks; ``tracks_score`` says
which faces count. The named baseline, in the same run and on the same detections: SORT (Bewley et al., ICIP 2016)
without its Kalman filter, greedy overlap with the last box. ``--link`` also runs the sound and ``assign`` and counts
tracks given to the wrong person, and tracks of other people, photographs and insets given to one of the two (ghosts).
``--see`` prints how often the detector sees a face, by size and yaw. ``--long 3 30`` compares the memory of tracks and
landmarks on files of so many minutes, made of one scene's packets. Face-frames per second are rows of landmarks over
the time of tracks and landmarks, in two processes on two videos at once. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tracks_score import FIGURES, counts, link_figures, mot_figures, together

from dialogbuild.artifact import Inputs, read_done
from dialogbuild.faces.detect import FaceDetector, iou
from dialogbuild.media.encode import ffmpeg_binary
from dialogbuild.pipeline import Places, run_stages
from dialogbuild.recipe import load_recipe
from dialogbuild.stages import load_stage, upstream_of
from dialogbuild.synth.crowd import CrowdSpec
from dialogbuild.synth.crowd_film import CrowdTruth, load_crowd, make_crowd, truth_path
from dialogbuild.synth.crowd_scenes import PRESETS, crowd_scene
from dialogbuild.tables import Columns, read_table

Dirs = dict[str, Path]
_SORT_IOU = 0.3
_TIMED = ("tracks", "landmarks")
_SIZES_PX, _YAWS_DEG = (24, 40, 60, 80, 110, 160, 400), (0, 30, 60, 75, 100)


@dataclass(frozen=True, eq=False)
class Scene:
    """One rendered scene, its truth, and the folders that the pipeline made of it."""

    name: str
    spec: CrowdSpec
    video: Path
    truth: CrowdTruth
    dirs: Dirs

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.spec.width_px, self.spec.height_px


def scenes(names: list[str], seeds: int, seconds: float, until: str, cache: Path) -> list[Scene]:
    """Render what is not there, and take all through the pipeline up to a stage, two videos at once."""
    specs = {f"{n}_{s}_{seconds:g}s": crowd_scene(n, s, seconds) for n in names for s in range(seeds)}
    folder = cache / "scenes"
    folder.mkdir(parents=True, exist_ok=True)
    truths = {}
    for name, spec in specs.items():
        video = folder / f"{name}.mp4"
        known = truth_path(video).is_file() and video.is_file()
        truths[name] = load_crowd(spec, video) if known else make_crowd(spec, video)
    # Every scene has bystanders or pictures of faces; how they are linked can only be seen where assign goes on.
    changes = {"assign": {"max_third_share": 1.0}} if until == "assign" else None
    recipe = load_recipe("demo", upstream_of(until), changes)
    with tempfile.TemporaryDirectory(dir=cache) as chosen:
        for name in specs:  # the cache may hold scenes that were not asked for
            os.link(folder / f"{name}.mp4", Path(chosen) / f"{name}.mp4")
        finished = run_stages(recipe, Path(chosen), Places(cache / "run"), workers=2, quiet=True)
    dirs: dict[str, Dirs] = {name: {} for name in specs}
    for entry in finished.entries:
        if entry.path and entry.status == "ok":
            dirs[Path(entry.source).stem][entry.stage] = Path(entry.path)
        elif entry.status != "ok":
            print(f"{entry.source}: {entry.stage} {entry.status} {entry.reason} {entry.values}")
    return [Scene(n, spec, folder / f"{n}.mp4", truths[n], dirs[n]) for n, spec in specs.items()]


def sort_like(tick: Any, box_px: Any, config: Any) -> Columns:
    """Greedy overlap with the last box, best first; gaps and short tracks as the tracks stage treats them.

    Args:
        tick: (D,) ascending, of the detections of one shot.
        box_px: (D, 4).
        config: of the tracks stage: max_gap_ticks, min_track_ticks.
    """
    tracks: list[list[int]] = []
    for now in np.unique(tick):
        alive = [t for t in tracks if now - tick[t[-1]] <= config.max_gap_ticks]
        rows = np.flatnonzero(tick == now)
        overlap = iou(box_px[[t[-1] for t in alive]], box_px[rows]) if alive else np.zeros((0, len(rows)))
        free = set(rows.tolist())
        while overlap.size and overlap.max() >= _SORT_IOU:
            i, j = np.unravel_index(int(overlap.argmax()), overlap.shape)
            alive[i].append(int(rows[j]))
            free.discard(int(rows[j]))
            overlap[i], overlap[:, j] = -1, -1
        tracks += [[row] for row in sorted(free)]
    parts: dict[str, list[npt.NDArray[Any]]] = {"track": [], "tick": [], "box_px": []}
    for number, rows_of in enumerate(tracks):
        at = tick[rows_of]
        if at[-1] - at[0] + 1 < config.min_track_ticks:
            continue
        every = np.arange(at[0], at[-1] + 1)
        parts["track"].append(np.full(len(every), number))
        parts["tick"].append(every)
        parts["box_px"].append(np.stack([np.interp(every, at, c) for c in box_px[rows_of].T], 1).astype(np.float32))
    empty = {"track": np.zeros(0, int), "tick": np.zeros(0, int), "box_px": np.zeros((0, 4), np.float32)}
    return {name: np.concatenate([empty[name], *arrays]) for name, arrays in parts.items()}


def baseline(scene: Scene) -> Columns:
    """SORT-like tracks from what the tracks stage sees, shot by shot."""
    stage: Any = load_stage("tracks")
    config = stage.config()
    module = sys.modules[stage.run.__module__]
    shots = read_table(scene.dirs["shots"] / "shots.parquet")
    spans = [(int(a), int(b)) for a, b in zip(shots["start_tick"], shots["end_tick"], strict=True)]
    parts, first = [], 0
    for seen in module.look(Inputs(scene.name, scene.name, scene.video, scene.dirs), spans, config):
        rows = sort_like(seen.sighted.tick, seen.sighted.box_px, config)
        rows["track"] = rows["track"] + first
        first += len(seen.sighted.tick) + 1
        parts.append(rows)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def speed(all_scenes: list[Scene]) -> dict[str, float]:
    """Face-frames per second of two processes, CPU ms per face-frame, and the largest process."""
    done = [read_done(scene.dirs[stage]) or {} for scene in all_scenes for stage in _TIMED]
    rows = sum(len(read_table(s.dirs["landmarks"] / "landmarks.parquet", ["track"])["track"]) for s in all_scenes)
    return {
        "face_frames_per_s": 2 * rows / sum(d["wall_s"] for d in done),
        "cpu_ms_per_face_frame": 1000 * sum(d["cpu_s"] for d in done) / rows,
        "peak_rss_mb": max(d["peak_rss_mb"] for d in done),
        "face_frames": rows,
    }


def print_tracks(all_scenes: list[Scene]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table of scenes; returns the sums of ours and of the baseline."""
    columns = [*list(FIGURES)[:7], "merges", "merges_any"]
    print(f"{'scene':<28}" + "".join(f"{c:>16}" for c in ("tracker", *columns)))
    sums: dict[str, list[dict[str, float]]] = {"ours": [], "sort-like": []}
    for scene in all_scenes:
        if "tracks" not in scene.dirs:
            continue
        ours = read_table(scene.dirs["tracks"] / "tracks.parquet")
        for tracker, rows in (("ours", ours), ("sort-like", baseline(scene))):
            figures, _ = mot_figures(scene.truth, rows, scene.size_px)
            sums[tracker].append(figures)
            print_line(scene.name, tracker, figures, columns)
    totals = {tracker: together(figures) for tracker, figures in sums.items()}
    for tracker, figures in totals.items():
        print_line("all", tracker, figures, columns)
    return totals["ours"], totals["sort-like"]


def print_line(name: str, tracker: str, figures: dict[str, float], columns: list[str]) -> None:
    """One row."""
    cells = [f"{figures[c]:.3f}" if c in ("idf1", "mota") else f"{figures[c]:.0f}" for c in columns]
    print(f"{name:<28}{tracker:>16}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def print_links(all_scenes: list[Scene]) -> dict[str, float]:
    """Tracks and persons after ``assign``; scenes that it refuses are left out, and only counted."""
    total: dict[str, float] = {"scenes_linked": 0, "scenes_refused": sum("assign" not in s.dirs for s in all_scenes)}
    for scene in all_scenes:
        if "assign" not in scene.dirs:
            continue
        table = read_table(scene.dirs["assign"] / "track_person.parquet")
        person_of = dict(zip(table["track"].tolist(), table["person"].tolist(), strict=True))
        rows = read_table(scene.dirs["tracks"] / "tracks.parquet")
        figures = link_figures(mot_figures(scene.truth, rows, scene.size_px)[1], person_of)
        print(f"{scene.name:<28}" + "  ".join(f"{k} {v:.0f}" for k, v in figures.items()), flush=True)
        total["scenes_linked"] += 1
        for name, value in figures.items():
            total[name] = total.get(name, 0) + value
    return total


def print_sight(all_scenes: list[Scene], every: int = 12) -> None:
    """Share of faces (visible by 80 % and more) that the detector sees: in the whole picture, on tiles, close up."""
    from dialogbuild.media.reader import VideoReader

    seen: dict[tuple[str, int, int], list[bool]] = {}
    with FaceDetector() as detector:
        for scene in all_scenes:
            ticks = np.arange(every // 2, scene.spec.n_frames, every)
            pts = read_table(scene.dirs["ingest"] / "ticks.parquet")["pts"]
            stream = json.loads((scene.dirs["ingest"] / "video.json").read_text())["stream"]
            with VideoReader(scene.video, stream) as video:
                for tick, (_, rgb) in zip(ticks.tolist(), video.frames(pts[ticks].tolist()), strict=True):
                    rows = np.flatnonzero(scene.truth.visible[:, tick] >= 0.8)
                    boxes = scene.truth.box_px[rows, tick]
                    views = {
                        "picture": detector.everywhere(rgb),
                        "tiles": detector.everywhere(rgb, tiles=True),
                        "close": detector.around(rgb, boxes),
                    }
                    for how, found in views.items():
                        hit = (iou(boxes, found.box_px) >= _SORT_IOU).any(1) if len(rows) else []
                        for row, box, ok in zip(rows, boxes, hit, strict=True):
                            size = int(np.searchsorted(_SIZES_PX, box[3] - box[1], "right"))
                            yaw = float(np.degrees(abs(scene.truth.yaw_rad[row, tick])))
                            at = (how, size, int(np.searchsorted(_YAWS_DEG, yaw, "right")))
                            seen.setdefault(at, []).append(bool(ok))
    for how, size, yaw in sorted(seen):
        hits = seen[how, size, yaw]
        sizes, yaws = ("under", *_SIZES_PX)[size], (*_YAWS_DEG, "more")[yaw]
        print(f"{how:<8} from {sizes:>5} px, yaw under {yaws:>4}: {np.mean(hits):.2f} of {len(hits)}")


def long_rss(scene: Scene, minutes: list[int], cache: Path) -> dict[str, float]:
    """Peak memory of tracks and landmarks, each length in a process of its own, and how much the longest adds."""
    peaks = []
    for length in minutes:
        video = cache / "long" / f"{length}min" / f"{length}min.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        # Whole repetitions of the packets: nothing is decoded.
        loop = ["-stream_loop", str(round(length * 60 / scene.spec.duration_s) - 1), "-i", str(scene.video)]
        base = [ffmpeg_binary(), "-loglevel", "error", "-y"]
        subprocess.run([*base, *loop, "-c", "copy", str(video)], check=True)
        done = subprocess.run(
            [sys.executable, __file__, "--here", str(video)], stdout=subprocess.PIPE, check=True, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        peaks.append(found["peak_rss_mb"])
        print(f"{length} min: " + ", ".join(f"{k} {v:.0f}" for k, v in found.items()), flush=True)
    return {"long_minutes": minutes[-1], "long_rss_mb": peaks[-1], "rss_growth_mb": peaks[-1] - peaks[0]}


def here(video: Path) -> None:
    """Run one file with one worker and print its peak memory as JSON."""
    recipe = load_recipe("demo", upstream_of("landmarks"))
    with tempfile.TemporaryDirectory(dir=video.parent) as out:
        finished = run_stages(recipe, video, Places(Path(out)), workers=1, quiet=True)
        ended = {e.stage: e for e in finished.entries}
        last = finished.entries[-1]
        if "landmarks" not in ended or last.status != "ok":
            raise SystemExit(f"{video.name} ended at {last.stage}: {last.status} {last.reason} {last.values}")
        done = {stage: read_done(Path(e.path)) or {} for stage, e in ended.items() if e.path}
        rows = len(read_table(Path(ended["landmarks"].path or "") / "landmarks.parquet", ["track"])["track"])
    peaks = {f"{stage}_rss_mb": float(done[stage]["peak_rss_mb"]) for stage in _TIMED}
    cpu_s = sum(float(done[stage]["cpu_s"]) for stage in _TIMED)
    print(json.dumps({**peaks, "peak_rss_mb": max(peaks.values()), "face_frames": rows, "cpu_s": cpu_s}))


def main() -> None:
    """Print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--link", action="store_true", help="also who gets which track (needs the sound stages)")
    parser.add_argument("--see", action="store_true", help="what the detector sees, by size and yaw, instead")
    parser.add_argument("--long", type=int, nargs="+", metavar="MINUTES", help="memory on files of these lengths")
    parser.add_argument("--cache", type=Path, help="keep rendered scenes and artefacts here")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        here(args.here)
        return
    with tempfile.TemporaryDirectory() as scratch:
        cache = args.cache or Path(scratch)
        cache.mkdir(parents=True, exist_ok=True)
        until = "ingest" if args.see else "assign" if args.link else "landmarks"
        found = scenes(args.scenes, args.seeds, args.seconds, until, cache)
        if args.see:
            print_sight(found)
            return
        ours, plain = print_tracks(found)
        ratio = (1 - plain["idf1"]) / max(1 - ours["idf1"], 1e-9)
        print(
            f"identity errors (1 - IDF1): sort-like {1 - plain['idf1']:.3f}, ours {1 - ours['idf1']:.3f}: {ratio:.2f}x"
        )
        line = {name: ours[name] for name in ("idf1", "merges")} | speed([s for s in found if "landmarks" in s.dirs])
        line |= {n: ours[n] for n in ("mota", "switches", "fragments", "false_positives", "misses", "merges_any")}
        line |= {"faces": int(sum(counts(s.truth).sum() for s in found)), "idf1_sort": plain["idf1"]}
        line |= {"ratio": ratio, "merges_sort": plain["merges"], "merges_any_sort": plain["merges_any"]}
        line |= print_links(found) if args.link else {}
        line |= long_rss(found[0], args.long, cache) if args.long else {}
    print(json.dumps({name: round(float(value), 4) for name, value in line.items()}))


if __name__ == "__main__":
    main()
