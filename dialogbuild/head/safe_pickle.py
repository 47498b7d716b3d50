"""Reading the official model files, which are pickles, without running what is in them.

Only what those files need may be rebuilt: numpy arrays, scipy's sparse matrices and chumpy arrays through
stand-ins that only hold data.
Any other name in the pickle is refused before anything is called.
"""

from __future__ import annotations

import io
import pickle
import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from dialogbuild.errors import ConfigError

Array = np.ndarray[Any, Any]


class _Stated(ABC):
    """A stand-in that keeps the pickled state and computes nothing."""

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"{type(self).__name__} with a state of type {type(state).__name__}")
        self.state = state

    @abstractmethod
    def array(self) -> Array:
        """The plain values."""


class ChumpyArray(_Stated):
    """Stands for ``chumpy.Ch``."""

    def array(self) -> Array:
        """The values: ``x``, or for a selection the entries ``idxs`` of ``a`` in ``preferred_shape``.

        Raises:
            ConfigError: the state is neither.
        """
        state = getattr(self, "state", {})
        if "x" in state:
            return np.asarray(plain(state["x"]))
        if "a" in state and "idxs" in state:
            picked = np.asarray(plain(state["a"])).ravel()[np.asarray(state["idxs"])]
            return np.asarray(picked.reshape(state.get("preferred_shape", picked.shape)))
        raise ConfigError(f"a chumpy object with state {sorted(state)} is not an array")


class SparseMatrix(_Stated):
    """Stands for scipy's compressed-column matrix, whose module and class changed over the releases."""

    def array(self) -> Array:
        """The matrix, dense.

        Raises:
            ConfigError: the state is not that of a compressed-column matrix.
        """
        state = getattr(self, "state", {})
        try:
            shape = state["_shape"] if "_shape" in state else state["shape"]
            parts = (state["data"], state["indices"], state["indptr"])
            return np.asarray(sp.csc_matrix(parts, shape=shape).toarray())
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"a sparse matrix with state {sorted(state)} cannot be read: {error}") from error


class Skipped:
    """Stands for a torch tensor, which is not read."""

    def __init__(self, *arguments: Any) -> None:
        del arguments


def _codecs_encode(text: str, encoding: str = "latin1") -> bytes:
    """``_codecs.encode`` as protocol-2 pickles of arrays use it; nothing but latin1."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding} is not allowed")
    return text.encode("latin1")


_NUMPY_CORE = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _codecs_encode,
    ("collections", "OrderedDict"): OrderedDict,
    # numpy's own two functions, wherever this release keeps them
    **{(module, "_reconstruct"): np.empty(0).__reduce__()[0] for module in _NUMPY_CORE},
    **{(module, "scalar"): np.float64(0).__reduce__()[0] for module in _NUMPY_CORE},
    ("scipy.sparse.csc", "csc_matrix"): SparseMatrix,
    ("scipy.sparse._csc", "csc_matrix"): SparseMatrix,
    ("chumpy.ch", "Ch"): ChumpyArray,
    ("chumpy", "Ch"): ChumpyArray,
    ("chumpy.reordering", "Select"): ChumpyArray,
    ("torch._utils", "_rebuild_tensor_v2"): Skipped,
    ("torch.storage", "_load_from_bytes"): Skipped,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a model file") from None


def load_pickle(path: Path) -> Any:
    """The object in a pickle made of arrays, lists, dicts, strings and numbers.

    Raises:
        ConfigError: the file is damaged, or names anything outside the whitelist; nothing of it was run.
    """
    return loads(path.read_bytes(), str(path))


def loads(data: bytes, origin: str) -> Any:
    """As ``load_pickle``, from bytes; ``origin`` names them in errors."""
    try:
        with warnings.catch_warnings():
            # files of 2017-2020 name dtypes and modules that numpy and scipy have renamed since
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            # numpy 1.2x: the align flag of dtypes written by Python 2 comes as an int
            warnings.filterwarnings("ignore", message=".*align.*", category=np.exceptions.VisibleDeprecationWarning)
            return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise ConfigError(f"{origin}: refused: {error}") from error
    except (EOFError, AttributeError, IndexError, KeyError, ImportError, TypeError, ValueError, UnicodeError) as error:
        raise ConfigError(f"{origin}: damaged or no model file: {type(error).__name__}: {error}") from error


def load_object_npy(path: Path) -> Any:
    """The object in an ``.npy`` file of one pickled object, such as ``landmark_embedding.npy``.

    Raises:
        ConfigError: no such file, or something outside the whitelist in it. Torch tensors become ``Skipped``.
    """
    try:
        array = np.load(path, allow_pickle=False)
        return array.item() if array.shape == () else array
    except ValueError:
        pass  # an object array: numpy would unpickle anything, so only its header is skipped here
    data = path.read_bytes()
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise ConfigError(f"{path}: no .npy file")
    width = 2 if data[6] == 1 else 4
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    value = loads(data[start:], str(path))
    return value.item() if isinstance(value, np.ndarray) and value.shape == () else value


def plain(value: Any) -> Any:
    """A stand-in as its array, anything else unchanged."""
    return value.array() if isinstance(value, _Stated) else value
