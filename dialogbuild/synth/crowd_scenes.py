"""Named crowd scenes, each from a seed: the situations in which face trackers lose or swap people."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from dialogbuild.errors import ConfigError
from dialogbuild.synth.crowd import Actor, CrowdShot, CrowdSpec, Keyframe, Panel

WIDTH_PX, HEIGHT_PX = 1280, 720
DURATION_S = 12.0

_FULL = (0, 0, WIDTH_PX, HEIGHT_PX)
_EYE_M = -0.04
_OUT = 0.62  # |x| over z beyond which a person is outside the picture, shoulders too

Rng = np.random.Generator
Key = tuple[float, float, float, float]  # time s, x m, z m, yaw degrees


def crowd_scene(name: str, seed: int = 0, duration_s: float = DURATION_S) -> CrowdSpec:
    """A preset at 1280x720; times, places and heights vary with the seed, and everything scales with the duration.

    Raises:
        ConfigError: the name is not in ``PRESETS``.
    """
    if name not in PRESETS:
        raise ConfigError(f"no crowd scene {name!r}: there are {', '.join(PRESETS)}")
    rng = np.random.default_rng([seed, 50, *name.encode()])
    return PRESETS[name](rng, seed, duration_s)


def _actor(rng: Rng, person: int, duration_s: float, *keys: Key) -> Actor:
    """A person on a path whose times are shares of the duration; places and times differ a little with the seed."""
    y_m = _EYE_M + rng.uniform(-0.03, 0.05)
    side, late = rng.normal(0, 0.03), rng.uniform(-0.012, 0.012)
    path = []
    for i, (share, x_m, z_m, yaw_deg) in enumerate(keys):
        time_s = (share + (late if 0 < i < len(keys) - 1 else 0.0)) * duration_s
        path.append(Keyframe(float(time_s), (x_m + side * min(z_m, 1.5), y_m, z_m), float(np.radians(yaw_deg))))
    return Actor(person, tuple(path))


def _one_shot(seed: int, duration_s: float, *actors: Actor) -> CrowdSpec:
    return CrowdSpec((CrowdShot(0.0, (Panel(_FULL, actors),)),), seed, duration_s, WIDTH_PX, HEIGHT_PX)


def _crossing(rng: Rng, seed: int, duration_s: float) -> CrowdSpec:
    """0 and 1 cross three times, the third time one stops and turns back; 2 crosses close to the camera."""
    act = partial(_actor, rng)
    return _one_shot(
        seed,
        duration_s,
        act(0, duration_s, (0, -0.5, 1.7, 25), (0.08, -0.5, 1.7, 25), (0.26, 0.5, 1.7, 15), (0.36, 0.5, 1.6, -25),
            (0.54, -0.5, 1.6, -15), (0.64, -0.5, 1.6, 25), (0.78, -0.08, 1.6, 20), (0.92, -0.55, 1.6, -20),
            (1, -0.55, 1.6, 15)),
        act(1, duration_s, (0, 0.6, 2.2, -25), (0.10, 0.6, 2.2, -25), (0.28, -0.6, 2.2, -15), (0.36, -0.6, 2.2, 25),
            (0.54, 0.6, 2.2, 15), (0.64, 0.6, 2.2, -25), (0.78, 0.1, 2.1, -20), (0.92, 0.65, 2.2, 20),
            (1, 0.65, 2.2, -15)),
        act(2, duration_s, (0.38, -1.3, 1.15, 60), (0.58, 1.3, 1.15, 60)),
    )  # fmt: skip


def _leave_and_return(rng: Rng, seed: int, duration_s: float) -> CrowdSpec:
    """0 stays; 1 leaves to the right and comes back twice; 2 enters at once where 1 has just left."""
    out = _OUT * 1.2
    act = partial(_actor, rng)
    return _one_shot(
        seed,
        duration_s,
        act(0, duration_s, (0, -0.28, 1.1, 18), (0.5, -0.24, 1.05, 10), (1, -0.3, 1.1, 20)),
        act(1, duration_s, (0, 0.3, 1.2, -18), (0.15, 0.3, 1.2, -10), (0.24, out + 0.3, 1.2, 55),
            (0.38, out + 0.3, 1.2, -40), (0.47, 0.28, 1.2, -25), (0.62, 0.28, 1.2, -15), (0.70, out + 0.3, 1.2, 50),
            (0.86, out + 0.3, 1.2, -40), (0.95, 0.3, 1.2, -20)),
        act(2, duration_s, (0.68, out + 0.4, 1.35, -50), (0.77, 0.3, 1.35, -30), (0.82, 0.3, 1.35, -20),
            (0.90, out + 0.4, 1.35, 50)),
    )  # fmt: skip


def _four_faces(rng: Rng, seed: int, duration_s: float) -> CrowdSpec:
    """Four in the picture: 0 and 1 in front, 2 and 3 change places behind them."""
    act = partial(_actor, rng)
    return _one_shot(
        seed,
        duration_s,
        act(0, duration_s, (0, -0.26, 1.25, 20), (0.5, -0.22, 1.2, 30), (1, -0.28, 1.25, 15)),
        act(1, duration_s, (0, 0.28, 1.3, -20), (0.5, 0.25, 1.25, -30), (1, 0.28, 1.3, -12)),
        act(2, duration_s, (0, -0.75, 2.0, 25), (0.2, -0.75, 2.0, 20), (0.45, 0.75, 2.1, 10), (0.6, 0.75, 2.1, -25),
            (0.85, -0.7, 2.0, -20), (1, -0.7, 2.0, 15)),
        act(3, duration_s, (0, 0.85, 2.3, -25), (0.25, 0.85, 2.3, -20), (0.5, 0.0, 2.5, -5), (0.65, 0.0, 2.5, 0),
            (0.9, 0.9, 2.3, 20), (1, 0.9, 2.3, -15)),
    )  # fmt: skip


def _near_and_far(rng: Rng, seed: int, duration_s: float) -> CrowdSpec:
    """0 near by (300 px), 1 comes from the back to the front, 2 walks away, 3 stays far off (40 px)."""
    act = partial(_actor, rng)
    return _one_shot(
        seed,
        duration_s,
        act(0, duration_s, (0, -0.17, 0.75, 18), (0.6, -0.16, 0.72, 10), (1, -0.18, 0.78, 15)),
        act(1, duration_s, (0, 1.4, 5.2, -15), (0.15, 1.4, 5.2, -10), (0.6, 0.22, 0.85, -12), (1, 0.22, 0.8, -20)),
        act(2, duration_s, (0, 0.25, 1.1, -20), (0.2, 0.25, 1.1, -15), (0.3, 0.42, 1.3, 150), (0.55, 0.9, 3.4, 170),
            (0.65, 1.0, 3.6, 20), (1, 0.9, 3.6, -10)),
        act(3, duration_s, (0, 0.2, 5.4, 0), (0.5, 0.55, 5.4, 15), (0.65, 0.6, 5.4, -20), (1, 0.2, 5.0, -5)),
    )  # fmt: skip


def _turning(rng: Rng, seed: int, duration_s: float) -> CrowdSpec:
    """0 looks to profile and back; 1 turns the back, moves aside, and turns again; 2 turns all the way round."""
    act = partial(_actor, rng)
    return _one_shot(
        seed,
        duration_s,
        act(0, duration_s, (0, -0.3, 1.1, 10), (0.1, -0.3, 1.1, 10), (0.2, -0.3, 1.1, 75), (0.3, -0.3, 1.1, 75),
            (0.42, -0.3, 1.1, -75), (0.5, -0.3, 1.1, -75), (0.6, -0.3, 1.1, 20), (0.75, -0.3, 1.1, 60),
            (0.85, -0.3, 1.1, 0), (1, -0.3, 1.1, 20)),
        act(1, duration_s, (0, 0.2, 1.3, -15), (0.15, 0.2, 1.3, -15), (0.25, 0.2, 1.3, -175), (0.42, 0.48, 1.3, -180),
            (0.52, 0.48, 1.3, -30), (0.68, 0.45, 1.3, -10), (0.78, 0.45, 1.3, 150), (0.86, 0.45, 1.3, 170),
            (0.94, 0.4, 1.3, 10), (1, 0.4, 1.3, 0)),
        act(2, duration_s, (0, 0.05, 2.2, 0), (0.3, 0.05, 2.2, 10), (0.55, 0.0, 2.2, 370), (1, 0.05, 2.2, 350)),
    )  # fmt: skip


def _cuts_and_close_ups(rng: Rng, seed: int, duration_s: float) -> CrowdSpec:
    """Wide, then close-ups of 0 and 1 in the very same spot, from the other side, with 2 in a third set-up."""
    shots = [0.0, 0.2, 0.34, 0.42, 0.56, 0.72, 0.86]
    starts = [round(s * duration_s + (rng.uniform(-0.15, 0.15) if s else 0.0), 2) for s in shots]

    def still(person: int, x_m: float, z_m: float, yaw_deg: float) -> Actor:
        return _actor(rng, person, duration_s, (0.0, x_m, z_m, yaw_deg), (1.0, 0.95 * x_m, z_m, yaw_deg))

    wide = (still(0, -0.3, 1.25, 20), still(1, 0.3, 1.25, -20))
    casts = (
        wide,
        (still(0, 0.0, 0.75, 18),),
        (still(1, 0.0, 0.75, -18),),
        (still(0, 0.02, 0.72, 15),),
        (still(1, -0.28, 1.15, 20), still(0, 0.28, 1.2, -20)),
        (still(1, 0.02, 0.7, -12), still(2, -0.9, 3.0, 10)),
        (*wide, still(2, 0.02, 2.0, 0)),
    )
    panels = [Panel(_FULL, cast, backdrop=i) for i, cast in enumerate(casts)]
    return CrowdSpec(
        tuple(CrowdShot(start, (panel,)) for start, panel in zip(starts, panels, strict=True)),
        seed, duration_s, WIDTH_PX, HEIGHT_PX,
    )  # fmt: skip


def _insets(rng: Rng, seed: int, duration_s: float) -> CrowdSpec:
    """A photo of 5 on the wall behind 0 and 1, a cutaway to 4, a picture-in-picture of 3, a photo of 2 full-screen."""

    def still(person: int, x_m: float, z_m: float, yaw_deg: float) -> Actor:
        return _actor(rng, person, duration_s, (0.0, x_m, z_m, yaw_deg), (1.0, 0.95 * x_m, z_m, yaw_deg))

    left = int(rng.integers(560, 600))
    pair = Panel(_FULL, (still(0, -0.3, 1.15, 20), still(1, 0.32, 1.15, -20)), backdrop=None)
    room = Panel(_FULL)
    picture = Panel((left, 110, left + 130, 270), (still(5, 0.0, 0.55, 8),), 2, still=True, focal_over_width=2.6)
    corner = Panel((936, 36, 1256, 216), (still(3, 0.0, 0.8, 0),), backdrop=1)
    cutaway = Panel(_FULL, (still(4, float(rng.uniform(-0.1, 0.1)), 0.95, 12),), backdrop=4)
    photo = Panel(_FULL, (still(2, 0.05, 0.9, -15),), 5, still=True, zoom_per_s=0.06)
    plan = (
        (0.0, (room, picture, pair)),
        (0.25, (cutaway,)),
        (0.4, (room, picture, pair, corner)),
        (0.65, (photo,)),
        (0.8, (room, picture, pair)),
    )
    starts = [round(s * duration_s + (rng.uniform(-0.15, 0.15) if s else 0.0), 2) for s, _ in plan]
    return CrowdSpec(
        tuple(CrowdShot(start, panels) for start, (_, panels) in zip(starts, plan, strict=True)),
        seed, duration_s, WIDTH_PX, HEIGHT_PX,
    )  # fmt: skip


PRESETS: dict[str, Callable[[Rng, int, float], CrowdSpec]] = {
    "crossing": _crossing,
    "leave_and_return": _leave_and_return,
    "four_faces": _four_faces,
    "near_and_far": _near_and_far,
    "turning": _turning,
    "cuts_and_close_ups": _cuts_and_close_ups,
    "insets": _insets,
}
"""name -> scene; persons 0 and 1 are the dialogue in all."""
