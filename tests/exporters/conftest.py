"""A published dataset whose labels pass for FLAME's, in two splits, with ids that file names cannot hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from fabricate import fabricate, shard_parts

from dialogbuild.artifact import write_json
from dialogbuild.dataset.reader import Dataset, open_dataset
from dialogbuild.publish import Rights, publish

MODEL = "flame2023-open-0123456789ab"


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Parts of two videos: 205 ticks in a row, after a gap, in which both persons are fitted; and 105."""
    root = tmp_path_factory.mktemp("export-parts")
    head = SimpleNamespace(n_expr=100, n_shape=300, sha256="cd" * 32)
    long = fabricate(root / "long", "speaker1.talk", n_ticks=275, head=head)
    short = fabricate(root / "short", "talk-35", n_ticks=175, seed=1, head=head)
    return shard_parts(long, root / "work") + shard_parts(short, root / "work")


def renamed(parts: list[Path], to: Path, model: str) -> list[Path]:
    """Copies of the parts whose labels claim to be of another head model."""
    out = []
    for part in parts:
        copy = Path(shutil.copytree(part, to / part.parent.name))
        record = json.loads((copy / "clip.json").read_text())
        record["convention"]["head_model"]["model_id"] = model
        write_json(copy / "clip.json", record)
        out.append(copy)
    return out


@pytest.fixture(scope="session")
def flame(plain: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The dataset with FLAME's name on its labels. Read only."""
    root = tmp_path_factory.mktemp("flame")
    rights = {"speaker1.talk": Rights("CC-BY-4.0", "form-1"), "talk-35": Rights("CC-BY-4.0", "form-2")}
    publish(renamed(plain, root / "parts", MODEL), root / "dataset", rights)
    return open_dataset(root / "dataset")


@pytest.fixture(scope="session")
def procedural(plain: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The dataset with the built-in head's labels. Read only."""
    root = tmp_path_factory.mktemp("procedural")
    publish(plain, root / "dataset")
    return open_dataset(root / "dataset")
