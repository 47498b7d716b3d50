"""Columns to Arrow by the schema, and Parquet files with the settings that make them fast, checked and reproducible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dialogbuild.dataset.schema import Column, Table
from dialogbuild.errors import DatasetError

Array = np.ndarray[Any, Any]
Widths = Mapping[str, int]  # {"E": expressions, "S": shapes} of the head model


def width(column: Column, widths: Widths) -> int:
    """The column's list width with symbols replaced. KeyError for a symbol that ``widths`` lacks."""
    return widths[column.width] if isinstance(column.width, str) else column.width


def arrow_type(column: Column, widths: Widths) -> pa.DataType:
    """Non-null fixed-size lists and binaries for wide columns, the plain type for scalars."""
    k = width(column, widths)
    if column.dtype == "binary":
        return pa.binary(k)
    scalar = pa.type_for_alias(column.dtype)
    return pa.list_(pa.field("element", scalar, nullable=False), k) if k else scalar


def arrow_schema(table: Table, widths: Widths) -> pa.Schema:
    """The table's Arrow schema; every field is non-null and carries its unit and meaning."""
    return pa.schema(
        [
            pa.field(c.name, arrow_type(c, widths), nullable=False, metadata={"unit": c.unit, "meaning": c.meaning})
            for c in table.columns
        ]
    )


def _mismatch(column: Column, values: Array, n: int, widths: Widths) -> str | None:
    k = width(column, widths)
    want: tuple[int, ...] = (n,) if not k or column.dtype == "binary" else (n, k)
    if values.shape != want:
        return f"{column.name}: shape {values.shape}, not {want}"
    if column.dtype in ("string", "binary"):
        return None
    if column.dtype == "bool":
        return None if values.dtype == np.bool_ else f"{column.name}: {values.dtype}, not bool"
    if values.dtype.kind not in ("iub" if "int" in column.dtype else "iubf"):
        return f"{column.name}: {values.dtype} does not fit {column.dtype}"
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return f"{column.name}: {int((~np.isfinite(values)).sum())} values are not finite"
    if column.dtype != "float32" and values.size and "int" in column.dtype:
        info = np.iinfo(column.dtype)
        if values.min() < info.min or values.max() > info.max:
            return f"{column.name}: does not fit {column.dtype}"
    return None


def to_arrow(table: Table, columns: Mapping[str, Array], widths: Widths) -> pa.Table:
    """Arrays to an Arrow table of exactly the schema's columns.

    Args:
        columns: (N,) or (N, k) per column; columns that the schema does not name are not accepted.

    Raises:
        DatasetError: names every column that is missing, unknown, of the wrong shape or type, or not finite.
    """
    n = len(next(iter(columns.values()))) if columns else 0
    names = {c.name for c in table.columns}
    faults = [f"{name}: missing" for name in sorted(names - columns.keys())]
    faults += [f"{name}: not in the schema" for name in sorted(columns.keys() - names)]
    arrays = {c.name: np.asarray(columns[c.name]) for c in table.columns if c.name in columns}
    faults += [m for c in table.columns if c.name in arrays and (m := _mismatch(c, arrays[c.name], n, widths))]
    if faults:
        raise DatasetError(f"table {table.name} does not follow its schema: " + "; ".join(faults))
    schema = arrow_schema(table, widths)
    made = [_to_array(c, arrays[c.name], widths) for c in table.columns]
    return pa.Table.from_arrays(made, schema=schema)


def _to_array(column: Column, values: Array, widths: Widths) -> pa.Array:
    kind = arrow_type(column, widths)
    if column.dtype == "string":
        return pa.array([str(v) for v in values], type=kind)
    if column.dtype == "binary":
        return pa.array([bytes(v) for v in values], type=kind)
    flat = np.ascontiguousarray(values, dtype=np.dtype(column.dtype))
    if not width(column, widths):
        return pa.array(flat, type=kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=kind)


def rows_to_arrow(table: Table, rows: list[dict[str, Any]], widths: Widths) -> pa.Table:
    """Records to an Arrow table, sorted by the table's key. Errors as ``to_arrow``."""
    rows = sorted(rows, key=lambda row: tuple(row[k] for k in table.key))
    if not rows:
        return arrow_schema(table, widths).empty_table()
    return to_arrow(table, {name: _column([row[name] for row in rows]) for name in rows[0]}, widths)


def _column(values: list[Any]) -> Array:
    return np.array(values, dtype=object) if isinstance(values[0], str) else np.asarray(values)


def writer_options(table: Table) -> dict[str, Any]:
    """Arguments of ``pq.ParquetWriter``: zstd 3, byte-stream-split floats, dictionary ids, page index and checksums."""
    floats = [c for c in table.columns if c.dtype in ("float32", "float64")]
    names = [c.name for c in table.columns]
    return {
        "version": "2.6",
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": [c.name for c in table.columns if c.dtype == "string"],
        "use_byte_stream_split": [c.name + (".list.element" if c.width else "") for c in floats],
        "write_statistics": [c.name for c in table.columns if not c.width],
        "write_page_index": True,
        "write_page_checksum": True,
        "sorting_columns": [pq.SortingColumn(names.index(k)) for k in table.key],
    }


def write_parquet(
    path: Path,
    table: Table,
    parts: Iterable[pa.Table],
    widths: Widths,
    footer: Callable[[], Mapping[str, str]] = dict,
) -> list[int]:
    """Write tables one after the other; a row group never spans two of them.

    Args:
        parts: one Arrow table per track for a frame family, any number for the others.
        footer: called after the last part; what the file's footer shall hold besides.

    Returns:
        The index of the first row group of each part.
    """
    first: list[int] = []
    groups = 0
    with pq.ParquetWriter(path, arrow_schema(table, widths), **writer_options(table)) as writer:
        for part in parts:
            size = table.row_group or max(part.num_rows, 1)
            writer.write_table(part, row_group_size=size)
            first.append(groups)
            groups += -(-part.num_rows // size)
        writer.add_key_value_metadata(dict(footer()))
    return first


def row_group_count(table: Table, n_rows: int) -> int:
    """How many row groups a track of ``n_rows`` takes in that family."""
    return -(-n_rows // table.row_group)
