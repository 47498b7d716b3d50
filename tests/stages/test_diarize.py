"""diarize: speech and voices from the sound alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from spoken import Spoken, spoken

from dialogbuild.artifact import Inputs, write_json
from dialogbuild.dialogue.backends.offline import WindowRule, voice_activity, window_centres
from dialogbuild.dialogue.metrics import diarization_error
from dialogbuild.stages.diarize import STAGE, Config
from dialogbuild.tables import read_table


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Spoken:
    made = spoken(tmp_path_factory.mktemp("diarize"), seed=3, duration_s=14.0)
    made.run(STAGE)
    return made


def test_tables_cover_every_tick(talk: Spoken) -> None:
    vad, voices = (read_table(talk.dirs["diarize"] / f"{name}.parquet") for name in ("vad", "voices"))
    n = talk.truth.n_ticks
    assert vad["tick"].tolist() == voices["tick"].tolist() == list(range(n))
    assert vad["p_speech"].dtype == np.float32
    known = voices["voice_0"] + voices["voice_1"]
    assert np.isin(known.round(4), [0.0, 1.0]).all()


def test_two_synthetic_voices_are_two_and_alternate_as_written(talk: Spoken) -> None:
    facts = json.loads((talk.dirs["diarize"] / "voices.json").read_text())
    if facts["embedding"] != "ge2e":
        pytest.skip("GE2E weights are not installed: the count is a guess")
    assert facts["n_voices"] == 2
    assert facts["cosine"] < 0.9
    turns = read_table(talk.dirs["diarize"] / "turns.parquet")
    found = list(zip(turns["voice"], turns["start_s"], turns["end_s"], strict=True))
    written = [(t.person, t.start_s, t.end_s) for t in talk.truth.turns]
    error = diarization_error(written, found, (0.0, talk.truth.n_ticks / 25))
    assert error.confusion_s / error.total_s < 0.1
    assert error.false_alarm_s / error.total_s < 0.1


def test_the_rttm_holds_the_same_turns(talk: Spoken) -> None:
    lines = (talk.dirs["diarize"] / "diarize.rttm").read_text().splitlines()
    turns = read_table(talk.dirs["diarize"] / "turns.parquet")
    assert len(lines) == len(turns["voice"])
    first = lines[0].split()
    assert first[1] == "talk"
    assert float(first[3]) == pytest.approx(turns["start_s"][0], abs=1e-3)


def test_the_same_sound_gives_the_same_bytes(talk: Spoken, tmp_path: Path) -> None:
    STAGE.run(talk.inputs(STAGE), tmp_path, Config())
    for name in ("vad.parquet", "voices.parquet", "embeddings.parquet", "turns.parquet", "voices.json"):
        assert (tmp_path / name).read_bytes() == (talk.dirs["diarize"] / name).read_bytes()


def test_without_weights_it_says_spectral_and_doubts_the_count(talk: Spoken, tmp_path: Path) -> None:
    STAGE.run(talk.inputs(STAGE), tmp_path, Config(embedding="spectral"))
    facts = json.loads((tmp_path / "voices.json").read_text())
    assert (facts["backend"], facts["embedding"], facts["doubtful"]) == ("offline", "spectral", True)


def test_silence_has_no_voices_and_empty_turns(talk: Spoken, tmp_path: Path) -> None:
    ingest, out = tmp_path / "ingest", tmp_path / "out"
    ingest.mkdir()
    out.mkdir()
    write_json(ingest / "video.json", {"n_ticks": 100, "fps": [25, 1]})
    soundfile.write(ingest / "audio.flac", np.zeros(64_000, np.float32), 16_000)
    inputs: Inputs = replace(talk.inputs(STAGE), dirs={"ingest": ingest})
    STAGE.run(inputs, out, Config())
    facts = json.loads((out / "voices.json").read_text())
    assert (facts["n_voices"], facts["speech_s"], facts["cosine"]) == (0, 0.0, None)
    assert len(read_table(out / "turns.parquet")["voice"]) == 0
    assert (out / "diarize.rttm").read_text() == ""


def test_the_model_files_belong_to_the_key() -> None:
    names = [path.name for path in STAGE.models(Config(embedding="spectral"))]
    assert names == ["silero_vad.jit"]
    assert {path.name for path in STAGE.models(Config())} <= {"silero_vad.jit", "pretrained.pt"}


def test_windows_lie_where_there_is_speech() -> None:
    p = np.zeros(250)
    p[100:200] = 0.9
    centres = window_centres(p, 25.0, WindowRule(0.12, 0.5, 0.6))
    assert centres.min() == pytest.approx(4.16, abs=0.13)
    assert centres.max() == pytest.approx(7.84, abs=0.13)


def test_speech_of_an_unknown_voice_goes_to_the_nearest_known_one() -> None:
    posterior = np.zeros((10, 2))
    posterior[2], posterior[7] = (1, 0), (0, 1)
    activity = voice_activity(np.ones(10), posterior, 0.5)
    assert activity[:, 0].tolist() == [True] * 5 + [False] * 5


@pytest.mark.clips
def test_a_meeting_of_two_is_diarized_as_well_as_reported(clips_dir: Path, talk: Spoken, tmp_path: Path) -> None:
    """Diarization error on 30 s of AMI, collar 0, overlap scored. The study's 64 settings ran from 12 to 50 %."""
    sound, _ = soundfile.read(clips_dir / "ami_sample.wav", dtype="float32")
    ingest, out = tmp_path / "ingest", tmp_path / "out"
    ingest.mkdir()
    out.mkdir()
    n_ticks = len(sound) // 640
    write_json(ingest / "video.json", {"n_ticks": n_ticks, "fps": [25, 1]})
    soundfile.write(ingest / "audio.flac", sound[: n_ticks * 640], 16_000)
    STAGE.run(replace(talk.inputs(STAGE), dirs={"ingest": ingest}), out, Config())
    facts = json.loads((out / "voices.json").read_text())
    if facts["embedding"] != "ge2e":
        pytest.skip("GE2E weights are not installed")
    fields = [line.split() for line in (clips_dir / "ami_sample.rttm").read_text().splitlines()]
    written = [(f[7], float(f[3]), float(f[3]) + float(f[4])) for f in fields]
    turns = read_table(out / "turns.parquet")
    found = list(zip(turns["voice"], turns["start_s"], turns["end_s"], strict=True))
    assert facts["n_voices"] == 2
    assert diarization_error(written, found, (0.0, 30.0)).rate < 0.25
