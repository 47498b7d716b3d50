"""Keys and commits of artefacts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dialogbuild.artifact import Inputs, Stage, artifact_key, commit_dir, run_stage
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject


class Config(StageConfig):
    a: int = 1
    b: float = 2.0


def stage(run: object, version: int = 1) -> Stage:
    return Stage(name="s", version=version, unit="video", config=Config, run=run)  # type: ignore[arg-type]


def key(**change: object) -> str:
    base = {
        "item": "i",
        "source": "x",
        "config": Config(),
        "inputs": {"t": "1"},
        "models": {},
        "version": 1,
        "code": "c",
    }
    base |= change
    made = stage(lambda *_: None, base["version"])  # type: ignore[arg-type]
    return artifact_key(
        made, base["item"], base["source"], base["config"], base["inputs"], base["models"], base["code"]
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"item": "j"},
        {"source": "y"},
        {"config": Config(a=2)},
        {"inputs": {"t": "2"}},
        {"models": {"m": "1"}},
        {"version": 2},
        {"code": "d"},
    ],
)
def test_whatever_could_change_the_result_changes_the_key(change: dict[str, object]) -> None:
    assert key(**change) != key()


def test_a_spelled_out_default_is_the_same_key() -> None:
    assert key(config=Config(b=2.0, a=1)) == key()


def inputs(tmp_path: Path) -> Inputs:
    return Inputs("item", "item", tmp_path / "source", {})


def test_a_reject_is_committed_with_its_reason_and_no_output(tmp_path: Path) -> None:
    def run(_: Inputs, out: Path, __: Config) -> None:
        (out / "half.txt").write_text("half")
        raise Reject("too_short", seconds=1.5)

    outcome = run_stage(stage(run), inputs(tmp_path), Config(), tmp_path / "work", "k", {})
    assert (outcome.status, outcome.reason, outcome.values) == ("rejected", "too_short", {"seconds": 1.5})
    assert outcome.path is not None
    assert [p.name for p in outcome.path.iterdir()] == ["_done.json"]
    assert json.loads((outcome.path / "_done.json").read_text())["reason"] == "too_short"


def test_a_bug_commits_nothing(tmp_path: Path) -> None:
    def run(_: Inputs, out: Path, __: Config) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_stage(stage(run), inputs(tmp_path), Config(), tmp_path / "work", "k", {})
    assert not list((tmp_path / "work").rglob("*.json"))
    assert not list((tmp_path / "work" / "_tmp").iterdir())


def test_of_two_commits_of_one_key_the_first_stands(tmp_path: Path) -> None:
    for text in ("first", "second"):
        tmp = tmp_path / text
        tmp.mkdir()
        (tmp / "_done.json").write_text("{}")
        (tmp / "x").write_text(text)
        commit_dir(tmp, tmp_path / "final" / "k")
    assert (tmp_path / "final" / "k" / "x").read_text() == "first"


def test_a_reject_reason_is_one_word() -> None:
    with pytest.raises(ValueError, match="snake_case"):
        Reject("too short")


def test_a_config_refuses_unknown_names() -> None:
    with pytest.raises(ValueError, match="extra"):
        Config.model_validate({"c": 1})
