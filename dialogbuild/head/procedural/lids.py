"""Closed lids, made exact on the dense mesh: the margins meet, and no lid vertex lies inside the eyeball."""

from __future__ import annotations

import numpy as np

from dialogbuild.head.procedural.expressions import LID_NAMES, closed_line
from dialogbuild.head.procedural.fields import EYE_RADIUS, Array, Core
from dialogbuild.head.procedural.landmarks import LEFT_EYE_LOOP, RIGHT_EYE_LOOP
from dialogbuild.head.procedural.surface import Surface

_CLEARANCE = 0.13


def seal_lids(points: Array, expr: Array, names: tuple[str, ...], core: Core, surface: Surface) -> None:
    """Correct both blink columns of ``expr`` (V, 3, E) in place."""
    for k, loop in enumerate((LEFT_EYE_LOOP, RIGHT_EYE_LOOP)):
        centre = core.eye_centres[k]
        column = names.index(LID_NAMES[k])
        dense = surface.dense_loop(loop)
        half = len(dense) // 2
        upper, lower = dense[1:half], dense[:half:-1]
        meeting = closed_line(points[upper], points[lower], centre)
        expr[upper, :, column] = meeting - points[upper]
        expr[lower, :, column] = meeting - points[lower]
        closed = points + expr[..., column]
        ray = closed - centre
        distance = np.linalg.norm(ray, axis=1)
        inside = (distance < EYE_RADIUS + _CLEARANCE) & (np.abs(expr[..., column]).max(1) > 0.02) & (ray[:, 2] > 0)
        inside[dense] = False
        push = centre + ray[inside] * ((EYE_RADIUS + _CLEARANCE) / distance[inside])[:, None]
        expr[inside, :, column] = push - points[inside]
