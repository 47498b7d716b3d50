"""The schema as a page: ``python -m dialogbuild.dataset.docs_page docs/schema.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from dialogbuild.dataset.schema import FAMILIES, FORMAT_VERSION, RELATIONS, Column, Table

_HEAD = f"""# Dataset schema {FORMAT_VERSION}

Generated from `dialogbuild/dataset/schema.py`; change it there, then run
`python -m dialogbuild.dataset.docs_page docs/schema.md`.

A dataset is a set of immutable files and one small file, `CURRENT`, that says which commit of them counts. Relation
tables (one row per thing) lie under `tables/`, frame families (one row per face-frame) under `frames/<family>/`. The
three families have the same rows in the same order; `tracks.row_offset` and `tracks.n_rows` address them. Row groups
never cross a track. No column is nullable and no value is NaN: `motion.valid` says which rows count.

E = number of expressions, S = number of shape coefficients of the head model (`meta/info.json`, `widths`). Axes, units
and joint order: `meta/conventions/<id>.json`.
"""


def page() -> str:
    """The page's text."""
    return "\n".join(
        [_HEAD, "## Relation tables\n", *map(section, RELATIONS), "## Frame families\n", *map(section, FAMILIES)]
    )


def section(table: Table) -> str:
    """One table: its meaning, key, and a row per column."""
    groups = f" Row groups of at most {table.row_group} rows." if table.row_group else ""
    lines = [
        f"### {table.name}\n",
        f"{table.meaning[0].upper()}{table.meaning[1:]}. Key: {', '.join(f'`{k}`' for k in table.key)}.{groups}\n",
        "| column | type | unit | range | meaning |",
        "|---|---|---|---|---|",
        *(f"| `{c.name}` | {_type(c)} | {c.unit} | {_range(c)} | {c.meaning} |" for c in table.columns),
        "",
    ]
    return "\n".join(lines)


def _type(c: Column) -> str:
    return f"{c.dtype}[{c.width}]" if c.width else c.dtype


def _range(c: Column) -> str:
    if c.low is None and c.high is None:
        return ""
    return f"{'' if c.low is None else f'{c.low:g}'} … {'' if c.high is None else f'{c.high:g}'}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
