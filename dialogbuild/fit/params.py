"""The unknowns of one frame: their order in a vector, what is known about them beforehand, and which are solved for.

A frame's parameters are one flat vector theta (P,), P = 18 + E::

    root_rad 3 | transl_m 3 | neck_rad 3 | jaw_rad 3 | eyes_rad 6 (left, right) | expr E

Rotations are axis-angle. A head in front of a camera stays well inside |root| < pi, so the chart is smooth where it
is used and theta may be treated as a vector space by the solver and the smoother.

One view cannot tell a bent neck from a turned head: both move the face in the same way. The neck is therefore held
at zero by default, and the head's orientation (root composed with neck) is what the root carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.fit.normal import PriorBlock
from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import HeadPose

Array = np.ndarray[Any, np.dtype[Any]]
BLOCKS = ("root", "transl", "neck", "jaw", "eyes", "expr")
N_RIGID = 18  # parameters that are not expression


@dataclass(frozen=True)
class ParamLayout:
    """Where each block of a frame's parameter vector lies, for a model with ``n_expr`` expressions."""

    n_expr: int

    @property
    def size(self) -> int:
        """P, the length of a frame's parameter vector."""
        return N_RIGID + self.n_expr

    @property
    def blocks(self) -> Mapping[str, slice]:
        """Block name to slice of theta."""
        ends = (0, 3, 6, 9, 12, 18, self.size)
        return {name: slice(a, b) for name, a, b in zip(BLOCKS, ends[:-1], ends[1:], strict=True)}

    def expand(self, values: Mapping[str, Array | float | tuple[float, ...]]) -> Array:
        """One number (or one per entry) for each block, as a vector (P,). Every block must be named."""
        out = np.empty(self.size)
        for name, where in self.blocks.items():
            out[where] = values[name]
        return out

    def pack(self, pose: HeadPose) -> Array:
        """A pose sequence as theta (T, P) float64. The shape is not part of theta."""
        parts = (pose.root_rad, pose.transl_m, pose.neck_rad, pose.jaw_rad, pose.eyes_rad, pose.expr)
        return np.concatenate([np.asarray(p, np.float64) for p in parts], axis=1)

    def unpack(self, theta: Array, shape: Array) -> HeadPose:
        """theta (T, P) and a shape (S,) as a pose sequence (float32)."""
        part = {name: theta[:, where].astype(np.float32) for name, where in self.blocks.items()}
        return HeadPose(
            shape=np.asarray(shape, np.float32),
            expr=part["expr"],
            root_rad=part["root"],
            neck_rad=part["neck"],
            jaw_rad=part["jaw"],
            eyes_rad=part["eyes"],
            transl_m=part["transl"],
        )


@dataclass(frozen=True)
class PriorSigmas:
    """Standard deviations of a frame's parameters about neutral. Infinite = nothing is known, 0 = held at neutral.

    Attributes:
        root_rad: heads in conversation stay within about +-45 degrees; weak on purpose.
        neck_rad: 0, because one view cannot separate it from the root.
        jaw_rad: opening (x), side (y), twist (z). A full opening is about 0.4 rad in speech; sideways is rare.
        eyes_rad: up-down (x), left-right (y), torsion (z), for each eye; an iris landmark cannot show torsion.
        expr: in units of the model's coefficients; None = 1 for statistical models, whose unit is one sigma, and 0.5
            for blendshapes, whose coefficients run from 0 (off) to 1 (full). Lids keep 1: they do close.
        below_zero: how far a blendshape may go below 0. Half a smile is no frown; that is another blendshape.
        eyes_apart_rad: how far the two eyes may look apart, up-down and left-right (vergence at 0.3 m is 0.2 rad).
    """

    root_rad: float = 0.8
    transl_m: float = np.inf
    neck_rad: float = 0.0
    jaw_rad: tuple[float, float, float] = (0.2, 0.04, 0.02)
    eyes_rad: tuple[float, float, float] = (0.25, 0.35, 0.01)
    expr: float | None = None
    below_zero: float = 0.05
    eyes_apart_rad: tuple[float, float] = (0.03, 0.08)


@dataclass(frozen=True, eq=False)
class Prior:
    """What is known about theta, as a block, and which entries are solved for (free, ascending)."""

    block: PriorBlock
    free: Array


def has_blendshapes(model: HeadModel) -> bool:
    """Whether the expressions are named actions that run from 0 to 1 (ARKit's), and not statistical directions."""
    return any(name.lower().startswith("eyeblink") for name in model.expr_names)


def make_prior(layout: ParamLayout, model: HeadModel, sigmas: PriorSigmas) -> Prior:
    """The prior of one frame. The two eyes are coupled, because they look at the same thing.

    Raises:
        ValueError: the model's expression count is not the layout's.
    """
    if model.expr_dirs.shape[2] != layout.n_expr:
        raise ValueError(f"layout has {layout.n_expr} expressions, {model.model_id} has {model.expr_dirs.shape[2]}")
    blendshapes = has_blendshapes(model)
    sigma = layout.expand(
        {
            "root": sigmas.root_rad,
            "transl": sigmas.transl_m,
            "neck": sigmas.neck_rad,
            "jaw": sigmas.jaw_rad,
            "eyes": sigmas.eyes_rad * 2,
            "expr": (0.5 if blendshapes else 1.0) if sigmas.expr is None else sigmas.expr,
        }
    )
    if model.lid_expr is not None and sigmas.expr is None:
        sigma[[N_RIGID + i for i in model.lid_expr]] = 1.0
    free = np.flatnonzero(sigma > 0)
    information = np.zeros((layout.size, layout.size))
    information[free, free] = 1.0 / sigma[free] ** 2
    eyes = layout.blocks["eyes"].start
    for axis, apart in enumerate(sigmas.eyes_apart_rad):
        left, right = eyes + axis, eyes + 3 + axis
        pair = np.ix_((left, right), (left, right))
        information[pair] += np.array([[1.0, -1.0], [-1.0, 1.0]]) / apart**2
    lower = np.full(layout.size, -np.inf)
    if blendshapes:
        lower[N_RIGID:] = 0.0
    return Prior(PriorBlock(np.zeros(layout.size), information, lower, sigmas.below_zero), free)
