"""Figures for notebooks: a curator's look at one published clip. Needs matplotlib (extra ``notebook``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dialogbuild.dataset.rows import bit
from dialogbuild.errors import MissingPart
from dialogbuild.report import overlay
from dialogbuild.report.charts import PERSON
from dialogbuild.report.gather import load_model

if TYPE_CHECKING:
    from dialogbuild.dataset.reader import Clip, Dataset

_PANELS = (
    ("landmark error, % of face size", "quality", "reproj_pct_iod"),
    ("lip error, px", "quality", "reproj_lips_px"),
    ("jitter, mm per tick²", "quality", "jitter_mm"),
    ("yaw, degree", "quality", "yaw_deg"),
    ("lip sigma, mm", "quality", "sigma_lip_mm"),
)


def clip_table(dataset: Dataset) -> pd.DataFrame:
    """One row per clip: length, split, who speaks how long, and how much of each person has a fit."""
    table: pd.DataFrame = pd.DataFrame(
        [
            {
                "clip": row["id"],
                "split": row["split"],
                "seconds": row["n_ticks"] / 25,
                "A speaks, s": row["speak_s"]["A"],
                "B speaks, s": row["speak_s"]["B"],
                "overlap, s": row["overlap_s"],
                "turns": row["n_turns"],
                "A fitted": row["persons"]["A"]["valid_frac"],
                "B fitted": row["persons"]["B"]["valid_frac"],
            }
            for row in dataset.rows
        ],
        columns=[
            "clip", "split", "seconds", "A speaks, s", "B speaks, s", "overlap, s", "turns", "A fitted", "B fitted"
        ],
    )  # fmt: skip
    return table


def plot_timeline(clip: Clip) -> Any:
    """Both waveforms under their speaking posteriors, turns and overlap. Returns the figure."""
    plt = _pyplot()
    figure, axes = plt.subplots(2, 1, figsize=(12, 3.6), sharex=True, sharey=True, layout="constrained")
    seconds = (np.arange(clip.n_ticks) + 0.5) / 25
    for axis, (role, person) in zip(axes, clip.persons.items(), strict=True):
        if person.audio is not None:
            sound = np.abs(person.audio).reshape(clip.n_ticks, -1).max(axis=1)
            axis.fill_between(seconds, sound / max(float(sound.max()), 1e-6), color="#cbd5e1", step="mid", linewidth=0)
        axis.plot(seconds, person.motion["p_speak"], color=PERSON[role], linewidth=1.2)
        axis.fill_between(seconds, person.motion["state"] == 3, color="#fde68a", step="mid", alpha=0.6, linewidth=0)
        mine = clip.turns["track_id"] == person.track["track_id"]
        for start, stop, kind in zip(*(clip.turns[k][mine] for k in ("start_tick", "end_tick", "kind")), strict=True):
            axis.axvspan(start / 25, stop / 25, color=PERSON[role], alpha=0.08 if kind == "backchannel" else 0.18, lw=0)
        axis.set_ylabel(f"{role} speaks")
        axis.set_ylim(0, 1.05)
    axes[-1].set_xlabel("seconds")
    axes[0].set_title(clip.id, loc="left")
    return figure


def plot_quality(clip: Clip) -> Any:
    """Error, jitter, pose and sigma over time for both persons, gaps where there is no fit. Returns the figure."""
    plt = _pyplot()
    figure, axes = plt.subplots(len(_PANELS), 1, figsize=(12, 1.5 * len(_PANELS)), sharex=True, layout="constrained")
    seconds = (np.arange(clip.n_ticks) + 0.5) / 25
    for axis, (title, family, column) in zip(axes, _PANELS, strict=True):
        for role, person in clip.persons.items():
            fitted = bit(person.motion["valid"], "fit_ok")
            values = np.where(fitted, getattr(person, family)[column], np.nan)
            axis.plot(seconds, values, color=PERSON[role], linewidth=1, label=role)
        axis.set_title(title, loc="left", fontsize=9)
    axes[0].legend(loc="upper right", ncols=2, frameon=False)
    axes[-1].set_xlabel("seconds")
    return figure


def plot_stills(dataset: Dataset, clip: Clip, role: str, ticks: Sequence[int] | None = None, px: int = 220) -> Any:
    """Crop, landmarks and fitted head of one person at some ticks (evenly spaced by default). Returns the figure."""
    plt = _pyplot()
    person = clip.persons[role]
    chosen = sorted(ticks) if ticks is not None else overlay.choose_ticks(person, even=6, worst=0)[0]
    head, reason = load_model((), dataset)
    images = overlay.stills(person, chosen, head, px)
    rows = [("frame", images.plain), ("landmarks", images.landmarks), ("fitted head", images.mesh)]
    rows = [row for row in rows if row[1]]
    figure, axes = plt.subplots(
        len(rows), len(chosen), figsize=(2 * len(chosen), 2.1 * len(rows)), squeeze=False, layout="constrained"
    )
    for line, (name, shots) in zip(axes, rows, strict=True):
        for axis, tick, image in zip(line, chosen, shots, strict=True):
            axis.imshow(image)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"{tick / 25:.2f} s" if name == "frame" else "", fontsize=8)
        line[0].set_ylabel(name, fontsize=8)
    figure.suptitle(
        f"{clip.id}, {role}" + (f" (no head drawn: {reason})" if reason else ""), fontsize=10, x=0.01, ha="left"
    )
    return figure


def plot_worst(dataset: Dataset, clip: Clip, role: str, n: int = 6) -> Any:
    """The worst-fitted frames of one person. Returns the figure, or None when no tick has a fit."""
    ticks = overlay.worst_ticks(clip.persons[role], n)
    return plot_stills(dataset, clip, role, ticks) if ticks else None


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingPart("figures for notebooks need matplotlib: pip install 'dialogbuild[notebook]'") from error
    return plt
