"""Whether the two channels of a stereo recording are the two people's: one microphone each, or a mix in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dialogbuild.dialogue.pcm import Array

Reason = Literal["ok", "short", "mixed"]
_MIN_SOLO_S = 1.5  # of each person: a short sentence
_MIN_GAP_DB = 6.0  # below, a mask on who speaks takes more of the other away
_MIN_AGREEMENT = 0.85  # the rest are wrong labels at the ends of turns, and backchannels that were missed
_QUIET_DB = 40.0  # under the loud parts: pauses within a turn, where channels hold noise only


@dataclass(frozen=True)
class ChannelOwners:
    """Whose the channels are.

    Attributes:
        channel: channel of person 0 and of person 1; None when the channels do not separate them.
        gap_db: level of a person's own channel over the other one while that person speaks alone, median; the smaller
            of both people's.
        agreement: share of the speech of one person alone that is louder in the own channel, mean of both people's.
        reason: "ok"; "short": too little speech of one person alone to tell; "mixed": both are heard in both.
    """

    channel: tuple[int, int] | None
    gap_db: float
    agreement: float
    reason: Reason


def channel_owners(level_db: Array, p_speak: Array, fps: float) -> ChannelOwners:
    """Compare the channels' levels with who speaks, over a whole recording.

    Args:
        level_db: (T, 2) level of each channel at each tick.
        p_speak: (T, 2) probability that each person speaks.
        fps: ticks per second.
    """
    loudest = level_db.max(axis=1)
    heard = loudest > np.percentile(loudest, 95) - _QUIET_DB
    alone = p_speak * (1.0 - p_speak[:, ::-1]) * heard[:, None]
    alone[alone < 0.5] = 0.0
    if alone.sum(axis=0).min() / fps < _MIN_SOLO_S:
        return ChannelOwners(None, 0.0, 0.0, "short")
    lead_db = level_db[:, 0] - level_db[:, 1]
    left = [weighted_median(lead_db, alone[:, k]) for k in (0, 1)]
    sign = 1.0 if left[0] >= left[1] else -1.0
    gap_db = min(sign * left[0], -sign * left[1])
    share = [float(alone[sign * side * lead_db > 0, k].sum() / alone[:, k].sum()) for k, side in ((0, 1.0), (1, -1.0))]
    agreement = float(np.mean(share))
    if gap_db < _MIN_GAP_DB or agreement < _MIN_AGREEMENT:
        return ChannelOwners(None, gap_db, agreement, "mixed")
    return ChannelOwners((0, 1) if sign > 0 else (1, 0), gap_db, agreement, "ok")


def weighted_median(values: Array, weight: Array) -> float:
    """The value that halves the weight. (N,), (N,) with a positive sum."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(total, 0.5 * total[-1])]])
