"""A clip of a pipeline's run as material for the fit: its tracks, landmarks and persons are taken as they are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dialogbuild.errors import ConfigError
from dialogbuild.fitvideo.prepare import Face, Material, load_material
from dialogbuild.pipeline import Places, survey
from dialogbuild.recipe import Recipe, parse_recipe
from dialogbuild.runner import VideoState
from dialogbuild.tables import read_table


def clip_material(
    run: Path, clip: str, head: str | None, changes: Mapping[str, Mapping[str, Any]]
) -> tuple[Material, Recipe]:
    """The clip's two persons as faces 0 and 1, and the settings of the run with ``changes`` and ``head``.

    Raises:
        ConfigError: nothing has run there, or it has no such clip.
    """
    try:
        plan, states, _ = survey(Places(run))
    except ConfigError as error:
        raise ConfigError(f"{clip} is no file, so it is taken for a clip id of the run in {run}: {error}") from None
    state = next((s for s in states if clip in s.clips()), None)
    if state is None:
        known = [name for s in states for name in s.clips()]
        few = ", ".join(known[:5]) or "none"
        raise ConfigError(f"{clip} is no file, and no clip of the run in {run}; its clips: {few} ({len(known)})")
    raw = plan.recipe.dump()
    for stage in {*raw, *changes} - {"name"}:
        raw[stage] = {**raw.get(stage, {}), **changes.get(stage, {})}
        if head is not None and "head" in raw[stage]:
            raw[stage]["head"] = head
    if head is not None:
        raw["head"] = head
    return _clip(state, clip), parse_recipe(raw, where="the run's recipe with --set")


def _clip(state: VideoState, clip: str) -> Material:
    video_id = state.source.video_id
    found = {
        name: outcome.path
        for (name, item), outcome in state.outcomes.items()
        if item == video_id and outcome.status == "ok" and outcome.path is not None
    }
    clips = read_table(found["segment"] / "clips.parquet", ["clip_id", "start_tick", "end_tick"])
    row = int(np.flatnonzero(clips["clip_id"] == clip)[0])
    start, end = int(clips["start_tick"][row]), int(clips["end_tick"][row])
    own = read_table(found["assign"] / "track_person.parquet", ["track", "person"])
    material = load_material(state.source.path, found)
    persons = sorted({int(p) for p in own["person"] if p >= 0})
    tracks = {p: tuple(int(t) for t in own["track"][own["person"] == p]) for p in persons}
    faces = tuple(Face(p, 0, tracks[p], start, end) for p in persons)
    keys = {**material.keys, "clip": clip}
    return replace(material, shots=np.array([[start, end]]), faces=faces, keys=keys, start_tick=start, end_tick=end)
