"""Statistics that add: moments of clips merge into moments of the dataset without reading a row again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

STATS_COLUMNS = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "lids", "transl_m")
Moments = dict[str, Any]  # count, mean, m2, min, max: the last four are lists of one number per component


def moments(values: NDArray[Any]) -> Moments:
    """Count, mean, sum of squared deviations, extremes of (N, k) rows, in float64. Empty input counts 0."""
    x = np.asarray(values, np.float64)
    if not len(x):
        return {"count": 0, "mean": [], "m2": [], "min": [], "max": []}
    mean = x.mean(axis=0)
    return {
        "count": len(x),
        "mean": mean.tolist(),
        "m2": ((x - mean) ** 2).sum(axis=0).tolist(),
        "min": x.min(axis=0).tolist(),
        "max": x.max(axis=0).tolist(),
    }


def merge(parts: Sequence[Mapping[str, Any]]) -> Moments:
    """Moments of the union.

    Source: T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances" (1979), equation 2.1.
    """
    parts = [p for p in parts if p["count"]]
    if not parts:
        return moments(np.zeros((0, 1)))
    total = dict(parts[0])
    for part in parts[1:]:
        a, b = total["count"], part["count"]
        delta = np.subtract(part["mean"], total["mean"])
        total = {
            "count": a + b,
            "mean": (np.asarray(total["mean"]) + delta * b / (a + b)).tolist(),
            "m2": (np.add(total["m2"], part["m2"]) + delta**2 * a * b / (a + b)).tolist(),
            "min": np.minimum(total["min"], part["min"]).tolist(),
            "max": np.maximum(total["max"], part["max"]).tolist(),
        }
    return total


def describe(total: Mapping[str, Any]) -> dict[str, Any]:
    """What ``meta/stats.json`` shows: count, mean, std (population), min, max."""
    n = total["count"]
    std = np.sqrt(np.asarray(total["m2"]) / n).tolist() if n else []
    return {"count": n, "mean": total["mean"], "std": std, "min": total["min"], "max": total["max"]}
