"""Pure functions on arrays that several formats need: runs of fitted ticks, coefficient widths, rotations, cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.dataset.reader import Person
from dialogbuild.dataset.rows import bit, principal_px
from dialogbuild.dataset.schema import CROP_PX

Array = NDArray[Any]
Float = NDArray[np.float32]
Span = tuple[int, int]  # half-open, ticks


def shown(motion: Mapping[str, Array]) -> NDArray[np.bool_]:
    """(T,) where the head parameters are fitted or interpolated across a short gap; other rows hold neutral values."""
    return np.asarray(bit(motion["valid"], "fit_ok") | bit(motion["valid"], "interpolated"))


def speaks(motion: Mapping[str, Array], person: int) -> NDArray[np.bool_]:
    """(T,) where person 0 or 1 speaks, overlap included."""
    return np.isin(motion["state"], (person + 1, 3))


def runs(mask: Array) -> list[Span]:
    """Half-open spans of consecutive true values of (T,) bool, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(mask, bool), [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def pieces(span: Span, shortest: int, longest: int) -> list[Span]:
    """Cut a span into nearly equal pieces of ``shortest`` to ``longest`` ticks; [] when it is too short.

    A length that no number of such pieces adds up to loses its last ticks.
    """
    length = span[1] - span[0]
    if length < shortest:
        return []
    n = -(-length // longest)
    if length // n < shortest:
        n, length = n - 1, (n - 1) * longest
    edges = [span[0] + length * i // n for i in range(n + 1)]
    return list(pairwise(edges))


def to_width(values: Array, width: int) -> Float:
    """Leading ``width`` components of (..., k), zeros where there are fewer."""
    out = np.zeros((*values.shape[:-1], width), np.float32)
    k = min(width, values.shape[-1])
    out[..., :k] = values[..., :k]
    return out


def head_rotation(motion: Mapping[str, Array], which: str) -> Float:
    """The rotation that formats with a single one hold. (T, 3) axis-angle, rad.

    Args:
        which: ``head`` (root and neck in one: R_root R_neck, which is how a tracker without a neck would see it),
            ``root`` or ``neck`` alone.
    """
    if which != "head":
        return np.asarray(motion[f"{which}_rad"], np.float32)
    from dialogbuild.head.rotation import log_so3, rodrigues

    return np.asarray(log_so3(rodrigues(motion["root_rad"]) @ rodrigues(motion["neck_rad"])), np.float32)


def crop_camera(person: Person, ticks: Any) -> NDArray[np.float64]:
    """Intrinsics of the crop pictures at T ticks, (T, 3, 3). Needs the families motion and landmarks."""
    crop_m = person.landmarks["crop_m"][ticks]
    k = np.zeros((len(crop_m), 3, 3))
    k[:, 0, 0] = k[:, 1, 1] = person.track["focal_px"]
    k[:, :2, 2] = principal_px(person.motion, person.track)[ticks]
    k[:, 2, 2] = 1
    affine = np.zeros((len(crop_m), 3, 3))
    affine[:, :2] = crop_m.reshape(-1, 2, 3)
    affine[:, 2, 2] = 1
    return np.asarray(affine @ k)


def weak_camera(transl_m: Array, crop_k: Array) -> Float:
    """Scale and shift of the weak-perspective camera in crop pictures of -1..1, y up, at the head's own depth.

    ``xy = s * (model_xy + t)``, the form of DECA (Y. Feng et al. 2021, section 3).

    Args:
        transl_m: (T, 3), camera axes. crop_k: (T, 3, 3) from ``crop_camera``.

    Returns:
        (T, 3): s, tx, ty.
    """
    half = CROP_PX / 2
    depth = np.maximum(transl_m[:, 2].astype(np.float64), 1e-3)
    scale = crop_k[:, 0, 0] / depth / half
    px = np.einsum("tij,tj->ti", crop_k, transl_m.astype(np.float64))[:, :2] / depth[:, None]
    shift = (px / half - 1) / scale[:, None] * (1, -1)
    return np.asarray(np.concatenate([scale[:, None], shift], axis=1), np.float32)


def mean_and_std(parts: Sequence[Array]) -> tuple[list[float], list[float]]:
    """Mean and population deviation over the rows of all parts, in float64.

    The deviation of a component that never moves is given as 1, so that dividing by it does no harm.
    """
    rows = np.concatenate([np.asarray(p, np.float64) for p in parts])
    std = rows.std(axis=0)
    return rows.mean(axis=0).tolist(), np.where(std > 0, std, 1.0).tolist()
