"""How the procedural head looks: one texture per person, painted by code from a seed.

Colours are given as they look on a screen and stored linear. What is painted follows the template's landmarks, so it
stays on lips, lids and brows whatever the pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import ConfigError
from dialogbuild.head.model import HeadModel
from dialogbuild.head.procedural import landmarks as mesh
from dialogbuild.head.procedural.parts import EYE_COLUMNS, IRIS_RADIUS, PUPIL_RADIUS
from dialogbuild.render.canvas import SIZE_PX, Canvas, hairline
from dialogbuild.render.paint import Patch, fill_polygon, lay, noise, smooth_curve, splat, stroke
from dialogbuild.render.palette import Palette, random_palette
from dialogbuild.render.shading import GAMMA, Float32

__all__ = ["Appearance", "Palette", "hair_cover", "make_appearance", "random_palette"]


@dataclass(frozen=True, eq=False)
class Appearance:
    """A painted head.

    Args:
        textures: levels (T, T, 4) float32, halved each time: linear albedo and gloss. Row 0 is v = 1.
        hair_offset_m: (V,) float32, how far hair stands off the skin along the normal.
    """

    textures: tuple[Float32, ...]
    hair_offset_m: Float32


def make_appearance(model: HeadModel, seed: int = 0, palette: Palette | None = None) -> Appearance:
    """Paint a person.

    Args:
        model: ``procedural-v1``; the painter needs its texture layout.
        seed: noise, brow hairs, freckles, and the palette if none is given.
        palette: colours, or None to draw them from the seed.

    Raises:
        ConfigError: the model is not the procedural head.
    """
    if not model.model_id.startswith("procedural"):
        raise ConfigError(f"appearance is painted for the procedural head only, not for {model.model_id}")
    look = random_palette(seed) if palette is None else palette
    rng = np.random.default_rng([seed, 72])
    canvas = Canvas(model)
    gloss = np.full((SIZE_PX, SIZE_PX), 0.10, np.float32)
    image = _skin(canvas, look, rng)
    _features(canvas, image, look, rng)
    hair = canvas.hair_alpha()
    image = _hair(canvas, image, hair, look, rng)
    gloss = gloss * (1 - 0.5 * hair)
    image, gloss = _clothes(canvas, image, gloss, look, rng)
    image, gloss = _inner_parts(canvas, image, gloss, look, rng)
    linear = np.clip(image, 0, 1) ** GAMMA
    base = np.concatenate([linear, gloss[..., None]], -1).astype(np.float32)
    offset = hair_cover(model) * look.hair_volume_m
    return Appearance(_mip_levels(base), offset.astype(np.float32))


def _mip_levels(base: Float32, levels: int = 4) -> tuple[Float32, ...]:
    out = [np.ascontiguousarray(base)]
    for _ in range(levels - 1):
        last = out[-1]
        half = last.reshape(last.shape[0] // 2, 2, last.shape[1] // 2, 2, 4).mean((1, 3), dtype=np.float32)
        out.append(np.ascontiguousarray(half))
    return tuple(out)


def hair_cover(model: HeadModel) -> NDArray[np.float64]:
    """How thick hair grows per vertex, 0..1; none on ears, face, neck and parts."""
    p = model.v_template.astype(np.float64) * 100
    cover = hairline(p)
    ears = p[model.masks["ears"]]
    for side in (1, -1):
        centre = ears[ears[:, 0] * side > 0].mean(0)
        cover *= np.clip((np.linalg.norm((p - centre) * [0.5, 0.8, 1.0], axis=1) - 2.0) / 2.0, 0, 1)
    skin = np.zeros(len(p))
    skin[np.concatenate([model.masks["scalp"], model.masks["neck"], model.masks["face"]])] = 1
    return cover * skin


def _skin(canvas: Canvas, look: Palette, rng: np.random.Generator) -> Float32:
    image = np.ones((SIZE_PX, SIZE_PX, 3), np.float32) * np.array(look.skin, np.float32)
    tone = sum(a * noise(SIZE_PX, c, rng) for c, a in ((10, 0.018), (40, 0.016), (130, 0.014), (500, 0.022)))
    image *= (1 + np.asarray(tone))[..., None]
    p = canvas.position
    for centre, width, amount in (
        ((0, -3.6, 2.3), 1.0, 0.10), ((4.1, -3.2, -0.8), 1.6, 0.08), ((-4.1, -3.2, -0.8), 1.6, 0.08),
        ((0, -10.4, -0.6), 1.5, 0.05),
    ):  # fmt: skip
        red = np.exp(-((p - np.array(centre)) ** 2).sum(-1) / (2 * width**2))
        image *= 1 - amount * red[..., None] * np.array([0.1, 1.0, 0.8], np.float32)
    ears = canvas.is_region("ears").astype(np.float32)
    image *= 1 - 0.08 * ears[..., None] * np.array([0.2, 1.0, 0.9], np.float32)
    face = np.argwhere(canvas.is_region("face"))
    n = int(350 * look.freckles)
    spots = face[rng.integers(len(face), size=n)][:, ::-1] + rng.uniform(0, 1, (n, 2))
    marks = splat(SIZE_PX, spots, rng.uniform(0.5, 1.8, n), 1.3)
    image[marks.rows, marks.columns] *= 1 - np.minimum(marks.mask, 0.5)[..., None] * [0.5, 0.8, 0.9]
    return np.asarray(image, np.float32)


def _features(canvas: Canvas, image: Float32, look: Palette, rng: np.random.Generator) -> None:
    """Eye sockets, beard, lips, nostrils, lash lines and brows, in place."""
    skin, hair = np.array(look.skin), np.array(look.hair)
    whole = slice(0, SIZE_PX)
    for loop in (mesh.LEFT_EYE_LOOP, mesh.RIGHT_EYE_LOOP):
        socket = splat(SIZE_PX, canvas.points(loop).mean(0)[None] + [[0, 6]], 1.0, 28)
        lay(image, Patch(socket.rows, socket.columns, socket.mask / socket.mask.max()), skin * [0.82, 0.74, 0.74], 0.35)
    if look.stubble:
        beard = _beard(canvas.position) * (0.75 + 0.35 * noise(SIZE_PX, 480, rng))
        lay(image, Patch(whole, whole, beard.astype(np.float32)), hair * 0.7 + skin * 0.3, 0.35 * look.stubble)
    lips = fill_polygon(SIZE_PX, smooth_curve(canvas.points(mesh.OUTER_LIPS), 160, True), 2.0)
    lay(image, lips, np.array(look.lips), 0.9)
    wrinkles = 0.06 * noise(SIZE_PX, 300, rng)[lips.rows, lips.columns]
    image[lips.rows, lips.columns] *= (1 + wrinkles * (lips.mask > 0.3))[..., None]
    lay(image, Patch(whole, whole, _nostrils(canvas)), skin * 0.25, 0.85)
    for loop in (mesh.LEFT_EYE_LOOP, mesh.RIGHT_EYE_LOOP):
        curve = smooth_curve(canvas.points(loop), 160, True)
        lay(image, stroke(SIZE_PX, curve[:80], 4.5), hair * 0.5, 0.85)
        lay(image, stroke(SIZE_PX, curve[80:], 2.5), skin * 0.45, 0.45)
        lay(image, stroke(SIZE_PX, _crease(canvas, loop), 3.0), skin * 0.55, 0.45)
    for upper, lower, side in (
        (mesh.LEFT_BROW_UPPER, mesh.LEFT_BROW_LOWER, 1), (mesh.RIGHT_BROW_UPPER, mesh.RIGHT_BROW_LOWER, -1),
    ):  # fmt: skip
        lay(image, _brow(canvas.points(upper), canvas.points(lower), side, rng), hair * 0.8, 0.92)


def _crease(canvas: Canvas, loop: Sequence[int]) -> NDArray[np.float64]:
    ring = mesh.LEFT_LID_CREASE if loop[0] == mesh.LEFT_EYE_LOOP[0] else mesh.RIGHT_LID_CREASE
    return smooth_curve(canvas.points(ring), 60, False)


def _beard(p: Float32) -> NDArray[np.float64]:
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    jaw = np.clip((-6.2 - 0.35 * np.maximum(2.4 - x, 0) + 0.5 * np.maximum(x - 3, 0) - y) / 1.5, 0, 1)
    moustache = np.exp(-(((y + 5.6) / 0.45) ** 2) - ((x / 2.2) ** 4))
    below = np.clip((y + 14.0) / 1.5, 0, 1) * np.clip((z + 9.0) / 2.0, 0, 1)
    return np.asarray(np.maximum(jaw, moustache) * below)


def _nostrils(canvas: Canvas) -> Float32:
    """Two dark ovals under the tip of the nose."""
    p = canvas.position
    base = canvas.model.v_template[mesh.NOSE_BASE].astype(np.float64) * 100
    out = np.zeros(p.shape[:2])
    for side in (1, -1):
        d = (p - (base + np.array([side * 0.95, 0.16, -0.15]))) / [0.50, 0.24, 0.7]
        out = np.maximum(out, np.exp(-((d**2).sum(-1) ** 1.5)))
    return np.asarray(out * canvas.is_region("face"), np.float32)


def _brow(upper: NDArray[Any], lower: NDArray[Any], side: int, rng: np.random.Generator) -> Patch:
    """Hairs between a brow's upper and lower edge, combed outwards; the edges run outer to inner."""
    n = 420
    top, bottom = smooth_curve(upper, 200, False), smooth_curve(lower, 200, False)
    at = rng.integers(0, 200, n)
    height = rng.uniform(0.1, 0.9, n)[:, None]
    root = top[at] * (1 - height) + bottom[at] * height
    outward = np.stack([side * rng.uniform(6, 12, n), rng.uniform(-6, 3, n)], 1)
    along = np.linspace(0, 1, 14)[None, :, None]
    points = (root[:, None] + along * outward[:, None]).reshape(-1, 2)
    drawn = splat(SIZE_PX, points, 0.68, 1.0)
    return Patch(drawn.rows, drawn.columns, np.minimum(drawn.mask, 1))


