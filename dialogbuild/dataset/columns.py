"""Which columns a reader wants, and their rows as float32: from the cache, or straight from Parquet."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dialogbuild.dataset.arrow import width
from dialogbuild.dataset.cache import ColumnCache, entry_key
from dialogbuild.dataset.schema import FAMILIES, FORMAT_VERSION, MOTION, TABLES, Column
from dialogbuild.dataset.store import Store
from dialogbuild.errors import ConfigError, DatasetError
from dialogbuild.tables import from_arrow

Float = NDArray[np.float32]
Bits = NDArray[np.uint32]

DEFAULT_COLUMNS: Final = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "lids", "transl_m", "p_speak")
_EXACT: Final = ("float32", "int8", "int16", "bool")  # what float32 holds without loss
_VALID: Final = ("valid",)


@dataclass(frozen=True)
class Selection:
    """Columns of one family, side by side: an array (N, sum of widths)."""

    family: str
    names: tuple[str, ...]
    widths: tuple[int, ...]


def select(columns: Sequence[str], widths: Mapping[str, int], version: str = FORMAT_VERSION) -> tuple[Selection, ...]:
    """Group wanted columns by family. A name is ``column`` or, where two families have it, ``family.column``.

    Args:
        widths, version: ``widths`` and ``format_version`` of ``meta/info.json``.

    Raises:
        ConfigError: names every column that does not exist or that float32 cannot hold.
    """
    found: dict[str, list[Column]] = {}
    faults = []
    tables = [f.at(version) for f in FAMILIES]
    for name in dict.fromkeys(columns):
        family, _, bare = name.rpartition(".")
        homes = [(f, c) for f in tables if family in ("", f.name) for c in f.columns if c.name == bare]
        if not homes:
            faults.append(f"{name}: no such column")
        elif homes[0][1].dtype not in _EXACT:
            faults.append(f"{name}: {homes[0][1].dtype} does not fit float32")
        else:
            found.setdefault(homes[0][0].name, []).append(homes[0][1])
    chosen = [c.name for own in found.values() for c in own]
    faults += [f"{name}: asked for from two families" for name in sorted({c for c in chosen if chosen.count(c) > 1})]
    if faults:
        raise ConfigError("columns: " + "; ".join(faults) + "; docs/schema.md lists motion, landmarks and quality")
    return tuple(
        Selection(family, tuple(c.name for c in own), tuple(max(width(c, widths), 1) for c in own))
        for family, own in found.items()
    )


class Rows(Protocol):
    """Rows of one person of one clip; ``about`` is the person's entry in the manifest row."""

    def values(self, about: Mapping[str, Any], wanted: Selection, start: int, stop: int) -> Float:
        """(stop - start, k) float32 of ticks [start, stop); maybe a read-only view."""
        ...

    def bits(self, about: Mapping[str, Any], start: int, stop: int) -> Bits:
        """(stop - start,) uint32: motion's ``valid`` column."""
        ...


def _packed(table: pa.Table, names: Sequence[str]) -> NDArray[Any]:
    """Columns side by side: (N, k) float32, or (N, 1) uint32 for ``valid``."""
    kind = np.uint32 if tuple(names) == _VALID else np.float32
    parts = [np.asarray(from_arrow(table.column(n))) for n in names]
    return np.concatenate([p.reshape(len(p), -1).astype(kind) for p in parts], axis=1)


