"""FLAME's texture space as an ``Albedo``.

``FLAME_texture.npz`` (https://flame.is.tue.mpg.de, its own licence, CC BY-NC-SA 4.0) holds, for textures of T x T
pixels (512 in the release), ``mean`` (T, T, 3), ``tex_dir`` (T, T, 3, 200), the texture coordinates ``vt`` and their
triangles ``ft`` in the order of the model's. Pixels are BGR, 0 to 255, display-encoded; a coefficient of 1 is one
standard deviation. ``tex_dir`` is hundreds of megabytes: it is read row by row and only at the vertices.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import ConfigError
from dialogbuild.head.albedo import Albedo
from dialogbuild.head.model import IntArray

TEXTURE_LICENCE = "albedo: FLAME texture space, CC-BY-NC-SA-4.0"
N_DIRS = 12
DISPLAY_GAMMA = 2.2
"""As of rendered images (``render.shading.GAMMA``): pixels store ``linear ** (1 / DISPLAY_GAMMA)``."""
_DARKEST = 0.002
"""Linear; about 15 of 255. The texture is black where it shows nothing, and there the first order says nothing."""

Float64 = NDArray[np.float64]


def load_texture(file: Path, faces: IntArray, n_vertices: int) -> Albedo:
    """The first 12 directions at the vertices, linear RGB to first order around the mean.

    The residual is what the remaining directions of the file add up to.

    Args:
        file: ``FLAME_texture.npz``.
        faces: (F, 3) triangles of the model, the same rows as the file's ``ft``.
        n_vertices: V of the model.

    Raises:
        ConfigError: the file is damaged, has other arrays or holds pickled objects; the message says what was found.
    """
    try:
        # a stream of our own: numpy leaves the file open where it is no archive
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as stored:
            missing = sorted({"mean", "tex_dir", "vt", "ft"} - set(stored.files))
            if missing:
                raise ConfigError(f"{file}: no FLAME texture: {', '.join(missing)} missing, found {sorted(stored)}")
            mean, vt, ft = (stored[name] for name in ("mean", "vt", "ft"))
        _check(file, mean, vt, ft, faces)
        ids, corner = np.unique(faces.ravel(), return_index=True)
        texels, weights = _bilinear(vt[ft.ravel()[corner]].astype(np.float64), len(mean))
        with zipfile.ZipFile(file) as archive, archive.open("tex_dir.npy") as stream:
            dirs = _read_texels(file, stream, texels, len(mean))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{file}: damaged or no FLAME texture: {type(error).__name__}: {error}") from error
    screen = np.einsum("nk,nkc->nc", weights, mean[texels[..., 0], texels[..., 1]])
    screen_dirs = np.einsum("nk,nkca->nca", weights, dirs)
    return _linear(n_vertices, ids, screen[:, ::-1] / 255, screen_dirs[:, ::-1] / 255)


def _linear(n_vertices: int, ids: NDArray[Any], screen: Float64, screen_dirs: Float64) -> Albedo:
    screen = np.clip(screen, 0, 1)
    mean = screen**DISPLAY_GAMMA
    dirs = (DISPLAY_GAMMA * screen ** (DISPLAY_GAMMA - 1))[..., None] * screen_dirs
    lit = mean.mean(1) > _DARKEST
    ids, mean, dirs = ids[lit], mean[lit], dirs[lit]
    left = np.sqrt((dirs[..., N_DIRS:] ** 2).sum(2).mean(1))
    return Albedo.at_vertices(n_vertices, ids, mean, dirs[..., :N_DIRS], left / mean.mean(1))


def _check(file: Path, mean: NDArray[Any], vt: NDArray[Any], ft: NDArray[Any], faces: IntArray) -> None:
    found = {"mean": mean, "vt": vt, "ft": ft}
    size = len(mean) if mean.ndim else 0
    expected = {"mean": (size, size, 3), "vt": (len(vt) if vt.ndim else 0, 2), "ft": faces.shape}
    for name, shape in expected.items():
        kinds = "iu" if name == "ft" else "fiu"
        if found[name].shape != shape or found[name].dtype.kind not in kinds:
            raise ConfigError(f"{file}: {name} is {found[name].dtype}{found[name].shape}, not numbers of shape {shape}")
        if not np.isfinite(found[name]).all():
            raise ConfigError(f"{file}: {name} has a value that is not finite")
    if size < 2:
        raise ConfigError(f"{file}: mean is {mean.shape}, too small for a texture")
    if ft.size and (ft.min() < 0 or ft.max() >= len(vt)):
        raise ConfigError(f"{file}: ft has an index outside 0..{len(vt) - 1}")


def _bilinear(uv: Float64, size: int) -> tuple[NDArray[np.int64], Float64]:
    """The four texels (N, 4, 2), row and column, around texture coordinates (N, 2) with v up, and their weights
    (N, 4); pixel centres are at i + 0.5."""
    at = np.clip(np.stack([1 - uv[:, 1], uv[:, 0]], 1) * size - 0.5, 0, size - 1)
    first = np.minimum(at.astype(np.int64), size - 2)
    offset = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    part = (at - first)[:, None]
    return first[:, None] + offset, np.where(offset, part, 1 - part).prod(2)


def _read_texels(file: Path, stream: IO[bytes], texels: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """Directions (N, 4, 3, K) at texels (N, 4, 2) of a stored array (size, size, 3, K), K >= ``N_DIRS``."""
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ConfigError(f"{file}: tex_dir is stored in numpy's format {version}, not 1.0 or 2.0")
    shape, fortran, dtype = readers[version](stream)  # type: ignore[no-untyped-call]
    if len(shape) != 4 or shape[:3] != (size, size, 3) or shape[3] < N_DIRS or fortran or dtype.kind not in "fiu":
        order = "Fortran" if fortran else "C"
        raise ConfigError(
            f"{file}: tex_dir is {dtype}{shape} in {order} order, not numbers of shape "
            f"({size}, {size}, 3, {N_DIRS} or more) in C order"
        )
    out = np.empty((*texels.shape[:2], 3, shape[3]), np.float32)
    for row in range(size):
        block = np.frombuffer(stream.read(size * 3 * shape[3] * dtype.itemsize), dtype).reshape(size, *shape[2:])
        here = texels[..., 0] == row
        out[here] = block[texels[here][:, 1]]
    if not np.isfinite(out).all():
        raise ConfigError(f"{file}: tex_dir has a value that is not finite")
    return out
