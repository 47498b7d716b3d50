"""Normal equations per frame, and what any source of evidence must offer to take part in a fit.

A fit minimises a sum of costs over the frames of a clip. Every source of evidence (landmarks, priors, pixels) is a
``ResidualBlock``: it tells its robust cost at given parameters, and its Gauss-Newton normal equations. Solver,
smoother and identity know blocks only by this face, so a new kind of evidence changes none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """The quadratic model of a cost around theta: cost + g.d + d.H.d / 2.

    Attributes:
        H: (n, P, P) float64, symmetric, positive semi-definite (Gauss-Newton: weights of robust costs are frozen).
        g: (n, P) float64, the gradient.
        cost: (n,) float64, negative log-likelihood up to a constant.
    """

    H: Array
    g: Array
    cost: Array

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.H + other.H, self.g + other.g, self.cost + other.cost)


class ResidualBlock(Protocol):
    """One source of evidence about the frames of a clip."""

    def cost(self, theta: Array, frames: Array) -> Array:
        """Cost (n,) of parameters theta (n, P) for the clip's frames ``frames`` (n,)."""

    def assemble(self, theta: Array, frames: Array) -> NormalEquations:
        """Normal equations at theta (n, P) for the clip's frames ``frames`` (n,)."""


@dataclass(frozen=True, eq=False)
class PriorBlock:
    """The same prior for every frame: a Gaussian, and a one-sided one below a bound.

    Attributes:
        mean: (P,);  information: (P, P).
        lower: (P,) bounds, -inf for none;  lower_sigma: how far below its bound an entry may go.
    """

    mean: Array
    information: Array
    lower: Array
    lower_sigma: float

    def cost(self, theta: Array, frames: Array) -> Array:
        """Half the squared Mahalanobis distance, (n,)."""
        del frames
        d, below = theta - self.mean, self._below(theta)
        return np.asarray(0.5 * (np.einsum("np,np->n", d @ self.information, d) + np.einsum("np,np->n", below, below)))

    def assemble(self, theta: Array, frames: Array) -> NormalEquations:
        """Curvature is constant but for the entries below their bounds."""
        d, below = theta - self.mean, self._below(theta)
        H = np.repeat(self.information[None], len(theta), axis=0)
        index = np.arange(theta.shape[1])
        H[:, index, index] += (below < 0) / self.lower_sigma**2
        return NormalEquations(H, d @ self.information + below / self.lower_sigma, self.cost(theta, frames))

    def _below(self, theta: Array) -> Array:
        return np.asarray(np.minimum(theta - self.lower, 0.0) / self.lower_sigma)


def total_cost(blocks: Sequence[ResidualBlock], theta: Array, frames: Array) -> Array:
    """Sum of the blocks' costs, (n,)."""
    return np.asarray(np.sum([block.cost(theta, frames) for block in blocks], axis=0))


def assemble_all(blocks: Sequence[ResidualBlock], theta: Array, frames: Array) -> NormalEquations:
    """Sum of the blocks' normal equations."""
    first, *rest = (block.assemble(theta, frames) for block in blocks)
    for equations in rest:
        first = first + equations
    return first


@dataclass(frozen=True)
class Robust:
    """A robust cost of a squared, whitened residual s2 of ``dim`` entries, by iteratively reweighted least squares.

    ``student``: negative log-likelihood of a multivariate Student-t with ``scale`` degrees of freedom.
    ``huber``: quadratic up to ``scale`` sigmas, linear beyond (Huber, 1964).
    ``none``: least squares.
    """

    kind: str = "student"
    scale: float = 4.0

    def cost(self, s2: Array, dim: int) -> Array:
        """Cost of each residual; s2 / 2 near zero up to a factor (Student-t: (nu + dim) / nu)."""
        if self.kind == "student":
            return np.asarray(0.5 * (self.scale + dim) * np.log1p(s2 / self.scale))
        if self.kind == "huber":
            s = np.sqrt(s2)
            return np.asarray(np.where(s <= self.scale, 0.5 * s2, self.scale * (s - 0.5 * self.scale)))
        return 0.5 * s2

    def weight(self, s2: Array, dim: int) -> Array:
        """2 d cost / d s2: the factor of each residual's information."""
        if self.kind == "student":
            return (self.scale + dim) / (self.scale + s2)
        if self.kind == "huber":
            return self.scale / np.maximum(np.sqrt(s2), self.scale)
        return np.ones_like(s2)
