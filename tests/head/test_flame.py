"""The FLAME loader on a made-up file with the official keys, shapes and dtypes, and on hostile files."""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.head import load_head
from dialogbuild.head.flame import N_EXPR, N_FACES, N_SHAPE, N_VERTICES, flame_files, load_flame
from dialogbuild.head.pose import neutral_pose, pose_head
from dialogbuild.head.safe_pickle import Skipped, load_object_npy, load_pickle

# Bytes of a sparse matrix and a chumpy array as 2017's Python 2 wrote them: the module names are the old ones.


@pytest.fixture(scope="module")
def chumpy() -> Iterator[type]:
    """A pretended chumpy, so that a pickle can name it."""

    class Ch:
        def __init__(self, x: Any) -> None:
            self.x = x

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    package, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
    module.Ch = Ch  # type: ignore[attr-defined]
    sys.modules.update({"chumpy": package, "chumpy.ch": module})
    yield Ch
    del sys.modules["chumpy"], sys.modules["chumpy.ch"]


def _arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    weights = rng.random((N_VERTICES, 5))
    regressor = sp.random(5, N_VERTICES, density=0.01, format="csc", random_state=1)
    regressor = sp.csc_matrix(regressor / regressor.sum(1))
    return {
        "v_template": rng.normal(size=(N_VERTICES, 3)) * 0.1,
        "f": rng.integers(0, N_VERTICES, (N_FACES, 3)).astype(np.uint32),
        "shapedirs": rng.normal(size=(N_VERTICES, 3, N_SHAPE + N_EXPR)).astype(np.float32).astype(np.float64) * 1e-3,
        "posedirs": rng.normal(size=(N_VERTICES, 3, 36)) * 1e-3,
        "J_regressor": regressor,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.int64),
        "weights": weights / weights.sum(1, keepdims=True),
        "J": rng.normal(size=(5, 3)),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


