import ast
from pathlib import Path

import nbformat
import pytest
from fabricate import fabricate, shard_parts

from dialogbuild.publish import publish

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "review_clip.ipynb"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from dialogbuild.head import load_head

    root = tmp_path_factory.mktemp("review")
    made = fabricate(root / "stages", n_ticks=60, head=load_head())
    publish(shard_parts(made, root / "work"), root / "dataset")
    return root / "dataset"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_committed_notebook_has_no_outputs_and_defines_nothing():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While}, cell.source


def test_the_notebook_runs_from_top_to_bottom_and_shows_its_figures(dataset, monkeypatch):
    from nbclient import NotebookClient

    root = NOTEBOOK.parents[1]
    monkeypatch.setenv("DIALOGBUILD_DATASET", str(dataset))
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(dataset.parent)}}).execute()
    outputs = [o for cell in code_cells(notebook) for o in cell.outputs]
    images = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(images) == 6
    text = " ".join(o["data"]["text/plain"] for o in outputs if "text/plain" in o.get("data", {}))
    assert "talk-0001_c000" in text
    assert "not for publishing" in text
