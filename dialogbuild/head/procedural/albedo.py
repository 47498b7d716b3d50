"""The built-in head's colours over people, as ``tools/measure_albedo.py`` measures them on painted ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dialogbuild.head.albedo import Albedo

ALBEDO_PATH = Path(__file__).parents[1] / "procedural_albedo.npz"
ALBEDO_MASKS = ("face", "lips", "left_lid", "right_lid", "brows", "nose", "left_eye", "right_eye")
"""Regions where the albedo is known: what every frame shows, without hair, neck, ears and the mouth's inside."""


def measured_albedo(n_vertices: int) -> Albedo | None:
    """The stored albedo of a head with ``n_vertices``, or None if it has not been measured.

    Raises:
        ConfigError: the file's vertices are not those of this head.
    """
    if not ALBEDO_PATH.is_file():
        return None
    with np.load(ALBEDO_PATH, allow_pickle=False) as stored:
        return Albedo.at_vertices(
            n_vertices, stored["vertices"].astype(np.int64), stored["mean"], stored["dirs"], stored["residual"]
        )