@pytest.fixture(scope="module")
def flame_folder(tmp_path_factory: pytest.TempPathFactory, chumpy: type) -> Path:
    folder = tmp_path_factory.mktemp("flame")
    arrays = _arrays()
    arrays["shapedirs"] = chumpy(arrays["shapedirs"])
    (folder / "generic_model.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    rng = np.random.default_rng(3)
    np.savez(
        folder / "mediapipe_landmark_embedding.npz",
        lmk_face_idx=rng.integers(0, N_FACES, 105).astype(np.uint32),
        lmk_b_coords=rng.dirichlet([1, 1, 1], 105),
        landmark_indices=np.sort(rng.permutation(468)[:105]),
    )
    embedding = {
        "full_lmk_faces_idx": rng.integers(0, N_FACES, (1, 68)),
        "full_lmk_bary_coords": rng.dirichlet([1, 1, 1], (1, 68)),
        "dynamic_lmk_faces_idx": _torch_tensor(rng.integers(0, N_FACES, (79, 17))),
    }
    np.save(folder / "landmark_embedding.npy", np.array(embedding, dtype=object), allow_pickle=True)
    masks = {
        "lips": np.arange(10, 20),
        "face": np.arange(0, 50),
        "left_eyeball": np.arange(40, 45),
        "unknown": np.arange(3),
    }
    (folder / "FLAME_masks.pkl").write_bytes(pickle.dumps(masks, protocol=2))
    return folder


def _torch_tensor(values: np.ndarray) -> Any:
    import torch

    return torch.tensor(values)


def test_a_file_with_official_keys_becomes_a_head(flame_folder: Path) -> None:
    head = load_head(flame_folder)
    assert (head.n_vertices, len(head.faces), head.n_shape, head.n_expr) == (5023, 9976, 300, 100)
    expected = _arrays()
    np.testing.assert_allclose(head.shape_dirs, expected["shapedirs"][:, :, :300], rtol=1e-6)
    np.testing.assert_allclose(head.expr_dirs, expected["shapedirs"][:, :, 300:], rtol=1e-6)
    np.testing.assert_allclose(head.j_regressor, expected["J_regressor"].toarray(), atol=1e-6)
    assert head.pose_dirs is not None
    assert head.pose_dirs.shape == (5023, 3, 36)
    assert head.lid_expr is None
    assert pose_head(head, neutral_pose(head)).shape == (1, 5023, 3)


def test_the_id_depends_on_the_contents_and_not_on_the_place(flame_folder: Path, tmp_path: Path) -> None:
    data = (flame_folder / "generic_model.pkl").read_bytes()
    (tmp_path / "generic_model.pkl").write_bytes(data)
    other = pickle.loads(data) | {"bs_style": "LBS"}
    (tmp_path / "flame2023_Open.pkl").write_bytes(pickle.dumps(other, protocol=2))
    same = load_flame(tmp_path / "generic_model.pkl")
    assert same.model_id == load_flame(flame_folder).model_id
    changed = load_flame(tmp_path / "flame2023_Open.pkl")
    assert changed.sha256 != same.sha256
    assert changed.model_id.startswith("flame2023-open-")
    assert "CC-BY-4.0" in changed.licence
    assert "non-commercial" in same.licence


def test_embeddings_and_masks_beside_the_model_are_read(flame_folder: Path) -> None:
    head = load_flame(flame_folder, n_shape=10, n_expr=5)
    assert (head.n_shape, head.n_expr) == (10, 5)
    assert len(head.landmarks["mp478"]) == 105
    assert len(head.landmarks["ibug68"]) == 68
    assert head.landmarks["ibug68"].points(head.v_template, head.faces).shape == (68, 3)
    np.testing.assert_array_equal(head.masks["lips"], np.arange(10, 20))
    assert set(head.masks["skin"]) == set(range(50)) - set(range(10, 20)) - set(range(40, 45))


def test_torch_tensors_in_an_embedding_are_skipped_without_torch_code(flame_folder: Path) -> None:
    data = load_object_npy(flame_folder / "landmark_embedding.npy")
    assert isinstance(data["dynamic_lmk_faces_idx"], Skipped)


def test_a_texture_beside_the_model_gives_an_albedo_another_hash_and_a_licence(
    flame_folder: Path, tmp_path: Path
) -> None:
    plain = load_flame(flame_folder, n_shape=10, n_expr=5)
    assert plain.albedo is None
    rng = np.random.default_rng(4)
    texture = {
        "mean": rng.uniform(60, 220, (8, 8, 3)), "tex_dir": rng.normal(0, 5, (8, 8, 3, 13)),
        "vt": rng.uniform(0, 1, (N_VERTICES, 2)), "ft": plain.faces,
    }  # fmt: skip
    np.savez(tmp_path / "FLAME_texture.npz", **texture)
    given = load_flame(flame_folder, n_shape=10, n_expr=5, texture=tmp_path / "FLAME_texture.npz")
    assert given.albedo is not None
    np.testing.assert_array_equal(np.flatnonzero(given.albedo.known), np.unique(plain.faces))
    assert given.sha256 != plain.sha256
    assert given.model_id == plain.model_id, "shape and pose mean the same"
    assert "CC-BY-NC-SA-4.0" in given.licence
    assert "CC-BY-NC-SA-4.0" not in plain.licence
    (tmp_path / "generic_model.pkl").write_bytes((flame_folder / "generic_model.pkl").read_bytes())
    assert load_flame(tmp_path, n_shape=10, n_expr=5).sha256 == given.sha256
    assert flame_files(tmp_path) == [tmp_path / "generic_model.pkl", tmp_path / "FLAME_texture.npz"]
    with pytest.raises(MissingPart, match=r"FLAME_texture\.npz"):
        load_flame(flame_folder, texture=tmp_path / "elsewhere.npz")


class _Run:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_a_command_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "ran"
    payload = {"v_template": _Run(os.system, f"touch {proof}")}
    (tmp_path / "flame2020.pkl").write_bytes(pickle.dumps(payload, protocol=protocol))
    with pytest.raises(ConfigError, match="system is not allowed"):
        load_flame(tmp_path / "flame2020.pkl")
    assert not proof.exists()


@pytest.mark.parametrize("function", [eval, exec, __import__, getattr, open])
def test_builtins_are_refused(tmp_path: Path, function: Any) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(_Run(function, "1"), protocol=2))
    with pytest.raises(ConfigError, match="not allowed"):
        load_pickle(tmp_path / "x.pkl")


def test_numpy_functions_outside_the_whitelist_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"cnumpy\nfromfile\n(S'/etc/passwd'\ntR.")
    with pytest.raises(ConfigError, match=r"numpy\.fromfile is not allowed"):
        load_pickle(tmp_path / "x.pkl")


def test_a_hostile_object_array_is_refused(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    np.save(tmp_path / "e.npy", np.array(_Run(os.system, f"touch {proof}"), dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match="not allowed"):
        load_object_npy(tmp_path / "e.npy")
    assert not proof.exists()


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_truncated_file_is_an_error_with_its_name(flame_folder: Path, tmp_path: Path, cut: int) -> None:
    data = (flame_folder / "generic_model.pkl").read_bytes()
    (tmp_path / "half.pkl").write_bytes(data[:cut])
    with pytest.raises(ConfigError, match=r"half\.pkl"):
        load_flame(tmp_path / "half.pkl")


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match=r"flame\.is\.tue\.mpg\.de"):
        load_head(tmp_path / "nothing.pkl")
    with pytest.raises(MissingPart, match=r"flame2023_Open\.pkl"):
        load_head(tmp_path)


def test_another_models_file_says_what_was_found(tmp_path: Path, chumpy: type) -> None:
    arrays = _arrays()
    (tmp_path / "smplx.pkl").write_bytes(pickle.dumps(arrays | {"weights": np.zeros((10475, 55))}, protocol=2))
    with pytest.raises(ConfigError, match=r"weights is \(10475, 55\)"):
        load_flame(tmp_path / "smplx.pkl")
    del arrays["posedirs"]
    (tmp_path / "less.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    with pytest.raises(ConfigError, match="posedirs missing"):
        load_flame(tmp_path / "less.pkl")
