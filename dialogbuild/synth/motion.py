"""How the two people move: lips from phonemes, blinks, gaze, nods and sway, evaluated at any time.

Everything is drawn from the seed and is a function of continuous time, so a video at 25, 29.97 or irregular frames
shows the same performance, and every frame's truth belongs to its exact presentation time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from dialogbuild.synth.script import Script, Turn
from dialogbuild.synth.spec import DialogueSpec
from dialogbuild.synth.visemes import GRID_HZ, Curve, grid_s, mouth_curves

FloatArray = npt.NDArray[np.float64]

BLINK_CLOSE_S, BLINK_HOLD_S, BLINK_OPEN_S = 0.08, 0.04, 0.15
_SACCADE_S = 0.035
_NOD_HZ = 2.2


@dataclass(frozen=True, eq=False)
class Motion:
    """One person's performance at N times, independent of identity and head model.

    Attributes:
        mouth: channel -> (N,), see ``visemes.CHANNELS``; ``jaw_rad`` in radians, the rest 0..1.
        closure: (N,) 1 = lips pressed together by a bilabial.
        lids: (N, 2) closure of the subject's left and right lid, 0..1.
        smile, brow_up: (N,) 0..1.
        neck_rad, sway_rad: (N, 3) rotation vectors (pitch down, yaw to the subject's left, roll), head and body.
        sway_m: (N, 3) of the body, camera axes.
        gaze_rad: (N, 2) pitch down and yaw to the subject's left, of the eyes in the head.
    """

    mouth: dict[str, Curve]
    closure: Curve
    lids: FloatArray
    smile: Curve
    brow_up: Curve
    neck_rad: FloatArray
    sway_rad: FloatArray
    sway_m: FloatArray
    gaze_rad: FloatArray


def make_motion(spec: DialogueSpec, script: Script, person: int, toward_rad: float, time_s: Curve) -> Motion:
    """The performance of one person at the given times.

    Args:
        spec: seed, length and lip-sync error.
        script: who speaks when; a person without phonemes keeps the lips closed.
        person: 0, 1, or 2 for the bystander.
        toward_rad: yaw of the partner seen from the person's rest pose; positive = to the subject's left.
        time_s: (N,) picture times.
    """
    rng = np.random.default_rng([spec.seed, 10 + person])
    length_s = spec.length_s
    shift_s = -spec.av_offset_s
    own = [p for p in script.phonemes if p.person == person]
    own = [replace(p, start_s=p.start_s + shift_s, end_s=p.end_s + shift_s) for p in own]
    turns = [replace(t, start_s=t.start_s + shift_s, end_s=t.end_s + shift_s) for t in script.turns]
    gains = (("jaw_rad", float(rng.uniform(0.95, 1.15))), ("stretch", float(rng.uniform(0.8, 1.1))))
    mouth, closure = mouth_curves(own, length_s, gains)
    grid = grid_s(length_s)
    nod = _nods(rng, grid, person, turns, mouth["jaw_rad"])
    yaw = _drift(rng, grid, np.radians(2.8))
    neck = np.stack([_drift(rng, grid, np.radians(1.6)) + nod, yaw, _drift(rng, grid, np.radians(1.3))], 1)
    lids = _blinks(rng, grid)
    gaze = _gaze(rng, grid, person, turns, toward_rad) - 0.7 * neck[:, :2]
    # The upper lid follows the eye down; looking down by 20 degrees covers about a third of the opening.
    lids = np.clip(lids + np.clip(gaze[:, 0], 0.0, None)[:, None], 0.0, 1.0)
    sway_rad = np.stack([_drift(rng, grid, np.radians(a), 0.4) for a in (0.5, 0.9, 0.5)], 1)
    sway_m = np.stack([_drift(rng, grid, a, 0.35) for a in (0.004, 0.002, 0.004)], 1)
    smile, brow_up = _smiles(rng, grid, person, turns), _brows(rng, grid, person, turns)

    def at(curve: FloatArray) -> FloatArray:
        columns = [np.interp(time_s, grid, column) for column in curve.reshape(len(grid), -1).T]
        return np.stack(columns, 1).reshape(len(time_s), *curve.shape[1:])

    return Motion(
        mouth={channel: at(curve) for channel, curve in mouth.items()},
        closure=at(closure),
        lids=at(lids),
        smile=at(smile),
        brow_up=at(brow_up),
        neck_rad=at(neck),
        sway_rad=at(sway_rad),
        sway_m=at(sway_m),
        gaze_rad=at(gaze),
    )


def blink_profile(since_s: Curve) -> Curve:
    """Lid closure 0..1 at times since a blink's start: lids fall in 80 ms, stay shut 40 ms, rise in 150 ms."""
    rising = (since_s - BLINK_CLOSE_S - BLINK_HOLD_S) / BLINK_OPEN_S
    return _smoothstep(since_s / BLINK_CLOSE_S) * (1.0 - _smoothstep(rising))


def _smoothstep(x: Curve) -> Curve:
    t = np.clip(x, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def _bump(time_s: Curve, start_s: float, end_s: float, ramp_s: float) -> Curve:
    """0 to 1 and back, with smooth ramps outside [start, end]."""
    rise = _smoothstep((time_s - start_s + ramp_s) / ramp_s)
    return np.asarray(rise * (1.0 - _smoothstep((time_s - end_s) / ramp_s)))


def _drift(rng: np.random.Generator, time_s: Curve, rms: float, highest_hz: float = 0.7) -> Curve:
    """Slow wandering: six sinusoids below ``highest_hz``, red spectrum."""
    hertz = rng.uniform(0.06, highest_hz, 6)
    phase = rng.uniform(0, 2 * np.pi, 6)
    amplitude = 1.0 / (0.25 + hertz)
    amplitude *= rms / np.sqrt(0.5 * np.sum(amplitude**2))
    return np.asarray(np.sin(2 * np.pi * hertz * time_s[:, None] + phase) @ amplitude)


def _blinks(rng: np.random.Generator, time_s: Curve) -> FloatArray:
    closure = np.zeros((len(time_s), 2))
    start_s = float(rng.uniform(0.5, 1.8))
    while start_s < time_s[-1]:
        depth = 1.0 if rng.uniform() < 0.85 else float(rng.uniform(0.6, 0.8))
        late_s = rng.normal(0.0, 0.004, 2)
        for side in (0, 1):
            closure[:, side] = np.maximum(closure[:, side], depth * blink_profile(time_s - start_s - late_s[side]))
        start_s += float(rng.uniform(0.3, 0.45)) if rng.uniform() < 0.08 else float(1.3 + rng.gamma(2.0, 0.9))
    return closure


def _nods(rng: np.random.Generator, time_s: Curve, person: int, turns: list[Turn], jaw_rad: Curve) -> Curve:
    """Pitch: listeners nod with their backchannels and at times silently; speakers dip with loud vowels."""
    pitch = 0.18 * uniform_filter1d(jaw_rad, round(0.12 * GRID_HZ), mode="constant")
    for turn in turns:
        own_token = turn.kind == "backchannel" and turn.person == person
        silent = turn.kind == "turn" and turn.person != person and rng.uniform() < 0.6
        if not (own_token or silent):
            continue
        start_s = turn.start_s - 0.1 if own_token else turn.start_s + 0.7 * (turn.end_s - turn.start_s)
        since_s = time_s - start_s
        depth = np.radians(rng.uniform(2.0, 4.0))
        envelope = _bump(time_s, start_s + 0.15, start_s + 0.6, 0.25)
        pitch = pitch + depth * envelope * 0.5 * (1.0 - np.cos(2 * np.pi * _NOD_HZ * since_s))
    return np.asarray(pitch)


def _gaze(
    rng: np.random.Generator, time_s: Curve, person: int, turns: list[Turn], toward_rad: float
) -> npt.NDArray[np.float64]:
    """Fixations joined by 35 ms saccades: mostly the partner while listening, also aside while speaking."""
    gaze = np.zeros((len(time_s), 2))
    previous = np.array([0.0, toward_rad])
    start_s = -0.1
    while start_s < time_s[-1]:
        speaking = any(t.person == person and t.start_s <= start_s < t.end_s for t in turns)
        aside = rng.uniform() < (0.45 if speaking else 0.15)
        spread = np.radians((5.0, 9.0) if aside else (1.2, 1.5))
        centre = np.array([0.02, 0.3 * toward_rad if aside else toward_rad])
        target = np.clip(centre + rng.normal(0.0, 1.0, 2) * spread, [-0.2, -0.45], [0.25, 0.45])
        share = _smoothstep((time_s - start_s) / _SACCADE_S)[:, None]
        gaze = np.where(time_s[:, None] >= start_s, previous + share * (target - previous), gaze)
        previous = target
        start_s += float(rng.uniform(0.3, 1.0) if aside else rng.uniform(0.6, 2.2))
    return gaze


def _smiles(rng: np.random.Generator, time_s: Curve, person: int, turns: list[Turn]) -> Curve:
    smile = np.full(len(time_s), float(rng.uniform(0.03, 0.10)))
    for turn in turns:
        listening = turn.person != person
        if turn.kind == "turn" and rng.uniform() < (0.6 if listening else 0.25):
            middle_s = turn.start_s + float(rng.uniform(0.4, 0.9)) * (turn.end_s - turn.start_s)
            depth = float(rng.uniform(0.35, 0.7)) * (1.0 if listening else 0.5)
            smile = np.maximum(smile, depth * _bump(time_s, middle_s - 0.3, middle_s + 0.5, 0.4))
    return smile


def _brows(rng: np.random.Generator, time_s: Curve, person: int, turns: list[Turn]) -> Curve:
    brow = np.zeros(len(time_s))
    for turn in turns:
        if turn.person == person and rng.uniform() < 0.7:
            at_s = turn.start_s + float(rng.uniform(0.0, 0.5)) * (turn.end_s - turn.start_s)
            brow = np.maximum(brow, float(rng.uniform(0.3, 0.7)) * _bump(time_s, at_s, at_s + 0.25, 0.16))
    return np.asarray(np.clip(brow + np.abs(_drift(rng, time_s, 0.05)), 0.0, 1.0))