def _hair(canvas: Canvas, image: Float32, alpha: Float32, look: Palette, rng: np.random.Generator) -> Float32:
    p = canvas.position
    azimuth = np.arctan2(p[..., 0], p[..., 2] + 9.0)
    strands = np.sin(azimuth * 90 + 3 * noise(SIZE_PX, 60, rng)) * 0.10 + np.sin(azimuth * 31 + p[..., 1]) * 0.10
    shade = 1 + strands + 0.10 * noise(SIZE_PX, 24, rng) + 0.08 * noise(SIZE_PX, 400, rng)
    colour = np.array(look.hair, np.float32) * shade[..., None]
    # strands of different length at the hairline, none missing inside
    ragged = np.clip(2.2 * alpha - 0.6 + 0.35 * noise(SIZE_PX, 260, rng) * ((alpha > 0) & (alpha < 0.9)), 0, 1)[
        ..., None
    ]
    return np.asarray(image * (1 - ragged) + ragged * colour, np.float32)


def _clothes(
    canvas: Canvas, image: Float32, gloss: Float32, look: Palette, rng: np.random.Generator
) -> tuple[Float32, Float32]:
    p = canvas.position
    front = np.clip((p[..., 2] + 10.6) / 4, 0, 1)
    beyond = np.hypot(p[..., 0], p[..., 2] + 10.6) - 6.7 - 1.3 * front  # cm outside the collar's seam
    cloth = np.clip(beyond / 0.2, 0, 1) * (p[..., 1] < -15.5) * canvas.is_region("neck", "torso")
    weave = 1 + 0.10 * noise(SIZE_PX, 30, rng) + 0.05 * noise(SIZE_PX, 350, rng)
    seam = np.exp(-(((beyond - 0.6) / 0.12) ** 2))
    colour = np.array(look.shirt, np.float32) * (weave * (1 - 0.35 * seam))[..., None]
    image = image * (1 - cloth[..., None]) + cloth[..., None] * colour
    return np.asarray(image, np.float32), np.asarray(gloss * (1 - 0.9 * cloth), np.float32)


