"""Clip parts of two made-up videos, and a dataset of them to damage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabricate import fabricate, shard_parts
from older import publish_in_first_format

from dialogbuild.publish import publish


@pytest.fixture(scope="session", autouse=True)
def _no_fsync() -> Iterator[None]:
    """Half of a publish's time on a disk, and of no effect that a test without a power switch could see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        yield


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three parts: two clips of one video, one of another. Read only."""
    root = tmp_path_factory.mktemp("parts")
    one = fabricate(root / "one", "talk-aaaa", n_ticks=80, n_clips=2)
    two = fabricate(root / "two", "talk-bbbb", n_ticks=45, seed=1)
    return shard_parts(one, root / "work") + shard_parts(two, root / "work")


@pytest.fixture(scope="session")
def published(parts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three parts, published. Read only."""
    root = tmp_path_factory.mktemp("published") / "dataset"
    publish(parts, root)
    return root


@pytest.fixture
def dataset(published: Path, tmp_path: Path) -> Path:
    """A copy of the published dataset that a test may damage."""
    return Path(shutil.copytree(published, tmp_path / "dataset"))


@pytest.fixture(scope="session")
def _first_format(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_in_first_format(tmp_path_factory.mktemp("older"))


@pytest.fixture
def old_format(_first_format: Path, tmp_path: Path) -> Path:
    """Two clips of one video in format 1.0.0, without the columns that came later; a copy."""
    return Path(shutil.copytree(_first_format, tmp_path / "old_format"))
