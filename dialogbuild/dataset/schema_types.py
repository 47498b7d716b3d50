"""What a column and a table are. The tables themselves: ``schema_relations`` and ``schema_families``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Column:
    """One column. ``width`` 0 is a scalar; k or a symbol (``E``, ``S``) is a fixed-size list or fixed-size binary.

    ``since`` is the format version that brought it; a dataset of an older one does not have it.
    """

    name: str
    dtype: str  # Arrow's name: int8 int32 int64 uint32 float32 float64 bool string binary
    meaning: str
    unit: str = ""
    width: int | str = 0
    low: float | None = None  # closed range that the validator enforces
    high: float | None = None
    since: str = "1.0.0"


@dataclass(frozen=True)
class Table:
    """One Parquet table. ``row_group`` > 0 marks a frame family, whose row groups never cross a track."""

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    row_group: int = 0

    def column(self, name: str) -> Column:
        """The column of that name. KeyError when there is none."""
        return {c.name: c for c in self.columns}[name]

    def at(self, version: str) -> Table:
        """The table as a dataset of that format version has it: without the columns that came later."""
        return replace(self, columns=tuple(c for c in self.columns if version_parts(c.since) <= version_parts(version)))


def with_described(table: Table, described: Mapping[str, Any]) -> Table:
    """The table with the columns that only a newer dataset's own ``meta/schema.json`` knows.

    Args:
        described: the table's entry there.
    """
    known = {c.name for c in table.columns}
    more = tuple(
        Column(name, c["dtype"], c["meaning"], c["unit"], sum(c["shape"]), c.get("low"), c.get("high"))
        for name, c in described["columns"].items()
        if name not in known
    )
    return replace(table, columns=(*table.columns, *more))


def major(version: str) -> int:
    """The part of a semantic version that must agree. ValueError for anything that is not ``a.b.c``."""
    return version_parts(version)[0]


def version_parts(version: str) -> tuple[int, int, int]:
    """``"1.12.0"`` as numbers that compare. ValueError for anything that is not ``a.b.c``."""
    a, b, c = version.split(".")
    return int(a), int(b), int(c)
