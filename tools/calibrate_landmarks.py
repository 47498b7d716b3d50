"""Where the detector puts its landmarks on the built-in head: makes ``procedural_landmarks.npz``.

    python tools/calibrate_landmarks.py                         render, measure, solve, write the file, print figures
    python tools/calibrate_landmarks.py --observations F.npz    the same, but keep the measurements in F (or reuse them)
    python tools/calibrate_landmarks.py --dry-run               without writing the file
    python tools/calibrate_landmarks.py --whole-face            mouth and chin too, for comparison only: see below

``mp478`` says where the head model's own points are: landmark i is vertex i. The detector's landmark i, read from a
picture of this head, lies elsewhere by millimetres, alike for all people: it is a property of detector and head. Here
random people (identity, looks, light, room, lens, pose, mild expression) of a random stream that nothing else uses are
rendered with known poses and given to the detector through the pipeline's own crop. For each landmark the surface
point that explains its detections best, in least squares with Student-t weights over all pictures and under left-right
symmetry, becomes a row of the ``mediapipe`` embedding. No pose is fitted: what the detector shifts as a whole is in it.

Mouth, chin and lower cheeks keep the model's own points. There the offset is one of these renders and not of faces:
with it the lips of every real clip fit worse by 40 to 90 % (docs/decisions/004-measured-landmark-embedding.md).

The figures printed come from two halves of the people: points measured on one half predict the other.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dialogbuild.faces.detect import FaceDetector
from dialogbuild.faces.mesh import FaceMesher, square_crop
from dialogbuild.fit.params import N_RIGID
from dialogbuild.fit.regions import LEFT_IRIS, OUTER_EYE_CORNERS, REGIONS, RIGHT_IRIS
from dialogbuild.fit.rig import build_rig, pose_points, project_points
from dialogbuild.head import load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.generate import write_npz
from dialogbuild.head.model import Embedding, HeadModel
from dialogbuild.head.pose import HeadPose, pose_head, to_camera
from dialogbuild.head.procedural.fields import load_core
from dialogbuild.head.procedural.landmarks import NOSE_BASE
from dialogbuild.head.procedural.regions import MEASURED_PATH
from dialogbuild.head.rotation import log_so3, rodrigues
from dialogbuild.render.appearance import make_appearance
from dialogbuild.render.palette import random_palette
from dialogbuild.render.scene import render_head
from dialogbuild.render.shading import studio_light
from dialogbuild.synth.scene import backdrop

Array = npt.NDArray[Any]
STREAM = 987654  # of random numbers; synthetic dialogues draw from [seed, small number]
WIDTH_PX, HEIGHT_PX = 640, 480
SHAPE_SIGMA = 0.7  # identity coefficients, as in the synthetic dialogues
CROP_SCALE = 1.9  # the landmark stage's default
SETTLE = 3  # passes over one picture: in a video the mesh looks where it was one frame before
PATCH_M = 0.02  # how far along the surface a landmark may be from the model's own point
BELOW_NOSE_M = 0.004
ROUNDS = 4
STUDENT_DOF = 4.0


@dataclass(frozen=True, eq=False)
class Observations:
    """K pictures.

    Attributes:
        person: (K,);  shape: (K, S);  theta: (K, P) the fit's parameters;  camera: (K, 3) focal, cx, cy in px.
        found_px: (K, 478, 2) detections.
    """

    person: Array
    shape: Array
    theta: Array
    camera: Array
    found_px: Array

    def of(self, keep: Array) -> Observations:
        """Some of the pictures."""
        return Observations(**{name: value[keep] for name, value in vars(self).items()})


def draw_pose(model: HeadModel, rng: np.random.Generator, focal_px: float) -> Array:
    """Parameters (P,) of one picture: a head 60-150 px between the outer eye corners, anywhere near the middle."""
    theta = np.zeros(N_RIGID + model.n_expr)
    pitch, yaw, roll = np.radians(rng.uniform(-1, 1, 3) * [15, 35, 8])
    total = (
        rodrigues(np.array([[0, 0, roll]])) @ rodrigues(np.array([[0, yaw, 0]])) @ rodrigues(np.array([[pitch, 0, 0]]))
    )
    theta[0:3] = theta[6:9] = log_so3(total)[0] / 2  # half the turn each by body and neck
    depth_m = focal_px * 0.09 / rng.uniform(60, 150)
    theta[3:6] = depth_m * np.array([*(rng.uniform(-0.15, 0.15, 2) * WIDTH_PX / focal_px), 1.0])
    theta[9] = rng.choice([0.0, 1.0]) * rng.uniform(0, 0.15)
    theta[[12, 15]] = rng.normal(0, 0.06)
    theta[[13, 16]] = rng.normal(0, 0.12)
    theta[N_RIGID:] = np.where(rng.uniform(size=model.n_expr) < 0.15, rng.uniform(0, 0.3, model.n_expr), 0.0)
    assert model.lid_expr is not None
    theta[[N_RIGID + k for k in model.lid_expr]] = rng.uniform(0, 0.2)
    return theta


def observe(model: HeadModel, people: int, pictures: int) -> Observations:
    """Render and detect. Pictures in which no face is found are left out."""
    rows: list[tuple[Any, ...]] = []
    with FaceDetector() as detector, FaceMesher() as mesher:
        for person in range(people):
            rng = np.random.default_rng([STREAM, person])
            shape = rng.normal(0.0, SHAPE_SIGMA, model.n_shape)
            looks = make_appearance(model, STREAM + person, random_palette(STREAM + person))
            room = backdrop(WIDTH_PX, HEIGHT_PX, STREAM + person)
            for _ in range(pictures):
                focal = WIDTH_PX * rng.uniform(1.0, 2.0)
                theta = draw_pose(model, rng, focal)
                light = studio_light((rng.uniform(-0.6, 0.6), -rng.uniform(0.2, 0.6), -0.75))
                camera = Camera.centred(focal, WIDTH_PX, HEIGHT_PX)
                pose = head_pose(shape, theta)
                vertices = to_camera(pose_head(model, pose), pose.transl_m)[0]
                image = render_head(model, looks, vertices, camera, light, room)
                found = detect(detector, mesher, image)
                if found is not None:
                    rows.append((person, shape, theta, (focal, camera.cx_px, camera.cy_px), found))
            sys.stderr.write(f"\r{person + 1}/{people} people, {len(rows)} pictures")
    sys.stderr.write("\n")
    return Observations(*(np.array(column) for column in zip(*rows, strict=True)))


def head_pose(shape: Array, theta: Array) -> HeadPose:
    """The fit's parameters (P,) as a pose of one frame."""
    cut = ((N_RIGID, len(theta)), (0, 3), (6, 9), (9, 12), (12, 18), (3, 6))
    return HeadPose(shape.astype(np.float32), *(theta[None, a:b].astype(np.float32) for a, b in cut))


