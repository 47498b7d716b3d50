"""The statistical albedo of a head model: what colour a vertex has on people, before any light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import ConfigError

FloatArray = NDArray[np.float32]

_UNKNOWN_MEAN, _UNKNOWN_RESIDUAL = 0.5, 1.0


@dataclass(frozen=True, eq=False, repr=False)
class Albedo:
    """Diffuse reflectance per vertex over people, linear RGB (not display-encoded).

    A person's albedo is ``mean + dirs @ coefficients``, the coefficients uncorrelated with mean 0 and deviation 1.
    The model is linear: far from the mean it can leave [0, 1].

    Args:
        mean: (V, 3) float32, not negative.
        dirs: (V, 3, A) float32, change per one standard deviation of a coefficient.
        residual: (V,) float32, relative standard deviation of what the A directions leave (freckles, single hairs):
            its root mean square over people and channels, divided by ``mean`` averaged over channels.
        known: (V,) bool, vertices where it is defined; the others hold mean 0.5, directions 0 and residual 1.

    Raises:
        ConfigError: a shape or dtype is wrong, or a value is negative or not finite; the message names the array.
    """

    mean: FloatArray
    dirs: FloatArray
    residual: FloatArray
    known: NDArray[np.bool_]

    def __post_init__(self) -> None:
        v = len(self.mean)
        a = self.dirs.shape[-1] if self.dirs.ndim == 3 else 0
        expected: dict[str, tuple[tuple[int, ...], type]] = {
            "mean": ((v, 3), np.float32),
            "dirs": ((v, 3, a), np.float32),
            "residual": ((v,), np.float32),
            "known": ((v,), np.bool_),
        }
        for name, (shape, dtype) in expected.items():
            array: NDArray[Any] = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ConfigError(f"albedo: {name} is {array.dtype}{array.shape}, not {np.dtype(dtype)}{shape}")
            if not np.isfinite(array).all():
                raise ConfigError(f"albedo: {name} has a value that is not finite")
        for name in ("mean", "residual"):
            if getattr(self, name).min(initial=0) < 0:
                raise ConfigError(f"albedo: {name} has a negative value")
        for name in expected:
            getattr(self, name).flags.writeable = False

    def __repr__(self) -> str:
        return f"Albedo(V={len(self.mean)}, A={self.n_dirs}, known={int(self.known.sum())})"

    @classmethod
    def at_vertices(
        cls, n_vertices: int, ids: NDArray[Any], mean: NDArray[Any], dirs: NDArray[Any], residual: NDArray[Any]
    ) -> Albedo:
        """An albedo known at some vertices only.

        Args:
            n_vertices: V of the head.
            ids: (K,) integers, the known vertices, each once.
            mean, dirs, residual: (K, 3), (K, 3, A) and (K,), any float type.

        Raises:
            ConfigError: an id is not a vertex or repeats, or a length is wrong.
        """
        if ids.size and (ids.min() < 0 or ids.max() >= n_vertices or len(np.unique(ids)) != len(ids)):
            raise ConfigError(f"albedo: the {len(ids)} known vertices must be distinct and within 0..{n_vertices - 1}")
        if dirs.ndim != 3 or mean.shape != (len(ids), 3) or not len(ids) == len(dirs) == len(residual):
            raise ConfigError(f"albedo: {len(ids)} vertices with arrays {mean.shape}, {dirs.shape}, {residual.shape}")
        known = np.zeros(n_vertices, bool)
        known[ids] = True
        whole_mean = np.full((n_vertices, 3), _UNKNOWN_MEAN, np.float32)
        whole_dirs = np.zeros((n_vertices, 3, dirs.shape[2]), np.float32)
        whole_residual = np.full(n_vertices, _UNKNOWN_RESIDUAL, np.float32)
        whole_mean[ids], whole_dirs[ids], whole_residual[ids] = mean, dirs, residual
        return cls(whole_mean, whole_dirs, whole_residual, known)

    @property
    def n_dirs(self) -> int:
        """A."""
        return self.dirs.shape[2]
