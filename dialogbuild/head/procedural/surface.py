"""Subdivision of the control net and the smooth surface through its points."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


def subdivide(triangles: Ids, n_vertices: int) -> tuple[Ids, int]:
    """Split every triangle into four; new vertices are numbered on, in sorted order of their edges."""
    corners = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges, index = np.unique(np.sort(corners, 1), axis=0, return_inverse=True)
    ab, bc, ca = (index.reshape(3, -1) + n_vertices).astype(np.int64)
    a, b, c = triangles.T
    quads = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.stack([np.stack(q, 1) for q in quads], 1).reshape(-1, 3), n_vertices + len(edges)


def _midpoints(triangles: Ids, n_vertices: int) -> dict[tuple[int, int], int]:
    """The vertex that ``subdivide`` puts on each edge (low id, high id)."""
    corners = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.sort(corners, 1), axis=0)
    return {(a, b): n_vertices + k for k, (a, b) in enumerate(edges.tolist())}


@dataclass(frozen=True, eq=False)
class Surface:
    """A dense mesh whose first vertices are the control points.

    ``rim`` maps each boundary vertex to its two neighbours along the boundary; the factor and the coupling are the
    blocks of the bending energy that ``through`` solves with.
    """

    triangles: Ids
    control_triangles: Ids
    n_control: int
    n_vertices: int
    rim: dict[int, list[int]]
    factor: spla.SuperLU
    coupling: sp.csc_matrix

    def through(self, values: Array) -> Array:
        """The surface of least bending through values at the control points. (C, ...) -> (V, ...)."""
        flat = np.asarray(values, np.float64).reshape(self.n_control, -1)
        rest = self.factor.solve(-(self.coupling @ flat))
        return np.asarray(np.concatenate([flat, rest]).reshape(self.n_vertices, *values.shape[1:]))

    def shell_vertices(self, n_face_controls: int) -> NDArray[np.bool_]:
        """(V,) whether a vertex lies outside the face: in no triangle whose corners are all face controls."""
        children = self.triangles.reshape(len(self.control_triangles), -1)  # they follow their parent
        in_shell = self.control_triangles.max(1) >= n_face_controls
        out = np.ones(self.n_vertices, bool)
        out[children[~in_shell].reshape(-1)] = False
        return out

    def dense_loop(self, control_loop: tuple[int, ...]) -> Ids:
        """All rim vertices between the given control points, in order and starting at the first."""
        out: list[int] = []
        for start, stop in zip(control_loop, control_loop[1:] + control_loop[:1], strict=True):
            out += self._rim_path(start, stop)[:-1]
        return np.array(out)

    def along(self, control_loop: tuple[int, ...]) -> Ids:
        """Vertices on the control net's own edges between neighbouring control points, a closed chain.

        Raises:
            ValueError: two consecutive control points share no edge of the control net.
        """
        middle = _midpoints(self.control_triangles, self.n_control)
        once = subdivide(self.control_triangles, self.n_control)
        quarter = _midpoints(*once)
        out: list[int] = []
        for a, b in zip(control_loop, control_loop[1:] + control_loop[:1], strict=True):
            half = middle.get((min(a, b), max(a, b)))
            if half is None:
                raise ValueError(f"{a} and {b} share no edge")
            out += [a, quarter[min(a, half), max(a, half)], half, quarter[min(b, half), max(b, half)]]
        return np.array(out)

    def _rim_path(self, start: int, stop: int) -> list[int]:
        for second in self.rim[start]:
            path = [start, second]
            while path[-1] >= self.n_control:
                path.append(next(v for v in self.rim[path[-1]] if v != path[-2]))
            if path[-1] == stop:
                return path
        raise ValueError(f"{start} and {stop} are not neighbours on a rim")


def build_surface(control_triangles: Ids, n_control: int, levels: int = 2) -> Surface:
    """Subdivide and prepare the bilaplacian solve (M. Botsch, O. Sorkine, "On linear variational surface deformation
    methods", 2008, with uniform weights). Along a rim the Laplacian runs along the rim only, so that rims are splines
    of their own control points."""
    triangles, n = control_triangles, n_control
    for _ in range(levels):
        triangles, n = subdivide(triangles, n)
    corners = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges, count = np.unique(np.sort(corners, 1), axis=0, return_counts=True)
    on_rim = np.zeros(n, bool)
    on_rim[edges[count == 1].ravel()] = True
    rim: dict[int, list[int]] = defaultdict(list)
    for a, b in edges[count == 1].tolist():
        rim[a].append(b)
        rim[b].append(a)
    both = np.concatenate([edges, edges[:, ::-1]])
    is_rim_edge = np.concatenate([count, count]) == 1
    both = both[~on_rim[both[:, 0]] | is_rim_edge]
    degree = np.bincount(both[:, 0], minlength=n)
    laplacian = sp.identity(n, format="csr") - sp.csr_matrix(
        (1.0 / degree[both[:, 0]], (both[:, 0], both[:, 1])), shape=(n, n)
    )
    bending = (laplacian.T @ laplacian).tocsc()
    factor = spla.splu(
        bending[n_control:, n_control:].tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
    )
    return Surface(
        triangles, control_triangles, n_control, n, dict(rim), factor, bending[n_control:, :n_control].tocsc()
    )
