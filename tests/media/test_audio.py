"""Sound lands on the right sample: chirps at known times after the first video frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from media_files import ffmpeg, find_chirp, make_vfr, make_video, sound

from dialogbuild.media.audio import AudioReport, iter_audio, read_audio, to_pcm16, write_flac
from dialogbuild.media.clock import tick_table
from dialogbuild.media.probe import probe
from dialogbuild.media.scan import scan_frames

CHIRPS = [0.6, 1.7, 2.5]


def decoded(path: Path, report: AudioReport | None = None) -> np.ndarray:
    facts = probe(path)
    table = scan_frames(path, facts.video.index).table
    assert table is not None
    n = len(tick_table(table).pts) * 640
    blocks = list(iter_audio(path, facts.audio[0].index, table.start_s, n, report))
    assert all(b.dtype == np.float32 and len(b) <= 48000 for b in blocks)
    out = np.concatenate(blocks)
    assert len(out) == n
    return out


def heard_at(samples: np.ndarray, expected_s: list[float]) -> list[float]:
    return [find_chirp(samples, near_s=t) - t for t in expected_s]


def codec(*names: str) -> dict[str, tuple[str, ...]]:
    return {"audio_codec": ("-c:a", *names)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("aac48.mp4", {}),
        ("aac44.mp4", {"rate": 44100}),
        ("aac_mono.mp4", {"channels": 1}),
        ("aac_51.mp4", {"channels": 6}),
        ("flac.mkv", codec("flac")),
        ("opus.mkv", codec("libopus")),
        ("opus.webm", {**codec("libopus"), "codec": ("-c:v", "libvpx", "-crf", "30", "-b:v", "1M")}),
        ("vorbis.mkv", codec("libvorbis")),
        ("mp3.mp4", codec("libmp3lame")),
        ("aac.ts", {}),
        ("mp2.ts", codec("mp2")),
        ("mp2.mpg", {**codec("mp2"), "codec": ("-c:v", "mpeg2video", "-bf", "2", "-q:v", "3")}),
        ("pcm.avi", {**codec("pcm_s16le"), "codec": ("-c:v", "mpeg4", "-bf", "0", "-q:v", "3")}),
        ("pcm.mov", codec("pcm_s24le")),
        ("adpcm.flv", {**codec("aac"), "codec": ("-c:v", "flv1", "-q:v", "3")}),
        ("wma.wmv", {**codec("wmav2"), "codec": ("-c:v", "wmv2", "-q:v", "3")}),
    ],
)
def test_chirps_land_within_a_millisecond_in_every_container_and_codec(tmp_path, name, options):
    path = make_video(tmp_path / name, 75, chirps_s=CHIRPS, **options)
    report = AudioReport()
    errors_s = heard_at(decoded(path, report), CHIRPS)
    assert max(map(abs, errors_s)) < 1e-3, errors_s
    assert not report.errors


@pytest.mark.parametrize("offset_s", [-0.9, -0.25, 0.3, 1.1])
@pytest.mark.parametrize("container", ["mkv", "mp4", "ts"])
def test_a_container_offset_between_sound_and_picture_is_honoured(tmp_path, container, offset_s):
    path = tmp_path / f"offset.{container}"
    make_video(path, 75, chirps_s=CHIRPS, audio_codec=("-c:a", "aac"), before_audio=("-itsoffset", str(offset_s)))
    report = AudioReport()
    samples = decoded(path, report)
    inside = [c + offset_s for c in CHIRPS if 0.1 < c + offset_s < 2.9]
    errors_s = heard_at(samples, inside)
    assert max(map(abs, errors_s)) < 1e-3, errors_s
    if offset_s > 0.1:
        assert np.abs(samples[: round((offset_s - 0.05) * 16000)]).max() == 0, "what the file does not hold is silence"


def test_an_edit_list_cuts_sound_and_picture_alike(tmp_path):
    whole, cut = make_video(tmp_path / "whole.mp4", 100, chirps_s=[0.8, 2.6]), tmp_path / "cut.mp4"
    ffmpeg("-ss", "1.72", "-i", whole, "-c", "copy", cut)
    assert heard_at(decoded(cut), [2.6 - 1.72])[0] == pytest.approx(0, abs=1e-3)


def test_sound_of_a_vfr_file_stays_on_the_wall_clock(tmp_path):
    times_ms = np.cumsum([40, *[33, 120, 16, 250, 67] * 8]).tolist()
    path = make_vfr(tmp_path / "vfr.mp4", times_ms, chirps_s=[1.0, 3.0])
    errors_s = heard_at(decoded(path), [1.0 - 0.04, 3.0 - 0.04])  # the first frame is shown 40 ms late
    assert max(map(abs, errors_s)) < 1e-3, errors_s


@pytest.mark.parametrize("audio_s", [1.2, 4.5])
def test_short_sound_is_padded_and_long_sound_trimmed_to_the_video(tmp_path, audio_s):
    path = make_video(tmp_path / "length.mkv", 75, chirps_s=[0.6], audio_s=audio_s, audio_codec=("-c:a", "flac"))
    report = AudioReport()
    samples = decoded(path, report)
    assert len(samples) == 75 * 640
    assert report.heard_samples == pytest.approx(min(audio_s, 3.0) * 16000, abs=2)
    assert heard_at(samples, [0.6])[0] == pytest.approx(0, abs=1e-3)


def test_a_hole_in_the_packets_becomes_silence_and_later_sound_stays_in_place(tmp_path):
    """Two halves of one sound, the second stamped 0.7 s later than it would follow."""
    import av

    path = tmp_path / "hole.mkv"
    make_video(tmp_path / "v.mkv", 75)
    first, second = sound(1.0, [0.4], channels=1), sound(1.0, [0.3], channels=1)
    with av.open(str(tmp_path / "v.mkv")) as source, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        audio = out.add_stream("pcm_s16le", rate=48000, layout="mono")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        for start, piece in ((0, first), (81600, second)):
            for at in range(0, len(piece), 1200):
                block = (piece[at : at + 1200].T * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48000, start + at, Fraction(1, 48000)
                out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    report = AudioReport()
    samples = decoded(path, report)
    assert report.n_jumps == 1
    assert max(map(abs, heard_at(samples, [0.4, 2.0]))) < 1e-3
    assert np.abs(samples[16100:27100]).max() < 1e-4


def test_damaged_packets_are_counted_and_leave_the_rest_in_place(tmp_path):
    path = make_video(tmp_path / "good.ts", 75, chirps_s=CHIRPS, audio_codec=("-c:a", "mp2"))
    data = bytearray(path.read_bytes())
    middle = len(data) * 2 // 5
    data[middle : middle + 188 * 40] = np.random.default_rng(0).integers(0, 256, 188 * 40, np.uint8).tobytes()
    (tmp_path / "bad.ts").write_bytes(data)
    facts = probe(tmp_path / "bad.ts")
    samples = np.concatenate(list(iter_audio(tmp_path / "bad.ts", facts.audio[0].index, Fraction(0), 5 * 16000)))
    reference = np.concatenate(list(iter_audio(path, probe(path).audio[0].index, Fraction(0), 5 * 16000)))
    assert abs(find_chirp(samples, near_s=1.4 + 2.5) - find_chirp(reference, near_s=1.4 + 2.5)) < 1e-3


def test_blocks_stay_small_whatever_the_gap(tmp_path):
    path = make_video(tmp_path / "a.mp4", 50, chirps_s=[0.5])
    blocks = list(iter_audio(path, 1, Fraction(-3600), 2 * 3600 * 16000))
    assert max(map(len, blocks)) <= 16000
    assert sum(map(len, blocks)) == 2 * 3600 * 16000


def test_resampled_tone_keeps_its_level_and_has_no_images(tmp_path):
    t = np.arange(48000 * 3) / 48000
    wav = tmp_path / "tone.wav"
    tones = 0.5 * np.sin(2 * np.pi * 1000 * t) + 0.3 * np.sin(2 * np.pi * 11000 * t)  # 11 kHz would alias to 5 kHz
    soundfile.write(wav, tones.astype(np.float32), 48000, subtype="FLOAT")
    out = np.concatenate(list(iter_audio(wav, 0, Fraction(0), 48000)))
    spectrum = np.abs(np.fft.rfft(out[8000:40000] * np.hanning(32000))) / 8000
    assert spectrum[2000] == pytest.approx(0.5, rel=1e-2)
    assert spectrum[10000] < 1e-4


def test_one_sound_in_both_channels_keeps_its_level_in_mono(tmp_path):
    tone = 0.9 * np.sin(np.arange(32000) * 0.1).astype(np.float32)
    soundfile.write(tmp_path / "both.wav", np.stack([tone, tone], axis=1), 16000, subtype="FLOAT")
    out = np.concatenate(list(iter_audio(tmp_path / "both.wav", 0, Fraction(0), 32000)))
    assert np.abs(out - tone).max() < 1e-5, "3 dB more would clip"
    pair = np.concatenate(list(iter_audio(tmp_path / "both.wav", 0, Fraction(0), 40000, channels=2)))
    assert pair.shape == (40000, 2)
    assert np.abs(pair[:32000, 1] - tone).max() < 1e-5
    assert not pair[32000:].any()


def test_flac_holds_what_was_written_to_16_bits_and_clips_instead_of_wrapping(tmp_path):
    samples = np.linspace(-1.5, 1.5, 4001, dtype=np.float32)
    assert write_flac(tmp_path / "a.flac", [samples[:1000], samples[1000:]]) == 4001
    back = read_audio(tmp_path / "a.flac")
    assert back.dtype == np.float32
    assert np.abs(back - np.clip(samples, -1, 1)).max() <= 1 / 32768
    assert to_pcm16(np.array([2.0, -2.0], np.float32)).tolist() == [32767, -32768]
    assert np.array_equal(read_audio(tmp_path / "a.flac", 1000, 1200), back[1000:1200])


def test_flac_bytes_depend_on_the_samples_alone_not_on_the_blocks(tmp_path):
    samples = np.random.default_rng(1).normal(0, 0.1, 40000).astype(np.float32)
    write_flac(tmp_path / "a.flac", [samples])
    write_flac(tmp_path / "b.flac", [samples[:7], samples[7:20000], samples[20000:]])
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()


def test_two_channels_are_no_mono_file(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", np.zeros((100, 2)), 16000)
    with pytest.raises(ValueError, match="2 channels"):
        read_audio(tmp_path / "stereo.wav")


@pytest.mark.parametrize("options", [codec("libmp3lame"), codec("aac")], ids=["mp3", "aac"])
def test_avi_cannot_say_its_encoder_delay_so_sound_is_late_by_no_more_than_that(tmp_path, options):
    """AVI has no field for the samples an encoder puts in front; every player plays them. Known and bounded."""
    path = make_video(tmp_path / "delay.avi", 75, chirps_s=CHIRPS, codec=("-c:v", "mpeg4", "-q:v", "3"), **options)
    errors_s = heard_at(decoded(path), CHIRPS)
    assert all(0 <= e < 0.05 for e in errors_s), errors_s
    assert max(errors_s) - min(errors_s) < 1e-3
