"""Expression fields at the face's 468 control points, centimetres at coefficient 1. Left and right are the subject's.

Names follow ARKit's blendshapes where one exists; the jaw is a joint, so there is no ``jawOpen``. Smile, frown, pucker
and the brows come from the cartoon (``Core.deltas``); the rest is modelled with bumps around landmarks.
"""

from __future__ import annotations

import numpy as np

from dialogbuild.head.procedural.fields import (
    EYE_RADIUS,
    LID_CLOSED,
    Array,
    Core,
    along,
    bump,
    smoothstep,
)
from dialogbuild.head.procedural.landmarks import (
    LEFT_CHEEK,
    LEFT_EYE_LOOP,
    LEFT_LID_CREASE,
    LEFT_LOWER_LID,
    LEFT_NOSTRIL,
    LOWER_LIP,
    N_FACE,
    OVAL,
    UPPER_LIP,
)
from dialogbuild.head.procedural.skinning import JAW_JOINT, jaw_weights

LID_NAMES = ("eyeBlinkLeft", "eyeBlinkRight")
CLOSE_JAW_RAD = 0.2


def expression_fields(core: Core) -> dict[str, Array]:
    """Name -> (468, 3) displacement, in a fixed order."""
    fields: dict[str, Array] = {}
    for make in (_lids, _brows, _midface, _mouth_corners, _lips, _mouth_whole):
        fields.update(make(core))
    quiet = _stays_inside(core.neutral)[:, None]
    return {name: field * (1 if name in LID_NAMES else quiet) for name, field in fields.items()}


def _stays_inside(p: Array) -> Array:
    """0 on the face's outline, where the skull begins, 1 from 1.6 cm inside it; the chin's outline may move."""
    rim = p[[i for i in OVAL if p[i, 1] > -8.0]]
    distance = np.linalg.norm(p[:, None] - rim[None], axis=2).min(1)
    return smoothstep(distance, 0.0, 1.6)


def _both(name: str, field: Array, p: Array, width: float = 0.7) -> dict[str, Array]:
    """Split a symmetric field into the subject's left and right, blended over ``width`` cm about the middle."""
    left = smoothstep(p[:, 0], -width, width)[:, None]
    return {f"{name}Left": field * left, f"{name}Right": field * (1 - left)}


def _mirrored(name: str, left: Array, core: Core) -> dict[str, Array]:
    return {f"{name}Left": left, f"{name}Right": left[core.mirror] * [-1, 1, 1]}


def _lids(core: Core) -> dict[str, Array]:
    p, centre = core.neutral, core.eye_centres[0]
    upper, lower = list(LEFT_EYE_LOOP[1:8]), list(LEFT_EYE_LOOP[:8:-1])
    blink, squint, wide = (np.zeros((N_FACE, 3)) for _ in range(3))
    meeting = closed_line(p[upper], p[lower], centre)
    blink[upper], blink[lower] = meeting - p[upper], meeting - p[lower]
    closing = meeting - p[upper]
    blink[list(LEFT_LID_CREASE)] = 0.42 * closing + [0, 0, 0.06]
    blink[list(LEFT_LOWER_LID)] = 0.25 * (meeting - p[lower])
    gap = p[upper] - p[lower]
    squint[lower] = 0.26 * gap
    squint[list(LEFT_LOWER_LID)] = 0.20 * gap + [0, 0, 0.08]
    squint[upper] = -0.10 * gap
    wide[upper] = 0.20 * gap
    wide[list(LEFT_LID_CREASE)] = 0.14 * gap
    wide[lower] = -0.06 * gap
    for field in (squint, wide):
        _keep_on_ball(p, field, centre, upper + lower)
    return {
        **_mirrored("eyeBlink", blink, core),
        **_mirrored("eyeSquint", squint, core),
        **_mirrored("eyeWide", wide, core),
    }


def closed_line(upper: Array, lower: Array, centre: Array) -> Array:
    """Where the two margins of one eye meet, (N, 3): a little above the open lower lid, ``LID_CLOSED`` over the ball
    where the ball is behind."""
    line = lower + 0.10 * (upper - lower)
    lateral = np.linalg.norm((line - centre)[:, :2], axis=1)
    radius = EYE_RADIUS + LID_CLOSED
    on_ball = centre[2] + np.sqrt(np.maximum(radius**2 - lateral**2, 0))
    line[:, 2] = np.maximum(line[:, 2], on_ball)
    return line


def _keep_on_ball(p: Array, field: Array, centre: Array, margin: list[int]) -> None:
    """Keep each margin point's distance from the eyeball's centre while it moves up or down."""
    before = p[margin] - centre
    after = before + field[margin]
    lateral = np.linalg.norm(after[:, :2], axis=1)
    distance = np.linalg.norm(before, axis=1)
    field[margin, 2] = np.sqrt(np.maximum(distance**2 - lateral**2, 0.2)) - before[:, 2]


