from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from media_files import ffmpeg, find_chirp, make_vfr, make_video

from dialogbuild.artifact import Inputs, file_sha256, run_stage
from dialogbuild.errors import Reject
from dialogbuild.media.audio import read_audio
from dialogbuild.media.channels import read_channels
from dialogbuild.media.encode import encode_video
from dialogbuild.media.probe import probe
from dialogbuild.media.scan import scan_frames
from dialogbuild.stages import ingest
from dialogbuild.tables import read_table

RECORD_KEYS = {
    "video_id", "name", "sha256", "bytes", "container", "video_codec", "pix_fmt", "width_px", "height_px",
    "rotation_deg", "sar", "time_base", "start_pts", "n_frames", "is_vfr", "avg_fps", "duration_s", "fps", "n_ticks",
    "audio",
}  # fmt: skip


def run(path: Path, out: Path, **config) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    ingest.run(Inputs(path.stem, path.stem, path, {}), out, ingest.Config(**config))
    return out


def rejected(path: Path, out: Path, **config) -> Reject:
    with pytest.raises(Reject) as caught:
        run(path, out, **config)
    return caught.value


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("ingest") / "plain.mp4", 100, chirps_s=[0.5, 3.0])


def test_a_plain_video_yields_the_four_files_of_the_contract(plain, tmp_path):
    out = run(plain, tmp_path / "out")
    video = json.loads((out / "video.json").read_text())
    assert set(video) >= RECORD_KEYS
    assert (video["n_frames"], video["n_ticks"], video["duration_s"], video["is_vfr"]) == (100, 100, 4.0, False)
    assert (video["width_px"], video["height_px"], video["rotation_deg"], video["sar"]) == (192, 128, 0, [1, 1])
    assert (video["sha256"], video["bytes"]) == (file_sha256(plain), plain.stat().st_size)
    assert video["audio"]["codec"] == "aac"
    assert (video["audio"]["sample_rate"], video["audio"]["channels"], video["audio"]["streams"]) == (48000, 2, 1)
    frames, ticks = read_table(out / "frames.parquet"), read_table(out / "ticks.parquet")
    assert [v.dtype.name for v in frames.values()] == ["int32", "int64", "int64", "bool"]
    assert {k: v.dtype.name for k, v in ticks.items()} == {
        "tick": "int32", "frame": "int32", "pts": "int64", "repeated": "bool",
    }  # fmt: skip
    assert np.array_equal(frames["pts"][ticks["frame"]], ticks["pts"])
    samples = read_audio(out / "audio.flac")
    assert len(samples) == 100 * 640
    assert find_chirp(samples, near_s=3.0) == pytest.approx(3.0, abs=1e-3)
    info = soundfile.info(out / "audio.flac")
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")


def test_the_same_file_gives_the_same_bytes(plain, tmp_path):
    a, b = run(plain, tmp_path / "a"), run(plain, tmp_path / "b")
    for name in ("video.json", "frames.parquet", "ticks.parquet", "audio.flac"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_a_vfr_file_is_flagged_and_its_ticks_follow_its_times(tmp_path):
    times_ms = np.cumsum([0, *[33, 67, 120, 16, 40] * 12]).tolist()
    out = run(make_vfr(tmp_path / "vfr.mp4", times_ms, chirps_s=[1.5]), tmp_path / "out")
    video = json.loads((out / "video.json").read_text())
    ticks = read_table(out / "ticks.parquet")
    assert video["is_vfr"]
    assert video["longest_frame_s"] == 0.12
    for k in range(0, video["n_ticks"], 7):
        assert ticks["frame"][k] == max(
            i for i, ms in enumerate(times_ms) if Fraction(ms, 1000) <= Fraction(2 * k + 1, 50)
        )
    assert find_chirp(read_audio(out / "audio.flac")) == pytest.approx(1.5, abs=1e-3)


def test_sound_offset_is_recorded_and_applied(tmp_path):
    path = make_video(
        tmp_path / "late.mkv", 100, chirps_s=[0.5], audio_codec=("-c:a", "flac"), before_audio=("-itsoffset", "1.2")
    )
    out = run(path, tmp_path / "out")
    audio = json.loads((out / "video.json").read_text())["audio"]
    assert audio["offset_s"] == pytest.approx(1.2, abs=2e-3)
    assert audio["coverage"] == pytest.approx(2.8 / 4, abs=0.01)
    assert find_chirp(read_audio(out / "audio.flac")) == pytest.approx(1.7, abs=1e-3)


def test_rotation_and_pixel_shape_are_those_of_the_displayed_frame(tmp_path, plain):
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "-90", "-i", plain, "-c", "copy", "-aspect", "2:1", path)
    video = json.loads((run(path, tmp_path / "out") / "video.json").read_text())
    assert (video["rotation_deg"], video["sar"]) == (90, [4, 3])
    assert (video["width_px"], video["height_px"]) == (128, 256)


