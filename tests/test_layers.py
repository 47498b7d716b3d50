"""Imports go down only: what a layer may not know, it cannot come to depend on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dialogbuild"

# From top to bottom; a module may import its own part and whatever lies below it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("cli_video", "export_cli", "dataset_cli", "models_cli"),
    ("cli_options",),
    ("fitvideo", "diarizevideo"),
    ("pipeline", "explain", "progress", "doctor", "models"),
    ("runner", "ledger", "engines", "recipe", "sources", "publish", "workpurge", "models_known"),
    ("stages",),
    ("report", "pixels"),
    ("fit", "dialogue", "quality", "dataset", "download"),
    ("synth",),
    ("render",),
    ("media", "head", "faces"),
    ("artifact", "tables", "codekey"),
    ("config",),
    ("errors",),
    ("__init__",),
)
ROW = {part: row for row, parts in enumerate(LAYERS) for part in parts}
# These rows are read from top to bottom as one layer: its modules may know each other.
SIBLINGS = {"pipeline", "explain", "progress", "doctor", "runner", "ledger", "engines", "recipe", "sources"}
NUMERIC_ONLY = {"head", "render", "fit"}
NUMERIC = {"numpy", "scipy", "numba", "torch", "dialogbuild"}
HEAVY = {"mediapipe", "torch", "numba", "sklearn", "scenedetect", "hmmlearn", "plotly", "silero_vad"}


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def breaches(path: Path) -> list[str]:
    mine = part_of(path)
    found = []
    for name in imported(ast.parse(path.read_text())):
        if not name.startswith("dialogbuild."):
            continue
        theirs = name.split(".")[1]
        if theirs not in ROW:
            continue  # `from dialogbuild import __version__`
        if theirs == mine:
            if mine == "stages" and path.name != "__init__.py" and ".stages." in name:
                found.append(f"{path.name} imports another stage: {name}")
            continue
        if {mine, theirs} <= SIBLINGS or ROW[theirs] > ROW[mine]:
            continue
        found.append(f"{path.relative_to(PACKAGE)} imports {name}, which is not below it")
    return found


SOURCES = sorted(PACKAGE.rglob("*.py"))


def test_every_part_has_a_place_in_the_layers() -> None:
    assert {part_of(path) for path in SOURCES} <= set(ROW), "a new part needs a row in LAYERS"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    assert breaches(path) == []


def test_a_breach_would_be_seen(tmp_path: Path) -> None:
    upward = "def late():\n    from dialogbuild.stages.tracks import STAGE\n"
    stand_in = PACKAGE / "media" / "clock.py"
    names = imported(ast.parse(upward))
    assert names == ["dialogbuild.stages.tracks.STAGE"], "imports inside functions count too"
    assert ROW["stages"] < ROW[part_of(stand_in)]


@pytest.mark.parametrize("part", sorted(NUMERIC_ONLY))
def test_the_numeric_core_needs_no_media_library(part: str) -> None:
    allowed_anywhere = {"cartoon.py", "generate.py"}  # the generator runs once, by hand, with mediapipe
    foreign = set()
    for path in (PACKAGE / part).rglob("*.py"):
        if path.name in allowed_anywhere:
            continue
        for name in imported(ast.parse(path.read_text())):
            root = name.split(".")[0]
            if root not in NUMERIC and not _standard(root):
                foreign.add(f"{path.name}: {root}")
    assert foreign == set(), "head, render and fit must run in an image that has only numpy, scipy, numba, torch"


@pytest.mark.parametrize("path", sorted((PACKAGE / "stages").glob("*.py")), ids=lambda p: p.name)
def test_a_stage_file_imports_nothing_heavy_when_it_is_loaded(path: Path) -> None:
    tree = ast.parse(path.read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [name for node in top for name in imported(ast.Module([node], []))]
    assert [n for n in names if n.split(".")[0] in HEAVY] == [], "the command line loads every stage file"


def _standard(root: str) -> bool:
    import sys

    return root in sys.stdlib_module_names
