"""FLAME: the official model files as a ``HeadModel``.

FLAME (T. Li et al. 2017) must be downloaded from https://flame.is.tue.mpg.de after registration and is never shipped
here. Read are ``generic_model.pkl`` of 2017/2019 and 2020, ``flame2023.pkl``, ``flame2023_no_jaw.pkl`` and
``flame2023_Open.pkl`` (the one with an open licence, CC BY 4.0). Beside the model, if present:
``mediapipe_landmark_embedding.npz``, ``landmark_embedding.npy``, ``FLAME_masks.pkl`` and ``FLAME_texture.npz``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.artifact import file_sha256
from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.head.flame_texture import TEXTURE_LICENCE, load_texture
from dialogbuild.head.model import PARENTS, Embedding, FloatArray, HeadModel, IntArray
from dialogbuild.head.safe_pickle import load_object_npy, load_pickle, plain

WHERE = "register at https://flame.is.tue.mpg.de, download FLAME 2023 Open, and give the path of its .pkl"
N_VERTICES, N_FACES, N_SHAPE, N_EXPR = 5023, 9976, 300, 100
_MEDIAPIPE, _LANDMARKS, _MASK_FILE = "mediapipe_landmark_embedding.npz", "landmark_embedding.npy", "FLAME_masks.pkl"
_TEXTURE = "FLAME_texture.npz"
_FILES = ("flame2023_Open.pkl", "flame2023.pkl", "flame2023_no_jaw.pkl", "generic_model.pkl")

_EXPECTED: dict[str, tuple[int, ...]] = {
    "v_template": (N_VERTICES, 3),
    "f": (N_FACES, 3),
    "shapedirs": (N_VERTICES, 3, N_SHAPE + N_EXPR),
    "posedirs": (N_VERTICES, 3, 36),
    "J_regressor": (5, N_VERTICES),
    "weights": (N_VERTICES, 5),
    "kintree_table": (2, 5),
}

# FLAME_masks.pkl -> our names; the others are derived or absent
_MASKS = {
    "lips": "lips", "left_eyeball": "left_eye", "right_eyeball": "right_eye", "face": "face", "scalp": "scalp",
    "neck": "neck", "nose": "nose", "boundary": "torso", "left_eye_region": "left_lid", "right_eye_region": "right_lid",
    "forehead": "brows",
}  # fmt: skip


def load_flame(
    path: str | Path,
    *,
    mediapipe_embedding: Path | None = None,
    landmark_embedding: Path | None = None,
    masks: Path | None = None,
    texture: Path | None = None,
    n_shape: int = N_SHAPE,
    n_expr: int = N_EXPR,
) -> HeadModel:
    """Read a FLAME release.

    Args:
        path: the model's pickle, or the folder it lies in.
        mediapipe_embedding, landmark_embedding, masks, texture: other places of the four files; by default they are
            looked for beside the model and left out where absent.
        n_shape, n_expr: how many leading components to keep.

    Raises:
        MissingPart: a named file does not exist; the message says where to get it.
        ConfigError: the file is unsafe, damaged or of another model; the message says what was found.
    """
    file = _model_file(Path(path))
    data = load_pickle(file)
    arrays = _checked(data, file)
    if not (0 < n_shape <= N_SHAPE and 0 < n_expr <= N_EXPR):
        raise ConfigError(f"FLAME has {N_SHAPE} shape and {N_EXPR} expression components, not {n_shape} and {n_expr}")
    digest = file_sha256(file)
    colours = _beside(file.parent, texture, _TEXTURE)
    faces = arrays["f"].astype(np.int32)
    dirs = arrays["shapedirs"]
    regressor = _dense(data["J_regressor"]).astype(np.float64)
    return HeadModel(
        model_id=f"{_release(file)}-{digest[:12]}",
        # coefficients of shape and pose do not depend on the texture, results may
        sha256=digest if colours is None else hashlib.sha256(f"{digest}{file_sha256(colours)}".encode()).hexdigest(),
        licence=_licence(file) if colours is None else f"{_licence(file)}; {TEXTURE_LICENCE}",
        v_template=_float(arrays["v_template"]),
        faces=faces,
        # the model file has no texture coordinates
        uv=np.zeros((1, 2), np.float32),
        uv_faces=np.zeros_like(faces),
        shape_dirs=_float(dirs[:, :, :n_shape]),
        expr_dirs=_float(dirs[:, :, N_SHAPE : N_SHAPE + n_expr]),
        pose_dirs=_float(arrays["posedirs"]),
        j_regressor=_float(regressor / regressor.sum(1, keepdims=True)),
        parents=PARENTS,
        weights=_float(arrays["weights"] / arrays["weights"].sum(1, keepdims=True)),
        shape_names=tuple(f"shape_{k:03d}" for k in range(n_shape)),
        expr_names=tuple(f"expr_{k:03d}" for k in range(n_expr)),
        lid_expr=None,
        landmarks=_landmarks(file.parent, mediapipe_embedding, landmark_embedding),
        masks=_masks(_beside(file.parent, masks, _MASK_FILE)),
        albedo=None if colours is None else load_texture(colours, faces, N_VERTICES),
    )


def flame_files(path: Path) -> list[Path]:
    """The files that ``load_flame(path)`` reads.

    Raises:
        MissingPart: there is no model; the message says where to get it.
    """
    file = _model_file(path)
    beside = (_MEDIAPIPE, _LANDMARKS, _MASK_FILE, _TEXTURE)
    return [file, *(file.parent / name for name in beside if (file.parent / name).is_file())]


def _model_file(path: Path) -> Path:
    if path.is_dir():
        for name in _FILES:
            if (path / name).is_file():
                return path / name
        raise MissingPart(f"{path} holds none of {', '.join(_FILES)}: {WHERE}")
    if not path.is_file():
        raise MissingPart(f"no head model at {path}: {WHERE}; or use the built-in procedural-v1")
    return path


def _release(file: Path) -> str:
    stem = file.stem.lower()
    return stem.replace("_", "-") if stem.startswith("flame") else "flame-generic"


def _licence(file: Path) -> str:
    if "open" in file.stem.lower():
        return "CC-BY-4.0 (FLAME 2023 Open)"
    return "FLAME model licence, non-commercial unless its own text says otherwise; see https://flame.is.tue.mpg.de"


def _dense(value: Any) -> NDArray[Any]:
    return np.asarray(plain(value))


def _float(values: NDArray[Any]) -> FloatArray:
    return np.ascontiguousarray(values, np.float32)


def _checked(data: Any, file: Path) -> dict[str, NDArray[Any]]:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{file}: holds a {type(data).__name__}, not FLAME's dictionary")
    missing = sorted(set(_EXPECTED) - set(data))
    if missing:
        raise ConfigError(f"{file}: no FLAME model: {', '.join(missing)} missing, found {', '.join(map(str, data))}")
    arrays = {name: _dense(data[name]) for name in _EXPECTED}
    for name, shape in _EXPECTED.items():
        if arrays[name].shape != shape:
            raise ConfigError(
                f"{file}: {name} is {arrays[name].shape}, FLAME 2017-2023 has {shape}; "
                "SMPL-X and FLAME of 2016 are other models"
            )
    parents = arrays["kintree_table"][0].astype(np.int64)
    # the root's parent is written as the largest unsigned number
    found = (-1, *(int(p) for p in parents[1:]))
    if found != PARENTS:
        raise ConfigError(f"{file}: joints have parents {found}, not {PARENTS}")
    return arrays


def _beside(folder: Path, given: Path | None, name: str) -> Path | None:
    if given is not None:
        if not given.is_file():
            raise MissingPart(f"no {name} at {given}: it comes with FLAME's downloads; {WHERE}")
        return given
    candidate = folder / name
    return candidate if candidate.is_file() else None


def _landmarks(folder: Path, mediapipe: Path | None, ibug: Path | None) -> dict[str, Embedding]:
    out = {}
    file = _beside(folder, mediapipe, _MEDIAPIPE)
    if file is not None:
        out["mp478"] = _read_mediapipe(file)
    file = _beside(folder, ibug, _LANDMARKS)
    if file is not None:
        out["ibug68"] = _read_ibug(file)
    return out


def _read_mediapipe(file: Path) -> Embedding:
    """105 of the face mesh's landmarks, without irises and outline."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            triangle, bary, index = (stored[k] for k in ("lmk_face_idx", "lmk_b_coords", "landmark_indices"))
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"{file}: no mediapipe embedding: {error}") from error
    return _embedding(file, triangle, bary, index)


