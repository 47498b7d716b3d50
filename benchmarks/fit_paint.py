"""A person's mesh, painted and shaded for comparison with pixels instead of points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fit_frames import Frames
from fit_torch import PixelScene
from scipy.spatial import cKDTree

from dialogbuild.fit.appearance import Look, PointAlbedo
from dialogbuild.fit.look import look_of_person, shot_light
from dialogbuild.fit.visibility import Mesh, posed_mesh_cam
from dialogbuild.head.model import HeadModel
from dialogbuild.render.raster_numba import NumbaRasterizer
from dialogbuild.render.shading import vertex_normals

Array = npt.NDArray[Any]
_ENGINE = NumbaRasterizer()
_NEAR_POINT_M = 0.004  # a triangle this close to a surface point belongs to the compared surface
_MIN_COSINE, _EDGE_REACH_PX = 0.25, 2  # as in ``fit.visibility``


@dataclass(frozen=True, eq=False)
class Paint:
    """Albedo (V, 3) of a person's mesh, from the keyframes that gave the points theirs, and the light.

    ``sigma`` (F,) is a triangle's, 0 = not compared.
    """

    albedo: Array
    look: Look
    sigma: Array


def paint_of(frames: Frames, model: HeadModel) -> Paint:
    """Albedo and light at the vertices, by the very functions that gave the points theirs. Once per person."""
    known = frames.known
    surface, mesh = known.person.surface, known.person.mesh
    centres = mesh.rest_m
    compared = np.zeros(len(centres), bool)
    spots = (model.v_template[np.asarray(model.faces)[surface.embedding.face_idx]] * surface.bary[..., None]).sum(1)
    for kind in (False, True):
        mine = surface.eye == kind
        if mine.any():
            near = cKDTree(spots[mine]).query(centres)[0] < _NEAR_POINT_M
            compared |= near & ((mesh.part > 0) == kind) & (mesh.part <= 2)
    skin = np.zeros(len(surface.vertices), bool)
    skin[np.unique(mesh.faces[compared & (mesh.part == 0)])] = True
    every = np.arange(len(surface.vertices))
    one_hot = np.tile(np.float32([1, 0, 0]), (len(every), 1))
    vertices = replace(surface, eye=~skin, local=np.stack([every] * 3, 1).astype(np.int32), bary=one_hot)
    assert model.albedo is not None
    ids = surface.vertices
    prior = PointAlbedo(
        np.maximum(model.albedo.mean[ids].astype(np.float64), 0.005),
        model.albedo.dirs[ids].astype(np.float64),
        np.where(model.albedo.known[ids], model.albedo.residual[ids], 1.0).astype(np.float64),
    )
    albedo, _, _ = look_of_person(vertices, prior, mesh, mesh.rig, known.fit.theta, known.keyframes.crops, known.camera)
    every = np.arange(len(frames.theta))
    look = shot_light(vertices, mesh, mesh.rig, albedo, frames.theta, frames.crops, every, known.camera)
    noise = frames.options.noise
    sigma = np.where(compared, np.where(mesh.part > 0, noise.eye, noise.skin), 0.0)
    return Paint(albedo, look, sigma.astype(np.float32))


def scene_of(frames: Frames, k: int, paint: Paint, point_weight: float) -> PixelScene:
    """The pixels of frame k as evidence, painted and shaded as at the start."""
    mesh, camera = frames.known.person.mesh, frames.crops.cameras(frames.known.camera)[k]
    v = posed_mesh_cam(mesh, frames.theta[k : k + 1])[0]
    normals = vertex_normals(v, mesh.faces)
    verts = np.concatenate([camera[0] * v[:, :2] / v[:, 2:] + camera[1:], v[:, 2:]], 1)
    side = frames.crops.side_px
    fragments = _ENGINE.rasterize(verts, mesh.faces, (side, side))
    drawn = _ENGINE.interpolate(normals, mesh.faces, fragments)
    ray = (np.indices((side, side))[::-1].transpose(1, 2, 0) + 0.5 - camera[1:]) / camera[0]
    ray = np.concatenate([ray, np.ones((side, side, 1))], 2)
    length = np.linalg.norm(ray, axis=2) * np.maximum(np.linalg.norm(drawn, axis=2), 1e-9)
    cosine = -(ray * drawn).sum(2) / length
    weight = np.clip(2.5 * (cosine - _MIN_COSINE), 0.0, 1.0)
    weight[edges(fragments.face_id, mesh, camera[0], float(np.median(v[:, 2])))] = 0.0
    x0, y0, x1, y1 = frames.crops.bounds[k]
    inside = np.zeros_like(weight)
    inside[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = 1.0
    inv_sigma_sq = np.where(paint.sigma > 0, np.maximum(paint.sigma, 1e-3) ** -2.0, 0.0).astype(np.float32)
    colour = Look(paint.look.light, paint.albedo).display(normals)
    image = frames.crops.rgb[k].astype(np.float32) / 255
    noise = frames.options.noise
    total = noise.independence * point_weight
    weight = (weight * inside).astype(np.float32)
    return PixelScene(mesh.rig, mesh.faces, colour, camera, image, weight, inv_sigma_sq, total, noise.dof)


def edges(face_id: Array, mesh: Mesh, focal_px: float, depth_m: float) -> Array:
    """(R, R) bool: another surface, or none, is shown within two pixels; the rule of ``visibility``."""
    part, lip, rest = mesh.part[face_id], mesh.lip[face_id], mesh.rest_m[face_id]
    out, limit_m = face_id < 0, 4.0 * depth_m / focal_px + 0.0015
    for dy in range(-_EDGE_REACH_PX, _EDGE_REACH_PX + 1):
        for dx in range(-_EDGE_REACH_PX, _EDGE_REACH_PX + 1):
            if 0 < abs(dx) + abs(dy) <= _EDGE_REACH_PX:
                at = (np.roll(a, (dy, dx), (0, 1)) for a in (face_id, part, lip, rest))
                other, other_part, other_lip, other_rest = at
                out |= (other < 0) | (other_part != part) | (other_lip * lip == 2)
                out |= (np.abs(other_rest - rest) > limit_m).any(axis=2)
    return out
