"""A result's key holds the code that made it: all of it, and nothing else."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialogbuild.codekey import CodeBase, code_digest, normalised, stage_code
from dialogbuild.explain import explain_lines, superseded
from dialogbuild.pipeline import Finished, Places, run_stages
from dialogbuild.recipe import Recipe
from dialogbuild.stages import ORDER

FILES = {
    "__init__.py": "RELEASE = '1.0'\n",
    "near.py": "from lampkit import deep\n\ndef near():\n    return deep.deep() + 1\n",
    "deep.py": "def deep():\n    return 1\n",
    "late.py": "def late():\n    return 2\n",
    "typed.py": "class Typed: ...\n",
    "sub/__init__.py": "from .inner import inner\n",
    "sub/inner.py": "def inner():\n    return 3\n",
    "table.csv": "1,2\n",
    "script.py": "print('by itself')\n",
    "unused.py": "def unused():\n    return 4\n",
    "first.py": "import lampkit.near\n\ndef run():\n    from lampkit.late import late\n    return late()\n",
    "second.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lampkit.typed import Typed\n"
    "from lampkit import sub\nFILES = ('table.csv', 'tools/script.py')\n",
}


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    folder = tmp_path / "lampkit"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def keys(kit: Path) -> dict[str, str]:
    code = CodeBase({"lampkit": kit})
    return {name: code_digest(code.digests(f"lampkit.{name}")) for name in ("first", "second")}


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        ("first.py", {"first"}),
        ("near.py", {"first"}),
        ("deep.py", {"first"}),
        ("late.py", {"first"}),
        ("sub/inner.py", {"second"}),
        ("sub/__init__.py", {"second"}),
        ("table.csv", {"second"}),
        ("script.py", {"second"}),
        ("typed.py", set()),
        ("unused.py", set()),
    ],
)
def test_a_change_reaches_exactly_the_stages_that_run_it(kit: Path, changed: str, stages: set[str]) -> None:
    before = keys(kit)
    path = kit / changed
    path.write_text(path.read_text() + ("3,4\n" if path.suffix == ".csv" else "ADDED = 1\n"))
    after = keys(kit)
    assert {name for name in before if before[name] != after[name]} == stages


def test_what_a_stage_runs_is_told_by_name(kit: Path) -> None:
    code = CodeBase({"lampkit": kit}, frozenset({"lampkit"}))
    assert list(code.digests("lampkit.first")) == ["lampkit.deep", "lampkit.first", "lampkit.late", "lampkit.near"]
    named = ["lampkit.script", "lampkit.second", "lampkit.sub", "lampkit.sub.inner", "lampkit/table.csv"]
    assert list(code.digests("lampkit.second")) == named


PLAIN = """
import math
from pydantic import Field

class Config:
    size: int = Field(3, ge=1, description="px")

def area(r):
    return math.pi * r ** 2
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return", "# why\n    return"),
        ("def area(r):", 'def area(r):\n    """Of a circle."""'),
        ("\nimport math", '"""A module."""\nimport math'),
        ("math.pi * r ** 2", "(math.pi\n        * (r ** 2))"),
        ('"px"', '"pixels"'),
        ("import math\n", "import math\nif TYPE_CHECKING:\n    import typing\n"),
    ],
)
def test_words_and_layout_change_no_key(before: str, after: str) -> None:
    changed = PLAIN.replace(before, after, 1)
    assert changed != PLAIN
    assert normalised(changed.encode()) == normalised(PLAIN.encode())


@pytest.mark.parametrize(
    ("before", "after"),
    [("r ** 2", "r ** 3"), ("(3,", "(4,"), ("ge=1", "gt=1"), ("def area(r)", "def area(r=1)"), ("math.pi", "math.e")],
)
def test_what_runs_changes_the_key(before: str, after: str) -> None:
    assert normalised(PLAIN.replace(before, after, 1).encode()) != normalised(PLAIN.encode())


def test_the_digest_does_not_depend_on_the_version_of_python() -> None:
    source = """
@dec
async def f(a, /, b: int = 1, *c, d=None, **e) -> "x":
    async with a as g, b: pass
    return [x async for x in y if (n := x)], {**a, 1: 2}, {1, 2.5e-9, 1j, b"\\xff", "\u00e4\U0001f600", ...}
class C(B, metaclass=M):
    x = f"{a!r:>{w}} {{}} {b=}" "more" f"{c}"
    def g(self): yield from (lambda *a: a)
match p:
    case {"k": [1, *r], **rest} | C(x=None): del p[1:2, ::3]
    case _: raise E from None
try: x = not a < b <= c
except V as v: global z
"""
    assert hashlib.sha256(normalised(source.encode()).encode()).hexdigest()[:16] == "0df6280a016dda63"