def _read_ibug(file: Path) -> Embedding:
    """The static 68 points (``full_lmk_*``), or the 51 inner ones where only those are there."""
    data = load_object_npy(file)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{file}: holds a {type(data).__name__}, not a dictionary of embeddings")
    if "full_lmk_faces_idx" in data:
        triangle, bary = (_numbers(file, data[f"full_lmk_{k}"]) for k in ("faces_idx", "bary_coords"))
        return _embedding(file, triangle.reshape(-1), bary.reshape(-1, 3), np.arange(68))
    if "static_lmk_faces_idx" in data:
        triangle, bary = (_numbers(file, data[f"static_lmk_{k}"]) for k in ("faces_idx", "bary_coords"))
        return _embedding(file, triangle.reshape(-1), bary.reshape(-1, 3), np.arange(17, 68))
    raise ConfigError(f"{file}: neither full_lmk_faces_idx nor static_lmk_faces_idx, found {', '.join(map(str, data))}")


def _numbers(file: Path, value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise ConfigError(f"{file}: a static embedding is stored as {type(value).__name__}, not as a numpy array")
    return array


def _embedding(file: Path, triangle: NDArray[Any], bary: NDArray[Any], index: NDArray[Any]) -> Embedding:
    if not (len(triangle) == len(index) and bary.shape == (len(index), 3)):
        raise ConfigError(f"{file}: {len(triangle)} triangles, {bary.shape} weights, {len(index)} landmarks")
    return Embedding(triangle.astype(np.int32), bary.astype(np.float32), index.astype(np.int32))


def _masks(file: Path | None) -> dict[str, IntArray]:
    if file is None:
        return {}
    data = load_pickle(file)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{file}: holds a {type(data).__name__}, not a dictionary of masks")
    out = {
        ours: np.unique(np.asarray(data[theirs])).astype(np.int32) for theirs, ours in _MASKS.items() if theirs in data
    }
    if "face" in out:
        not_skin = [out[name] for name in ("lips", "left_eye", "right_eye") if name in out]
        out["skin"] = np.setdiff1d(out["face"], np.concatenate(not_skin)) if not_skin else out["face"]
    if "left_ear" in data and "right_ear" in data:
        out["ears"] = np.unique(np.concatenate([data["left_ear"], data["right_ear"]])).astype(np.int32)
    return out
