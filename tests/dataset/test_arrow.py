import numpy as np
import pyarrow.parquet as pq
import pytest

from dialogbuild.dataset.arrow import row_group_count, rows_to_arrow, to_arrow, write_parquet
from dialogbuild.dataset.schema import QUALITY, Column, Table
from dialogbuild.errors import DatasetError

WIDTHS = {"E": 3, "S": 2}
TINY = Table(
    "tiny",
    "for tests",
    ("track_id", "tick"),
    (
        Column("track_id", "string", "id"),
        Column("tick", "int32", "tick"),
        Column("expr", "float32", "coefficients", width="E"),
        Column("ok", "bool", "flag"),
        Column("bits", "binary", "mask", width=2),
    ),
    row_group=4,
)


def columns(n, track="a"):
    return {
        "track_id": np.full(n, track, object),
        "tick": np.arange(n),
        "expr": np.arange(3.0 * n).reshape(n, 3),
        "ok": np.ones(n, bool),
        "bits": np.array([b"ab"] * n, object),
    }


def test_every_mismatch_is_named_at_once():
    bad = columns(2) | {"expr": np.array([[1, np.nan, 2], [0, 0, 0]]), "ok": np.zeros(2), "extra": np.zeros(2)}
    del bad["tick"]
    with pytest.raises(DatasetError) as caught:
        to_arrow(TINY, bad, WIDTHS)
    message = str(caught.value)
    for part in ("tick: missing", "extra: not in the schema", "expr: 1 values are not finite", "ok: float64, not bool"):
        assert part in message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"expr": np.zeros((2, 4))}, r"shape \(2, 4\), not \(2, 3\)"),
        ({"tick": np.array([0, 2**40])}, "does not fit int32"),
        ({"tick": np.array([0.0, 1.0])}, "float64 does not fit int32"),
        ({"ok": np.ones(3, bool)}, r"shape \(3,\)"),
    ],
)
def test_a_column_of_the_wrong_kind_is_refused(change, reason):
    with pytest.raises(DatasetError, match=reason):
        to_arrow(TINY, columns(2) | change, WIDTHS)


def test_row_groups_never_cross_a_part_and_their_places_are_returned(tmp_path):
    parts = [to_arrow(TINY, columns(n, name), WIDTHS) for n, name in ((9, "a"), (4, "b"), (1, "c"))]
    first = write_parquet(tmp_path / "t.parquet", TINY, parts, WIDTHS)
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
    assert sizes == [4, 4, 1, 4, 1]
    assert first == [0, 3, 4]
    assert [row_group_count(TINY, n) for n in (9, 4, 1)] == [3, 1, 1]


def test_files_are_written_with_the_settings_that_were_measured(tmp_path):
    write_parquet(tmp_path / "t.parquet", TINY, [to_arrow(TINY, columns(4), WIDTHS)], WIDTHS)
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        group = file.metadata.row_group(0)
        expr = next(
            group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema.startswith("expr")
        )
        assert expr.compression == "ZSTD"
        assert "BYTE_STREAM_SPLIT" in expr.encodings
        assert [s.column_index for s in group.sorting_columns] == [0, 1]
        field = file.schema_arrow.field("expr")
        assert not field.nullable
        assert not field.type.value_field.nullable
        assert field.metadata[b"meaning"] == b"coefficients"


def test_one_flipped_bit_in_a_page_is_noticed_on_reading(tmp_path):
    path = tmp_path / "q.parquet"
    n = 50
    values = {c.name: np.random.default_rng(0).random(n).astype(np.float32) for c in QUALITY.columns}
    values |= {c.name: np.zeros(n, c.dtype) for c in QUALITY.columns if "int" in c.dtype}
    values |= {"track_id": np.full(n, "a", object), "tick": np.arange(n), "visible": np.ones(n, bool)}
    write_parquet(path, QUALITY, [to_arrow(QUALITY, values, WIDTHS)], WIDTHS)
    sound = path.read_bytes()
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(0).column(2)
        end = column.data_page_offset + column.total_compressed_size
    for offset in range(end - 40, end):
        path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 4]) + sound[offset + 1 :])
        with pytest.raises(OSError, match=r"(?i)crc|corrupt|checksum"):
            pq.read_table(path, page_checksum_verification=True)


def test_the_same_columns_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_parquet(tmp_path / name, TINY, [to_arrow(TINY, columns(9), WIDTHS)], WIDTHS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_records_become_a_table_sorted_by_its_key():
    rows = [
        {"track_id": t, "tick": k, "expr": [1, 2, 3], "ok": True, "bits": b"xy"}
        for t, k in (("b", 0), ("a", 1), ("a", 0))
    ]
    table = rows_to_arrow(TINY, rows, WIDTHS)
    assert table["track_id"].to_pylist() == ["a", "a", "b"]
    assert table["tick"].to_pylist() == [0, 1, 0]
    assert rows_to_arrow(TINY, [], WIDTHS).num_rows == 0
