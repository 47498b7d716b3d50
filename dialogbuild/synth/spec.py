"""What a synthetic dialogue shall be: one frozen, hashable value from which everything else follows."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from dialogbuild.errors import ConfigError
from dialogbuild.media.clock import count_ticks, frame_table, tick_table

TICK_FPS = 25
SAMPLES_PER_TICK = 640
VFR_TIME_BASE = Fraction(1, 90_000)
DEFAULT_FOCAL_OVER_WIDTH = 1.1

Layout = Literal["same_shot", "split_screen", "close_ups"]
AudioKind = Literal["both", "one_voice", "silence", "none", "music"]
Fault = Literal["zero_bytes", "truncated", "text", "audio_only"]


@dataclass(frozen=True)
class DialogueSpec:
    """Everything that decides a synthetic dialogue; equal specs give equal bytes.

    Attributes:
        seed: chooses sentences, timing, identities, motion and light.
        duration_s: length of the video, rounded to whole frames.
        width_px, height_px: displayed size; both even.
        fps: a constant rate, or "vfr" for irregular intervals between 1/30 and 1/12 s.
        faces: how many people are in the picture; 3 adds a bystander who never speaks, 1 leaves person 1 a voice
            off-screen, 0 shows the empty room.
        layout: both in one shot; two views side by side; or close-ups that alternate.
        cuts: times of the cuts in seconds. In "same_shot" the camera's framing changes; "close_ups" without cuts cuts
            at the turns; "split_screen" mirrors nothing and changes the framing of both panels.
        swap_sides: person 0 sits on the right.
        swap_each_cut: the sides change at every cut (the camera crosses the line).
        audio: who is heard. "one_voice": only person 0 speaks; "silence": digital zeros; "none": no audio stream;
            "music": chords without speech. With "silence" and "music" nobody speaks; with "none" the lips still do.
        av_offset_s: lip-sync error; positive = sound lags the picture.
        audio_offset_s: start of the sound in the container (AAC's silent priming comes up to 64 ms earlier); the sound
            stays in sync with the lips, and what lies before it is silent.
        noise_db: level of the room noise, dB of full scale.
        stereo_bleed_db: stereo sound with person 0 in the left channel and person 1 in the right, each heard in the
            other's channel this much weaker (dB, negative); None = mono. For constant rates in MP4.
        lines: own sentences as (person, text), spoken in this order; empty = the bank's.
        focal_over_width: the lens, focal length over the width of a 16:9 picture; 1.1 is a view of 49 degrees. People
            stand farther away in proportion (a dolly zoom), so that faces keep their size and only perspective changes.
        video_codec, crf, gop: the encoder's settings (an FFmpeg encoder's name); the container follows the suffix.
        fault: spoils the finished file, see ``container.make_faulty``.

    Raises:
        ConfigError: a value is out of range; the message says which.
    """

    seed: int = 0
    duration_s: float = 8.0
    width_px: int = 640
    height_px: int = 360
    fps: Fraction | Literal["vfr"] = Fraction(25)
    faces: int = 2
    layout: Layout = "same_shot"
    cuts: tuple[float, ...] = ()
    swap_sides: bool = False
    swap_each_cut: bool = False
    audio: AudioKind = "both"
    av_offset_s: float = 0.0
    audio_offset_s: float = 0.0
    noise_db: float = -62.0
    stereo_bleed_db: float | None = None
    lines: tuple[tuple[int, str], ...] = ()
    focal_over_width: float = DEFAULT_FOCAL_OVER_WIDTH
    video_codec: str = "libx264"
    crf: int = 18
    gop: int = 25
    fault: Fault | None = None

    def __post_init__(self) -> None:
        if self.width_px % 2 or self.height_px % 2 or min(self.width_px, self.height_px) < 64:
            raise ConfigError(f"width_px and height_px must be even and >= 64, not {self.width_px}x{self.height_px}")
        if not 0 <= self.faces <= 3:
            raise ConfigError(f"faces must be 0 to 3, not {self.faces}")
        if self.duration_s <= 0 or (isinstance(self.fps, Fraction) and self.fps <= 0):
            raise ConfigError("duration_s and fps must be positive")
        if not 0.5 <= self.focal_over_width <= 10:
            raise ConfigError(f"focal_over_width must be 0.5 to 10, not {self.focal_over_width}")
        if list(self.cuts) != sorted(set(self.cuts)) or any(not 0 < cut < self.duration_s for cut in self.cuts):
            raise ConfigError(f"cuts must ascend within (0, {self.duration_s}), not {self.cuts}")
        if self.stereo_bleed_db is not None and (self.stereo_bleed_db > 0 or self.audio not in ("both", "one_voice")):
            raise ConfigError("stereo_bleed_db must not be positive, and needs speech")
        if self.layout != "same_shot" and self.faces not in (1, 2):
            raise ConfigError(f"layout {self.layout} shows 1 or 2 faces, not {self.faces}")

    def frame_pts(self) -> tuple[npt.NDArray[np.int64], Fraction]:
        """Presentation times of the frames and of the video's end: (N+1,) int64, and their time base."""
        if self.fps != "vfr":
            count = max(round(self.duration_s * self.fps), 1)
            return np.arange(count + 1, dtype=np.int64), 1 / self.fps
        rng = np.random.default_rng([self.seed, 1])
        choices = np.array([3000, 3003, 3600, 4500, 6000, 7500])
        weights = np.array([0.3, 0.1, 0.3, 0.15, 0.1, 0.05])
        total = round(self.duration_s / VFR_TIME_BASE)
        steps = rng.choice(choices, size=total // 3000 + 1, p=weights)
        pts = np.concatenate([[0], np.cumsum(steps)])
        return np.append(pts[pts < total - 1500], total).astype(np.int64), VFR_TIME_BASE

    def frame_times_s(self) -> npt.NDArray[np.float64]:
        """When each frame is shown: (N,) float64 seconds from the first frame."""
        pts, time_base = self.frame_pts()
        return pts[:-1] * (time_base.numerator / time_base.denominator)

    @property
    def length_s(self) -> float:
        """The video's exact length in seconds."""
        pts, time_base = self.frame_pts()
        return float(int(pts[-1]) * time_base)

    @property
    def n_ticks(self) -> int:
        """Ticks of the clip timeline that the video covers."""
        pts, time_base = self.frame_pts()
        return count_ticks(int(pts[-1]), time_base)

    def tick_frames(self) -> npt.NDArray[np.int32]:
        """Frame shown at the centre of each tick: (n_ticks,) int32."""
        pts, time_base = self.frame_pts()
        last = int(pts[-1] - pts[-2])
        return tick_table(frame_table(pts[:-1], last, np.zeros(len(pts) - 1, bool), time_base)).frame
