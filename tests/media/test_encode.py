from __future__ import annotations

import time
from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import barcode, find_chirp, number_in, sound
from test_audio import decoded

from dialogbuild.media import encode
from dialogbuild.media.clock import tick_table
from dialogbuild.media.encode import EncodeError, encode_video, ffmpeg_binary, mux, run_ffmpeg
from dialogbuild.media.probe import mp4_boxes, probe
from dialogbuild.media.reader import VideoReader
from dialogbuild.media.scan import scan_frames

FPS, SIZE = Fraction(25), (192, 128)


def frames(n: int):
    return (barcode(i) for i in range(n))


def test_every_frame_comes_back_at_its_own_time(tmp_path):
    path = tmp_path / "a.mp4"
    assert encode_video(path, frames(60), FPS, SIZE) == 60
    table = scan_frames(path, 0).table
    assert (table.pts * table.time_base).tolist() == [Fraction(i, 25) for i in range(60)]
    assert np.flatnonzero(table.key).tolist() == [0, 25, 50]
    with VideoReader(path) as reader:
        shown = [number_in(rgb) for _, rgb in reader.iter_ticks({"pts": tick_table(table).pts})]
        assert shown == list(range(60))


def test_the_stream_has_no_b_frames_and_its_index_comes_first(tmp_path):
    path = tmp_path / "a.mp4"
    encode_video(path, frames(60), FPS, SIZE, gop=10)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        assert [p.pts for p in packets] == [p.dts for p in packets]
        kinds = {f.pict_type for p in packets for f in p.decode()}
    assert kinds <= {1, 2}
    names = [name for name, _ in mp4_boxes(path)]
    assert names.index("moov") < names.index("mdat")


def test_equal_frames_and_sound_give_equal_bytes(tmp_path):
    audio = sound(1.0, [0.3], 16000, 1)[:, 0]
    for name in ("a.mp4", "b.mp4"):
        encode_video(tmp_path / name, frames(25), FPS, SIZE, audio=audio)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_colours_survive_the_round_trip(tmp_path):
    patches = [(200, 60, 90), (30, 160, 80), (128, 128, 128), (250, 240, 5)]
    picture = np.zeros((128, 192, 3), np.uint8)
    for i, colour in enumerate(patches):
        picture[:, i * 48 : (i + 1) * 48] = colour
    encode_video(tmp_path / "c.mp4", [picture] * 3, FPS, SIZE, crf=4)
    with VideoReader(tmp_path / "c.mp4") as reader:
        rgb = reader.at(scan_frames(tmp_path / "c.mp4", 0).table.pts[1])
    for i, colour in enumerate(patches):
        assert np.abs(rgb[40:90, i * 48 + 12 : i * 48 + 36].reshape(-1, 3).mean(0) - colour).max() < 2


@pytest.mark.parametrize("audio_s", [1.0, 2.0, 5.0])
def test_sound_is_aligned_and_the_video_decides_the_length(tmp_path, audio_s):
    path = tmp_path / "a.mp4"
    encode_video(path, frames(50), FPS, SIZE, audio=sound(audio_s, [0.5], 16000, 1)[:, 0])
    assert len(scan_frames(path, 0).table) == 50
    assert find_chirp(decoded(path)) == pytest.approx(0.5, abs=1e-3)
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.05)


def test_mux_copies_the_video_packets_untouched(tmp_path):
    encode_video(tmp_path / "v.mp4", frames(50), FPS, SIZE)
    mux(tmp_path / "v.mp4", sound(2.0, [0.7], 16000, 1)[:, 0], tmp_path / "av.mp4")

    def packets(name: str) -> list[tuple[int, bytes]]:
        with av.open(str(tmp_path / name)) as container:
            return [(p.pts, bytes(p)) for p in container.demux(video=0) if p.size]

    assert packets("v.mp4") == packets("av.mp4")
    assert find_chirp(decoded(tmp_path / "av.mp4")) == pytest.approx(0.7, abs=1e-3)


def test_2997_fps_is_kept_exactly(tmp_path):
    encode_video(tmp_path / "a.mp4", frames(30), Fraction(30000, 1001), SIZE)
    assert probe(tmp_path / "a.mp4").video.avg_fps == Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([np.zeros((128, 190, 3), np.uint8)], "frame 0 is uint8"),
        ([np.zeros((128, 192, 3), np.float32)], "frame 0 is float32"),
        ([], "at least one frame"),
    ],
)
def test_wrong_frames_are_refused_and_leave_nothing_behind(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        encode_video(tmp_path / "a.mp4", bad, FPS, SIZE)
    assert list(tmp_path.iterdir()) == []


def test_odd_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="even"):
        encode_video(tmp_path / "a.mp4", frames(1), FPS, (191, 128))


def test_an_error_while_making_frames_comes_through_and_ends_ffmpeg(tmp_path):
    def breaking():
        yield barcode(0)
        raise ZeroDivisionError("frame source broke")

    with pytest.raises(ZeroDivisionError, match="frame source broke"):
        encode_video(tmp_path / "a.mp4", breaking(), FPS, SIZE)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_ffmpeg_reports_what_it_said_and_does_not_hang(tmp_path):
    def endless(pipe):
        while True:  # far more than a pipe holds: would block for ever if nobody noticed
            pipe.write(b"\0" * 65536)

    began = time.monotonic()
    with pytest.raises(EncodeError, match=r"[Nn]o such filter|not found"):
        run_ffmpeg(
            [ffmpeg_binary(), "-loglevel", "error", "-f", "rawvideo", "-s", "64x64", "-pix_fmt", "rgb24", "-i",
             "pipe:0", "-vf", "no_such_filter", str(tmp_path / "a.mp4")],
            endless,
        )  # fmt: skip
    assert time.monotonic() - began < 20


def test_an_ffmpeg_that_never_ends_is_killed(monkeypatch):
    monkeypatch.setattr(encode, "_FINISH_S", 0.3)
    began = time.monotonic()
    with pytest.raises(EncodeError, match="did not finish"):
        run_ffmpeg([ffmpeg_binary(), "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc", "-f", "null", "-"])
    assert time.monotonic() - began < 10


def test_a_missing_sound_file_is_an_error_and_leaves_nothing_behind(tmp_path):
    with pytest.raises(EncodeError, match="No such file"):
        encode_video(tmp_path / "a.mp4", frames(5), FPS, SIZE, audio=tmp_path / "absent.wav")
    assert list(tmp_path.iterdir()) == []
