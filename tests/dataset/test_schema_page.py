from pathlib import Path

import numpy as np
import pytest

from dialogbuild.dataset.docs_page import page
from dialogbuild.dataset.schema import FAMILIES, FORMAT_VERSION, TABLES, major

PAGE = Path(__file__).resolve().parents[2] / "docs" / "schema.md"
UNITS = {"_px": "px", "_rad": "rad", "_m": "m", "_mm": "mm", "_s": "s", "_deg": "degree", "_hz": "Hz"}


def test_the_committed_schema_page_is_the_one_that_the_code_generates():
    assert PAGE.read_text() == page(), "run python -m dialogbuild.dataset.docs_page docs/schema.md"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_names_units_and_types_agree(name):
    table = TABLES[name]
    assert len({c.name for c in table.columns}) == len(table.columns)
    assert set(table.key) <= {c.name for c in table.columns}
    for column in table.columns:
        assert column.meaning, column.name
        assert column.dtype != "float16", "coordinates lose pixels in float16"
        ending = next(
            (u for s, u in sorted(UNITS.items(), key=lambda su: -len(su[0])) if column.name.endswith(s)), None
        )
        if ending and column.dtype.startswith("float") and column.name not in ("mask_box_px", "crop_m"):
            assert column.unit == ending, column.name


def test_families_share_their_key_so_that_rows_line_up():
    assert {family.key for family in FAMILIES} == {("track_id", "tick")}
    assert all(family.row_group > 0 for family in FAMILIES)


def test_the_major_version_is_what_must_agree():
    assert major("3.1.4") == 3
    assert major(FORMAT_VERSION) == int(FORMAT_VERSION.split(".")[0])
    with pytest.raises(ValueError, match="unpack"):
        major("3")


def test_ranges_are_ordered():
    for table in TABLES.values():
        for column in table.columns:
            low, high = column.low, column.high
            assert low is None or high is None or np.less(low, high), column.name
