"""Readers beside PyAV are refused where they are wrong; what they hand out is right.

The guard is tested with stand-ins that are wrong in one way each, and with torchcodec and decord where they import.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_files import make_video, number_in
from media_matrix import CASES, check, make, missing_part, table_of

from dialogbuild.errors import ConfigError, MissingPart, Reject
from dialogbuild.media.backends import (
    READERS,
    DecordDecoder,
    GuardedReader,
    ReaderRefused,
    TorchcodecDecoder,
    open_reader,
    sampled_frames,
)
from dialogbuild.media.clock import FrameTable
from dialogbuild.media.probe import probe
from dialogbuild.media.reader import VideoReader
from dialogbuild.media.scan import scan_frames

N = 30
AWKWARD = (
    "hevc.mp4", "vp9.webm", "av1.mp4", "vfr.mp4", "start_offset.ts", "start_offset.mkv", "edit_list.mp4",
    "edit_list_hevc.mp4", "rotated_90.mp4", "sar.mp4", "pq.mp4", "mpeg2.mpg", "h264_444.mp4",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("backends")


@pytest.fixture(scope="module")
def plain(folder) -> Path:
    return make_video(folder / "plain.mp4", N)


@pytest.fixture(scope="module")
def table(plain) -> FrameTable:
    found = scan_frames(plain, probe(plain).video.index).table
    assert found is not None
    return found


class RightDecoder:
    """A stand-in that is right: PyAV's frames by index. Tests make it wrong in one way."""

    tells_times = False

    def __init__(self, path: Path, stream_index: int) -> None:
        self.table = scan_frames(path, stream_index).table
        assert self.table is not None
        with VideoReader(path) as reader:
            self.pictures = [rgb for _, rgb in reader.frames(self.table.pts.tolist())]
        self.times_s = self.table.pts * float(self.table.time_base)

    def __len__(self) -> int:
        return len(self.pictures)

    def start_s(self) -> Any:
        return None if self.tells_times else self.times_s

    def frame(self, index: int) -> tuple[Any, float | None]:
        return self.pictures[index], float(self.times_s[index]) if self.tells_times else None


def wrong_in(change: Callable[[RightDecoder], None]) -> Callable[[Path, int], RightDecoder]:
    def opened(path: Path, stream_index: int) -> RightDecoder:
        decoder = RightDecoder(path, stream_index)
        change(decoder)
        return decoder

    return opened


def guarded(path: Path, table: FrameTable, change: Callable[[RightDecoder], None], **more: Any) -> GuardedReader:
    return GuardedReader(path, table, "stand-in", wrong_in(change), **more)


def rebase(decoder: RightDecoder) -> None:
    decoder.times_s = decoder.times_s + 0.1


def lose_one(decoder: RightDecoder) -> None:
    decoder.pictures.pop()


def shift(decoder: RightDecoder) -> None:
    decoder.pictures = [decoder.pictures[0], *decoder.pictures[:-1]]


def last_is_old(decoder: RightDecoder) -> None:
    decoder.pictures[-1] = decoder.pictures[3]


def swap_channels(decoder: RightDecoder) -> None:
    decoder.pictures = [rgb[:, :, ::-1] for rgb in decoder.pictures]


def turn(decoder: RightDecoder) -> None:
    decoder.pictures = [np.rot90(rgb) for rgb in decoder.pictures]


def no_times(decoder: RightDecoder) -> None:
    decoder.times_s = decoder.times_s * np.nan


def late_frame(decoder: RightDecoder) -> None:
    decoder.tells_times = True
    decoder.times_s = np.append(decoder.times_s[:-1], decoder.times_s[0])


def break_down(decoder: RightDecoder) -> None:
    def fail(index: int) -> tuple[Any, float | None]:
        raise RuntimeError(f"no frame {index}\nsecond line")

    decoder.frame = fail  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (rebase, r"frame 0 begins at 0\.1\d* s instead of 0\.0"),
        (lose_one, "it sees 29 frames instead of 30"),
        (shift, "grey levels|looks like frame"),
        (last_is_old, "frame 29 differs from PyAV's by"),
        (swap_channels, "grey levels"),
        (turn, r"frame 29 is uint8 \(192, 128, 3\), the displayed frame is \(128, 192, 3\)"),
        (no_times, "begins at nan s"),
        (late_frame, "frame 29 begins at 0.0"),
        (break_down, r"cannot decode frame 29 \(no frame 29\)"),
    ],
)
def test_a_reader_that_is_wrong_is_refused_with_its_name_the_file_and_what_differs(plain, table, change, difference):
    with pytest.raises(ReaderRefused, match=rf"stand-in gets plain\.mp4 wrong: .*({difference}).*'pyav'"):
        guarded(plain, table, change)


