"""Shot cuts with PySceneDetect's detectors, fed with our own frames on the clip grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from dialogbuild.media.probe import U8Image

Detector = Literal["adaptive", "content", "histogram"]


def detect_cuts(
    frames: Iterable[tuple[int, U8Image]], detector: Detector = "adaptive", threshold: float = 3.0, min_frames: int = 5
) -> list[int]:
    """Ticks at which a new shot begins, increasing; never the first frame's.

    Args:
        frames: (tick, rgb (H,W,3) uint8) in order, without repeated source frames: a frame equal to the one before
            would make every real change around it look like a cut.
        detector: ``adaptive`` compares each change with its neighbourhood, ``content`` and ``histogram`` with a fixed
            threshold.
        threshold: of the detector chosen, in its own unit.
        min_frames: a cut nearer than this to the one before is dropped (a camera flash is two cuts).
    """
    from scenedetect import FrameTimecode

    found: list[int] = []
    ticks: list[int] = []
    machine = _machine(detector, threshold, min_frames)
    rate = 25.0  # only labels positions; nothing is measured in seconds
    for index, (tick, rgb) in enumerate(frames):
        ticks.append(tick)
        bgr = np.ascontiguousarray(rgb[:, :, ::-1])
        found += [int(cut.frame_num) for cut in machine.process_frame(FrameTimecode(index, rate), bgr)]
    if ticks:
        found += [int(cut.frame_num) for cut in machine.post_process(FrameTimecode(len(ticks) - 1, rate))]
    return sorted({ticks[i] for i in found if 0 < i < len(ticks)})


def _machine(detector: Detector, threshold: float, min_frames: int) -> Any:
    from scenedetect.detectors import AdaptiveDetector, ContentDetector, HistogramDetector

    if detector == "adaptive":
        return AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=min_frames)
    if detector == "content":
        return ContentDetector(threshold=threshold, min_scene_len=min_frames)
    return HistogramDetector(threshold=threshold, min_scene_len=min_frames)