def _brows(core: Core) -> dict[str, Array]:
    p = core.neutral
    region = smoothstep(p[:, 1], 0.35, 1.1) * smoothstep(p[:, 1], 4.2, 2.6)
    lift = core.deltas["brow_up"] * region[:, None] * 1.5
    lower = core.deltas["brow_down"] * 2.6 + along(bump(p, [0, 1.5, 0], (2.2, 0.9, 2)), [0, -0.15, 0.05])
    left_inner = along(bump(p, [1.4, 1.7, 0], (1.0, 0.9, 2)), [-0.22, 0, 0])
    lower = np.asarray((lower + left_inner + left_inner[core.mirror] * [-1, 1, 1]) * region[:, None], np.float64)
    inner = smoothstep(np.abs(p[:, 0]), 3.4, 1.2)[:, None]
    outer = smoothstep(np.abs(p[:, 0]), 1.6, 4.2)[:, None]
    out = _both("browDown", lower, p, 0.5)
    out["browInnerUp"] = lift * inner
    out.update(_both("browOuterUp", lift * outer, p, 0.5))
    return out


def _midface(core: Core) -> dict[str, Array]:
    p = core.neutral
    cheek, nostril = p[LEFT_CHEEK], p[LEFT_NOSTRIL]
    spared = smoothstep(p[:, 1], -1.05, -1.9)  # below the lower lid's own rings
    raise_cheek = along(bump(p, cheek + np.array([0, 1.6, 0.2]), (1.5, 1.0, 2.0)) * spared, [0, 0.45, 0.22])
    sneer = along(bump(p, nostril + np.array([0, 0.2, 0]), (0.8, 0.9, 1.2)), [0.05, 0.38, 0.02])
    sneer += along(bump(p, nostril + np.array([0.5, 2.0, -0.3]), (0.7, 1.0, 1.2)) * spared, [-0.05, 0.12, 0.12])
    puff = along(bump(p, p[LEFT_CHEEK] + [0.6, -1.4, -0.6], (1.7, 1.7, 2.4)), [0.8, 0, 0.65])
    puff += puff[core.mirror] * [-1, 1, 1]
    lips = np.zeros(N_FACE)
    lips[list(UPPER_LIP) + list(LOWER_LIP)] = 1
    puff *= (1 - 0.75 * lips)[:, None]
    return {**_mirrored("cheekSquint", raise_cheek, core), **_mirrored("noseSneer", sneer, core), "cheekPuff": puff}


def _mouth_mask(p: Array) -> Array:
    return np.asarray(smoothstep(p[:, 1], -2.6, -4.6)[:, None])


def _mouth_corners(core: Core) -> dict[str, Array]:
    p = core.neutral
    corner = p[291]
    mask = _mouth_mask(p)
    near = bump(p, corner, (1.5, 1.2, 2.0))
    middle = bump(p, (p[0] + p[17]) / 2, (1.6, 1.3, 3.0))
    smile = core.deltas["smile"] * mask
    # the drawn mouth sags in the middle more than a smiling one does
    smile -= along(middle * (smile[13, 1] + smile[14, 1]) / 2, [0, 0.6, 0])
    # nor does it go back into the teeth
    smile -= along(bump(p, (p[0] + p[17]) / 2, (1.9, 1.6, 3.0)) * min(smile[[0, 13, 14, 17], 2].min(), 0), [0, 0, 1])
    frown = core.deltas["frown"] * mask * 0.75
    _meet(smile, p)
    _meet(frown, p)
    out = _both("mouthSmile", smile, p)
    out.update(_both("mouthFrown", frown, p))
    out.update(_mirrored("mouthDimple", along(near, [0.30, 0.06, -0.32]) * mask, core))
    out.update(_mirrored("mouthStretch", along(near, [0.55, -0.22, -0.28]) * mask, core))
    return out


def _lip_weights(p: Array) -> tuple[Array, Array]:
    """How much each point belongs to the upper and to the lower lip with the skin around it."""
    seam = p[13, 1]
    above, below = np.ones(N_FACE), np.ones(N_FACE)
    above[p[:, 1] < seam], below[p[:, 1] > seam] = 0, 0
    above[list(UPPER_LIP)], below[list(UPPER_LIP)] = 1, 0
    above[list(LOWER_LIP)], below[list(LOWER_LIP)] = 0, 1
    x = np.abs(p[:, 0]) / abs(p[308, 0])
    taper = np.sqrt(np.clip(1 - x**2, 0, 1))
    near = np.abs(p[:, 1] - seam) < 0.6
    return np.where(near, above * taper, above), np.where(near, below * taper, below)


