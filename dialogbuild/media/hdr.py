"""HDR pictures (PQ and HLG) as the SDR pixels that every stage expects: which can be, and how.

Light is scaled so that reference white, 203 cd/m2 (ITU-R BT.2408), is 1. Below the knee nothing but the encoding
changes, so skin keeps its colours; above it a Möbius curve brings 1,000 cd/m2 to white. One factor per pixel, from its
largest component, keeps hues. docs/decisions/008-hdr.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from dialogbuild.errors import Reject

F32 = np.ndarray[Any, np.dtype[np.float32]]
U8 = np.ndarray[Any, np.dtype[np.uint8]]
U16 = np.ndarray[Any, np.dtype[np.uint16]]

TONE_MAP = "mobius-203-1000"  # stored beside the results: knee, white and peak below
REFERENCE_WHITE_NIT = 203.0
PEAK_NIT = 1000.0
_KNEE = 0.6  # of reference white; lit skin lies below (BT.2408: 55 to 120 cd/m2)
_GAMMA = 2.4  # of the SDR display, ITU-R BT.1886

_TRANSFERS = {16: "pq", 18: "hlg"}  # ITU-T H.273: SMPTE ST 2084, ARIB STD-B67
_UNSPECIFIED, BT2020_NCL = 2, 9
_CONVERTIBLE = {0, 1, _UNSPECIFIED, 4, 5, 6, 7, BT2020_NCL}  # matrices that swscale can undo
_HDR_MATRICES = {10, 14, 15}  # BT.2020 constant luminance, ICtCp, IPT-C2
# ITU-R BT.2407: linear BT.2020 to BT.709
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


def hdr_transfer(transfer: int, matrix: int, side_data: Iterable[str] = ()) -> str | None:
    """What kind of HDR a decoded frame is, from its H.273 code points.

    Args:
        transfer, matrix: transfer characteristic and matrix coefficients.
        side_data: names of the frame's side data.

    Returns:
        "pq", "hlg", or None for SDR.

    Raises:
        Reject: ``hdr``: the colours cannot be brought to SDR (Dolby Vision without a base layer, ICtCp, constant
            luminance), ``do`` says what to do; ``unreadable``: they are stored in another way that nothing here undoes.
    """
    kind = _TRANSFERS.get(transfer)
    dolby_only = kind is None and transfer == _UNSPECIFIED and any(name.startswith("DOVI") for name in side_data)
    if matrix in _CONVERTIBLE and not dolby_only:
        return kind
    if kind is None and not dolby_only and matrix not in _HDR_MATRICES:
        raise Reject("unreadable", error=f"no conversion to RGB for matrix coefficients {matrix} (ITU-T H.273)")
    raise Reject(
        "hdr",
        transfer="dolby_vision" if dolby_only else kind or "unknown",
        matrix=matrix,
        do="export the recording as SDR (BT.709), or as HDR10 or HLG in BT.2020 non-constant luminance",
    )


@cache
def _linear(kind: str) -> F32:
    """(65536,) 16-bit signal to light (BT.2100, tables 4 and 5): PQ in units of reference white, HLG from 0 to 1."""
    signal = np.arange(65536) / 65535.0
    if kind == "pq":
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = signal ** (1 / m2)
        return np.asarray(
            (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * (10000 / REFERENCE_WHITE_NIT), np.float32
        )
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.asarray(np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12), np.float32)


def roll_off(light: F32) -> F32:
    """Light in units of reference white to [0, 1]: unchanged below the knee, a Möbius curve of the same slope above."""
    j, p = _KNEE, PEAK_NIT / REFERENCE_WHITE_NIT
    a = -j * j * (p - 1) / (j * j - 2 * j + p)
    b = (j * j - 2 * j * p + p) / (p - 1)
    above = (b * b + 2 * b * j + j * j) / (b - a) * (light + a) / (light + b)
    return np.minimum(np.where(light <= j, light, above), 1).astype(np.float32)


def tone_map(rgb: U16, kind: str) -> U8:
    """(..., 3) uint16 R'G'B' in BT.2020 with transfer ``kind`` to uint8 R'G'B' of BT.709 for a BT.1886 display."""
    light = _linear(kind)[rgb]
    if kind == "hlg":  # BT.2100: the display's own gamma of 1.2 at 1,000 cd/m2
        light *= (light @ _LUMA_2020)[..., None] ** np.float32(0.2) * np.float32(PEAK_NIT / REFERENCE_WHITE_NIT)
    light = np.maximum(light @ _TO_709.T, 0)
    largest = light.max(axis=-1, keepdims=True)
    light *= roll_off(largest) / np.maximum(largest, np.float32(1e-6))
    encoded = light ** np.float32(1 / _GAMMA) * 255 + np.float32(0.5)
    return np.minimum(encoded, 255).astype(np.uint8)
