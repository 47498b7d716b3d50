"""Every table of a dataset opens in the programs that people use, with the same rows; a million rows fit in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dialogbuild.dataset.schema import RELATIONS


@pytest.fixture(scope="module")
def files(published: Path) -> list[Path]:
    """One file per relation table, all frame files."""
    tables = [published / "tables" / f"{t.name}.parquet" for t in RELATIONS]
    frames = sorted((published / "frames").rglob("*.parquet"))
    assert {p.parent.name for p in frames} == {"motion", "landmarks", "quality"}
    return tables + frames


def expected(path: Path) -> tuple[int, list[str]]:
    table = pq.ParquetFile(path)
    return table.metadata.num_rows, table.schema_arrow.names


def expr_row(path: Path) -> np.ndarray | None:
    return np.asarray(pq.read_table(path)["expr"][3].as_py(), np.float32) if "motion" in path.parts else None


def test_arrow_datasets_open_every_table(files):
    import pyarrow.dataset as ds

    for path in files:
        table = ds.dataset(path).to_table()
        assert (table.num_rows, table.column_names) == expected(path)


def test_pandas_opens_every_table(files):
    import pandas as pd

    for path in files:
        frame = pd.read_parquet(path)
        assert (len(frame), list(frame.columns)) == expected(path)
        if (want := expr_row(path)) is not None:
            assert np.array_equal(frame["expr"][3], want)


def test_polars_opens_every_table(files):
    pl = pytest.importorskip("polars", reason="polars is a development extra")
    for path in files:
        frame = pl.read_parquet(path)
        assert (frame.height, frame.columns) == expected(path)
        if (want := expr_row(path)) is not None:
            assert np.array_equal(frame["expr"][3].to_numpy(), want)


def test_duckdb_opens_every_table(files):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is a development extra")
    connection = duckdb.connect()
    for path in files:
        rows = connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
        assert (len(rows), [d[0] for d in connection.description]) == expected(path)
        if (want := expr_row(path)) is not None:
            assert np.array_equal(rows[3][expected(path)[1].index("expr")], want)
    connection.close()


def test_hugging_face_datasets_opens_every_table(files, tmp_path, monkeypatch):
    for name in ("HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    datasets = pytest.importorskip("datasets", reason="datasets is a development extra")
    datasets.disable_progress_bars()
    for path in files:
        loaded = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path))
        assert (loaded.num_rows, loaded.column_names) == expected(path)
        if (want := expr_row(path)) is not None:
            assert np.array_equal(np.asarray(loaded[3]["expr"], np.float32), want)


MILLION = """
import resource, sys, time
from pathlib import Path
import numpy as np
import pyarrow.parquet as pq
from dialogbuild.dataset.arrow import to_arrow, write_parquet
from dialogbuild.dataset.schema import MOTION

folder, tracks, ticks = Path(sys.argv[1]), 100, 10_000
widths = {"E": 100, "S": 300}
rng = np.random.default_rng(0)


def track(k):
    columns = {}
    for c in MOTION.columns:
        wide = widths[c.width] if isinstance(c.width, str) else c.width
        if c.name == "track_id":
            columns[c.name] = np.full(ticks, f"clip-{k:04d}_p0", object)
        elif c.dtype == "float32":
            columns[c.name] = rng.random((ticks, wide) if wide else ticks, np.float32)
        else:
            columns[c.name] = np.arange(ticks).astype(c.dtype) % 4
    columns["tick"] = np.arange(ticks, dtype=np.int32)
    return to_arrow(MOTION, columns, widths)


start, total, rows = time.monotonic(), 0.0, 0
files = [folder / f"{f}.parquet" for f in range(20)]
for f, path in enumerate(files):
    write_parquet(path, MOTION, (track(f * 5 + k) for k in range(5)), widths)
for path in files:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(columns=["tick", "expr"]):
            rows += batch.num_rows
            total += float(batch.column(0).to_numpy().sum())
assert rows == tracks * ticks == 1_000_000, rows
assert total == tracks * ticks * (ticks - 1) / 2
print(rows, round(time.monotonic() - start, 1), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_million_face_frames_are_written_and_read_within_a_gigabyte(tmp_path):
    """In a process of its own, so that the peak is this work's."""
    command = [sys.executable, "-c", MILLION, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows, _, peak_mb = done.stdout.split()
    assert int(rows) == 1_000_000
    assert int(peak_mb) < 1000
