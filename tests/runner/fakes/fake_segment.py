"""Cuts every video into two clips."""

from pathlib import Path

import numpy as np

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.tables import write_table


class Config(StageConfig):
    pass


def run(inputs: Inputs, out: Path, config: Config) -> None:
    ids = [f"{inputs.item}_c{i:03d}" for i in range(2)]
    write_table(out / "clips.parquet", {"clip_id": np.array(ids), "n_ticks": np.array([25, 50])})


STAGE = Stage(name="segment", version=1, unit="video", config=Config, run=run, reads=("measure",))