def _inner_parts(
    canvas: Canvas, image: Float32, gloss: Float32, look: Palette, rng: np.random.Generator
) -> tuple[Float32, Float32]:
    model, p = canvas.model, canvas.position
    image, gloss = image.copy(), gloss.copy()
    for name in ("left_eye", "right_eye"):
        texels = canvas.is_region(name)
        ids = model.masks[name]
        centre = (model.j_regressor[3 if name == "left_eye" else 4] @ model.v_template) * 100
        front = model.v_template[ids[:EYE_COLUMNS]].mean(0) * 100
        image[texels] = _eye_colour(p[texels] - centre, float(np.linalg.norm(front - centre)), look, rng)
        gloss[texels] = 0.9
    rims = canvas.is_region("left_rim", "right_rim")
    image[rims] = np.array(look.skin) * [0.88, 0.70, 0.66]
    gloss[rims] = 0.3
    for name, colour, back in (("mouth", (0.46, 0.20, 0.19), 0.30), ("tongue", (0.72, 0.40, 0.40), 0.45)):
        texels = canvas.is_region(name)
        depth = np.clip((p[texels][:, 2:] + 5.0) / 4.5, back, 1)
        image[texels] = np.array(colour) * depth
        gloss[texels] = 0.12 * (depth[:, 0] - back)
    teeth = canvas.is_region("teeth")
    image[teeth] = _teeth_colour(model, p[teeth])
    gloss[teeth] = 0.35
    return image, gloss


