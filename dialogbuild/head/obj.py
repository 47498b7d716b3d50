"""Wavefront OBJ files of one topology: positions, texture coordinates and polygons, and nothing else.

What a file names besides (materials, groups) is not followed: no other file is ever opened because of its contents.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import ConfigError, MissingPart

MAX_BYTES = 32 * 2**20
"""Of one file; the largest of ICT-FaceKit has 2.7 MB."""
_IGNORED = (b"#", b"mtllib ", b"usemtl ", b"vn ", b"g ", b"o ", b"s ")


@dataclass(frozen=True, eq=False)
class ObjFile:
    """The lines of one file.

    Args:
        path: where it was read, for messages.
        v, vt, f: lines that define positions, texture coordinates and polygons, without the keyword, in file order.
    """

    path: Path
    v: list[bytes]
    vt: list[bytes]
    f: list[bytes]

    def points(self) -> NDArray[np.float64]:
        """Positions (V, 3) in the file's unit.

        Raises:
            ConfigError: a line is not three finite numbers.
        """
        return _numbers(self.path, "v", self.v, 3)

    def uv(self) -> NDArray[np.float32]:
        """Texture coordinates (U, 2).

        Raises:
            ConfigError: a line is not two finite numbers.
        """
        return _numbers(self.path, "vt", self.vt, 2).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Triangles:
    """Polygons cut into triangles.

    Args:
        v, vt: (F, 3) int32, rows of positions and of texture coordinates.
        polygon: (F,) int32, which polygon of the file each triangle is part of.
    """

    v: NDArray[np.int32]
    vt: NDArray[np.int32]
    polygon: NDArray[np.int32]


def read_obj(path: Path) -> ObjFile:
    """The lines of a file, sorted by keyword.

    Raises:
        MissingPart: there is no such file.
        ConfigError: it is too large, or has a line that is none of v, vt, vn, f, o, g, s, mtllib, usemtl or a comment.
    """
    if not path.is_file():
        raise MissingPart(f"no file at {path}")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConfigError(f"{path}: {size / 2**20:.0f} MB, more than {MAX_BYTES >> 20} MB: no mesh that is known here")
    lines: dict[bytes, list[bytes]] = {b"v": [], b"vt": [], b"f": []}
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        line = raw.strip()
        keyword, _, rest = line.partition(b" ")
        if keyword in lines:
            lines[keyword].append(rest)
        elif line and not line.startswith(_IGNORED):
            raise ConfigError(f"{path}:{number}: not a line of a mesh: {line[:40]!r}")
    return ObjFile(path, lines[b"v"], lines[b"vt"], lines[b"f"])


def triangulate(file: ObjFile, n_points: int, n_uv: int) -> Triangles:
    """Triangles and quads as triangles (a, b, c), (a, c, d), in the order of the file.

    Raises:
        ConfigError: a polygon has another number of corners, a corner is not ``v/vt``, or an index is out of range.
    """
    corners = [line.count(b"/") for line in file.f]
    wrong = next((k for k, n in enumerate(corners) if n not in (3, 4)), None)
    if wrong is not None:
        raise ConfigError(f"{file.path}: polygon {wrong} is {file.f[wrong][:40]!r}, not 3 or 4 corners v/vt")
    is_quad = np.array(corners) == 4
    out = np.zeros((len(file.f), 4, 2), np.int64)
    for n, rows in ((3, np.flatnonzero(~is_quad)), (4, np.flatnonzero(is_quad))):
        lines = [file.f[k].replace(b"/", b" ") for k in rows]
        out[rows, :n] = _numbers(file.path, "f", lines, 2 * n, np.int64).reshape(-1, n, 2)
    out -= 1
    used = out[np.arange(4) < np.where(is_quad, 4, 3)[:, None]]
    if used.size and (used.min() < 0 or (used.max(0) >= (n_points, n_uv)).any()):
        raise ConfigError(f"{file.path}: a polygon names a corner outside 1..{n_points} or 1..{n_uv}")
    first = np.arange(len(out), dtype=np.int32)
    polygon = np.concatenate([first, first[is_quad]])
    cut = np.concatenate([out[:, (0, 1, 2)], out[is_quad][:, (0, 2, 3)]])
    order = np.argsort(polygon, kind="stable")
    triangles = cut[order].astype(np.int32)
    return Triangles(np.ascontiguousarray(triangles[..., 0]), np.ascontiguousarray(triangles[..., 1]), polygon[order])


def same_polygons(file: ObjFile, first: ObjFile) -> bool:
    """Whether the polygons of two files join the same vertices in the same order; texture coordinates may differ."""
    if file.f == first.f:
        return True
    return len(file.f) == len(first.f) and all(
        _vertices(a) == _vertices(b) for a, b in zip(file.f, first.f, strict=True)
    )


def _vertices(line: bytes) -> list[bytes]:
    return [corner.partition(b"/")[0] for corner in line.split()]


def _numbers(path: Path, keyword: str, lines: list[bytes], width: int, dtype: type = np.float64) -> NDArray[Any]:
    if not lines:
        return np.zeros((0, width), dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            out: NDArray[Any] = np.loadtxt([line.decode("ascii") for line in lines], dtype, comments=None, ndmin=2)
    except (ValueError, UnicodeDecodeError, OverflowError, Warning) as error:
        raise ConfigError(f"{path}: a line {keyword!r} is not {width} numbers: {error}") from error
    if out.shape != (len(lines), width) or not np.isfinite(out).all():
        raise ConfigError(f"{path}: lines {keyword!r} are not {width} finite numbers each")
    return out
