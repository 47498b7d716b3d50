"""Recipes: what is written is what runs, and a slip of the pen is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dialogbuild.errors import ConfigError
from dialogbuild.recipe import load_recipe, override, parse_recipe, shipped_recipes
from dialogbuild.stages import ORDER, load_stage, upstream_of


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert tuple(stage.name for stage in recipe.stages) == ORDER
    again = parse_recipe(recipe.dump())
    assert again.configs == recipe.configs, "what is saved with a run is what the run was"


def test_every_problem_is_told_at_once_with_a_guess() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_recipe({"segmnt": {}, "segment": {"min_seconds": 3}, "tracks": {"every_ticks": 0}})
    text = str(caught.value)
    assert "did you mean 'segment'" in text
    assert "[segment] min_seconds: no such setting" in text
    assert "[tracks] every_ticks = 0" in text


def test_a_missing_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="shipped: demo"):
        load_recipe("demmo")


def test_broken_toml_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[segment\n")
    with pytest.raises(ConfigError, match="no valid TOML"):
        load_recipe(tmp_path / "r.toml")


def test_settings_from_the_command_line_win() -> None:
    recipe = load_recipe("demo", ORDER, override(["segment.min_s=7.5", "fit-flame.head=procedural-v1"]))
    assert recipe.configs["segment"].model_dump()["min_s"] == 7.5
    with pytest.raises(ConfigError, match=r"STAGE\.SETTING=VALUE"):
        override(["min_s=3"])


def test_stages_run_after_everything_they_read() -> None:
    for name in ORDER:
        stage = load_stage(name)
        for other in (*stage.reads, *stage.after):
            assert ORDER.index(other) < ORDER.index(name), f"{name} needs {other}"
    assert upstream_of("shots") == ("ingest", "shots")
    assert "diarize" not in upstream_of("landmarks")


def test_every_setting_says_what_it_is() -> None:
    for name in ORDER:
        for key, field in load_stage(name).config.model_fields.items():
            assert field.description, f"{name}.{key} needs a description with unit and reason"


def test_every_stage_documents_what_it_reads_and_writes() -> None:
    from importlib import import_module

    for name in ORDER:
        doc = import_module(f"dialogbuild.stages.{name}").__doc__ or ""
        assert doc.startswith(f"{name}: "), name
        assert "writes" in doc, name
