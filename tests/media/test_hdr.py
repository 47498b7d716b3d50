"""HDR brought to SDR: figures of BT.2100 and BT.2408, ffmpeg's own chain as the oracle, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from media_matrix import CASES, make, missing_part

from dialogbuild.errors import Reject
from dialogbuild.media.encode import ffmpeg_binary
from dialogbuild.media.hdr import hdr_transfer, roll_off, tone_map
from dialogbuild.media.reader import VideoReader


def grey(signal: float, kind: str) -> int:
    return int(tone_map(np.full((1, 1, 3), round(signal * 65535), np.uint16), kind)[0, 0, 0])


@pytest.mark.parametrize(("kind", "signal"), [("pq", 0.38), ("hlg", 0.38)])
def test_an_18_percent_grey_card_keeps_its_light(kind, signal):
    """BT.2408 table 1: a grey card of 26 cd/m2 has 38 % in PQ and in HLG; below the knee only the encoding changes."""
    assert grey(signal, kind) == pytest.approx(255 * (26 / 203) ** (1 / 2.4), abs=3)


@pytest.mark.parametrize(("kind", "signal"), [("pq", 0.5807), ("hlg", 0.75)])
def test_reference_white_is_the_same_in_both_and_leaves_room_for_highlights(kind, signal):
    white = float(roll_off(np.array([1.0], np.float32))[0])
    assert 0.6 < white < 1
    assert grey(signal, kind) == pytest.approx(255 * white ** (1 / 2.4), abs=2)
    assert grey(1.0, kind) == 255
    assert grey(0.0, kind) == 0


def test_the_curve_is_smooth_rises_and_leaves_what_lies_below_the_knee():
    light = np.linspace(0, 6, 6001, dtype=np.float32)
    out = roll_off(light)
    assert np.array_equal(out[light <= 0.6], light[light <= 0.6])
    slope = np.diff(out) / np.diff(light)
    assert (slope >= 0).all()
    assert slope[610] == pytest.approx(1, abs=0.05), "no kink at the knee"
    assert roll_off(np.array([1000 / 203], np.float32))[0] == pytest.approx(1, abs=1e-5)


def test_hue_survives_and_grey_stays_grey():
    ramp = np.linspace(0, 65535, 50).astype(np.uint16)
    for kind in ("pq", "hlg"):
        out = tone_map(np.repeat(ramp[:, None], 3, 1), kind).astype(int)
        assert np.ptp(out, axis=1).max() <= 1
        assert (np.diff(out[:, 0]) >= 0).all()


def test_pq_agrees_with_the_chain_that_ffmpeg_offers(tmp_path: Path):
    case = next(case for case in CASES if case.name == "pq.mp4")
    if missing_part(case) is not None:
        pytest.skip(f"the installed ffmpeg has no {missing_part(case)}")
    path = make(case, tmp_path)
    chain = (
        "zscale=transfer=linear:npl=203:primaries=bt709:matrix=gbr,format=gbrpf32le,"
        f"tonemap=mobius:param=0.6:desat=0:peak={1000 / 203:.4f},"
        "zscale=transfer=bt709:primaries=bt709:matrix=gbr:range=full,format=gbrp"
    )
    command = [ffmpeg_binary(), "-loglevel", "error", "-i", str(path), "-frames:v", "1", "-vf", chain]
    raw = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
    g, b, r = np.frombuffer(raw, np.uint8).reshape(3, 64, 96).astype(int)
    with VideoReader(path) as reader:
        rgb = next(reader.frames([0]))[1].astype(int)
    assert np.abs(rgb - np.stack([r, g, b], -1)).mean() < 3  # chroma is interpolated differently at edges
    for y, x in ((48, 24), (48, 72), (8, 24)):
        assert np.abs(rgb[y, x] - (r[y, x], g[y, x], b[y, x])).max() <= 4


@pytest.mark.parametrize(
    ("transfer", "matrix", "side", "expected"),
    [(1, 1, [], None), (2, 2, [], None), (13, 0, [], None), (14, 9, [], None), (16, 9, [], "pq"), (18, 9, [], "hlg"),
     (16, 2, [], "pq"), (18, 9, ["DOVI_METADATA"], "hlg")],
)  # fmt: skip
def test_the_kind_of_hdr_follows_from_the_tags(transfer, matrix, side, expected):
    assert hdr_transfer(transfer, matrix, side) == expected


@pytest.mark.parametrize(
    ("transfer", "matrix", "side", "reason"),
    [(16, 14, [], "hdr"), (16, 10, [], "hdr"), (2, 15, [], "hdr"), (2, 2, ["DOVI_METADATA"], "hdr"),
     (1, 8, [], "unreadable")],
)  # fmt: skip
def test_colours_that_nothing_here_can_undo_are_refused_with_advice(transfer, matrix, side, reason):
    with pytest.raises(Reject) as caught:
        hdr_transfer(transfer, matrix, side)
    assert caught.value.reason == reason
    assert ("export" in str(caught.value)) == (reason == "hdr")
