"""Two people in turn, without a video: mouths, sound and voices as the chain sees them."""

from dataclasses import replace

import numpy as np

from dialogbuild.dialogue import av, lips

FPS = 25.0


def mouth(speaking: np.ndarray, rng: np.random.Generator, noise: float = 0.002) -> np.ndarray:
    """Aperture that opens and closes at about 4 Hz where ``speaking``. (T,)."""
    t = np.arange(len(speaking)) / FPS
    phase = 2 * np.pi * 4.0 * t + 1.5 * np.cumsum(rng.normal(size=len(t))) / np.sqrt(FPS)
    swing = 0.04 * (1 + np.sin(phase)) * rng.uniform(0.7, 1.3, len(t))
    return np.where(speaking, swing, 0.004) + np.abs(rng.normal(0.0, noise, len(t)))


def scene(turn_s: float = 2.5, length_s: float = 20.0, seed: int = 0) -> tuple[av.Observed, np.ndarray]:
    """Two people in turn with short pauses; voice k is person k. And the true states (T,)."""
    rng = np.random.default_rng(seed)
    n = int(length_s * FPS)
    t = np.arange(n) / FPS
    state = np.where((t % turn_s) < 0.3, 0, 1 + (t // turn_s).astype(int) % 2)
    active = np.stack([state == 1, state == 2], axis=1)
    motion = np.stack([lips.lip_motion(mouth(active[:, k], rng), FPS) for k in (0, 1)], axis=1)
    p_speech = np.where(state > 0, 0.97, 0.04)
    voice = np.where(state == 1, 3.0, np.where(state == 2, -3.0, 0.0)) + rng.normal(0, 1.5, n)
    return av.Observed(p_speech, motion, voice, FPS), state


def blind(seen: av.Observed, person: int, where: np.ndarray | slice = slice(None)) -> av.Observed:
    motion = seen.lip_motion.copy()
    motion[where, person] = np.nan
    return replace(seen, lip_motion=motion)
