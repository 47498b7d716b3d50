"""pyannote.audio pipelines from a local folder, run in a process of their own.

A process of its own, whatever the environment: pyannote.audio 4 needs numpy 2 and cannot live beside mediapipe
0.10.21, version 3.4 needs torchaudio patched before it is imported, and both read their settings at import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dialogbuild.dialogue.backends import worker
from dialogbuild.dialogue.backends.heard import Span
from dialogbuild.dialogue.backends.rttm import RttmError, read_rttm
from dialogbuild.dialogue.pcm import SAMPLE_RATE_HZ, Pcm
from dialogbuild.errors import ConfigError, DialogbuildError

_START_S = 600.0  # importing and loading, on a busy machine
_REAL_TIMES = 30.0  # seconds of computing per second of sound, beyond what one core needs
_BLOCK = 60 * SAMPLE_RATE_HZ
_TAIL_LINES = 12


class PyannoteError(DialogbuildError):
    """A pipeline failed on one recording; the message carries the end of what it wrote to standard error."""


def pipeline_files(folder: Path) -> list[Path]:
    """Every file of a pipeline's folder, sorted, hidden ones left out: their content decides the result.

    Raises:
        ConfigError: not a folder with a ``config.yaml``.
    """
    if not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"pyannote_path = '{folder}' is no folder with a config.yaml; it takes the folder of a pipeline, with its "
            "models inside (docs/packages.md)"
        )
    found: list[Path] = []
    visited: set[Path] = set()
    for place, inner, names in os.walk(folder, followlinks=True):  # models are often linked from a hub's cache
        if Path(place).resolve() in visited:
            inner.clear()
            continue
        visited.add(Path(place).resolve())
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(found)


def diarize(
    pcm: Pcm, folder: Path, python: str | None, max_speakers: int, timeout_s: float | None = None
) -> tuple[list[Span], dict[str, Any]]:
    """Run the pipeline in ``folder`` on a recording.

    Args:
        python: interpreter of an environment with pyannote.audio; None = the one that runs this.
        timeout_s: None = ten minutes and 30 times the recording's length.

    Returns:
        Spans of any labels, and facts: versions of pyannote.audio, and how torchaudio was imported.

    Raises:
        ConfigError: no such interpreter, or the environment or the pipeline is at fault.
        PyannoteError: it failed on this recording, or took too long.
    """
    import soundfile

    limit_s = timeout_s if timeout_s is not None else _START_S + _REAL_TIMES * pcm.n_samples / SAMPLE_RATE_HZ
    with tempfile.TemporaryDirectory(prefix="dialogbuild-") as scratch:
        sound, rttm, facts = (Path(scratch) / name for name in ("sound.wav", "turns.rttm", "facts.json"))
        with soundfile.SoundFile(str(sound), "w", SAMPLE_RATE_HZ, 1, "PCM_16") as out:
            for start in range(0, pcm.n_samples, _BLOCK):
                out.write(pcm.read(start, min(start + _BLOCK, pcm.n_samples)))
        command = [python or sys.executable, "-I", worker.__file__, "--pipeline", str(folder.resolve())]
        command += ["--audio", str(sound), "--max-speakers", str(max_speakers)]
        _run([*command, "--rttm", str(rttm), "--facts", str(facts)], limit_s)
        try:
            return read_rttm(rttm, ["audio"], own_file=True), dict(json.loads(facts.read_text()))
        except (RttmError, OSError, ValueError) as error:
            raise PyannoteError(f"pyannote's process left no readable answer: {error}") from None


def _run(command: list[str], timeout_s: float) -> None:
    capped = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **capped, "HF_HUB_OFFLINE": "1", "PYANNOTE_METRICS_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise ConfigError(f"pyannote_python = '{command[0]}' cannot be run: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise PyannoteError(f"pyannote's process was ended after {timeout_s:.0f} s without an answer") from None
    if done.returncode == 0:
        return
    tail = "\n".join(done.stderr.decode(errors="replace").strip().splitlines()[-_TAIL_LINES:])[-4000:]
    if done.returncode == worker.SETUP_FAULT:
        raise ConfigError(f"pyannote: {tail}")
    raise PyannoteError(f"pyannote's process ended with status {done.returncode}:\n{tail}")