def test_without_source_files_nothing_is_claimed(tmp_path: Path) -> None:
    assert CodeBase({"lampkit": tmp_path}).digests("lampkit.first") == {}
    assert code_digest({}) == ""


@pytest.mark.parametrize("name", ORDER)
def test_every_stage_knows_its_code_and_none_runs_what_lies_above(name: str) -> None:
    modules = stage_code(f"dialogbuild.stages.{name}")
    assert f"dialogbuild.stages.{name}" in modules
    above = {"cli", "pipeline", "runner", "report", "synth", "explain", "models", "artifact"}
    assert {module.split(".")[1] for module in modules if "/" not in module} & above == set()


def test_the_head_that_is_fitted_counts_with_its_files() -> None:
    assert "dialogbuild/head/procedural_core.npz" in stage_code("dialogbuild.stages.fit_flame")


STAGE = """
from dialogbuild.artifact import Stage
from dialogbuild.config import StageConfig

def run(inputs, out, config):
    from lampkit.deep import deep
    (out / "made.txt").write_text(str(deep()))

STAGE = Stage(name="lamp", version=1, unit="video", config=StageConfig, run=run)
"""


@pytest.fixture
def stage(kit: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (kit / "lamp.py").write_text(STAGE)
    monkeypatch.syspath_prepend(str(kit.parent))
    yield kit
    for name in [name for name in sys.modules if name.partition(".")[0] == "lampkit"]:
        del sys.modules[name]


def go(kit: Path, trust_versions: bool = False) -> Finished:
    (kit.parent / "v").mkdir(exist_ok=True)
    (kit.parent / "v" / "a.mp4").write_text("hello")
    made = importlib.import_module("lampkit.lamp").STAGE
    recipe = Recipe("lamp", (made,), {"lamp": made.config()})
    out = Places(kit.parent / "out")
    return run_stages(recipe, kit.parent / "v", out, workers=1, quiet=True, trust_versions=trust_versions)


def told(kit: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    made = importlib.import_module("lampkit.lamp").STAGE
    monkeypatch.setattr(
        "dialogbuild.pipeline.parse_recipe", lambda *_: Recipe("lamp", (made,), {"lamp": made.config()})
    )
    return "\n".join(explain_lines(kit.parent / "out", "a"))


def made(finished: Finished) -> str:
    return (finished.clips("lamp")[0] / "made.txt").read_text()


def test_a_changed_lower_module_recomputes_and_explain_names_it(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(go(stage)) == "1"
    (stage / "unused.py").write_text("NEW = 1\n")
    (stage / "deep.py").write_text("# a word\n" + FILES["deep.py"])
    assert go(stage).computed == 0
    (stage / "deep.py").write_text("def deep():\n    return 7\n")
    assert "would run: code changed: lampkit.deep" in told(stage, monkeypatch)
    finished = go(stage)
    assert (finished.computed, made(finished)) == (1, "7")
    assert "recomputed because code changed: lampkit.deep" in told(stage, monkeypatch)


def test_who_trusts_versions_keeps_the_result_and_gc_lets_it_live(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = go(stage)
    (stage / "deep.py").write_text("def deep():\n    return 3 - 2\n")
    again = go(stage, trust_versions=True)
    assert again.computed == 0
    assert again.clips("lamp") == first.clips("lamp")
    assert "up to date" in told(stage, monkeypatch)
    assert superseded(stage.parent / "out", delete=False) == []
    (stage / "lamp.py").write_text(STAGE.replace("version=1", "version=2"))
    del sys.modules["lampkit.lamp"]
    assert go(stage, trust_versions=True).computed == 1, "a version says that results differ"


def test_code_that_is_not_on_record_is_said_to_be_so() -> None:
    from dialogbuild.ledger import differences

    new = {"stage": "s", "version": 1, "source_sha256": "x", "config": {}, "inputs": {}, "models": {}, "code": "c"}
    old = {name: value for name, value in new.items() if name != "code"}
    assert differences(old, new, lambda _: None) == ["code changed, which is not on record"]
