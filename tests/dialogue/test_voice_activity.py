"""Voice activity and the audio it reads."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dialogbuild.dialogue import vad
from dialogbuild.dialogue.pcm import Pcm
from dialogbuild.synth.speech import bank_texts, speak


@pytest.fixture(scope="module")
def sentence() -> np.ndarray:
    """One second of silence, a sentence, one second of silence."""
    samples = speak(bank_texts("m3", "turn")[0], "m3", "bank").samples
    second = np.zeros(16_000, np.float32)
    return np.concatenate([second, samples, second])


def test_speech_is_found_where_it_is(sentence: np.ndarray) -> None:
    n_ticks = len(sentence) // 640
    p = vad.windows_to_ticks(vad.speech_windows(Pcm.from_array(sentence)), n_ticks, 25.0)
    assert p.shape == (n_ticks,)
    assert p[:20].max() < 0.2
    assert p[-15:].max() < 0.3
    assert np.mean(p[25 : n_ticks - 25] > 0.5) > 0.7


def test_the_callers_number_of_torch_threads_comes_back(sentence: np.ndarray) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with vad.one_torch_thread():
            assert torch.get_num_threads() == 1
        vad.speech_windows(Pcm.from_array(sentence[:8000]))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_the_threads_come_back_after_a_failure_too() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"), vad.one_torch_thread():
        raise RuntimeError("stop")
    assert torch.get_num_threads() == before


def test_memory_is_bounded_by_the_block_and_not_by_the_recording() -> None:
    asked: list[int] = []

    def fetch(start: int, stop: int) -> np.ndarray:
        asked.append(stop - start)
        return np.zeros(stop - start, np.float32)

    n_samples = 16_000 * 80
    p = vad.speech_windows(Pcm(n_samples, fetch))
    assert len(p) == n_samples // 512
    assert max(asked) == 512 * 1024
    assert sum(asked) == n_samples


def test_ticks_take_the_mean_of_their_windows_by_overlap() -> None:
    windows = np.zeros(20, np.float32)
    windows[5:] = 1.0  # from 0.160 s: tick 4 begins there
    windows[3] = 0.5  # 0.096 s to 0.128 s: 0.024 s of it in tick 2, the rest in tick 3
    ticks = vad.windows_to_ticks(windows, 16, 25.0)
    assert ticks[4:] == pytest.approx(1.0)
    assert ticks[:2] == pytest.approx(0.0)
    assert ticks[2] == pytest.approx(0.1, abs=1e-5)  # what tick 3 has, two ticks before the sound would be let go


def test_speech_is_let_go_two_ticks_earlier_than_the_network_does_and_caught_when_it_does() -> None:
    p = np.array([0, 0, 0.7, 1, 1, 1, 1, 0.8, 0.2, 0, 0], np.float32)
    assert vad.let_go(p, 2) == pytest.approx([0, 0, 0.7, 1, 1, 0.8, 0.2, 0, 0, 0, 0])
    assert vad.let_go(p, 0) == pytest.approx(p)
    assert len(vad.let_go(p[:0], 2)) == 0


def test_progress_ends_at_the_total(sentence: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    vad.speech_windows(Pcm.from_array(sentence), lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == -(-len(sentence) // 512)


def test_audio_reads_as_zero_outside_the_recording() -> None:
    pcm = Pcm.from_array(np.ones(10, np.float32))
    assert pcm.read(-3, 4).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert pcm.read(8, 12).tolist() == [1, 1, 0, 0]
    assert pcm.read(20, 22).tolist() == [0, 0]


def test_a_file_reads_like_its_samples(tmp_path: Path) -> None:
    samples = (np.random.default_rng(0).integers(-20_000, 20_000, 5000) / 32_768).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", samples, 16_000, subtype="PCM_16")
    pcm = Pcm.open(tmp_path / "a.flac")
    assert pcm.n_samples == 5000
    assert (pcm.read(1000, 1700) == samples[1000:1700]).all()


def test_a_file_at_another_rate_is_refused_by_name(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "fast.flac", np.zeros((100, 2), np.float32), 48_000)
    with pytest.raises(ValueError, match=r"fast\.flac has 2 channels at 48000 Hz"):
        Pcm.open(tmp_path / "fast.flac")
