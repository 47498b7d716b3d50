"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dialogbuild.stages import ORDER


def call(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dialogbuild", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)  # type: ignore[call-overload,no-any-return]


def test_help_lists_every_verb_and_loads_nothing_heavy() -> None:
    done = call("--help")
    assert done.returncode == 0
    for verb in ("run", "demo", "download", "status", "explain", "validate", "doctor", *ORDER):
        assert f"  {verb.replace('_', '-')} " in done.stdout
    probe = "import sys, dialogbuild.cli; print(*{'torch', 'mediapipe', 'numba', 'av', 'pandas'} & sys.modules.keys())"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


@pytest.mark.parametrize("verb", ["fit-flame", "assign"])
def test_a_stage_verbs_help_teaches_what_it_reads_writes_and_rejects(verb: str) -> None:
    text = call(verb, "--help").stdout
    assert "reads" in text
    assert "writes" in text
    assert f"dialogbuild settings {verb}" in text.replace("\n", " ").replace("  ", " ")


def test_the_table_of_columns_in_a_verbs_help_keeps_its_lines() -> None:
    shown = call("tracks", "--help").stdout
    assert "\n  reads   ingest  ticks.parquet, video.json\n          shots   shots.parquet    shot" in shown


def test_a_wrong_argument_is_one_line_and_status_2(tmp_path: Path) -> None:
    done = call("run", "demo", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_setting_is_told_with_a_guess(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    done = call("run", "demo", tmp_path, "--out", tmp_path / "out", "--set", "segment.min_ss=3")
    assert done.returncode == 2
    assert "did you mean 'min_s'" in done.stderr


def test_status_before_any_run_says_what_to_do(tmp_path: Path) -> None:
    done = call("status", "--out", tmp_path)
    assert done.returncode == 2
    assert "nothing has run" in done.stderr


def test_settings_show_value_unit_and_reason() -> None:
    text = call("settings", "segment").stdout
    assert "[segment]" in text
    assert "min_s = 5.0    # " in text


def test_doctor_names_the_built_in_head_and_the_devices() -> None:
    text = call("doctor").stdout
    for backend in ("offline, the default", "pyannote: ", "rttm: "):
        assert backend in text
    assert "procedural-v1" in text
    assert "CPU cores" in text


def test_a_run_over_rejects_alone_exits_0_with_an_empty_dataset_that_validates(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "empty.mp4").write_bytes(b"")
    (tmp_path / "videos" / "note.mp4").write_text("no video at all\n" * 50)
    done = call("run", "demo", tmp_path / "videos", "--out", tmp_path / "out", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "empty_file 1" in done.stdout
    assert "not_a_video 1" in done.stdout
    assert (tmp_path / "out" / "report.html").is_file()
    assert call("validate", tmp_path / "out" / "dataset").returncode == 0


def test_an_unknown_option_and_no_arguments_are_answered_with_usage() -> None:
    wrong = call("run", "--nope")
    assert wrong.returncode == 2
    assert "No such option" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert "Commands:" in "".join((call().stdout, call().stderr))


def test_an_interrupted_run_says_that_it_goes_on_from_there(tmp_path: Path, dialogue: Any) -> None:
    # tests that a shell runs in the background ignore interrupts, and so would the program that they start
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "dialogbuild", "run", "demo", str(dialogue.path), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out/work").glob("ingest/*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from here" in told
    assert "Traceback" not in told