class ParquetRows:
    """Row groups decoded when asked for. For object stores and where no cache can be written.

    Args:
        held_bytes: how much of what was decoded last is kept.
    """

    def __init__(self, store: Store, held_bytes: int = 128 * 2**20) -> None:
        self._store, self._may_hold, self._pid = store, held_bytes, os.getpid()
        self._files: dict[str, pq.ParquetFile] = {}
        self._held: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()
        self._held_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_held": OrderedDict(), "_held_bytes": 0}

    def values(self, about: Mapping[str, Any], wanted: Selection, start: int, stop: int) -> Float:
        """See ``Rows``. DatasetError for damaged pages."""
        return self._span(about, wanted.family, wanted.names, start, stop)

    def bits(self, about: Mapping[str, Any], start: int, stop: int) -> Bits:
        """See ``Rows``. DatasetError for damaged pages."""
        return np.asarray(self._span(about, MOTION.name, _VALID, start, stop)[:, 0], np.uint32)

    def _span(
        self, about: Mapping[str, Any], family: str, names: tuple[str, ...], start: int, stop: int
    ) -> NDArray[Any]:
        size = TABLES[family].row_group
        first = start // size
        path, base = about["files"][family], about["row_group"][family]
        groups = range(base + first, base + -(-stop // size))
        got = np.concatenate([self._group(path, names, group) for group in groups])[start - first * size :]
        if len(got) < stop - start:
            raise DatasetError(f"{path} has fewer rows than its manifest says: validate the dataset")
        return np.asarray(got[: stop - start])

    def _group(self, path: str, names: tuple[str, ...], group: int) -> NDArray[Any]:
        key = (path, names, group)
        values = self._held.get(key)
        if values is None:
            values = self._held[key] = self._read(path, names, group)
            self._held_bytes += values.nbytes
            while self._held_bytes > self._may_hold and len(self._held) > 1:
                self._held_bytes -= self._held.popitem(last=False)[1].nbytes
        else:
            self._held.move_to_end(key)
        return values

    def _read(self, path: str, names: tuple[str, ...], group: int) -> NDArray[Any]:
        if self._pid != os.getpid():  # forked: connections cannot be shared
            self._files, self._pid = {}, os.getpid()
        try:
            if path not in self._files:
                self._files[path] = self._store.parquet(path)
            return _packed(self._files[path].read_row_group(group, columns=list(names)), names)
        except (OSError, pa.ArrowException, IndexError, KeyError) as error:
            raise _damaged(path, error) from None


class CachedRows:
    """Memory-mapped columns of whole files; the rows of a window are one slice.

    Args:
        paths: the files of every family that will be asked for, by family; their entries are made and verified now.

    Attributes:
        complete: every file has an entry; otherwise some are read from Parquet.

    Raises:
        DatasetError: a file is not what was committed, or cannot be decoded.
    """

    def __init__(
        self,
        store: Store,
        cache: ColumnCache,
        selections: Sequence[Selection],
        paths: Mapping[str, Sequence[str]],
    ) -> None:
        self._store, self._cache = store, cache
        self._plain = ParquetRows(store)
        wanted = [(s.family, s.names) for s in selections] + [(MOTION.name, _VALID)]
        self._open: dict[tuple[str, tuple[str, ...]], NDArray[Any] | None] = {}
        for family, names in wanted:
            for path in paths[family]:
                self._open[path, names] = self._entry(path, names, verify=True)

    @property
    def complete(self) -> bool:
        """Whether nothing has to be read from Parquet."""
        return all(values is not None for values in self._open.values())

    def __getstate__(self) -> dict[str, Any]:
        # a worker maps the files itself; which ones there are it knows from the keys
        return {**self.__dict__, "_open": dict.fromkeys(k for k, v in self._open.items() if v is not None)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for path, names in list(self._open):
            self._open[path, names] = self._entry(path, names, verify=False)

    def values(self, about: Mapping[str, Any], wanted: Selection, start: int, stop: int) -> Float:
        """See ``Rows``."""
        held = self._open.get((about["files"][wanted.family], wanted.names))
        if held is None:
            return self._plain.values(about, wanted, start, stop)
        first: int = about["row_offset"]
        return np.asarray(held[first + start : first + stop])

    def bits(self, about: Mapping[str, Any], start: int, stop: int) -> Bits:
        """See ``Rows``."""
        held = self._open.get((about["files"][MOTION.name], _VALID))
        if held is None:
            return self._plain.bits(about, start, stop)
        first: int = about["row_offset"]
        return np.asarray(held[first + start : first + stop, 0])

    def _entry(self, path: str, names: tuple[str, ...], verify: bool) -> NDArray[Any] | None:
        entry = self._store.entry(path)
        values = self._cache.get(entry_key(entry.sha256, names), lambda: self._decode(path, names), verify)
        if values is not None and len(values) != entry.rows:
            raise DatasetError(f"{path} has {len(values)} rows, its commit says {entry.rows}: validate the dataset")
        return values

    def _decode(self, path: str, names: tuple[str, ...]) -> NDArray[Any]:
        with self._store.open(path) as file:
            if _sha256(file) != self._store.entry(path).sha256:
                raise _damaged(path, "its SHA-256 is not the commit's")
            file.seek(0)
            try:
                return _packed(pq.read_table(file, columns=list(names), page_checksum_verification=True), names)
            except (OSError, pa.ArrowException, KeyError) as error:
                raise _damaged(path, error) from None


def _damaged(path: str, error: object) -> DatasetError:
    return DatasetError(f"{path} cannot be read ({error}): validate the dataset, then publish or copy it again")


def _sha256(file: BinaryIO) -> str:
    h = hashlib.sha256()
    while block := file.read(1 << 20):
        h.update(block)
    return h.hexdigest()