def detect(detector: FaceDetector, mesher: FaceMesher, image: Array) -> Array | None:
    """Landmarks (478, 2) px of the only face, as the pipeline reads them from a steady video, or None."""
    boxes, _ = detector(image)
    if not len(boxes):
        return None
    mesher.reset()
    crop = square_crop(boxes[0], CROP_SCALE)
    meshes = [mesher(image, crop) for _ in range(SETTLE)]
    return None if meshes[-1] is None else meshes[-1].points_px


def predict(model: HeadModel, embedding: Embedding, seen: Observations) -> tuple[Array, Array]:
    """Where an embedding's points are in the pictures, (K, N, 2) px, and the derivative by template positions in
    metres, (K, N, 2, 3)."""
    rig = build_rig(model, embedding, np.float64)
    px, by_template = np.empty((len(seen.theta), len(embedding), 2)), np.empty((len(seen.theta), len(embedding), 2, 3))
    for k, (shape, theta, camera) in enumerate(zip(seen.shape, seen.theta, seen.camera, strict=True)):
        posed = pose_points(rig.with_shape(shape), theta[None])
        projected, D = project_points(posed.points, theta[None, 3:6], tuple(camera))
        px[k] = projected[0]
        by_template[k] = (D[0] * [1.0, -1.0, -1.0]) @ posed.blend[:, 0].sum(axis=0)
    return px, by_template


def face_size_px(model: HeadModel, seen: Observations) -> Array:
    """Outer-eye distance seen from the front, (K,) px: the unit of errors."""
    rig = build_rig(model, model.landmarks["mp478"], np.float64)
    right, left = OUTER_EYE_CORNERS
    size_m = np.array([np.linalg.norm(np.subtract(*rig.with_shape(b).neutral()[[right, left]])) for b in seen.shape])
    return np.asarray(seen.camera[:, 0] * size_m / seen.theta[:, 5])


