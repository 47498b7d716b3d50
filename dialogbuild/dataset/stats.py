"""Statistics that add: those of files merge into those of the dataset without reading a row again.

Moments are exact up to rounding. Quantiles come from a histogram over logarithmic bins (C. Masson, J. E. Rim,
H. K. Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019): a value
differs from the true quantile by at most ``RELATIVE_ERROR`` of it, or by ``SMALLEST`` where that is more. Merging adds
counts, so it loses nothing.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

STATS_COLUMNS = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "lids", "transl_m")
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
RELATIVE_ERROR = 0.01
SMALLEST = 1e-5  # in the column's unit; what is nearer to zero counts as zero
FOOTER = "dialogbuild.stats"  # key of the motion files' Parquet footers
_LOG_GAMMA = float(np.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)))
Sketch = dict[str, list[int]]  # of one component: bins "at" that are not empty, ascending, and how many values "n"
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


def sketch(values: NDArray[Any]) -> list[Sketch]:
    """Histograms of (N, k) rows, one per component; bin 0 is zero, bins rise with the value."""
    x = np.asarray(values, np.float64)
    size = np.maximum(np.abs(x), SMALLEST)
    bins = (np.sign(x) * np.ceil(np.log(size / SMALLEST) / _LOG_GAMMA)).astype(np.int64)
    out = []
    for column in bins.T:
        at, n = np.unique(column, return_counts=True)
        out.append({"at": at.tolist(), "n": n.tolist()})
    return out


def merge_sketches(parts: Sequence[Sequence[Sketch]]) -> list[Sketch]:
    """Histograms of the union; those of no rows at all may be left out."""
    out = []
    for same in zip(*(p for p in parts if p), strict=True):
        at, where = np.unique(np.concatenate([s["at"] for s in same]), return_inverse=True)
        n = np.bincount(where, np.concatenate([s["n"] for s in same]), len(at)).astype(np.int64)
        out.append({"at": at.astype(np.int64).tolist(), "n": n.tolist()})
    return out


def quantile(histogram: Sketch, q: float) -> float:
    """The value below which a share ``q`` lies, within the stated error. ValueError when nothing was counted."""
    if not histogram["n"]:
        raise ValueError("no value was counted")
    upto = np.cumsum(histogram["n"])
    at = histogram["at"][int(np.searchsorted(upto, q * (upto[-1] - 1), side="right"))]
    middle = SMALLEST * float(np.exp(abs(at) * _LOG_GAMMA)) * 2 / (1 + float(np.exp(_LOG_GAMMA)))
    return float(np.sign(at)) * middle


def summary(values: NDArray[Any]) -> Moments:
    """Moments and histograms of (N, k) rows."""
    return {**moments(values), "sketch": sketch(values) if len(values) else []}


def merge_summaries(parts: Sequence[Mapping[str, Any]]) -> Moments:
    """Moments and histograms of the union."""
    return {**merge(parts), "sketch": merge_sketches([p["sketch"] for p in parts])}


def pack(summaries: Mapping[str, Moments]) -> str:
    """As text for a file's footer: equal for equal values."""
    text = json.dumps(summaries, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack(text: bytes | str) -> dict[str, Moments]:
    """What ``pack`` packed."""
    out: dict[str, Moments] = json.loads(zlib.decompress(base64.b64decode(text)))
    return out


def describe(total: Mapping[str, Any]) -> dict[str, Any]:
    """What ``meta/stats.json`` shows: count, mean, std (population), min, max; quantiles where counted."""
    n = total["count"]
    std = np.sqrt(np.asarray(total["m2"]) / n).tolist() if n else []
    out = {"count": n, "mean": total["mean"], "std": std, "min": total["min"], "max": total["max"]}
    for q in QUANTILES if "sketch" in total else ():
        bounds = zip(total["sketch"], total["min"], total["max"], strict=True) if n else ()
        out[f"q{round(100 * q):02d}"] = [min(max(quantile(h, q), low), high) for h, low, high in bounds]
    return out
