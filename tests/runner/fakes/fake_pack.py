"""Runs behind the gate, but does not read it."""

from pathlib import Path

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig


class Config(StageConfig):
    pass


def run(inputs: Inputs, out: Path, config: Config) -> None:
    (out / "packed.txt").write_text(inputs.item)


STAGE = Stage(name="pack", version=1, unit="clip", config=Config, run=run, reads=("segment",), after=("gate",))
