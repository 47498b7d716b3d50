"""Puts skin and parts together into a ``HeadModel``."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from dialogbuild.head.generate import CORE_PATH
from dialogbuild.head.model import JAW, LEFT_EYE, NECK, PARENTS, RIGHT_EYE, FloatArray, HeadModel
from dialogbuild.head.procedural import skinning
from dialogbuild.head.procedural.albedo import ALBEDO_PATH, measured_albedo
from dialogbuild.head.procedural.atlas import place, skin_uv
from dialogbuild.head.procedural.expressions import LID_NAMES, expression_fields
from dialogbuild.head.procedural.fields import Array, Core, load_core, smoothstep
from dialogbuild.head.procedural.identity import identity_modes, orthogonal
from dialogbuild.head.procedural.landmarks import INNER_LIPS, LEFT_EYE_LOOP, N_FACE, RIGHT_EYE_LOOP
from dialogbuild.head.procedural.lids import seal_lids
from dialogbuild.head.procedural.parts import Part, ear, eyeball, lid_rim, mouth_bag, teeth, tongue
from dialogbuild.head.procedural.regions import MEASURED_PATH, embeddings, region_masks
from dialogbuild.head.procedural.skull import shell_controls, shell_triangles, spread
from dialogbuild.head.procedural.surface import Surface, build_surface

MODEL_ID = "procedural-v1"
LICENCE = "Apache-2.0; face-mesh topology and landmarks derived with mediapipe (Apache-2.0)"


@lru_cache(maxsize=1)
def load_procedural() -> HeadModel:
    """The built-in head, ``procedural-v1``: made from a few constants in about two seconds, once per process.

    It has a plausible face, not scan statistics: good for running and testing, not for publishing a dataset.

    Raises:
        MissingPart: the constants are not installed.
    """
    core = load_core()
    controls = np.concatenate([core.neutral, shell_controls(core.neutral)])
    surface = build_surface(np.concatenate([core.triangles, shell_triangles()]), len(controls))
    fields = expression_fields(core)
    # the outline passes a little of the chin's motion to the throat
    expressions = np.stack([spread(field, 3.0) for field in fields.values()], -1)
    weight = np.where(np.arange(len(controls)) < N_FACE, 1.0, 0.1)
    identities = orthogonal(identity_modes(core, controls), weight)
    jaw = spread(skinning.jaw_weights(core.neutral, core.triangles), 5.0)
    packed = np.concatenate([controls[..., None], identities, expressions, np.repeat(jaw[:, None, None], 3, 1)], -1)
    dense = surface.through(packed)
    n_shape = identities.shape[2]
    points, shape, expr = dense[..., 0], dense[..., 1 : 1 + n_shape], dense[..., 1 + n_shape : -1].copy()
    weights = skinning.skin_weights(points, dense[:, 0, -1])
    # the smooth surface overshoots the outline by tenths of a millimetre: skull and nape must not move at all
    skull = surface.shell_vertices(N_FACE)
    expr *= np.where(skull, smoothstep(points[:, 1], -7.0, -9.0), 1.0)[:, None, None]
    seal_lids(points, expr, tuple(fields), core, surface)
    parts = _parts(core, points, surface, weights)
    return _assemble(core, surface, points, shape, expr, weights, parts, tuple(fields))


def _parts(core: Core, skin: Array, surface: Surface, weights: Array) -> list[Part]:
    n = len(skin)
    left, right = surface.dense_loop(LEFT_EYE_LOOP), surface.dense_loop(RIGHT_EYE_LOOP)
    lips = surface.dense_loop(INNER_LIPS)
    out = [
        eyeball("left_eye", core.eye_centres[0], left, LEFT_EYE, n),
        eyeball("right_eye", core.eye_centres[1], right, RIGHT_EYE, n),
        lid_rim("left_rim", skin, left, core.eye_centres[0], weights),
        lid_rim("right_rim", skin, right, core.eye_centres[1], weights),
        mouth_bag(skin, lips, weights),
        teeth("upper_teeth", skin, lips, True, NECK),
        teeth("lower_teeth", skin, lips, False, JAW),
        tongue(skin, lips, JAW),
    ]
    for name, side in (("left_ear", 1.0), ("right_ear", -1.0)):
        root = np.array([side * 7.25, -2.7, -8.6])
        anchor = np.argsort(np.linalg.norm(skin - root, axis=1), kind="stable")[:24]
        out.append(ear(name, side, root, anchor, n))
    return out


def _assemble(
    core: Core,
    surface: Surface,
    points: Array,
    shape: Array,
    expr: Array,
    weights: Array,
    parts: list[Part],
    expr_names: tuple[str, ...],
) -> HeadModel:
    uv = skin_uv(points, surface)
    vertices, faces, uvs, shapes, exprs, skins = [points], [surface.triangles], [uv], [shape], [expr], [weights]
    spans, offset = {"skin": range(len(points))}, len(points)
    for part in parts:
        n = len(part.points)
        spans[part.name] = range(offset, offset + n)
        faces.append(part.triangles + offset)
        offset += n
        vertices.append(part.points)
        uvs.append(place(part.name, part.uv))
        shapes.append((part.follow @ shape.reshape(len(points), -1)).reshape(n, 3, -1))
        moved = (part.follow @ expr.reshape(len(points), -1)).reshape(n, 3, -1)
        exprs.append(moved * part.expressive[:, None, None])
        skins.append(part.weights)
    v = np.concatenate(vertices)
    f = np.concatenate(faces).astype(np.int32)
    masks = region_masks(core, v, surface, spans)
    return HeadModel(
        model_id=MODEL_ID,
        sha256=_hash_of_sources(),
        licence=LICENCE,
        v_template=_metres(v),
        faces=f,
        uv=np.concatenate(uvs).astype(np.float32),
        uv_faces=f.copy(),
        shape_dirs=_metres(np.concatenate(shapes)),
        expr_dirs=_metres(np.concatenate(exprs)),
        pose_dirs=None,
        j_regressor=_regressor(v, spans, np.concatenate(exprs)),
        parents=PARENTS,
        weights=_normalised(np.concatenate(skins)),
        shape_names=tuple(f"identity_{k:02d}" for k in range(shape.shape[2])),
        expr_names=expr_names,
        lid_expr=(expr_names.index(LID_NAMES[0]), expr_names.index(LID_NAMES[1])),
        landmarks=embeddings(f, spans),
        masks=masks,
        albedo=measured_albedo(len(v)),
    )


def _metres(values_cm: Array) -> FloatArray:
    return np.ascontiguousarray(values_cm * 0.01, np.float32)


def _normalised(weights: Array) -> FloatArray:
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _regressor(v: Array, spans: dict[str, range], expr: Array) -> FloatArray:
    """Eye joints: the mean of the eyeball's full circle of front rings. Root, neck and jaw: the affine combination of
    still skin vertices that gives the joint and is closest to a local mean."""
    out = np.zeros((5, len(v)))
    still = np.abs(expr).max((1, 2)) < 1e-6
    for joint, place_cm in enumerate((skinning.ROOT_JOINT, skinning.NECK_JOINT, skinning.JAW_JOINT)):
        candidates = np.flatnonzero(still[: len(spans["skin"])])
        distance = np.linalg.norm((v[candidates] - place_cm) * [0.2, 1, 0.6], axis=1)
        ids = candidates[np.argsort(distance, kind="stable")[:160]]
        # least-norm weights with sum 1 that reproduce the joint
        system = np.concatenate([v[ids].T, np.ones((1, len(ids)))])
        out[joint, ids] = np.linalg.lstsq(system, np.append(place_cm, 1.0), rcond=None)[0]
    for joint, name in ((LEFT_EYE, "left_eye"), (RIGHT_EYE, "right_eye")):
        ids = np.array(spans[name])
        system = np.concatenate([v[ids].T, np.ones((1, len(ids)))])
        out[joint, ids] = np.linalg.lstsq(system, np.append(_sphere_centre(v[ids]), 1.0), rcond=None)[0]
    return out.astype(np.float32)


def _sphere_centre(points: Array) -> Array:
    """Centre of the sphere through points, by linear least squares."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    return np.asarray(np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0][:3])


def source_files() -> list[Path]:
    """The constants and the code that the head is a function of, in a fixed order."""
    measured = [path for path in (MEASURED_PATH, ALBEDO_PATH) if path.is_file()]
    return [CORE_PATH, *measured, *sorted(Path(__file__).parent.glob("*.py"))]


def _hash_of_sources() -> str:
    """What is hashed are the constants and the code: the arrays may differ in the last bit between machines."""
    digest = hashlib.sha256()
    for path in source_files():
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
