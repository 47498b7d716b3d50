"""What this machine has: versions, devices, programs, model files; and what each missing part would give."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator

from dialogbuild import __version__

_NEEDED = ("numpy", "scipy", "numba", "torch", "mediapipe", "av", "pyarrow", "pandas", "silero-vad", "scikit-learn")
_OPTIONAL = (
    (
        "resemblyzer",
        "a neural voice embedding (GE2E); without it voices are told apart by their spectrum",
        "pip install --no-deps resemblyzer==0.1.4",
    ),
    (
        "torchcodec",
        "a second decoder, refused on files that it gets wrong; PyAV reads everything without it",
        "pip install 'dialogbuild[torchcodec]', and apt install ffmpeg",
    ),
    (
        "decord",
        "a third decoder, refused on files that it gets wrong",
        "pip install 'dialogbuild[decord]'",
    ),
    (
        "face_alignment",
        "a second opinion on landmarks (second_opinion in [landmarks]); its weights are a file that you bring",
        "pip install 'dialogbuild[face-alignment]'",
    ),
)
_PROGRAMS = (
    ("ffmpeg", "encodes crops; the binary inside imageio-ffmpeg is used when it is absent"),
    ("espeak-ng", "speaks new sentences in synthetic dialogues; the committed sentence bank is used when it is absent"),
    ("chromium", "takes screenshots of the report; only a convenience"),
)


def lines() -> list[str]:
    """The report of ``dialogbuild doctor``."""
    return [*_versions(), "", *_optional(), "", *_programs(), "", *_devices(), "", *_backends(), "", *_heads()]


def _versions() -> Iterator[str]:
    yield f"dialogbuild {__version__} on Python {platform.python_version()}, {platform.platform()}"
    for name in _NEEDED:
        try:
            yield f"  ok       {name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"  MISSING  {name}: needed; pip install {name}"


def _optional() -> Iterator[str]:
    yield "optional parts"
    for module, gives, how in _OPTIONAL:
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            found = False
        yield f"  ok       {module}: {gives}" if found else f"  absent   {module}: {gives}. {how}"


def _programs() -> Iterator[str]:
    yield "programs"
    for name, gives in _PROGRAMS:
        path = shutil.which(name)
        yield f"  {'ok      ' if path else 'absent  '} {name}: {path or gives}"


def _devices() -> Iterator[str]:
    from dialogbuild.engines import usable_cores

    yield "devices"
    yield f"  {usable_cores()} CPU cores usable: that many workers"
    try:
        import torch
    except ImportError as error:
        yield f"  torch cannot be imported: {error}"
        return
    if torch.cuda.is_available():
        yield f"  CUDA: {torch.cuda.get_device_name(0)}"
    else:
        yield "  no CUDA device: everything runs on the CPU"


def _backends() -> Iterator[str]:
    from dialogbuild.dialogue.embedding import resolve_backend
    from dialogbuild.dialogue.vad import silero_path
    from dialogbuild.errors import MissingPart

    yield "diarization: backend in [diarize] of the recipe"
    try:
        silero_path()
        yield f"  ok       offline, the default: silero voice activity, {resolve_backend('auto')} voices"
    except MissingPart as error:
        yield f"  absent   offline, the default: {error}"
    bring = "pyannote_path = 'folder of a pipeline with its models' (docs/packages.md)"
    try:
        version = importlib.metadata.version("pyannote.audio")
        yield f"  bring    pyannote: pyannote.audio {version} is here; set {bring}"
    except importlib.metadata.PackageNotFoundError:
        yield (
            "  absent   pyannote: pip install 'dialogbuild[pyannote]', or name another environment's interpreter: "
            f"pyannote_python = 'path/to/python'; and set {bring}"
        )
    yield "  bring    rttm: your own turns; set rttm_dir = 'folder with NAME.rttm for each video'"


def _heads() -> Iterator[str]:
    yield "head models"
    yield "  ok       procedural-v1: built in; good for running and testing, not for publishing a dataset"
    yield (
        "  bring    FLAME 2023 Open (CC BY 4.0, registration at flame.is.tue.mpg.de): "
        "set head = 'path/to/flame2023_Open.pkl' in [identity] of the recipe"
    )
    yield "  bring    ICT-FaceKit (MIT): dialogbuild models add FOLDER; no albedo, no jaw; see dialogbuild models list"
    from dialogbuild.head.store import stored_heads

    for name in sorted(stored_heads()):
        yield f"  ok       {name}: stored with `models add`; --head {name}"
    if sys.version_info >= (3, 13):
        yield "  NOTE     mediapipe 0.10.21 has no wheel for Python 3.13 and later"
