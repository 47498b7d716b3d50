"""ICT-FaceKit's light face model as a ``HeadModel``.

The model (R. Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020; MIT licence) is the folder
``FaceXModel`` of https://github.com/ICT-VGL/ICT-FaceKit: a neutral mesh, 100 identities and 53 expressions as OBJ
files of one topology, and ``vertex_indices.json``. It is never shipped here. What is made of it:

* centimetres become metres; its axes are ours. Identity k is ``identityNNN - neutral``, one sigma; expressions run
  from 0 to 1 and keep their names.
* It has no skeleton. Eyeballs turn about their centres; root and neck are placed as on the built-in head; the jaw joint
  is there but moves nothing, as the mouth opens by ``jawOpen``, ``jawLeft``, ``jawRight`` and ``jawForward``.
* Eyelashes, tear film, blend and occlusion meshes need transparency and are left out, as are the four expressions that
  ``vertex_indices.json`` does not list (cheekRaiser and PupilDilate, left and right).
* ``ibug68`` are its own 68 vertices; ``mp478`` is carried over from the built-in head (``head.transfer``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.artifact import file_sha256
from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.head import ict_parts as parts
from dialogbuild.head.model import PARENTS, Embedding, FloatArray, HeadModel, IntArray
from dialogbuild.head.obj import ObjFile, Triangles, read_obj, same_polygons, triangulate

WHERE = "git clone https://github.com/ICT-VGL/ICT-FaceKit, and give the path of its folder FaceXModel"
LICENCE = "MIT (ICT-FaceKit light, (c) 2020 USC Institute for Creative Technologies)"
NEUTRAL, INDICES = "generic_neutral_mesh.obj", "vertex_indices.json"
N_IDENTITY, MAX_EXPRESSIONS = 100, 100
_LIDS = ("eyeBlink_L", "eyeBlink_R")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
_MAX_JSON_BYTES = 4 * 2**20
_CACHE_VERSION = 1


@dataclass(frozen=True, eq=False)
class _Meshes:
    """The files' numbers, cm. V and F are those that are kept."""

    v: FloatArray  # (V, 3)
    shape: FloatArray  # (V, 3, S)
    expr: FloatArray  # (V, 3, E)
    faces: IntArray
    uv: FloatArray
    uv_faces: IntArray
    polygon: IntArray  # (F,)


def find_ict(path: Path) -> Path | None:
    """The folder of the model in ``path``: itself, or its ``FaceXModel``; None where there is none."""
    return next((folder for folder in (path, path / "FaceXModel") if (folder / NEUTRAL).is_file()), None)