def test_in_a_still_scene_a_neighbouring_frame_is_told_apart_although_it_looks_alike(folder):
    """Frames that differ by less than what two right conversions may differ by."""
    from fractions import Fraction

    from dialogbuild.media.encode import encode_video

    path = folder / "still.mp4"
    pictures = [np.full((64, 64, 3), 60 + n, np.uint8) for n in range(20)]
    encode_video(path, pictures, Fraction(25), (64, 64), crf=1)
    table = scan_frames(path, 0).table
    guarded(path, table, lambda decoder: None).close()
    with pytest.raises(ReaderRefused, match="looks like frame"):
        guarded(path, table, shift)


def test_a_frame_of_another_time_is_refused_when_it_comes_not_only_when_opening(plain, table):
    reader = guarded(plain, table, lambda decoder: setattr(decoder, "tells_times", True))
    unseen = next(i for i in range(N) if i not in sampled_frames(N))
    reader._decoder.times_s[unseen] += 0.04
    assert number_in(reader.at(table.pts[unseen - 1])) == unseen - 1
    with pytest.raises(ReaderRefused, match=f"frame {unseen} begins"):
        reader.at(table.pts[unseen])


def test_a_right_reader_keeps_the_protocol(plain, table):
    with guarded(plain, table, lambda decoder: None) as reader, VideoReader(plain) as truth:
        assert (reader.width_px, reader.height_px) == (truth.width_px, truth.height_px)
        pts = table.pts[[2, 2, 9]].tolist()
        for (mine, rgb), (theirs, expected) in zip(reader.frames(pts), truth.frames(pts), strict=True):
            assert mine == theirs
            assert np.array_equal(rgb, expected)
            rgb[:] = 0  # its own array: the repetition is not spoilt
        with pytest.raises(ValueError, match="must not decrease"):
            list(reader.frames([pts[2], pts[0]]))
        with pytest.raises(LookupError, match="no frame begins"):
            reader.at(int(table.pts[3]) + 1)
    with pytest.raises(ValueError, match="closed"):
        reader.at(table.pts[0])
    with guarded(plain, table, lambda decoder: None, size_px=(96, 64)) as small:
        rgb = small.at(table.pts[7])
        assert rgb.shape == (64, 96, 3)
        assert number_in(rgb) == 7


def test_the_refusal_survives_a_process_boundary():
    again = pickle.loads(pickle.dumps(ReaderRefused("decord", "a.mp4", "it sees 3 frames instead of 4")))
    assert str(again) == "decord gets a.mp4 wrong: it sees 3 frames instead of 4; read it with the reader 'pyav'"


def test_an_unknown_reader_is_a_mistake_in_the_settings(plain, table):
    with pytest.raises(ConfigError, match="pyav, torchcodec, decord"):
        open_reader(plain, table, "opencv")


def test_an_absent_package_says_how_to_get_it(plain, table, monkeypatch):
    import sys

    for module, name in (("torchcodec.decoders", "torchcodec"), ("decord", "decord")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingPart, match=rf"pip install 'dialogbuild\[{name}\]'"):
            open_reader(plain, table, name)


def test_other_libraries_never_see_a_playlist(folder, plain, table):
    playlist = folder / "a.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{plain}'\n")
    with pytest.raises(Reject, match="not_a_video"):
        open_reader(playlist, table, "decord")


def works(name: str, path: Path) -> bool:
    try:
        {"torchcodec": TorchcodecDecoder, "decord": DecordDecoder}[name](path, 0)
    except MissingPart:
        return False
    return True


@pytest.mark.parametrize("name", READERS[1:])
def test_the_real_package_reads_a_plain_file_exactly(plain, table, name):
    if not works(name, plain):
        pytest.skip(f"{name} does not import here")
    order = np.random.default_rng(0).permutation(N)
    with open_reader(plain, table, name) as reader:
        assert [number_in(reader.at(int(table.pts[i]))) for i in order] == order.tolist()


@pytest.mark.parametrize("name", READERS[1:])
def test_the_real_package_is_exact_or_refused_on_awkward_files(folder, plain, name):
    if not works(name, plain):
        pytest.skip(f"{name} does not import here")
    refused = set()
    for case in (case for case in CASES if case.name in AWKWARD and missing_part(case) is None):
        path, out = folder / case.name, folder / f"{case.name}.{name}.out"
        check(case, path if path.exists() else make(case, folder), out)
        table = table_of(out)
        try:
            with open_reader(path, table, name) as reader, VideoReader(path) as truth:
                for (_, rgb), (_, expected) in zip(reader.frames(table.pts), truth.frames(table.pts), strict=True):
                    assert np.abs(rgb.astype(int) - expected).mean() < 6, f"{name} is wrong on {case.name}"
        except ReaderRefused:
            refused.add(case.name)
    assert {"start_offset.ts", "sar.mp4"} <= refused, "files that no version of either has read right so far"
    assert len(refused) < len(AWKWARD)
