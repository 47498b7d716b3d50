"""What is written down of an answer: labelled spans, and figures that need no truth."""

from __future__ import annotations

import numpy as np

from dialogbuild.dialogue.decide import Answer, People
from dialogbuild.dialogue.metrics import gaussian_information, mean_entropy
from dialogbuild.dialogue.turns import TurnRule, intervals, pause_units


def spoken_spans(answer: Answer, fps: float) -> dict[str, list[tuple[str, float, float]]]:
    """Labelled intervals in seconds for the two RTTM files, by file name."""
    turns = [(f"person_{t.person}", t.start / fps, t.end / fps) for t in answer.turns]
    talking = np.zeros((len(answer.decoded.states), 2), bool)
    for t in answer.turns:
        talking[t.start : t.end, t.person] = True
    unseen = (answer.decoded.p_other > 0.5) & ~talking.any(axis=1)  # turns bridge pauses: there they have the word
    off = [("offscreen", a / fps, b / fps) for a, b in pause_units(unseen, fps, TurnRule(fill_s=0.0))]
    likelier = answer.decoded.p_speak.argmax(axis=1)
    alone = talking & ((talking.sum(axis=1) == 1)[:, None] | (likelier[:, None] == np.arange(2)))
    solo = [(f"person_{k}", a / fps, b / fps) for k in (0, 1) for a, b in intervals(alone[:, k])]
    return {"turns.rttm": turns + off, "exclusive.rttm": solo + off}


def own_account(answer: Answer, people: People) -> dict[str, float]:
    """How good the answer looks without knowing the truth.

    entropy_bits: mean over ticks and persons, 0 = always sure. lip_nats_own, lip_nats_other: information that each
    person's lip motion holds about that person's own speaking, and about the other's; the first should be the greater.
    unseen_share: of the speaking ticks, the speaker's face is not on screen. offscreen_share: of all ticks.
    """
    p, motion = answer.decoded.p_speak, people.lip_motion
    own, other = (np.mean([gaussian_information(motion[:, k], p[:, j]) for k, j in pairs])
                  for pairs in (((0, 0), (1, 1)), ((0, 1), (1, 0))))  # fmt: skip
    spoken = p > 0.5
    figures = {
        "entropy_bits": mean_entropy(p.ravel()),
        "lip_nats_own": own,
        "lip_nats_other": other,
        "unseen_share": (spoken & ~people.seen).sum() / max(spoken.sum(), 1),
        "offscreen_share": answer.decoded.p_other.mean(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}
