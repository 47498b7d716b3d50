"""mediapipe, loaded once and kept quiet: the only module that imports it for faces."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from dialogbuild.errors import MissingPart


@cache
def solutions() -> Any:
    """``mediapipe.python.solutions``, with its native log silenced.

    Raises:
        MissingPart: mediapipe is not installed, or a release without the models in its wheel.
    """
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet():
        try:
            from mediapipe.python.solutions import face_detection, face_mesh, hands, selfie_segmentation
        except ImportError as error:
            raise MissingPart(
                "faces need mediapipe 0.10.21, the last release with its models inside: "
                f"pip install mediapipe==0.10.21 ({error})"
            ) from error

    class Solutions:
        FaceDetection = face_detection.FaceDetection
        FaceMesh = face_mesh.FaceMesh
        Hands = hands.Hands
        SelfieSegmentation = selfie_segmentation.SelfieSegmentation

    return Solutions


def model_files(*folders: str) -> list[Path]:
    """The network files that the named parts of mediapipe use, found without importing it.

    Args:
        folders: of mediapipe's ``modules``, such as ``face_detection``.

    Raises:
        MissingPart: mediapipe is not installed.
    """
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.origin is None:
        raise MissingPart("faces need mediapipe: pip install mediapipe==0.10.21")
    modules = Path(spec.origin).parent / "modules"
    return [path for folder in folders for path in sorted((modules / folder).glob("*.tflite"))]


def process(solution: Any, rgb: Any) -> Any:
    """Run a mediapipe solution on one image, without its protobuf deprecation warnings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*GetPrototype.*", category=UserWarning)
        return solution.process(rgb)


@contextmanager
def _quiet() -> Iterator[None]:
    """Native code writes its notices straight to file descriptor 2; keep them off the user's terminal."""
    sys.stderr.flush()
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def make(kind: str, **options: Any) -> Any:
    """A mediapipe solution by class name, created without its start-up notices."""
    with _quiet():
        return getattr(solutions(), kind)(**options)