def mirror_map() -> Array:
    """The landmark opposite each of the 478."""
    pairs = list(load_core().mirror)
    # iris rings: centre, +x, up, -x, down
    opposite = (0, 3, 2, 1, 4)
    pairs += [LEFT_IRIS[k] for k in opposite] + [RIGHT_IRIS[k] for k in opposite]
    return np.array(pairs, np.int64)


def keep_lower_face(model: HeadModel, measured: Embedding) -> Embedding:
    """The measured points above the mouth, and the model's own from 4 mm under the nose downward."""
    own = model.landmarks["mp478"]
    y = own.points(model.v_template, model.faces)[:, 1]
    low = y < y[NOSE_BASE] - BELOW_NOSE_M
    face_idx = np.where(low, own.face_idx, measured.face_idx)
    return Embedding(face_idx, np.where(low[:, None], own.bary, measured.bary), own.index)


def solve(model: HeadModel, seen: Observations) -> Embedding:
    """The surface point of each landmark that explains its detections best, symmetric left and right."""
    start = model.landmarks["mp478"]
    unit = face_size_px(model, seen)[:, None]
    patches = Patches(model, start)
    pair, flip = mirror_map(), np.array([-1.0, 1.0, 1.0])
    embedding = start
    for _ in range(ROUNDS):
        rig = build_rig(model, embedding, np.float64)
        tangent = np.linalg.svd(rig.normals[:, None])[2][:, 1:]  # (478, 2, 3)
        px, by_template = predict(model, embedding, seen)
        error = (seen.found_px - px) / unit[..., None]
        by_template = by_template / unit[..., None, None]
        scale = 1.4826 * np.median(np.linalg.norm(error - np.median(error, 0), axis=-1), axis=0)
        r2 = ((error - np.median(error, 0)) ** 2).sum(-1) / scale**2
        weight = (STUDENT_DOF + 2) / (STUDENT_DOF + r2) / scale**2  # Student-t in two dimensions
        H = np.einsum("kn,knci,kncj->nij", weight, by_template, by_template)
        g = np.einsum("kn,knci,knc->ni", weight, by_template, error)
        H, g = H + H[pair] * np.outer(flip, flip), g + g[pair] * flip
        Ht, gt = tangent @ H @ tangent.transpose(0, 2, 1), np.einsum("nti,ni->nt", tangent, g)
        step = np.einsum("nti,nt->ni", tangent, np.linalg.solve(Ht, gt[..., None])[..., 0])
        at = embedding.points(model.v_template.astype(np.float64), model.faces) + step
        at = (at + at[pair] * flip) / 2
        embedding = patches.closest(at)
    return embedding


