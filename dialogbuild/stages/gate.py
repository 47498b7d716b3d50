"""gate: is a clip good enough for the dataset? Reads numbers, decides, and says why not.

reads   quality  quality.json   persons: coverage, reproj_pct_median, face_size_px_p5, ...
writes  verdict.json            gates (reason, number, side, threshold), all passed
rejects low_coverage, high_reprojection, small_face, extreme_yaw, blurry, too_dark, too_bright, jitter,
        loose_lips, hidden_face, too_little_speech: the first gate that failed; ``failed`` lists every one with value
        and threshold

Retuning a threshold recomputes nothing but this stage.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from dialogbuild.artifact import Inputs, Stage, write_json
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject
from dialogbuild.quality.gates import Gate, failed_gates


class Config(StageConfig):
    """Thresholds; each person of a clip must pass each."""

    min_coverage: float = Field(
        0.8, ge=0, le=1, description="share of ticks with a fit: a listener out of shot for a fifth is still a dialogue"
    )
    max_reproj_pct: float = Field(
        3.0,
        gt=0,
        description="median landmark error, % of the face size; good footage 0.7 to 1.5, at 3 the mesh is off",
    )
    min_face_px: float = Field(
        28, ge=0, description="5th percentile of the outer-eye distance, px; below about 30 the lips are 15 px wide"
    )
    max_yaw_deg: float = Field(
        70,
        gt=0,
        le=180,
        description="95th percentile of |yaw|, degrees; beyond, the mesh detector loses or guesses a side",
    )
    min_sharpness: float = Field(
        0.02,
        ge=0,
        description="median Laplacian variance / variance, 112 px; sharp 0.12-0.3, blur by 3 % of the eyes 0.02",
    )
    min_brightness: float = Field(
        25, ge=0, le=255, description="median luma of the face; below, texture drowns in noise"
    )
    max_brightness: float = Field(235, ge=0, le=255, description="median luma of the face; above, it is burnt out")
    max_jitter_mm: float = Field(
        2.5,
        gt=0,
        description="median acceleration of the stabilised face, mm per tick^2; true speech 0.1-0.3, good fits 0.4-1.3",
    )
    max_lip_gap_pct: float = Field(
        4.0,
        gt=0,
        description="95th percentile of the lip opening's error, % of the face size; good footage has 0.6 to 1.7",
    )
    min_visible_frac: float = Field(
        0.0,
        ge=0,
        le=1,
        description="median share of a face's points whose pixels could be compared; 0 = off: no value is proven",
    )
    min_speech_s: float = Field(1.0, ge=0, description="seconds that each person speaks; less is a monologue")


def gates_of(config: Config) -> list[Gate]:
    """The gates in the order in which they are named as the reason: what makes the other numbers void comes first."""
    hidden = [Gate("hidden_face", "visible_frac_median", "min", config.min_visible_frac)]
    return [
        Gate("low_coverage", "coverage", "min", config.min_coverage),
        Gate("small_face", "face_size_px_p5", "min", config.min_face_px),
        Gate("extreme_yaw", "yaw_deg_p95", "max", config.max_yaw_deg),
        Gate("too_dark", "brightness_median", "min", config.min_brightness),
        Gate("too_bright", "brightness_median", "max", config.max_brightness),
        Gate("blurry", "blur_median", "min", config.min_sharpness),
        Gate("high_reprojection", "reproj_pct_median", "max", config.max_reproj_pct),
        Gate("loose_lips", "lip_gap_pct_p95", "max", config.max_lip_gap_pct),
        *(hidden if config.min_visible_frac > 0 else ()),
        Gate("jitter", "jitter_mm_median", "max", config.max_jitter_mm),
        Gate("too_little_speech", "speech_s", "min", config.min_speech_s),
    ]


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Compare and write the verdict, or reject with the first failed gate and the list of all."""
    numbers = json.loads((inputs["quality"] / "quality.json").read_text())
    gates = gates_of(config)
    failed = failed_gates(gates, numbers["persons"])
    if failed:
        first = failed[0]
        raise Reject(
            first.reason,
            value=first.value,
            threshold=first.threshold,
            person=first.person,
            failed=[f.as_dict() for f in failed],
        )
    write_json(out / "verdict.json", {"passed": True, "gates": [dict(vars(g)) for g in gates]})


STAGE = Stage(name="gate", version=2, unit="clip", config=Config, run=run, reads=("quality",))
