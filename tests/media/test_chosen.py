"""Which reader a video is decoded with is decided once, told, and the same in every stage."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_files import make_video, number_in

from dialogbuild.artifact import Inputs
from dialogbuild.errors import MissingPart
from dialogbuild.media import backends
from dialogbuild.media.chosen import open_video
from dialogbuild.media.encode import encode_video
from dialogbuild.media.reader import VideoReader
from dialogbuild.stages import ingest, shots

OTHERS = backends.READERS[1:]


def read_in(path: Path, out: Path, **settings: Any) -> Path:
    out.mkdir()
    inputs = Inputs("v", "v", path, {})
    ingest.run(inputs, out, ingest.Config(require_audio=False, min_duration_s=0.5, **settings))
    return out


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "video.json").read_text())  # type: ignore[no-any-return]


def need(name: str, path: Path) -> None:
    try:
        {"torchcodec": backends.TorchcodecDecoder, "decord": backends.DecordDecoder}[name](path, 0)
    except MissingPart as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without colour, which every reader converts alike: a bar that moves, and a cut."""
    path = tmp_path_factory.mktemp("grey") / "grey.mp4"
    pictures = [np.full((96, 128, 3), 40 if i < 40 else 200, np.uint8) for i in range(80)]
    for i, picture in enumerate(pictures):
        picture[:, i : i + 16] = 128
    encode_video(path, pictures, Fraction(25), (128, 96), crf=10)
    return path


@pytest.mark.parametrize("name", OTHERS)
def test_times_and_cuts_are_the_same_bytes_whatever_the_reader(tmp_path: Path, grey: Path, name: str) -> None:
    need(name, grey)
    made = {}
    for reader in ("pyav", name):
        folder = read_in(grey, tmp_path / reader, reader=reader)
        assert (record(folder)["reader"], record(folder)["reader_refused"]) == (reader, None)
        (tmp_path / f"{reader}_shots").mkdir()
        shots.run(Inputs("v", "v", grey, {"ingest": folder}), tmp_path / f"{reader}_shots", shots.Config())
        tables = sorted((tmp_path / f"{reader}_shots").iterdir())
        made[reader] = [(path.name, path.read_bytes()) for path in (*tables, folder / "frames.parquet")]
        with open_video(grey, folder) as video, VideoReader(grey) as truth:
            pts = np.arange(0, 80, 7) * 512
            for (_, mine), (_, theirs) in zip(video.frames(pts), truth.frames(pts), strict=True):
                assert np.abs(mine.astype(int) - theirs).max() <= 2, "rounding, without colour"
    assert made[name] == made["pyav"]


@pytest.mark.parametrize("name", OTHERS)
def test_later_stages_really_read_with_the_chosen_reader(
    tmp_path: Path, grey: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(name, grey)
    folder = read_in(grey, tmp_path / "a", reader=name)
    with open_video(grey, folder) as video:
        assert isinstance(video, backends.GuardedReader)
    monkeypatch.setattr(backends.GuardedReader, "_check_pixels", None)  # once per file is enough
    open_video(grey, folder, (64, 48)).close()


class LosesAFrame:
    def __init__(self, path: Path, stream_index: int) -> None:
        self.path = path

    def __len__(self) -> int:
        return 79


def test_a_file_that_the_reader_gets_wrong_is_read_with_pyav_and_says_why(
    tmp_path: Path, grey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(backends._DECODERS, "decord", LosesAFrame)  # type: ignore[arg-type]
    folder = read_in(grey, tmp_path / "a", reader="decord")
    assert record(folder)["reader"] == "pyav"
    assert record(folder)["reader_refused"] == "it sees 79 frames instead of 80"
    with open_video(grey, folder) as video:
        assert isinstance(video, VideoReader)


@pytest.mark.parametrize("name", OTHERS)
def test_only_the_beginning_of_a_file_can_be_read_too(tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / "plain.mp4", 60)
    need(name, path)
    folder = read_in(path, tmp_path / "a", reader=name, max_duration_s=1.0)
    assert record(folder)["reader"] == name
    with open_video(path, folder) as video:
        table = shots.read_table(folder / "frames.parquet")
        assert [number_in(rgb) for _, rgb in video.frames(table["pts"].tolist())] == list(range(len(table["pts"])))


def test_an_absent_package_stops_ingest_with_what_to_install(
    tmp_path: Path, grey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(MissingPart, match=r"pip install 'dialogbuild\[decord\]'"):
        read_in(grey, tmp_path / "a", reader="decord")


def test_a_record_of_before_the_choice_is_read_as_it_was(tmp_path: Path, grey: Path) -> None:
    folder = read_in(grey, tmp_path / "a")
    (folder / "video.json").write_text(json.dumps({"stream": 0}))
    with open_video(grey, folder) as video:
        assert isinstance(video, VideoReader)
