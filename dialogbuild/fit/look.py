"""What one person looks like, as the tracker needs it: colour of every surface point, and how the detector sees them.

Made once per person from the keyframes of ``bundle``; kept with the identity, used for every clip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dialogbuild.fit.appearance import Look, PointAlbedo, fit_look, linear
from dialogbuild.fit.crops import Crops
from dialogbuild.fit.init import face_size_m
from dialogbuild.fit.photometric_kernel import sample_points
from dialogbuild.fit.regions import LEFT_IRIS, N_LANDMARKS, RIGHT_IRIS
from dialogbuild.fit.rig import TRANSL, Rig, pose_points, project_points
from dialogbuild.fit.surface import Surface
from dialogbuild.fit.visibility import Mesh, View, uncovered, view_points
from dialogbuild.render.shading import sh_basis

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]
_LIGHT_FRAMES = 8
_TEXTURE_NOISE = 0.05  # log albedo of one frame's sample: noise, coding, shading errors
_MIN_SHADE = 0.02


@dataclass(frozen=True, eq=False)
class PersonLook:
    """One person.

    Attributes:
        albedo: (N, 3) float32 linear, at the surface points, up to the light of the frames it came from.
        seen: (N,) how many keyframes showed each point.
        landmark_offset: (478, 2) float32, where the detector puts each landmark relative to the fitted head, image
            axes, as a fraction of the face size: a constant error of this detector on this face.
        theta_sigma: (P,) float32, how well a keyframe's parameters are known while shape, focal length and texture are
            not: the part of a clip's uncertainty that more frames do not lower. Empty = not known.
        focal_log_sigma: of the focal length that they were found with.
        colour_sigma: how far keyframes' pixels are from the look, display units: the noise of this video.
    """

    albedo: Array
    seen: Array
    landmark_offset: Array
    theta_sigma: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    focal_log_sigma: float = 0.0
    colour_sigma: float = 0.0


def look_of_person(
    surface: Surface, albedo: PointAlbedo, mesh: Mesh, rig: Rig, theta: Array, crops: Crops, camera: Camera3
) -> tuple[Array, float, Array]:
    """Albedo of all surface points from keyframes with known poses.

    Args:
        rig: the surface's, shape applied;  theta: (K, P).

    Returns:
        albedo (N, 3), the typical difference of the keyframes' colours to it in display units, and seen (N,): the
        summed weight with which each point was seen.
    """
    colours, view = sample_colours(surface, mesh, rig, theta, crops, camera)
    weight = view.weight * (colours[..., 0] >= 0)
    look = fit_look(albedo, colours, view.normals, np.where(surface.eye, 0.0, weight))
    shade = np.maximum(sh_basis(view.normals) @ look.light, _MIN_SHADE)
    log_ratio = np.log(linear(colours)) - np.log(shade * look.albedo)
    w = weight.astype(np.float64)
    deviation = np.zeros_like(look.albedo)
    prior = (_TEXTURE_NOISE / np.maximum(albedo.sigma, 0.02))[:, None] ** 2
    for _ in range(3):
        deviation = np.einsum("kn,knc->nc", w, log_ratio) / (prior + w.sum(axis=0)[:, None])
        s2 = ((log_ratio - deviation) ** 2).mean(axis=-1) / _TEXTURE_NOISE**2
        w = weight * 5.0 / (4.0 + s2)
    deviation[surface.eye] = 0.0  # an eye's texture is blurred by errors of gaze; the model's stays sharp
    found = Look(look.light, look.albedo * np.exp(deviation))
    error = np.abs(colours - found.display(view.normals))[(weight > 0) & ~surface.eye]
    return found.albedo, 1.4826 * float(np.median(error)) if len(error) else 0.0, weight.sum(axis=0)


def sample_colours(
    surface: Surface, mesh: Mesh, rig: Rig, theta: Array, crops: Crops, camera: Camera3
) -> tuple[Array, View]:
    """Display values (n, N, 3) of the points in windows, -1 outside, and what is visible."""
    cameras = crops.cameras(camera)
    view = view_points(mesh, surface, theta, cameras, crops.bounds, crops.side_px)
    view = uncovered(view, crops.cover, rig, theta, camera)
    posed = pose_points(rig, theta)
    sampled = np.empty((len(theta), surface.n_points, 3, 3), np.float32)
    for k, own in enumerate(cameras):
        t = slice(k, k + 1)
        pixels, _ = project_points(posed.points[t], theta[t, TRANSL], tuple(own))
        sample_points(crops.rgb[k], pixels[0].astype(np.float32), np.float32(1), sampled[k])
    return sampled[..., 0], view


def shot_light(
    surface: Surface, mesh: Mesh, rig: Rig, albedo: Array, theta: Array, crops: Crops, at: Array, camera: Camera3
) -> Look:
    """Light of one shot for a known albedo, from up to 8 frames spread over it; theta (n, P) is of windows at (n,)."""
    some = np.unique(np.linspace(0, len(theta) - 1, min(len(theta), _LIGHT_FRAMES)).round().astype(int))
    colours, view = sample_colours(surface, mesh, rig, theta[some], crops.part(at[some]), camera)
    weight = np.where(surface.eye, 0.0, view.weight * (colours[..., 0] >= 0))
    fixed = PointAlbedo(albedo, np.zeros((*albedo.shape, 0)), np.ones(len(albedo)))
    return fit_look(fixed, colours, view.normals, weight)


def landmark_offsets(rig: Rig, theta: Array, landmarks_px: Array, camera: Camera3) -> Array:
    """Mean detector error per landmark over keyframes, (478, 2) fractions of the face size, shrunk for few frames.

    Args:
        rig: landmarks, shape applied;  landmarks_px: (K, 478, 2).
    """
    pixels, _ = project_points(pose_points(rig, theta).points, theta[:, TRANSL], camera)
    size = camera[0] * face_size_m(rig) / theta[:, 5]
    error = (landmarks_px[:, rig.index] - pixels) / size[:, None, None]
    out = np.zeros((N_LANDMARKS, 2), np.float32)
    out[rig.index] = np.median(error, axis=0) * len(theta) / (len(theta) + 2)
    # Where the irises are is all that tells gaze: the fit agrees with them by turning the eyes, right or wrong.
    out[[*LEFT_IRIS, *RIGHT_IRIS]] = 0.0
    return out
