"""How a face looks under its light: spherical-harmonic shading of an albedo per surface point.

A pixel's display value is (albedo * shade) ** (1 / gamma), shade = SH basis of the normal times nine coefficients per
channel (Ramamoorthi and Hanrahan, SIGGRAPH 2001), albedo = mean + directions * coefficients of the head model. Light
and coefficients follow by alternating linear least squares. Where the model has no albedo, light alone is fitted to a
grey face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.fit.surface import Surface
from dialogbuild.head.model import HeadModel
from dialogbuild.render.shading import GAMMA, sh_basis

Array = np.ndarray[Any, np.dtype[Any]]
_MIN_ALBEDO, _MIN_SHADE, _MIN_DISPLAY = 0.005, 0.02, 0.02
_GREY = 0.35  # linear reflectance of skin, where the model says nothing
_TEXTURE_SIGMA = 0.2  # relative, likewise


@dataclass(frozen=True, eq=False)
class PointAlbedo:
    """The head model's statistics at the N surface points: mean (N, 3), dirs (N, 3, A) linear, sigma (N,) relative."""

    mean: Array
    dirs: Array
    sigma: Array


@dataclass(frozen=True, eq=False)
class Look:
    """One person in one light.

    Attributes:
        light: (9, 3) SH coefficients.
        albedo: (N, 3) linear, positive.
    """

    light: Array
    albedo: Array

    def display(self, normals: Array) -> Array:
        """Display values (..., N, 3) float32 of the points with camera-axes normals (..., N, 3)."""
        shade = np.maximum(sh_basis(normals.astype(np.float32)) @ self.light.astype(np.float32), _MIN_SHADE)
        return np.asarray((shade * self.albedo.astype(np.float32)) ** (1 / GAMMA), np.float32)


def point_albedo(model: HeadModel, surface: Surface) -> PointAlbedo:
    """Interpolate the model's albedo to the surface points; grey without directions where it has none."""
    n = surface.n_points
    if model.albedo is None:
        return PointAlbedo(np.full((n, 3), _GREY), np.zeros((n, 3, 0)), np.full(n, _TEXTURE_SIGMA))
    corners = np.asarray(model.faces)[surface.embedding.face_idx]
    bary = surface.bary.astype(np.float64)
    mean, dirs, sigma = (
        np.einsum("nc,nc...->n...", bary, np.asarray(a, np.float64)[corners])
        for a in (model.albedo.mean, model.albedo.dirs, model.albedo.residual)
    )
    known = model.albedo.known[corners].all(axis=1)
    sigma = np.where(known, sigma, 5 * _TEXTURE_SIGMA)
    return PointAlbedo(np.maximum(mean, _MIN_ALBEDO), dirs, sigma)


def linear(display: Array) -> Array:
    """Display values in [0, 1] as linear light."""
    return np.asarray(np.clip(display, _MIN_DISPLAY / 10, 1.0) ** GAMMA)


def fit_look(albedo: PointAlbedo, display: Array, normals: Array, weight: Array, rounds: int = 6) -> Look:
    """Light and albedo coefficients from some frames of one person in one light.

    Args:
        display: (n, N, 3) sampled display values;  normals: (n, N, 3) camera axes;  weight: (n, N) >= 0.
    """
    target, basis = linear(display).astype(np.float64), sh_basis(normals.astype(np.float64))
    coefficients = np.zeros(albedo.dirs.shape[2])
    robust = weight.astype(np.float64)
    light, value = np.zeros((9, 3)), albedo.mean
    for _ in range(rounds):
        value = np.maximum(albedo.mean + albedo.dirs @ coefficients, _MIN_ALBEDO)
        light = _solve_light(basis, value, target, robust)
        shade = np.maximum(basis @ light, _MIN_SHADE)
        if albedo.dirs.shape[2]:
            coefficients = _solve_albedo(albedo, shade, target, robust)
            value = np.maximum(albedo.mean + albedo.dirs @ coefficients, _MIN_ALBEDO)
        error2 = ((shade * value - target) ** 2).sum(axis=-1)
        scale = np.median(error2[weight > 0]) if (weight > 0).any() else 1.0
        robust = weight / (1 + error2 / (4 * scale + 1e-9))
    return Look(light, value)


def _solve_light(basis: Array, value: Array, target: Array, weight: Array) -> Array:
    light = np.empty((9, 3))
    ridge = 1e-7 * weight.sum() * np.eye(9) + 1e-12 * np.eye(9)
    for c in range(3):
        rows = (basis * value[None, :, c, None]).reshape(-1, 9)
        w = weight.reshape(-1, 1)
        light[:, c] = np.linalg.solve(rows.T @ (w * rows) + ridge, rows.T @ (w[:, 0] * target[..., c].reshape(-1)))
    return light


def _solve_albedo(albedo: PointAlbedo, shade: Array, target: Array, weight: Array) -> Array:
    """Coefficients by ridge regression. Pixels of a face err together: a 50th of them counts, each to 0.05."""
    information = 1 / (50 * 0.05**2)
    n_dirs = albedo.dirs.shape[2]
    H, g = np.eye(n_dirs), np.zeros(n_dirs)
    for c in range(3):
        rows2 = np.einsum("tn,tn->n", weight, shade[..., c] ** 2)
        right = np.einsum("tn,tn->n", weight, shade[..., c] * (target[..., c] - shade[..., c] * albedo.mean[:, c]))
        dirs = albedo.dirs[:, c]
        H += information * dirs.T @ (rows2[:, None] * dirs)
        g += information * dirs.T @ right
    return np.asarray(np.linalg.solve(H, g))