class Patches:
    """The surface around each landmark: triangles reached along the mesh, so that no lip or lid is jumped across."""

    def __init__(self, model: HeadModel, start: Embedding) -> None:
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import dijkstra

        self._v, self._faces = model.v_template.astype(np.float64), np.asarray(model.faces)
        edges = np.concatenate([self._faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
        length = np.linalg.norm(self._v[edges[:, 0]] - self._v[edges[:, 1]], axis=1)
        unique, first = np.unique(edges, axis=0, return_index=True)
        graph = coo_matrix((length[first] + 1e-9, unique.T), shape=(len(self._v),) * 2).tocsr()
        own = start.vertices(model.faces)[np.arange(len(start)), start.bary.argmax(1)]
        distance = dijkstra(graph, directed=False, indices=own, limit=PATCH_M)
        self._near = [np.flatnonzero(np.isfinite(d)[self._faces].all(1)) for d in distance]

    def closest(self, points: Array) -> Embedding:
        """The points of the surface nearest to (478, 3) points, each within its landmark's patch."""
        faces, weights = [], []
        for point, near in zip(points, self._near, strict=True):
            bary = closest_on_triangles(point, self._v[self._faces[near]])
            gap = np.linalg.norm(np.einsum("fc,fck->fk", bary, self._v[self._faces[near]]) - point, axis=1)
            best = int(gap.argmin())
            faces.append(near[best])
            weights.append(bary[best])
        return Embedding(
            np.array(faces, np.int32), np.array(weights, np.float32), np.arange(len(points), dtype=np.int32)
        )


def closest_on_triangles(point: Array, corners: Array) -> Array:
    """Barycentric weights (F, 3) of the point of each triangle (F, 3, 3) that is nearest to ``point`` (3,).

    The plane's foot if it lies inside, else the best of the feet on the three edges.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    basis = np.stack([b - a, c - a], -1)
    inside = np.einsum("fij,fj->fi", np.linalg.pinv(basis), point - a)
    bary = np.stack([1 - inside.sum(1), inside[:, 0], inside[:, 1]], 1)
    candidates = [bary]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, j] - corners[:, i]
        t = ((point - corners[:, i]) * edge).sum(1) / np.maximum((edge**2).sum(1), 1e-18)
        on_edge = np.zeros((len(corners), 3))
        on_edge[:, i], on_edge[:, j] = 1 - np.clip(t, 0, 1), np.clip(t, 0, 1)
        candidates.append(on_edge)
    options = np.stack(candidates)
    gap = np.linalg.norm(np.einsum("ofc,fck->ofk", options, corners) - point, axis=-1)
    gap[0, bary.min(1) < 0] = np.inf
    return np.asarray(np.take_along_axis(options, gap.argmin(0)[None, :, None], 0)[0])


def mean_error_pct(model: HeadModel, embedding: Embedding, seen: Observations) -> Array:
    """Mean distance of detections to an embedding's points per landmark, (478,) % of the face size."""
    px, _ = predict(model, embedding, seen)
    distance = np.linalg.norm(seen.found_px - px, axis=-1)
    return np.asarray(100 * (distance / face_size_px(model, seen)[:, None]).mean(0))


def evidence(model: HeadModel, seen: Observations) -> str:
    """Whether one half of the people predicts the other: a table of mean errors, and the halves' correlation."""
    start, v = model.landmarks["mp478"], model.v_template.astype(np.float64)
    halves = [seen.of(seen.person % 2 == h) for h in (0, 1)]
    solved = [solve(model, half) for half in halves]
    moved = [(e.points(v, model.faces) - start.points(v, model.faces)) for e in solved]
    flat = np.corrcoef(moved[0].ravel(), moved[1].ravel())[0, 1]
    apart = 1e3 * np.linalg.norm(moved[0] - moved[1], axis=1)
    out = [f"halves: {len(halves[0].theta)} and {len(halves[1].theta)} pictures; displacements correlate {flat:.3f},"]
    out[0] += f" differ by {apart.mean():.2f} mm in the mean, {np.percentile(apart, 95):.2f} at 95 %"
    out.append(f"{'% of face size':<16}{'mp478':>8}{'other half':>12}{'own half':>10}")
    table = []
    for h in (0, 1):
        columns = (start, solved[1 - h], solved[h])
        table.append(np.stack([mean_error_pct(model, e, halves[h]) for e in columns], 1))
    errors = np.mean(table, 0)
    for name, members in {"all": range(len(errors)), **REGIONS}.items():
        before, other, own = errors[list(members)].mean(0)
        out.append(f"{name:<16}{before:>8.2f}{other:>12.2f}{own:>10.2f}")
    return "\n".join(out)


def main() -> None:
    """Measure, write, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=140)
    parser.add_argument("--pictures", type=int, default=8, help="per person")
    parser.add_argument("--observations", type=Path, help="keep the measurements here, or reuse them")
    parser.add_argument("--whole-face", action="store_true", help="measured points for mouth and chin too")
    parser.add_argument("--dry-run", action="store_true", help="print only")
    args = parser.parse_args()
    model = load_head()
    if args.observations and args.observations.exists():
        with np.load(args.observations) as stored:
            seen = Observations(**stored)
    else:
        seen = observe(model, args.people, args.pictures)
        if args.observations:
            np.savez(args.observations, **vars(seen))
    sys.stdout.write(evidence(model, seen) + "\n")
    measured = solve(model, seen)
    if not args.whole_face:
        measured = keep_lower_face(model, measured)
    points = measured.points(model.v_template.astype(np.float64), model.faces)
    start = model.landmarks["mp478"].points(model.v_template.astype(np.float64), model.faces)
    length = 1e3 * np.linalg.norm(points - start, axis=1)
    sys.stdout.write(f"displacements: {length.mean():.2f} mm in the mean, largest {length.max():.2f} (of 478)\n")
    if not args.dry_run:
        arrays = {"face_idx": measured.face_idx, "bary": measured.bary, "points_cm": (100 * points).astype(np.float32)}
        write_npz(MEASURED_PATH, arrays)
        sys.stdout.write(f"wrote {MEASURED_PATH.name}, {MEASURED_PATH.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
