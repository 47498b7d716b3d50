"""A dataset as an older version of the package wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricate import fabricate, shard_parts

from dialogbuild.dataset import rows, schema
from dialogbuild.dataset.schema import FAMILIES, RELATIONS
from dialogbuild.publish import publish
from dialogbuild.stages import shard

FIRST = "1.0.0"


def publish_in_first_format(folder: Path) -> Path:
    """A dataset as version 1.0.0 wrote it: that schema in force while its parts are made and published."""
    tables = (*FAMILIES, *RELATIONS)
    now = {t.name: t.columns for t in tables}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "FORMAT_VERSION", FIRST)
        patch.setattr(shard, "_identity_rows", _identity_rows_of(FIRST))
        patch.setattr(rows, "landmark_columns", _row_of("landmarks", rows.landmark_columns))
        for name in ("conversation", "track"):
            patch.setattr(rows, f"{name}_row", _row_of(f"{name}s", getattr(rows, f"{name}_row")))
        try:
            for table in tables:
                object.__setattr__(table, "columns", table.at(FIRST).columns)
            made = fabricate(folder / "old", "talk-aaaa", n_ticks=60, n_clips=2)
            publish(shard_parts(made, folder / "work_old"), folder / "dataset")
        finally:
            for table in tables:
                object.__setattr__(table, "columns", now[table.name])
    return folder / "dataset"


def _identity_rows_of(version):
    now = shard._identity_rows
    known = {c.name for c in schema.IDENTITIES.at(version).columns}
    return lambda *given: [{k: v for k, v in row.items() if k in known} for row in now(*given)]


def _row_of(table, now):
    """A row without the columns that came after the first version."""
    later = {c.name for c in schema.TABLES[table].columns if c.since != FIRST}
    return lambda *given: {k: v for k, v in now(*given).items() if k not in later}
