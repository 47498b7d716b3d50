"""Rejects the second clip when told to."""

from pathlib import Path

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject


class Config(StageConfig):
    strict: bool = False


def run(inputs: Inputs, out: Path, config: Config) -> None:
    if config.strict and inputs.item.endswith("c001"):
        raise Reject("second_clip", strict=True)


STAGE = Stage(name="gate", version=1, unit="clip", config=Config, run=run, reads=("segment",))
