"""Recipes: TOML files that say which values the stages use. Every key is checked, unknown ones are refused."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dialogbuild.artifact import Stage
from dialogbuild.config import StageConfig
from dialogbuild.errors import ConfigError
from dialogbuild.stages import ORDER, load_stage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHIPPED = (Path(__file__).resolve().parents[1] / "pipelines", Path(sys.prefix) / "share" / "dialogbuild" / "pipelines")


@dataclass(frozen=True)
class Recipe:
    """The stages of a run, in order, and the configuration of each."""

    name: str
    stages: tuple[Stage, ...]
    configs: Mapping[str, StageConfig]

    def stage(self, name: str) -> Stage:
        """The stage of that name; KeyError when this recipe does not run it."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def dump(self) -> dict[str, Any]:
        """Every value in force, defaults included; ``parse_recipe`` reads it back."""
        return {"name": self.name, **{name: config.model_dump(mode="json") for name, config in self.configs.items()}}


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with dialogbuild, by name."""
    return {path.stem: path for folder in reversed(_SHIPPED) for path in sorted(folder.glob("*.toml"))}


def override(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``["segment.min_s=5"]`` as ``{"segment": {"min_s": 5}}``. A value is read as TOML, or else taken as text.

    Raises:
        ConfigError: not of that form.
    """
    tables: dict[str, dict[str, Any]] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        stage, dot, name = key.strip().replace("-", "_").partition(".")
        if not (equals and dot and name):
            raise ConfigError(f"--set takes STAGE.SETTING=VALUE, such as segment.min_s=5, not {text!r}")
        try:
            tables.setdefault(stage, {})[name] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            tables.setdefault(stage, {})[name] = value
    return tables


def load_recipe(
    spec: str | Path,
    stages: tuple[str, ...] = ORDER,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    head: str | None = None,
) -> Recipe:
    """Read a recipe by path or by the name of a shipped one; ``changes`` and ``head`` replace what it says.

    Raises:
        ConfigError: no such recipe, no valid TOML, an unknown key or a value out of its range; the message
            names the key and what it may be.
    """
    path = Path(spec)
    if path.suffix != ".toml":
        shipped = shipped_recipes()
        if str(spec) not in shipped:
            raise ConfigError(
                f"no recipe named {spec!r}; shipped: {', '.join(shipped)}; or give a path to a .toml file"
            )
        path = shipped[str(spec)]
    try:
        raw = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"no recipe can be read at {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from None
    for stage, table in (changes or {}).items():
        if stage not in ORDER:
            raise ConfigError(f"--set {stage}.{next(iter(table))}: no such stage{_guess(stage, ORDER)}")
        given = raw.get(stage, {})
        raw[stage] = {**given, **table} if isinstance(given, Mapping) else given
    if head is not None:
        raw["head"] = head
        for stage in ORDER:
            if isinstance(raw.get(stage), Mapping):
                raw[stage] = {key: value for key, value in raw[stage].items() if key != "head"}
    return parse_recipe({"name": path.stem, **raw}, stages, str(path))


def parse_recipe(raw: Mapping[str, Any], stages: tuple[str, ...] = ORDER, where: str = "recipe") -> Recipe:
    """Build a recipe from plain values: one table per stage; beside them ``name``, ``description`` and ``head``.

    ``head`` is the head model of every stage that needs one: ``procedural-v1`` or a path.

    Raises:
        ConfigError: all that is wrong, at once.
    """
    problems: list[str] = []
    configs: dict[str, StageConfig] = {}
    for key in raw:
        if key not in ("name", "description", "head", *ORDER):
            problems.append(f"[{key}]: no such stage{_guess(key, ORDER)}")
    loaded = tuple(load_stage(name) for name in stages)
    others = tuple(load_stage(name) for name in raw if name in ORDER and name not in stages)
    for stage in (*loaded, *others):  # a slip in a table that this run does not use is a slip all the same
        given = raw.get(stage.name, {})
        if not isinstance(given, Mapping):
            problems.append(f"{stage.name}: a table is expected, [{stage.name}]")
            continue
        if "head" in raw and "head" in stage.config.model_fields:
            given = {"head": raw["head"], **given}
        try:
            configs[stage.name] = stage.config.model_validate(dict(given))
        except ValidationError as error:
            problems += [_explain(stage, entry) for entry in error.errors()]
    if problems:
        raise ConfigError(f"{where}:\n  " + "\n  ".join(problems))
    return Recipe(str(raw.get("name", "recipe")), loaded, {stage.name: configs[stage.name] for stage in loaded})


def _explain(stage: Stage, entry: Any) -> str:
    key = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        known = tuple(stage.config.model_fields)
        return f"[{stage.name}] {key}: no such setting{_guess(key, known)}; there are: {', '.join(known) or 'none'}"
    return f"[{stage.name}] {key} = {entry.get('input')!r}: {entry['msg']}"


def _guess(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
