"""pyannote.audio in a process of its own: the protocol with a stand-in, and the real code with random weights."""

import importlib.util
import json
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dialogbuild.artifact import Inputs, write_json
from dialogbuild.dialogue import torchaudio_shim
from dialogbuild.dialogue.backends import pyannote, worker
from dialogbuild.dialogue.backends.pyannote import PyannoteError
from dialogbuild.dialogue.pcm import Pcm
from dialogbuild.errors import ConfigError
from dialogbuild.stages import diarize
from dialogbuild.tables import read_table

STAND_IN = """\
    import json, os, sys, time, wave
    assert sys.argv[1] == "-I" and sys.argv[2].endswith("worker.py")
    given = dict(zip(sys.argv[3::2], sys.argv[4::2]))
    mode = open(os.path.join(given["--pipeline"], "config.yaml")).read()
    if mode == "setup":
        sys.exit("" if sys.stderr.write("no module named pyannote\\n") < 0 else 3)
    if mode == "crash":
        raise ValueError("the network is on fire")
    if mode == "hang":
        time.sleep(30)
    if mode == "mute":
        sys.exit(0)
    with wave.open(given["--audio"]) as sound:
        facts = {"rate": sound.getframerate(), "samples": sound.getnframes(), "peak": max(sound.readframes(4))}
    facts["offline"] = os.environ["HF_HUB_OFFLINE"] + os.environ["PYANNOTE_METRICS_ENABLED"]
    facts["speakers"] = given["--max-speakers"]
    json.dump(facts, open(given["--facts"], "w"))
    with open(given["--rttm"], "w") as out:
        out.write("SPEAKER audio 1 0.000 1.500 <NA> <NA> SPEAKER_01 <NA> <NA>\\n")
        out.write("SPEAKER audio 1 1.000 1.000 <NA> <NA> SPEAKER_00 <NA> <NA>\\n")
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """An interpreter that behaves as if pyannote ran in it."""
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable}\n" + textwrap.dedent(STAND_IN))
    path.chmod(0o755)
    return str(path)


def folder(tmp_path: Path, config: str) -> Path:
    path = tmp_path / "pipe line"  # a path with a space: arguments are a list, there is no shell
    path.mkdir()
    (path / "config.yaml").write_text(config)
    return path


SOUND = Pcm.from_array(np.full(32_000, 0.25))


def test_another_environments_answer_comes_back_as_spans(tmp_path: Path, stand_in: str) -> None:
    spans, facts = pyannote.diarize(SOUND, folder(tmp_path, "answer"), stand_in, 3)
    assert spans == [("SPEAKER_01", 0.0, 1.5), ("SPEAKER_00", 1.0, 2.0)]
    assert facts == {"rate": 16_000, "samples": 32_000, "peak": 0x20, "offline": "10", "speakers": "3"}


@pytest.mark.parametrize(
    ("mode", "kind", "says"),
    [
        ("setup", ConfigError, "no module named pyannote"),  # no other recording would fare better: the run stops
        ("crash", PyannoteError, "ValueError: the network is on fire"),
        ("mute", PyannoteError, "left no readable answer"),
    ],
)
def test_a_failure_carries_what_the_process_said(
    tmp_path: Path, stand_in: str, mode: str, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        pyannote.diarize(SOUND, folder(tmp_path, mode), stand_in, 2)


def test_a_process_that_hangs_is_ended(tmp_path: Path, stand_in: str) -> None:
    with pytest.raises(PyannoteError, match="ended after 1 s"):
        pyannote.diarize(SOUND, folder(tmp_path, "hang"), stand_in, 2, timeout_s=0.7)


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pyannote_python = '/no/such/python' cannot be run"):
        pyannote.diarize(SOUND, folder(tmp_path, "answer"), "/no/such/python", 2)


def test_every_file_of_the_pipeline_counts_but_hidden_ones(tmp_path: Path) -> None:
    path = folder(tmp_path, "x")
    outside = tmp_path / "hub"
    outside.mkdir()
    (outside / "weights.bin").write_text("w")
    (path / "linked").symlink_to(outside, target_is_directory=True)
    (path / "loop").symlink_to(path, target_is_directory=True)
    (path / ".cache").mkdir()
    (path / ".cache" / "stamp").write_text("now")
    assert [str(f.relative_to(path)) for f in pyannote.pipeline_files(path)] == ["config.yaml", "linked/weights.bin"]
    with pytest.raises(ConfigError, match="no folder with a config"):
        pyannote.pipeline_files(path / "linked")


# What config.yaml may name. -------------------------------------------------------------------------------------------

NEEDS_YAML = pytest.mark.skipif(importlib.util.find_spec("yaml") is None, reason="PyYAML comes with pyannote.audio")


def described(**params: str) -> str:
    return json.dumps({"pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params}})


@NEEDS_YAML
@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("[]", "describes no pipeline"),
        ('{"pipeline": {"name": "subprocess.Popen", "params": {"args": ["true"]}}}', "not subprocess.Popen"),
        (described(segmentation="pyannote/segmentation-3.0"), "put that model at .*pipe line/segmentation-3.0"),
        (described(segmentation="../weights.bin"), "which is not in its folder"),
        (described(embedding="/etc/hostname"), "which is not in its folder"),
        (described(embedding=".."), "which is not in its folder"),
        (described(embedding="$model/empty"), "should hold the weights of embedding"),
    ],
)
def test_a_pipeline_takes_nothing_from_outside_its_folder(tmp_path: Path, config: str, says: str) -> None:
    path = folder(tmp_path, config)
    (tmp_path / "weights.bin").write_text("w")
    (path / "empty").mkdir()
    (tmp_path / "scratch").mkdir()
    with pytest.raises(worker.SetupFaultError, match=says):
        worker.load_pipeline(path, tmp_path / "scratch", "3.4.0")


# The real thing. ------------------------------------------------------------------------------------------------------


def has_pyannote() -> bool:
    try:
        return importlib.util.find_spec("pyannote.audio") is not None
    except ModuleNotFoundError:
        return False


NEEDS_PYANNOTE = pytest.mark.skipif(
    not has_pyannote(), reason="pyannote.audio is not installed: pip install 'dialogbuild[pyannote]'"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with random weights, as on the hub: its models are named by organisation and name."""
    path = tmp_path_factory.mktemp("tiny")
    maker = Path(__file__).with_name("tiny_pyannote.py")
    command = [sys.executable, "-W", "ignore", str(maker), str(path), str(torchaudio_shim.__file__)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return path


@NEEDS_PYANNOTE
def test_a_local_pipeline_runs_without_network_or_token(tiny: Path, tmp_path: Path) -> None:
    """Random weights diarize nothing: what is shown is that every part loads, answers, and fills the tables."""
    (tmp_path / "ingest").mkdir()
    (tmp_path / "out").mkdir()
    write_json(tmp_path / "ingest" / "video.json", {"n_ticks": 200, "fps": [25, 1]})
    noise = np.random.default_rng(0).normal(0, 0.1, 128_000)
    soundfile.write(tmp_path / "ingest" / "audio.flac", noise, 16_000)
    inputs = Inputs("talk", "talk", Path("talk.mp4"), {"ingest": tmp_path / "ingest"})
    config = diarize.Config(backend="pyannote", pyannote_path=str(tiny), embedding="spectral")
    diarize.STAGE.run(inputs, tmp_path / "out", config)
    facts = json.loads((tmp_path / "out" / "voices.json").read_text())
    assert facts["backend"] == "pyannote"
    assert facts["pyannote_audio"].startswith("3.4")
    assert facts["torchaudio"].endswith("+names")
    assert len(facts["labels"]) == facts["n_voices"] <= 2
    assert facts["other_labels_s"] == {}  # max_speakers reached pyannote
    assert len(read_table(tmp_path / "out" / "vad.parquet")["p_speech"]) == 200


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickle.dumps(exec, protocol=2))
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        worker._check_architecture(torch, path)
    torch.save({"pyannote.audio": {"architecture": {"module": "subprocess", "class": "Popen"}}}, path)
    with pytest.raises(worker.SetupFaultError, match="wants the class subprocess"):
        worker._check_architecture(torch, path)
