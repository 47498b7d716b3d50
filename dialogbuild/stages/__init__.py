"""The pipeline: one file per stage, in the order in which an item meets them."""

from __future__ import annotations

from importlib import import_module

from dialogbuild.artifact import Stage

ORDER: tuple[str, ...] = (
    "ingest",
    "shots",
    "tracks",
    "landmarks",
    "diarize",
    "assign",
    "segment",
    "identity",
    "fit_flame",
    "quality",
    "gate",
    "shard",
)


def load_stage(name: str) -> Stage:
    """The stage of that name; its module is imported only now, so that ``--help`` stays fast."""
    stage: Stage = import_module(f"dialogbuild.stages.{name}").STAGE
    assert stage.name == name, f"stages/{name}.py calls itself {stage.name}"
    return stage


def upstream_of(name: str) -> tuple[str, ...]:
    """The named stage and everything it needs, in pipeline order."""
    need = {name}
    for candidate in reversed(ORDER):
        if candidate in need:
            stage = load_stage(candidate)
            need.update(stage.reads, stage.after)
    return tuple(stage for stage in ORDER if stage in need)