def _eye_colour(ray: NDArray[Any], radius: float, look: Palette, rng: np.random.Generator) -> NDArray[Any]:
    """Screen colours (n, 3) of points on an eyeball, from their rays (n, 3) off its centre."""
    lateral = np.hypot(ray[:, 0], ray[:, 1]) * np.where(ray[:, 2] > 0, 1, 10) * (1.2 / radius)
    around = np.arctan2(ray[:, 1], ray[:, 0])
    t = np.clip((lateral - PUPIL_RADIUS) / (IRIS_RADIUS - PUPIL_RADIUS), 0, 1)
    phase = rng.uniform(0, 2 * np.pi, 3)
    fibres = 1 + 0.16 * np.sin(23 * around + phase[0]) + 0.10 * np.sin(41 * around + phase[1] + 3 * t)
    iris = np.array(look.iris) * (fibres * (1.15 - 0.35 * t))[:, None]
    limbus = np.exp(-(((lateral - IRIS_RADIUS) / 0.06) ** 2))[:, None]
    white = np.array([0.90, 0.87, 0.85]) - np.clip((lateral - 0.8) / 0.4, 0, 1)[:, None] * [0.06, 0.16, 0.16]
    edge = np.clip((lateral - IRIS_RADIUS) / 0.03 + 0.5, 0, 1)[:, None]
    pupil = np.clip((PUPIL_RADIUS - lateral) / 0.02 + 0.5, 0, 1)[:, None]
    colour = iris * (1 - edge) + white * edge
    colour = colour * (1 - 0.6 * limbus)
    return np.asarray(colour * (1 - pupil) + pupil * 0.03)


def _teeth_colour(model: HeadModel, p: Float32) -> NDArray[Any]:
    ids = model.masks["teeth"]
    points = model.v_template[ids] * 100
    seam = model.v_template[[13, 14], 1].mean() * 100
    arc = np.arcsin(np.clip(p[..., 0] / np.abs(points[:, 0]).max(), -1, 1)) / np.arcsin(0.95)
    gaps = np.exp(-((np.abs(np.sin(arc * 1.25 * 9.5)) / 0.10) ** 2))
    height = np.abs(p[..., 1] - seam)
    gum = np.clip((height - 0.85) / 0.12, 0, 1)[..., None]
    depth = np.clip(1 + 0.22 * (p[..., 2] - points[:, 2].max()), 0.15, 1)
    enamel = np.array([0.90, 0.87, 0.79]) * (1 - 0.45 * gaps)[..., None]
    return np.asarray((enamel * (1 - gum) + gum * np.array([0.70, 0.38, 0.38])) * depth[..., None])
