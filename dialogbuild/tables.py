"""Small tables between stages: a dict of arrays to one Parquet file and back, byte for byte reproducible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Columns = dict[str, np.ndarray[Any, Any]]


def to_arrow(columns: Mapping[str, np.ndarray[Any, Any]]) -> pa.Table:
    """Arrays of one length to an Arrow table without nulls.

    Args:
        columns: (N,) of any number type, bool, str or bytes; or (N, k) of a number type, which becomes a
            ``fixed_size_list<k>`` column. Bytes of one common length become fixed-size binary.

    Raises:
        ValueError: lengths differ, or an array has more than two axes.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns differ in length: {lengths}")
    arrays, fields = [], []
    for name, values in columns.items():
        array = _to_arrow_array(name, np.asarray(values))
        arrays.append(array)
        fields.append(pa.field(name, array.type, nullable=False))
    return pa.table(arrays, schema=pa.schema(fields))


def _to_arrow_array(name: str, values: np.ndarray[Any, Any]) -> pa.Array:
    if values.ndim == 2:
        width = values.shape[1]
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        element = pa.field("element", flat.type, nullable=False)
        return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(element, width))
    if values.ndim != 1:
        raise ValueError(f"column {name} has shape {values.shape}; flatten it to (N,) or (N, k)")
    if values.dtype == object and len(values) and isinstance(values[0], bytes):
        return pa.array(list(values), type=pa.binary(len(values[0])))
    if values.dtype.kind in "OU":
        return pa.array([str(v) for v in values], type=pa.string())
    return pa.array(values)


def write_table(path: Path, columns: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write columns to ``path`` as Parquet (zstd, page checksums). See ``to_arrow`` for what a column may be."""
    pq.write_table(to_arrow(columns), path, compression="zstd", compression_level=3, write_page_checksum=True)


def join_tables(path: Path, parts: Iterable[Path]) -> None:
    """Tables of one schema, as ``write_table`` writes them, one after another in one file; one is in memory at a time.

    Raises:
        ValueError: no parts, or their schemas differ.
    """
    writer: pq.ParquetWriter | None = None
    try:
        for part in parts:
            table = pq.read_table(part, page_checksum_verification=True)
            if writer is None:
                options = {"compression": "zstd", "compression_level": 3, "write_page_checksum": True}
                writer = pq.ParquetWriter(path, table.schema, **options)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise ValueError("no tables to join")


def column_names(path: Path) -> list[str]:
    """The names of a table's columns; only its footer is read."""
    return list(pq.read_schema(path).names)


def read_table(path: Path, names: list[str] | None = None) -> Columns:
    """Read a table back: fixed-size lists as (N, k), strings and bytes as object arrays. Checksums are verified."""
    table = pq.read_table(path, columns=names, page_checksum_verification=True)
    return {name: from_arrow(table.column(name)) for name in table.column_names}


def from_arrow(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """One Arrow column as a numpy array; fixed-size lists as (N, k)."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        flat = column.combine_chunks()
        values = flat.flatten() if len(flat) else pa.array([], type=kind.value_type)
        return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(flat), kind.list_size)
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return np.array(column.to_pylist(), dtype=object)
    return np.asarray(column.to_numpy())