def ict_files(path: Path) -> list[Path]:
    """The files that ``load_ict(path)`` reads, in a fixed order.

    Raises:
        MissingPart: there is no model, or one of its files is missing.
        ConfigError: ``vertex_indices.json`` is damaged.
    """
    folder = _folder(path)
    names = [NEUTRAL, INDICES, *(f"{n}.obj" for n in _identities(folder)), *(f"{n}.obj" for n in _indices(folder)[0])]
    files = [folder / name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise MissingPart(f"{folder} lacks {', '.join(missing[:5])} of ICT-FaceKit: {WHERE}")
    return files


def load_ict(path: str | Path, *, cache: Path | None = None) -> HeadModel:
    """Read the folder of ICT-FaceKit: V = 24591 of its 26719 vertices, S <= 100, E = 53.

    Reading 154 text files takes many seconds; the numbers are kept under the hash of the files and are read from there
    the next time.

    Args:
        path: the folder ``FaceXModel``, or the one that holds it.
        cache: folder for the numbers; None = ``$XDG_CACHE_HOME/dialogbuild/heads``.

    Raises:
        MissingPart: a file is not there; the message says where to get it.
        ConfigError: a file is damaged or of another mesh; the message says which and what was found.
    """
    folder = _folder(Path(path))
    files = ict_files(folder)
    expr_names, landmarks = _indices(folder)
    digest = _hash(files)
    kept = (_cache_folder() if cache is None else cache) / f"ict-{digest[:32]}-v{_CACHE_VERSION}.npz"
    meshes = _cached(kept)
    if meshes is None:
        meshes = _read(files, len(expr_names))
        _keep(kept, meshes)
    return _assemble(meshes, expr_names, landmarks, digest)


def _assemble(m: _Meshes, expr_names: tuple[str, ...], landmarks: NDArray[np.int64], digest: str) -> HeadModel:
    v = m.v.astype(np.float64)
    target68 = v[landmarks]
    opening = m.expr[..., expr_names.index("jawOpen")].astype(np.float64) if "jawOpen" in expr_names else None
    mp478 = parts.face_mesh(v, m.faces, m.polygon, target68, opening)
    masks = parts.region_masks(v, m.faces, mp478.points(v, m.faces), target68)
    lids = (expr_names.index(_LIDS[0]), expr_names.index(_LIDS[1])) if set(_LIDS) <= set(expr_names) else None
    return HeadModel(
        model_id=f"ict-facekit-{digest[:12]}",
        sha256=digest,
        licence=LICENCE,
        v_template=_metres(m.v),
        faces=m.faces,
        uv=m.uv,
        uv_faces=m.uv_faces,
        shape_dirs=_metres(m.shape),
        expr_dirs=_metres(m.expr),
        pose_dirs=None,
        j_regressor=parts.regressor(v, m.expr.astype(np.float64), target68),
        parents=PARENTS,
        weights=parts.skinning(v, target68),
        shape_names=tuple(f"identity_{k:03d}" for k in range(m.shape.shape[2])),
        expr_names=expr_names,
        lid_expr=lids,
        landmarks={"mp478": mp478, "ibug68": _at_vertices(landmarks, m.faces)},
        masks=masks,
    )


def _folder(path: Path) -> Path:
    found = find_ict(path)
    if found is None:
        raise MissingPart(f"no {NEUTRAL} in {path}: {WHERE}")
    return found


def _identities(folder: Path) -> list[str]:
    names = []
    for k in range(N_IDENTITY):
        if not (folder / f"identity{k:03d}.obj").is_file():
            break
        names.append(f"identity{k:03d}")
    if not names:
        raise MissingPart(f"no identity000.obj in {folder}: {WHERE}")
    return names


def _indices(folder: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the expressions and the 68 landmark vertices."""
    file = folder / INDICES
    if not file.is_file():
        raise MissingPart(f"no {INDICES} in {folder}: {WHERE}")
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise ConfigError(f"{file}: more than {_MAX_JSON_BYTES >> 20} MB")
    try:
        data = json.loads(file.read_bytes())
        names, ids = data["expressions"], data["idx_to_landmark_verts"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{file}: no table of expressions and landmarks: {error!r}") from error
    # the names become file names: nothing but letters, digits and _ can leave the folder
    fine = isinstance(names, list) and all(isinstance(n, str) and _NAME.fullmatch(n) for n in names)
    if not fine or not 0 < len(names) <= MAX_EXPRESSIONS or len(set(names)) != len(names):
        raise ConfigError(f"{file}: expressions are not 1 to {MAX_EXPRESSIONS} different names")
    whole = (
        isinstance(ids, list) and len(ids) == 68 and all(type(i) is int and 0 <= i < parts.KEPT_VERTICES for i in ids)
    )
    if not whole:
        raise ConfigError(f"{file}: idx_to_landmark_verts are not 68 vertices below {parts.KEPT_VERTICES}")
    return tuple(names), np.array(ids, np.int64)


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _read(files: list[Path], n_expr: int) -> _Meshes:
    neutral = read_obj(files[0])
    points, uv = neutral.points(), neutral.uv()
    if (len(points), len(neutral.f)) != (parts.N_VERTICES, parts.N_POLYGONS):
        raise ConfigError(
            f"{files[0]}: {len(points)} vertices and {len(neutral.f)} polygons; ICT-FaceKit light has "
            f"{parts.N_VERTICES} and {parts.N_POLYGONS}"
        )
    triangles = _kept(triangulate(neutral, len(points), len(uv)), files[0])
    moved = np.stack([_difference(file, neutral, points) for file in files[2:]], -1)
    n_shape = moved.shape[2] - n_expr
    expr = moved[..., n_shape:]
    # gaze is the eye joints'; an expression that moved the balls as well would count it twice
    for name in ("left_eye", "right_eye"):
        expr[parts.ids(name)] = 0
    return _Meshes(
        points[: parts.KEPT_VERTICES].astype(np.float32),
        np.ascontiguousarray(moved[..., :n_shape]),
        np.ascontiguousarray(expr),
        triangles.v,
        uv,
        triangles.vt,
        triangles.polygon,
    )


def _kept(triangles: Triangles, file: Path) -> Triangles:
    keep = triangles.polygon < parts.KEPT_POLYGONS
    if triangles.v[keep].max() >= parts.KEPT_VERTICES:
        raise ConfigError(f"{file}: polygons are not in the order of ICT-FaceKit light")
    return Triangles(triangles.v[keep], triangles.vt[keep], triangles.polygon[keep])


def _difference(file: Path, neutral: ObjFile, points: NDArray[np.float64]) -> FloatArray:
    other = read_obj(file)
    moved = other.points()
    if len(moved) != len(points) or not same_polygons(other, neutral):
        raise ConfigError(f"{file}: another mesh than {neutral.path.name}: its vertices or polygons are in other order")
    return np.asarray((moved - points)[: parts.KEPT_VERTICES], np.float32)


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "dialogbuild" / "heads"


def _cached(file: Path) -> _Meshes | None:
    try:
        # a stream of our own: numpy leaves the file open where it is damaged
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as stored:
            return _Meshes(**{name: stored[name] for name in _Meshes.__dataclass_fields__})
    except Exception:  # whatever is wrong with a cache, the files are read again
        return None


def _keep(file: Path, meshes: _Meshes) -> None:
    """Keep the numbers for the next time, if the folder can be written to."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".ict-", suffix=".npz", delete=False) as out:
            np.savez(out, **vars(meshes))
        Path(out.name).replace(file)
    except OSError:
        return


def _metres(values_cm: NDArray[Any]) -> FloatArray:
    return np.ascontiguousarray(values_cm * np.float32(0.01), np.float32)


def _at_vertices(vertices: NDArray[np.int64], faces: IntArray) -> Embedding:
    flat = faces.reshape(-1)
    order = np.argsort(flat, kind="stable")
    at = np.minimum(np.searchsorted(flat[order], vertices), len(flat) - 1)
    first = order[at]
    if (flat[first] != vertices).any():
        raise ConfigError(f"{INDICES}: a landmark is no corner of the mesh")
    corner = np.eye(3, dtype=np.float32)[first % 3]
    return Embedding((first // 3).astype(np.int32), corner, np.arange(len(vertices), dtype=np.int32))
