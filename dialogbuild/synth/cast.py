"""The people: who they are (shape, looks, seat) and their performance as poses of the built-in head."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dialogbuild.head.model import FloatArray, HeadModel
from dialogbuild.head.pose import HeadPose
from dialogbuild.synth.motion import Motion
from dialogbuild.synth.shots import Seat

SHAPE_SIGMA = 0.7

# Each channel of the motion as coefficients of the built-in head's expressions.
_PAIRED = {
    "stretch": {"mouthStretch": 0.35, "mouthDimple": 0.25},
    "upper_up": {"mouthUpperUp": 0.8},
    "lower_down": {"mouthLowerDown": 0.8},
    "closure": {"mouthPress": 0.5},
    "smile": {"mouthSmile": 0.9, "cheekSquint": 0.5, "eyeSquint": 0.25},
    "brow_up": {"browOuterUp": 0.8},
}
_SINGLE = {
    "pucker": {"mouthPucker": 0.8},
    "funnel": {"mouthFunnel": 0.7},
    "tuck": {"mouthRollLower": 0.8},
    "brow_up": {"browInnerUp": 0.8},
}


def draw_shape(model: HeadModel, seed: int, person: int) -> FloatArray:
    """Identity coefficients of one person, (S,), N(0, 0.7) per coefficient."""
    rng = np.random.default_rng([seed, 20 + person])
    return np.asarray(rng.normal(0.0, SHAPE_SIGMA, model.n_shape), np.float32)


def expressions(model: HeadModel, motion: Motion) -> FloatArray:
    """Expression coefficients (N, E) of a performance."""
    channels = {**motion.mouth, "closure": motion.closure, "smile": motion.smile, "brow_up": motion.brow_up}
    column = {name: i for i, name in enumerate(model.expr_names)}
    out = np.zeros((len(motion.closure), model.n_expr))
    for table, sides in ((_PAIRED, ("Left", "Right")), (_SINGLE, ("",))):
        for channel, weights in table.items():
            for name, weight in weights.items():
                for side in sides:
                    out[:, column[name + side]] += weight * channels[channel]
    assert model.lid_expr is not None
    out[:, list(model.lid_expr)] = motion.lids
    return out.astype(np.float32)


def pose_person(model: HeadModel, shape: FloatArray, motion: Motion, seats: list[Seat]) -> HeadPose:
    """Poses of one person over N frames.

    Args:
        shape: (S,).
        motion: the performance at the N frame times.
        seats: the seat in each of the N frames.
    """
    count = len(seats)
    zeros = np.zeros(count)
    root = motion.sway_rad + np.array([[0.0, seat.yaw_rad, 0.0] for seat in seats]).reshape(count, 3)
    transl = motion.sway_m + np.array([seat.transl_m for seat in seats]).reshape(count, 3)
    # The performance is written for the left seat; on the right one, yaw and roll are mirrored.
    mirror = np.array([-1.0 if seat.yaw_rad < 0 else 1.0 for seat in seats])
    eye = np.stack([motion.gaze_rad[:, 0], mirror * motion.gaze_rad[:, 1], zeros], 1)
    neck = motion.neck_rad * np.stack([np.ones(count), mirror, mirror], 1)
    jaw = np.stack([motion.mouth["jaw_rad"], zeros, zeros], 1)

    def single(values: npt.NDArray[np.float64]) -> FloatArray:
        return np.ascontiguousarray(values, np.float32)

    return HeadPose(
        shape=shape,
        expr=expressions(model, motion),
        root_rad=single(root),
        neck_rad=single(neck),
        jaw_rad=single(jaw),
        eyes_rad=single(np.concatenate([eye, eye], 1)),
        transl_m=single(transl),
    )