def _lips(core: Core) -> dict[str, Array]:
    p = core.neutral
    upper, lower = _lip_weights(p)
    lift = bump(p, p[0], (1.9, 0.8, 2.0)) * upper
    drop = bump(p, p[17], (1.8, 0.8, 2.0)) * lower
    press = -along(bump(p, p[0], (1.7, 0.40, 3)) * upper, [0, 0.20, 0.16])
    press += along(bump(p, p[17], (1.7, 0.45, 3)) * lower, [0, 0.20, -0.14])
    _meet(press, p)
    roll_upper = along(bump(p, p[0], (1.8, 0.40, 3)) * upper, [0, -0.24, -0.20])
    roll_lower = along(bump(p, p[17], (1.8, 0.45, 3)) * lower, [0, 0.28, -0.20])
    _meet(roll_upper, p)
    _meet(roll_lower, p)
    shrug_up = along(bump(p, p[0], (1.8, 0.7, 2)) * upper, [0, 0.20, 0.16])
    chin = bump(p, p[199], (1.7, 1.1, 2.2)) * below_mouth(p)
    shrug_low = along(bump(p, p[17], (1.8, 0.7, 2)) * lower, [0, 0.24, 0.18]) + along(chin, [0, 0.25, 0.10])
    _meet(shrug_low, p)
    out = _both("mouthUpperUp", along(lift, [0, 0.50, 0.03]), p)
    out.update(_both("mouthLowerDown", along(drop, [0, -0.50, -0.02]), p))
    out.update(_both("mouthPress", press, p))
    out.update({"mouthRollUpper": roll_upper, "mouthRollLower": roll_lower})
    out.update({"mouthShrugUpper": shrug_up, "mouthShrugLower": shrug_low})
    return out


def below_mouth(p: Array) -> Array:
    """1 under the lower lip, 0 above it, (N,)."""
    return smoothstep(p[:, 1], p[17, 1] + 0.1, p[17, 1] - 0.4)


# Four rings per lip, inner first, each from the subject's right to left.
_UPPER_RINGS = [UPPER_LIP[k : k + 9] for k in (0, 18, 27, 9)]
_LOWER_RINGS = [LOWER_LIP[k : k + 9] for k in (0, 18, 27, 9)]
_RING_SHARE = (1.0, 0.8, 0.6, 0.4)


def _meet(field: Array, p: Array) -> None:
    """Correct a field in place so that the inner lips stay in contact; the lips' outer rings follow less."""
    inner_up, inner_low = list(_UPPER_RINGS[0]), list(_LOWER_RINGS[0])
    gap = (p + field)[inner_up] - (p + field)[inner_low] - (p[inner_up] - p[inner_low])
    for share, up, low in zip(_RING_SHARE, _UPPER_RINGS, _LOWER_RINGS, strict=True):
        field[list(up)] -= 0.5 * share * gap
        field[list(low)] += 0.5 * share * gap


def _close(core: Core) -> Array:
    """What brings the lips together while the jaw hangs ``CLOSE_JAW_RAD`` open, most of it from below."""
    p = core.neutral
    weight = jaw_weights(p, core.triangles)[:, None]
    cosine, sine = np.cos(CLOSE_JAW_RAD), np.sin(CLOSE_JAW_RAD)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    opened = p + weight * ((p - JAW_JOINT) @ turn.T + JAW_JOINT - p)
    gap = opened[list(_UPPER_RINGS[0])] - opened[list(_LOWER_RINGS[0])]
    field = np.zeros((N_FACE, 3))
    for share, up, low in zip(_RING_SHARE, _UPPER_RINGS, _LOWER_RINGS, strict=True):
        field[list(up)] = -0.35 * share * gap
        field[list(low)] = 0.65 * share * gap @ turn  # turned back: the jaw's rotation is applied afterwards
    middle = along(bump(p, p[18], (2.0, 0.8, 3)) * below_mouth(p), 0.2 * gap[4])
    lips = np.zeros(N_FACE, bool)
    lips[list(UPPER_LIP) + list(LOWER_LIP)] = True
    return np.where(lips[:, None], field, middle)


def _mouth_whole(core: Core) -> dict[str, Array]:
    p = core.neutral
    upper, lower = _lip_weights(p)
    mask = _mouth_mask(p)
    middle = (p[0] + p[17]) / 2
    around = bump(p, middle, (1.6, 1.1, 3.0))
    pucker = core.deltas["pucker"] * mask + along(around, [0, 0, 0.55])
    _meet(pucker, p)
    funnel = core.deltas["pucker"] * mask * 0.5 + along(around, [0, 0, 0.45])
    funnel += along(bump(p, p[0], (1.3, 0.7, 2)) * upper, [0, 0.34, 0.12])
    funnel += along(bump(p, p[17], (1.3, 0.7, 2)) * lower, [0, -0.34, 0.12])
    shift = along(bump(p, middle, (2.6, 1.6, 4.0)), [1.0, 0, 0]) + along(bump(p, p[291], 1.2), [0.1, 0, -0.25])
    shift *= mask
    forward = along(jaw_share(p), [0, 0.02, 0.65])
    return {
        "mouthPucker": pucker,
        "mouthFunnel": funnel,
        "mouthClose": _close(core),
        **_mirrored("mouth", shift, core),
        "jawForward": forward,
    }


def jaw_share(p: Array) -> Array:
    """How much each point follows a forward slide of the jaw."""
    _, lower = _lip_weights(p)
    share = smoothstep(p[:, 1], -7.6, -9.2) * smoothstep(np.abs(p[:, 0]), 6.2, 2.5)
    share[list(LOWER_LIP)] = lower[list(LOWER_LIP)] * 0.9
    share[list(UPPER_LIP)] = 0
    return np.asarray(share)
