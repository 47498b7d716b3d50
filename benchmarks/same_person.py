"""Whether tracks are given to the right person across cuts: linking by faces alone on generated scenes with cuts.

    python benchmarks/same_person.py --seeds 1 2 --cache FOLDER

Scenes: close-ups of both people in the very same spot, from both sides, with a third person in two shots; and a pair
with a photograph on the wall, a cutaway to somebody else, a third person's inset picture and a photograph that fills
the screen. Rendered, encoded, and tracked by the pipeline itself; nothing is heard, so that voices do not help.

evidence   quantiles of each distance for one person in two shots and for two people, and the likeness in nats
linking    tracks of persons 0 and 1: right, split off, wrong; other faces: left out, given away
baseline   in the same run: every track to the nearer of the two most different faces, by colours alone
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dialogbuild.artifact import Inputs
from dialogbuild.dialogue import facedata, likeness, persons
from dialogbuild.pipeline import Places, run_stages
from dialogbuild.pixels.traits import read_traits
from dialogbuild.recipe import load_recipe
from dialogbuild.stages import upstream_of
from dialogbuild.synth.crowd_film import CrowdTruth, load_crowd, make_crowd
from dialogbuild.synth.crowd_scenes import crowd_scene
from dialogbuild.tables import Columns, read_table

Array = npt.NDArray[Any]
SCENES = {"cuts_and_close_ups": 20.0, "insets": 24.0}
FACE_STAGES = ("ingest", "shots", "tracks", "landmarks")


def tracked(name: str, seed: int, cache: Path) -> tuple[dict[str, Path], CrowdTruth]:
    """A scene's artefacts up to the landmarks, and its truth; made where the cache has none."""
    home, spec = cache / f"{name}_{seed}", crowd_scene(name, seed, SCENES[name])
    video = home / "talk.mp4"
    if not (home / "dirs.json").is_file():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        make_crowd(spec, video)
        finished = run_stages(
            load_recipe("demo", upstream_of("landmarks")), video, Places(home / "out"), workers=1, quiet=True
        )
        ended = {row.stage: row for row in finished.entries}
        folders = {stage: str(Path(str(ended[stage].path)).relative_to(home)) for stage in FACE_STAGES}
        (home / "dirs.json").write_text(json.dumps(folders))
    dirs = {stage: home / path for stage, path in json.loads((home / "dirs.json").read_text()).items()}
    return dirs, load_crowd(spec, video)


def owners(rows: Columns, truth: CrowdTruth) -> dict[int, int]:
    """Whose face each track is: the one whose box centre is nearest, in the median."""
    found = {}
    middle = 0.5 * (truth.box_px[..., :2] + truth.box_px[..., 2:])
    for track in np.unique(rows["track"]).tolist():
        mine = rows["track"] == track
        tick, box = rows["tick"][mine], rows["box_px"][mine]
        gap = np.linalg.norm(middle[:, tick] - 0.5 * (box[:, :2] + box[:, 2:]), axis=2)
        gap[truth.shown[:, tick] == 0] = np.inf
        found[track] = int(truth.persons[np.median(gap, axis=1).argmin()])
    return found


def faces_of(dirs: dict[str, Path]) -> list[persons.Face]:
    """Faces for linking, without voices."""
    rows = facedata.read_faces(dirs["landmarks"] / "landmarks.parquet")
    boxes = read_table(dirs["tracks"] / "tracks.parquet", ["track", "tick", "shot", "box_px"])
    traits = read_traits(Inputs("v", "v", Path("talk.mp4"), dirs), rows, None)
    n_ticks = json.loads((dirs["ingest"] / "video.json").read_text())["n_ticks"]
    silent = np.zeros(n_ticks)
    return facedata.make_faces(rows, boxes["box_px"], boxes["shot"], silent, silent, 25.0, traits)[0]


def baseline(faces: list[persons.Face]) -> dict[int, int]:
    """The two living faces whose colours differ most name the two people; the rest follow the nearer one."""
    far = np.nanmean(likeness.look_distance(np.stack([f.traits.look for f in faces if f.traits.look is not None])), 2)
    i, j = np.unravel_index(int(np.argmax(far)), far.shape)
    return {f.track: int(far[k, j] < far[k, i]) for k, f in enumerate(faces)}


def best_naming(found: dict[int, int], owner: dict[int, int]) -> dict[int, int]:
    """Persons renamed so that most tracks are right: the names 0 and 1 have no meaning here."""
    flipped = {track: 1 - p if p in (0, 1) else p for track, p in found.items()}
    return max(found, flipped, key=lambda names: sum(names[t] == owner[t] for t in names))


