"""Colours of a person, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Palette:
    """Screen colours (0..1 sRGB) and amounts of one person's look."""

    skin: Colour = (0.84, 0.66, 0.56)
    lips: Colour = (0.72, 0.42, 0.40)
    hair: Colour = (0.23, 0.17, 0.13)
    iris: Colour = (0.38, 0.46, 0.42)
    shirt: Colour = (0.25, 0.32, 0.48)
    freckles: float = 0.5
    stubble: float = 0.0
    hair_volume_m: float = 0.007


_SKINS = ((0.91, 0.75, 0.67), (0.86, 0.68, 0.57), (0.78, 0.58, 0.46), (0.66, 0.47, 0.36), (0.50, 0.35, 0.27))
_HAIRS = ((0.12, 0.09, 0.08), (0.25, 0.17, 0.12), (0.42, 0.29, 0.18), (0.62, 0.50, 0.34), (0.55, 0.53, 0.51))
_IRISES = ((0.35, 0.24, 0.15), (0.42, 0.48, 0.40), (0.40, 0.52, 0.62), (0.24, 0.16, 0.11))
_SHIRTS = ((0.22, 0.30, 0.46), (0.50, 0.20, 0.20), (0.24, 0.40, 0.31), (0.62, 0.60, 0.56), (0.18, 0.18, 0.21))


def random_palette(seed: int) -> Palette:
    """A plausible look per seed; dark skin comes with dark hair and eyes."""
    rng = np.random.default_rng([seed, 71])
    tone = int(rng.integers(len(_SKINS)))
    skin = np.array(_SKINS[tone]) * rng.normal(1, 0.02, 3)
    hair = _HAIRS[int(rng.integers(2 if tone >= 3 else len(_HAIRS)))]
    iris = _IRISES[3 if tone >= 3 else int(rng.integers(len(_IRISES)))]
    lips = skin * [0.88, 0.66, 0.70] * rng.normal(1, 0.02, 3)
    return Palette(
        skin=_colour(skin),
        lips=_colour(lips),
        hair=hair,
        iris=iris,
        shirt=_SHIRTS[int(rng.integers(len(_SHIRTS)))],
        freckles=float(rng.uniform(0.2, 1.0)),
        stubble=float(rng.choice([0.0, 0.0, 0.5, 1.0])),
        hair_volume_m=float(rng.uniform(0.004, 0.010)),
    )


def _colour(values: NDArray[Any]) -> Colour:
    r, g, b = np.clip(values, 0, 1)
    return float(r), float(g), float(b)
