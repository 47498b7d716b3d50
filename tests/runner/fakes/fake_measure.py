"""A stage that reads the source text and fails in the ways its content asks for."""

import os
import time
from pathlib import Path

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject


class Config(StageConfig):
    gain: int = 1


def run(inputs: Inputs, out: Path, config: Config) -> None:
    text = inputs.source.read_text()
    if "reject" in text:
        raise Reject("unsuitable", length=len(text))
    if "crash" in text:
        raise RuntimeError("a bug")
    if "die" in text:
        os._exit(1)
    if "full" in text:
        raise OSError(28, "No space left on device")
    if "slow" in text:
        (out / "half").write_text("half")
        time.sleep(60)
    (out / "length.txt").write_text(str(len(text) * config.gain))


STAGE = Stage(name="measure", version=1, unit="video", config=Config, run=run)