def counts(found: dict[int, int], owner: dict[int, int]) -> dict[str, int]:
    """Right, split and wrong of the two people's tracks, left out and given away of the others'."""
    named = best_naming(found, owner)
    pair = [t for t in named if owner[t] in (0, 1)]
    others = [t for t in named if owner[t] not in (0, 1)]
    return {
        "right": sum(named[t] == owner[t] for t in pair),
        "split": sum(named[t] == persons.NOBODY for t in pair),
        "wrong": sum(named[t] == 1 - owner[t] for t in pair),
        "left_out": sum(named[t] == persons.NOBODY for t in others),
        "given_away": sum(named[t] != persons.NOBODY for t in others),
    }


def evidence(faces: list[persons.Face], owner: dict[int, int]) -> dict[str, list[tuple[bool, float, float]]]:
    """Per kind: one person?, distance, nats, of every pair of faces in different shots."""
    pairs = [(i, j) for i in range(len(faces)) for j in range(i) if faces[i].shot != faces[j].shot]
    place = np.array([[np.median(f.x_px), np.median(f.y_px), np.median(f.size_px)] for f in faces])
    nats = likeness.likeness_nats([f.traits for f in faces], place, np.array([f.shot for f in faces]))[0]
    same = {pair: owner[faces[pair[0]].track] == owner[faces[pair[1]].track] for pair in pairs}
    out: dict[str, list[tuple[bool, float, float]]] = {kind: [] for kind in ("shape", "hair", "face", "clothes")}
    for i, j in pairs:
        a, b = faces[i].traits, faces[j].traits
        known = [(a.shape, b.shape), (a.shape_sigma, b.shape_sigma)]
        if a.shape is not None and b.shape is not None:
            shapes, sigmas = (np.stack([np.asarray(x), np.asarray(y)]) for x, y in known)
            out["shape"].append((same[i, j], float(likeness.shape_distance(shapes, sigmas)[0, 1]), nats[1, i, j]))
        distance = likeness.look_distance(np.stack([np.asarray(a.look), np.asarray(b.look)]))[0, 1]
        for zone, kind in enumerate(("hair", "face", "clothes")):
            if np.isfinite(distance[zone]):
                out[kind].append((same[i, j], float(distance[zone]), nats[2 + zone, i, j]))
    return out


def show_evidence(found: list[dict[str, list[tuple[bool, float, float]]]]) -> None:
    """Print quantiles of distances and of nats per kind."""
    print(f"{'':<10}{'':<10}{'pairs':>7}{'d 10%':>8}{'d 50%':>8}{'d 90%':>8}{'nats 10%':>10}{'50%':>7}{'90%':>7}")
    for kind in ("shape", "hair", "face", "clothes"):
        for same in (True, False):
            rows = [(d, n) for one in found for s, d, n in one[kind] if s == same]
            if rows:
                d, n = (np.quantile(x, (0.1, 0.5, 0.9)) for x in np.array(rows).T)
                label = "one" if same else "two"
                print(f"{kind:<10}{label:<10}{len(rows):>7}" + "".join(f"{x:>8.3f}" for x in d), end="")
                print(f"{n[0]:>10.2f}{n[1]:>7.2f}{n[2]:>7.2f}")


def main() -> None:
    """Print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--cache", type=Path, help="folder for rendered scenes; default: made anew, then deleted")
    args = parser.parse_args()
    totals: dict[str, dict[str, int]] = {}
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.scenes:
            for seed in args.seeds:
                dirs, truth = tracked(name, seed, args.cache or Path(scratch))
                faces = faces_of(dirs)
                owner = owners(read_table(dirs["tracks"] / "tracks.parquet", ["track", "tick", "box_px"]), truth)
                found.append(evidence(faces, owner))
                bare = [replace(f, traits=replace(f.traits, look=None)) for f in faces]
                answers = {
                    "linking": {t: label.person for t, label in persons.link_tracks(faces).items()},
                    "shape alone": {t: label.person for t, label in persons.link_tracks(bare).items()},
                    "baseline": baseline(faces),
                }
                for method, answer in answers.items():
                    one = counts(answer, owner)
                    print(f"{name} {seed} {method}: {one}")
                    total = totals.setdefault(method, dict.fromkeys(one, 0))
                    totals[method] = {key: total[key] + one[key] for key in one}
    show_evidence(found)
    print(json.dumps(totals))


if __name__ == "__main__":
    main()