def test_progress_reaches_the_number_of_ticks(plain, tmp_path):
    seen: list[tuple[int, int]] = []
    inputs = Inputs("v", "v", plain, {}, lambda done, total: seen.append((done, total)))
    ingest.run(inputs, tmp_path, ingest.Config())
    assert seen[-1] == (100, 100)
    assert all(done <= total for done, total in seen)


def test_an_empty_file_is_rejected_as_such(tmp_path):
    (tmp_path / "a.mp4").touch()
    assert rejected(tmp_path / "a.mp4", tmp_path).reason == "empty_file"


@pytest.mark.parametrize("content", [b"Dear diary, this is no film.\n" * 50, b"\0" * 5000, b"<html>404</html>", b"x"])
def test_anything_but_media_is_not_a_video(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    assert rejected(tmp_path / "a.mp4", tmp_path).reason == "not_a_video"


@pytest.mark.parametrize("name", ["sound.m4a", "sound.wav", "cover.m4a", "picture.png", "picture.gif", "text.srt"])
def test_sound_pictures_and_subtitles_are_not_a_video(tmp_path, name):
    path = tmp_path / name
    noise, picture = ("-f", "lavfi", "-i", "anoisesrc=d=3"), ("-f", "lavfi", "-i", "testsrc=d=3:s=64x64")
    if name == "cover.m4a":
        ffmpeg(*picture[:3], "testsrc=s=64x64", "-frames:v", "1", tmp_path / "art.png")
        ffmpeg(
            *noise,
            "-i",
            tmp_path / "art.png",
            "-map",
            "0",
            "-map",
            "1",
            "-c:v",
            "copy",
            "-disposition:v",
            "attached_pic",
            path,
        )
    elif name.startswith("sound"):
        ffmpeg(*noise, path)
    elif name == "picture.png":
        ffmpeg(*picture, "-frames:v", "1", path)
    elif name == "picture.gif":
        ffmpeg(*picture, path)
    else:
        path.write_text("1\n00:00:00,000 --> 00:00:02,000\nHello\n")
    reject = rejected(path, tmp_path)
    assert reject.reason == "not_a_video", reject


def test_a_playlist_that_names_another_file_is_not_followed(tmp_path, plain):
    (tmp_path / "beside.mp4").write_bytes(plain.read_bytes())
    for target in (plain, "beside.mp4"):
        concat = f"ffconcat version 1.0\nfile '{target}'\n"
        hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{target}\n#EXT-X-ENDLIST\n"
        for name, text in (("a.ffconcat", concat), ("a.m3u8", hls), ("a.mp4", concat), ("b.mp4", hls)):
            (tmp_path / name).write_text(text)
            assert rejected(tmp_path / name, tmp_path).reason == "not_a_video"


def test_a_video_without_sound_says_which_streams_it_has(tmp_path):
    reject = rejected(make_video(tmp_path / "silent.mp4", 75), tmp_path)
    assert (reject.reason, reject.values) == ("no_audio", {"streams": ["video:h264"]})


def test_sound_that_lies_wholly_outside_the_video_is_no_sound(tmp_path):
    path = make_video(tmp_path / "after.mkv", 75, chirps_s=[0.5], before_audio=("-itsoffset", "10"))
    assert rejected(path, tmp_path).reason == "no_audio"


def test_a_video_that_is_too_short_says_by_how_much(tmp_path):
    reject = rejected(make_video(tmp_path / "short.mp4", 20, chirps_s=[0.1]), tmp_path)
    assert (reject.reason, reject.values) == ("too_short", {"duration_s": 0.8, "min_duration_s": 2.0})


@pytest.fixture(scope="module")
def faststart(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("cut") / "faststart.mp4"
    return make_video(path, 250, chirps_s=[0.5], extra=("-movflags", "+faststart")).read_bytes()


def test_an_mp4_whose_index_never_arrived_is_truncated(tmp_path, plain):
    path = tmp_path / "a.mp4"
    path.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    reject = rejected(path, tmp_path)
    assert reject.reason == "truncated"
    assert reject.values["box"] == "mdat"
    assert reject.values["box_end_bytes"] > reject.values["bytes"] == path.stat().st_size


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_an_mp4_cut_in_the_middle_is_truncated_and_says_where(tmp_path, faststart, share):
    path = tmp_path / "a.mp4"
    path.write_bytes(faststart[: int(len(faststart) * share)])
    reject = rejected(path, tmp_path)
    assert reject.reason == "truncated"
    assert reject.values["header_end_s"] == 10.0
    assert reject.values["end_s"] < 9.5
    assert reject.values["frames"] < 240


@pytest.mark.parametrize("container", ["mkv", "flv"])
def test_other_containers_cut_in_the_middle_are_truncated_too(tmp_path, container):
    whole = make_video(tmp_path / f"whole.{container}", 250, chirps_s=[0.5])
    path = tmp_path / f"cut.{container}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert rejected(path, tmp_path).reason == "truncated"


def test_a_file_missing_only_its_last_bytes_is_kept(tmp_path, faststart):
    path = tmp_path / "a.mp4"
    path.write_bytes(faststart[:-300])
    assert (run(path, tmp_path / "out") / "video.json").exists()


def test_damage_in_the_middle_is_corrupt_and_counted(tmp_path, faststart):
    data = bytearray(faststart)
    rng = np.random.default_rng(0)
    for at in rng.integers(len(data) // 2, len(data) * 2 // 3, 200):
        data[at] ^= 0xFF
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    reject = rejected(path, tmp_path)
    assert reject.reason == "corrupt", reject
    assert reject.values["n_errors"] + reject.values["n_corrupt"] > 2
    assert 0.01 < reject.values["share"] < 0.7


def test_a_stream_without_presentation_times_is_rejected_not_guessed(tmp_path):
    """A raw H.264 stream has none; its decoder's frame counter must not pass for times."""
    path = tmp_path / "a.h264"
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=3:s=64x64", "-c:v", "libx264", "-bf", "2", path)
    facts = probe(path)
    with pytest.raises(Reject) as caught:
        ingest.check_scan(facts, scan_frames(path, facts.video.index), ingest.Config())
    assert caught.value.reason == "no_timestamps"
    assert caught.value.values["packets"] > 0


def test_a_missing_source_is_the_machines_fault_not_a_reject(tmp_path):
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "absent.mp4", tmp_path)


def test_a_bug_in_our_own_code_is_not_turned_into_a_reject(tmp_path, plain, monkeypatch):
    def broken(*args):
        raise TypeError("our bug")

    monkeypatch.setattr(ingest, "tick_table", broken)
    with pytest.raises(TypeError, match="our bug"):
        run(plain, tmp_path)


def test_fuzzed_files_end_as_ok_or_reject_never_as_a_crash(tmp_path, faststart):
    rng = np.random.default_rng(3)
    for i in range(25):
        data = bytearray(faststart[: int(len(faststart) * rng.uniform(0.05, 1))])
        for at in rng.integers(0, len(data), rng.integers(0, 60)):
            data[at] = int(rng.integers(0, 256))
        path = tmp_path / "fuzzed.mp4"
        path.write_bytes(data)
        with suppress(Reject):
            run(path, tmp_path / str(i))


def test_memory_does_not_grow_with_the_length_of_the_file(tmp_path):
    def peak(n_frames: int) -> int:
        path = make_video(tmp_path / f"{n_frames}.mkv", n_frames, chirps_s=[0.5], audio_codec=("-c:a", "mp2"),
                          codec=("-c:v", "mpeg4", "-g", "25"))  # fmt: skip
        tracemalloc.start()
        run(path, tmp_path / str(n_frames))
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return top

    short, long = peak(250), peak(3000)
    assert long - short < 2750 * 120, "more than the frame table's few bytes per frame"  # 2750 frames of audio: 7 MB


def test_a_reject_is_recorded_by_the_artefact_layer(tmp_path):
    (tmp_path / "a.mp4").touch()
    inputs = Inputs("a", "a", tmp_path / "a.mp4", {})
    outcome = run_stage(ingest.STAGE, inputs, ingest.Config(), tmp_path / "work", "key", {})
    assert (outcome.status, outcome.reason) == ("rejected", "empty_file")


@pytest.mark.clips
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("interview_split_screen.mp4", {"n_frames": 438, "n_ticks": 438, "is_vfr": False, "start_pts": 0}),
        ("talker_vfr.mp4", {"n_frames": 135, "n_ticks": 152, "is_vfr": True, "start_pts": 507}),
        ("talker_hevc_portrait.mp4", {"n_frames": 250, "n_ticks": 250, "width_px": 1080, "height_px": 1920}),
    ],
)
def test_real_clips_are_read_whole(clips_dir, tmp_path, name, expected):
    out = run(clips_dir / name, tmp_path / "out")
    video = json.loads((out / "video.json").read_text())
    assert {k: video[k] for k in expected} == expected
    samples = read_audio(out / "audio.flac")
    assert len(samples) == video["n_ticks"] * 640
    assert 0.005 < samples.std() < 0.5
    assert video["damage"] == {"n_errors": 0, "n_corrupt": 0, "n_disordered": 0}


