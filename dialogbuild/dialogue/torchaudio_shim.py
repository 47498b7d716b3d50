"""Lets pyannote.audio import torchaudio where torchaudio's native extension cannot load.

PyPI's torchaudio wheels link against CUDA, so beside a CPU build of torch ``import torchaudio`` fails with ``OSError``.
pyannote.audio uses the parts that are plain Python (resampling, filter banks); it also names classes that torchaudio
2.9 removed (``AudioMetaData``), which nothing calls when audio is handed over as a waveform.

Knows nothing of the rest of the package: it also runs inside other environments, loaded by its path.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any


def install() -> str:
    """Make ``import torchaudio`` work if it can be made to.

    Returns:
        What was done: ``native`` (the extension loads), ``no_extension`` (it was replaced), each with ``+names`` where
        removed names were put back; ``absent`` without torchaudio.
    """
    if importlib.util.find_spec("torchaudio") is None:
        return "absent"
    try:
        torchaudio = importlib.import_module("torchaudio")
        how = "native"
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]  # what a failed import left behind
        sys.modules["torchaudio._extension"] = _without_extension()
        torchaudio = importlib.import_module("torchaudio")
        how = "no_extension"
    return how + ("+names" if _restore_names(torchaudio) else "")


def _without_extension() -> types.ModuleType:
    """What torchaudio itself puts in place when it is built without native code."""

    def fail(function: Any) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"{function.__name__} needs torchaudio's native extension, which does not load here")

        return call

    extension = types.ModuleType("torchaudio._extension")
    extension.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=fail,
    )
    return extension


def _restore_names(torchaudio: Any) -> bool:
    """Names that pyannote.audio 3.4 looks up while it is imported."""
    if hasattr(torchaudio, "AudioMetaData"):
        return False
    torchaudio.AudioMetaData = type("AudioMetaData", (), {})
    torchaudio.list_audio_backends = lambda: ["soundfile"]
    return True
