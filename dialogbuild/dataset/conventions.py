"""What the numbers mean: axes, units, joint order, time. Stored once, hashed, and refused when unknown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dialogbuild.dataset.schema import AUDIO_RATE_HZ, CROP_PX, SAMPLES_PER_TICK, STATES, TICK_HZ, VALID_BITS

_FIXED: dict[str, Any] = {
    "image": "pixels of the displayed source frame; x right, y down; centre of the first pixel at (0.5, 0.5)",
    "camera": "pinhole fx = fy = focal_px; OpenCV axes: x right, y down, z forward; metres",
    "head": "FLAME axes: x to the subject's left, y up, z out of the face; metres",
    "camera_from_head": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "camera_point": "x_cam = camera_from_head @ lbs(shape, expr, root, neck, jaw, eyes) + transl_m",
    "rotation": "axis-angle, radians; R = exp([r]x)",
    "joints": ["root", "neck", "jaw", "left_eye", "right_eye"],
    "root": "rotates about the root joint",
    "sides": "left and right are the subject's, except tracks.side, which is the picture's",
    "landmarks": "mediapipe face mesh with irises, 478 points",
    "crop": f"crop_m maps source px to px of the {CROP_PX}x{CROP_PX} crop; both have pixel centres at .5",
    "time": {
        "fps": [TICK_HZ, 1],
        "tick": "tick k covers [k/fps, (k+1)/fps); its image is the source frame presented at the tick's centre",
        "zero": "presentation start of the first video frame",
        "audio_rate_hz": AUDIO_RATE_HZ,
        "samples_per_tick": SAMPLES_PER_TICK,
        "intervals": "half-open",
    },
    "states": STATES,
    "valid_bits": VALID_BITS,
    "invalid_rows": "hold the neutral value, never NaN",
}


def conventions(head: Mapping[str, Any]) -> dict[str, Any]:
    """The full convention record for one head model.

    Args:
        head: ``model_id``, ``sha256``, ``licence``, ``n_shape``, ``n_expr``, ``expr_names``.

    Raises:
        KeyError: an entry is missing.
    """
    names = ("model_id", "sha256", "licence", "n_shape", "n_expr", "expr_names")
    return {**_FIXED, "head_model": {name: head[name] for name in names}}


def canonical(value: Any) -> bytes:
    """JSON of equal bytes for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def convention_id(record: Mapping[str, Any]) -> str:
    """Sixteen hex digits of the record's SHA-256."""
    return hashlib.sha256(canonical(record)).hexdigest()[:16]


def is_known(record: Mapping[str, Any]) -> bool:
    """True when everything but the head model is what this version of the package means."""
    return bool({k: v for k, v in record.items() if k != "head_model"} == json.loads(canonical(_FIXED)))


def is_procedural(model_id: str) -> bool:
    """True for our own generated head, whose labels are for running and testing, not for publishing."""
    return model_id.startswith("procedural")


PROCEDURAL_WARNING = (
    "The 3D labels come from the procedural head, a generated stand-in without a population of real faces behind it. "
    "They are good for running and testing the pipeline, not for publishing or training a model you mean to release. "
    "Fit again with FLAME for that."
)