@pytest.mark.clips
def test_a_real_clip_without_sound_and_a_sound_file_are_rejected(clips_dir, tmp_path):
    assert rejected(clips_dir / "head_silent.mp4", tmp_path).reason == "no_audio"
    assert rejected(clips_dir / "ami_sample.wav", tmp_path).reason == "not_a_video"
    assert rejected(clips_dir / "ami_sample.rttm", tmp_path).reason == "not_a_video"


def stereo_video(path: Path, sound: np.ndarray) -> Path:
    frames = (np.full((64, 64, 3), k % 200, np.uint8) for k in range(100))
    encode_video(path, frames, Fraction(25), (64, 64), audio=sound, preset="ultrafast")
    return path


def turns_in_channels() -> np.ndarray:
    """Four seconds: a voice in the left channel, then another one in the right, each 12 dB weaker in the other."""
    noise = np.random.default_rng(0).standard_normal((64000, 2))
    voice = 0.04 * np.stack([np.convolve(column, np.hanning(31), "same") for column in noise.T], axis=1)
    voice[32000:, 0] = voice[:32000, 1] = 0.0
    return np.asarray(voice + 0.25 * voice[:, ::-1], np.float32)


def test_channels_that_differ_are_kept_and_their_levels_are_told(tmp_path):
    sound = turns_in_channels()
    out = run(stereo_video(tmp_path / "two.mp4", sound), tmp_path / "out")
    channels = read_channels(out / "channels.flac", 0, 64000)
    mix = read_audio(out / "audio.flac")
    assert channels.shape == (2, len(mix))
    assert np.abs(channels.mean(axis=0) - mix).max() < 1e-3, "the mono file is the mean of both channels"
    correlation = np.array([[np.corrcoef(channels[i], sound[:, j])[0, 1] for j in (0, 1)] for i in (0, 1)])
    assert (np.diag(correlation) > 0.9).all(), "AAC at 128 kbit/s, and no channel exchanged or shifted"
    levels = read_table(out / "channels.parquet")
    apart_db = levels["level_db_0"] - levels["level_db_1"]
    assert levels["tick"].tolist() == list(range(100))
    assert np.median(apart_db[5:45]) == pytest.approx(12.0, abs=1.0)
    assert np.median(apart_db[55:95]) == pytest.approx(-12.0, abs=1.0)
    assert json.loads((out / "video.json").read_text())["audio"]["stereo_db"] > -5.0


def test_one_sound_in_two_channels_is_kept_once(tmp_path):
    sound = np.repeat(turns_in_channels()[:, :1], 2, axis=1)
    out = run(stereo_video(tmp_path / "same.mp4", sound), tmp_path / "out")
    assert not list(out.glob("channels.*"))
    assert json.loads((out / "video.json").read_text())["audio"]["stereo_db"] < -60.0


def test_mono_sound_has_no_channels_to_compare(tmp_path):
    out = run(stereo_video(tmp_path / "mono.mp4", turns_in_channels()[:, 0]), tmp_path / "out")
    assert not list(out.glob("channels.*"))
    assert json.loads((out / "video.json").read_text())["audio"]["stereo_db"] is None
