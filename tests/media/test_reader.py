"""Frame exactness: every file carries barcodes, the expected frame follows from how the file was made."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_files import BITS, barcode, ffmpeg, make_vfr, make_video, number_in

from dialogbuild.media.clock import FrameTable, tick_table
from dialogbuild.media.probe import Orientation, matrix_orientation, probe
from dialogbuild.media.reader import VideoReader
from dialogbuild.media.scan import scan_frames

VFR_MS = np.cumsum([0, *[33, 33, 67, 33, 120, 16, 16, 40, 33, 250] * 6]).tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def plain(folder) -> Path:
    return make_video(folder / "plain.mp4", 100, chirps_s=[1.0])


def made(folder: Path, plain: Path, kind: str) -> tuple[Path, list[int], list[Fraction]]:
    """(file, numbers that must come out, their times from the first one in seconds)."""
    suffix = {"ts": "ts", "mkv_offset": "mkv", "avi_bframes": "avi", "vp9": "webm", "av1": "mkv"}.get(kind, "mp4")
    path = folder / f"{kind}.{suffix}"
    if kind in ("ts", "mkv_offset", "rotated"):
        options = {
            "ts": ["-i", plain, "-output_ts_offset", "5"],
            "mkv_offset": ["-itsoffset", "1.48", "-i", plain],
            "rotated": ["-display_rotation", "-90", "-i", plain],
        }[kind]
        ffmpeg(*options, "-c", "copy", path)
    elif kind == "edit_list":  # starts in the middle of a group of pictures
        ffmpeg("-ss", "1.72", "-i", plain, "-c", "copy", path)
        return path, list(range(43, 100)), [Fraction(i, 25) for i in range(57)]
    elif kind == "vfr":
        make_vfr(path, VFR_MS)
        return path, list(range(len(VFR_MS))), [Fraction(ms, 1000) for ms in VFR_MS]
    else:
        n, fps, codec = {
            "fps2997": (90, Fraction(30000, 1001), ()),
            "fps50": (120, Fraction(50), ()),
            "open_gop": (
                100,
                Fraction(25),
                ("-x264-params", "open-gop=1:keyint=24:min-keyint=24:scenecut=0:bframes=3"),
            ),
            "no_key_frames": (100, Fraction(25), ("-x264-params", "intra-refresh=1:keyint=20:bframes=0:scenecut=0")),
            "avi_bframes": (100, Fraction(25), ("-c:v", "mpeg4", "-q:v", "3", "-g", "20", "-bf", "2")),
            "hevc": (100, Fraction(25), ("-c:v", "libx265", "-x265-params", "log-level=error:keyint=30:pools=none")),
            "vp9": (60, Fraction(25), ("-c:v", "libvpx-vp9", "-g", "20", "-cpu-used", "8", "-deadline", "realtime")),
            "av1": (60, Fraction(25), ("-c:v", "libaom-av1", "-g", "20", "-cpu-used", "8", "-usage", "realtime")),
        }[kind]
        encoder = codec if "-c:v" in codec else ("-c:v", "libx264", "-crf", "18", "-g", "30", *codec)
        make_video(path, n, fps, codec=encoder)
        return path, list(range(n)), [i / fps for i in range(n)]
    return path, list(range(100)), [Fraction(i, 25) for i in range(100)]


KINDS = ["ts", "mkv_offset", "rotated", "edit_list", "vfr", "fps2997", "fps50", "open_gop", "no_key_frames"]
KINDS += ["avi_bframes", "hevc", "vp9", "av1"]


def scanned(path: Path) -> FrameTable:
    scan = scan_frames(path, probe(path).video.index)
    assert scan.table is not None
    assert (scan.n_errors, scan.n_corrupt, scan.n_disordered, scan.n_untimed) == (0, 0, 0, 0)
    return scan.table


def upright_number(rgb, kind: str) -> int:
    """The rotated file was made by flagging an upright picture, so it is displayed lying on its side."""
    return number_in(np.rot90(rgb) if kind == "rotated" else rgb)


@pytest.mark.parametrize("kind", KINDS)
def test_every_tick_shows_the_frame_that_its_centre_falls_on(folder, plain, kind):
    path, numbers, times_s = made(folder, plain, kind)
    table = scanned(path)
    assert len(table) == len(numbers)
    ticks = tick_table(table)
    with VideoReader(path) as reader:
        shown = [upright_number(rgb, kind) for _, rgb in reader.iter_ticks({"pts": ticks.pts})]
    half_unit = table.time_base / 2  # a container that rounds times may move a frame by half a unit
    for k, number in enumerate(shown):
        centre = (k + Fraction(1, 2)) / 25
        allowed = {
            max((n for n, t in zip(numbers, times_s, strict=True) if t <= centre + d), default=numbers[0])
            for d in (-half_unit, 0, half_unit)
        }
        assert number in allowed, f"tick {k} shows {number}"


@pytest.mark.parametrize("kind", KINDS)
def test_random_access_gives_the_same_frames_as_reading_in_order(folder, plain, kind):
    path, numbers, _ = made(folder, plain, kind)
    table = scanned(path)
    order = random.Random(7).sample(range(len(table)), 30)
    with VideoReader(path) as reader:
        assert [upright_number(reader.at(table.pts[i]), kind) for i in order] == [numbers[i] for i in order]


def test_random_access_is_bit_equal_to_sequential_decoding_of_open_groups(folder, plain):
    path, *_ = made(folder, plain, "open_gop")
    table = scanned(path)
    with VideoReader(path) as reader, VideoReader(path) as jumper:
        for i, (pts, rgb) in enumerate(reader.frames(table.pts)):
            if i % 3 == 0:
                other = (i * 37) % len(table)
                jumper.at(table.pts[other])
                assert np.array_equal(jumper.at(pts), rgb), f"frame {i} differs after a seek"


def test_far_apart_frames_are_reached_by_seeking_and_are_right(folder):
    path = make_video(folder / "long.mp4", 1500)
    table = scanned(path)
    with VideoReader(path) as reader:
        got = [number_in(rgb) for _, rgb in reader.frames(table.pts[[3, 700, 701, 1400]])]
    assert got == [3, 700, 701, 1400]


def test_reading_a_range_of_ticks_starts_and_stops_there(plain):
    ticks = tick_table(scanned(plain))
    with VideoReader(plain) as reader:
        got = [(k, number_in(rgb)) for k, rgb in reader.iter_ticks({"pts": ticks.pts}, 60, 64)]
    assert got == [(60, 60), (61, 61), (62, 62), (63, 63)]


def test_writing_into_a_frame_does_not_spoil_its_repetition(plain):
    table = scanned(plain)
    with VideoReader(plain) as reader:
        frames = reader.frames([table.pts[5], table.pts[5], table.pts[5], table.pts[6]])
        seen = []
        for _, rgb in frames:
            seen.append(number_in(rgb))
            rgb[:] = 0
    assert seen == [5, 5, 5, 6]


def test_a_time_at_which_no_frame_begins_is_an_error_and_the_reader_lives_on(plain):
    table = scanned(plain)
    with VideoReader(plain) as reader:
        for wrong in (table.pts[10] + 1, table.pts[-1] + 512 * 1000, table.pts[0] - 512):
            with pytest.raises(LookupError, match="no frame begins"):
                reader.at(wrong)
            assert number_in(reader.at(table.pts[10])) == 10


def test_decreasing_times_are_refused(plain):
    table = scanned(plain)
    with VideoReader(plain) as reader, pytest.raises(ValueError, match="must not decrease"):
        list(reader.frames([table.pts[5], table.pts[4]]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-display_rotation", "-90"], (90, False)),
        (["-display_rotation", "180"], (180, False)),
        (["-display_rotation", "90"], (270, False)),
        (["-display_hflip"], (0, True)),
    ],
)
def test_displayed_pixels_are_those_that_a_player_shows(folder, plain, options, expected):
    """ffmpeg's own autorotation is the oracle."""
    flagged, reference = folder / "flagged.mp4", folder / "reference.rgb"
    ffmpeg(*options, "-i", plain, "-c", "copy", "-an", flagged)
    ffmpeg("-i", flagged, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", reference)
    facts = probe(flagged).video
    assert (facts.orientation.rotation_deg, facts.orientation.mirrored) == expected
    with VideoReader(flagged) as reader:
        rgb = reader.at(scanned(flagged).pts[0])
        assert rgb.shape == (reader.height_px, reader.width_px, 3) == (facts.height_px, facts.width_px, 3)
    assert facts.width_px == (128 if expected[0] in (90, 270) else 192)
    oracle = np.frombuffer(reference.read_bytes(), np.uint8).reshape(rgb.shape)
    assert np.abs(rgb.astype(int) - oracle).mean() < 4  # chroma is interpolated differently, nothing else


@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_orientation_moves_pixels_as_its_matrix_says(transpose, flip_x, flip_y):
    a, b, c, d = (0, -1 if flip_y else 1, -1 if flip_x else 1, 0) if transpose else (1, 0, 0, 1)
    if not transpose:
        a, d = (-1 if flip_x else 1), (-1 if flip_y else 1)
    one = 1 << 16
    orientation = matrix_orientation((a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30))
    assert orientation == Orientation(transpose, flip_x, flip_y)
    assert orientation.mirrored == (a * d - b * c < 0)
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    out = orientation.apply(image)
    ys, xs = np.mgrid[:2, :3]
    new_x, new_y = a * xs + c * ys, b * xs + d * ys
    assert np.array_equal(out[new_y - new_y.min(), new_x - new_x.min()], image)


def test_wide_pixels_are_stretched_to_square_ones(folder):
    path = make_video(folder / "sar.mp4", 5, extra=("-vf", "setsar=3/2"))
    facts = probe(path).video
    assert (facts.sar, facts.width_px, facts.height_px, facts.coded_width_px) == (Fraction(3, 2), 288, 128, 192)
    with VideoReader(path) as reader:
        frames = list(reader.frames(scanned(path).pts))
    assert [number_in(rgb) for _, rgb in frames] == [0, 1, 2, 3, 4]
    assert frames[0][1].shape == (128, 288, 3)


def test_sar_is_applied_before_the_quarter_turn(folder):
    path = make_video(folder / "sar_plain.mp4", 3, extra=("-vf", "setsar=3/2"))
    turned = folder / "sar_turned.mp4"
    ffmpeg("-display_rotation", "-90", "-i", path, "-c", "copy", turned)
    facts = probe(turned).video
    assert (facts.width_px, facts.height_px) == (128, 288)
    with VideoReader(turned) as reader:
        upright = np.rot90(reader.at(scanned(turned).pts[2]))
    assert number_in(upright) == 2


@pytest.mark.parametrize("size_px", [(96, 64), (48, 32)])
def test_frames_can_be_shrunk_while_converting(plain, size_px):
    table = scanned(plain)
    with VideoReader(plain, size_px=size_px) as reader:
        rgb = reader.at(table.pts[77])
    assert rgb.shape == (size_px[1], size_px[0], 3)
    full = barcode(77).reshape(size_px[1], 128 // size_px[1], size_px[0], 192 // size_px[0], 3).mean((1, 3))
    assert np.abs(full - rgb).mean() < 8


@pytest.mark.parametrize(
    ("matrix", "size", "tagged"),
    [
        ("bt601", (192, 128), False),
        ("bt709", (1280, 720), False),
        ("bt709", (192, 128), True),
        ("bt601", (1280, 720), True),
    ],
)
def test_colours_follow_the_tag_or_the_players_convention_when_untagged(folder, matrix, size, tagged):
    path = folder / f"{matrix}_{size[0]}_{tagged}.mp4"
    colour = (200, 60, 90)
    raw = folder / "colour.raw"
    raw.write_bytes(np.full((*size[::-1], 3), colour, np.uint8).tobytes() * 2)
    scale = f"scale=out_color_matrix={matrix}:out_range=tv"
    tag = ["-colorspace", "bt709" if matrix == "bt709" else "smpte170m"] if tagged else []
    if not tagged:  # ffmpeg tags what it converts; strip it from the bitstream
        tag = ["-bsf:v", "h264_metadata=matrix_coefficients=2"]
    ffmpeg(
        *["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-i", raw, "-vf", scale],
        *["-c:v", "libx264", "-qp", "4", "-pix_fmt", "yuv420p", *tag, path],
    )
    with VideoReader(path) as reader:
        rgb = reader.at(scanned(path).pts[0])
    assert np.abs(rgb.reshape(-1, 3).mean(0) - colour).max() < 1.5


def test_cover_art_is_not_mistaken_for_the_video(folder, plain):
    art, path = folder / "art.png", folder / "with_art.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=640x640", "-frames:v", "1", art)
    ffmpeg("-i", art, "-i", plain, "-map", "0:v", "-map", "1:v", "-map", "1:a", "-c", "copy", "-disposition:v:0",
           "attached_pic", path)  # fmt: skip
    facts = probe(path)
    assert facts.video.width_px == 192
    with VideoReader(path) as reader:
        assert number_in(reader.at(scanned(path).pts[9])) == 9


def test_the_barcode_reads_back_every_number():
    assert all(number_in(barcode(n)) == n for n in range(0, 1 << BITS, 97))


def test_writing_into_a_frame_does_not_reach_the_decoder(folder):
    """QuickTime Animation stores RGB differences: its frames need no conversion and are the base of the next ones."""
    raw, path = folder / "own.raw", folder / "own.mov"
    raw.write_bytes(b"".join(barcode(n).tobytes() for n in range(6)))
    rgb = ("-pix_fmt", "rgb24")
    ffmpeg("-f", "rawvideo", *rgb, "-s", "192x128", "-i", raw, "-c:v", "qtrle", *rgb, path)
    with VideoReader(path) as reader:
        for number, (_, frame) in enumerate(reader.frames(scanned(path).pts)):
            assert np.array_equal(frame, barcode(number))
            frame[:] = 7


def test_every_frame_of_the_table_of_a_damaged_file_can_be_read_in_order_and_at_random(folder):
    whole, path = (
        make_video(folder / "whole.ts", 250, codec=("-c:v", "libx264", "-g", "25", "-bf", "2")),
        folder / "hurt.ts",
    )
    data = bytearray(whole.read_bytes())
    rng = np.random.default_rng(4)
    for at in rng.integers(len(data) // 4, len(data), 12):
        data[at] ^= 0xFF
    data[5 * 188 : 12 * 188] = b""  # the first key frame loses its beginning
    path.write_bytes(data)
    scan = scan_frames(path, probe(path).video.index)
    assert scan.n_errors + scan.n_corrupt > 0
    with VideoReader(path) as reader:
        in_order = dict(reader.frames(scan.table.pts))
        assert list(in_order) == scan.table.pts.tolist()
        for i in random.Random(1).sample(range(len(scan.table)), 40):
            assert reader.at(scan.table.pts[i]).shape == (128, 192, 3)


def test_a_second_recording_glued_behind_the_first_is_counted_not_mixed_in(folder):
    one = make_video(folder / "one.ts", 75)
    path = folder / "glued.ts"
    path.write_bytes(one.read_bytes() * 2)
    scan = scan_frames(path, probe(path).video.index)
    assert (len(scan.table), scan.n_disordered) == (75, 75)
