"""Networks from ONNX files that the user brings: one session on one thread of the CPU, shapes checked before use.

An ONNX file is data, not code: the runtime knows a fixed set of operators, and custom ones are never loaded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dialogbuild.errors import ConfigError, MissingPart

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]  # None = any size


@dataclass(frozen=True, eq=False)
class Session:
    """A loaded network with one image input.

    Attributes:
        input_shape, output_shapes: None where the file leaves a size open.
        input_dtype: the element type as the runtime names it, ``tensor(float)`` for float32.
    """

    runtime: Any
    path: Path
    input_name: str
    input_shape: Shape
    input_dtype: str
    output_shapes: tuple[Shape, ...]

    def __call__(self, image: Array) -> list[Array]:
        """All outputs for one input. Deterministic: one thread, and the order of the file.

        Raises:
            ConfigError: the network fails on an input of the shape that it declares.
        """
        try:
            return [np.asarray(v) for v in self.runtime.run(None, {self.input_name: image})]
        except Exception as error:
            raise ConfigError(f"{self.path.name} cannot be run: {_first_line(error)}") from error


def load_session(path: str | Path, extra: str) -> Session:
    """Open an ONNX file that takes one input.

    Args:
        extra: the extra of this package that brings onnxruntime, for the message.

    Raises:
        MissingPart: onnxruntime is not installed.
        ConfigError: no file at ``path``, not an ONNX network, one that needs other files, or more than one input.
    """
    file = existing(path)
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingPart(f"{file.name} is an ONNX network: pip install 'dialogbuild[{extra}]' brings its runtime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    try:
        # bytes, not a path: weights in other files beside it are refused, so that the file's hash tells all
        runtime = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConfigError(f"{file.name} is no ONNX network that can be loaded: {_first_line(error)}") from error
    inputs = runtime.get_inputs()
    if len(inputs) != 1:
        raise ConfigError(f"{file.name} takes {len(inputs)} inputs, not one image")
    shapes = tuple(_shape(o.shape) for o in runtime.get_outputs())
    return Session(runtime, file, inputs[0].name, _shape(inputs[0].shape), str(inputs[0].type), shapes)


def existing(path: str | Path) -> Path:
    """The path, which must be a file.

    Raises:
        ConfigError: it is not.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"there is no file {file}: give the path of an ONNX network")
    return file


def require_input(session: Session, shape: Sequence[int | None], what: str) -> None:
    """Check that float32 images of ``shape`` fit. None in ``shape``, or an open size in the file, fits all.

    Raises:
        ConfigError: another number of axes, another size, or another element type.
    """
    if session.input_dtype != "tensor(float)":
        raise ConfigError(f"{session.path.name} takes {session.input_dtype}, but {what} takes float32 images")
    if not fits(session.input_shape, shape):
        raise ConfigError(f"{session.path.name} takes {_text(session.input_shape)}, but {what} takes {_text(shape)}")


def require_output(session: Session, shape: Sequence[int | None], what: str) -> int:
    """The first output that may have ``shape``.

    Raises:
        ConfigError: there is none.
    """
    for k, own in enumerate(session.output_shapes):
        if fits(own, shape):
            return k
    found = ", ".join(_text(s) for s in session.output_shapes)
    raise ConfigError(f"{session.path.name} gives {found}, but {what} gives {_text(shape)}")


def fits(own: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether two shapes may be the same."""
    return len(own) == len(wanted) and all(a is None or b is None or a == b for a, b in zip(own, wanted, strict=True))


def _shape(sizes: Any) -> Shape:
    return tuple(s if isinstance(s, int) and s > 0 else None for s in sizes or ())


def _text(shape: Sequence[int | None]) -> str:
    return "x".join("?" if s is None else str(s) for s in shape) or "a number"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
