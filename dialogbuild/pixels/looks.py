"""People's looks on disk: written by the stage ``identity``, read by ``fit_flame``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dialogbuild.errors import ConfigError
from dialogbuild.fit.look import PersonLook
from dialogbuild.fit.surface import Surface, build_surface
from dialogbuild.head.model import HeadModel

Array = np.ndarray[Any, np.dtype[Any]]
_PARTS = tuple(f.name for f in fields(PersonLook))


@dataclass(frozen=True)
class SurfaceSpec:
    """What ``build_surface`` needs besides the model to draw the same points again."""

    n_points: int
    n_eye: int = 300
    seed: int = 0

    def build(self, model: HeadModel) -> Surface:
        """Draw the points. Deterministic."""
        return build_surface(model, self.n_points, self.n_eye, self.seed)


def save_looks(path: Path, head: HeadModel, spec: SurfaceSpec, looks: Mapping[int, PersonLook]) -> None:
    """Write looks by person, each field as ``<field>_<person>``: ``albedo_0`` (N, 3) and so on.

    Equal looks give equal bytes.
    """
    arrays = {f"{name}_{who}": np.asarray(getattr(look, name)) for who, look in looks.items() for name in _PARTS}
    surface = np.array([spec.n_points, spec.n_eye, spec.seed], np.int64)
    np.savez(path, surface=surface, head_sha256=np.array(head.sha256), **arrays)


def load_looks(path: Path, head: HeadModel) -> tuple[SurfaceSpec, dict[int, PersonLook]]:
    """Read looks by person, and how their surface was drawn.

    Raises:
        ConfigError: they belong to another head.
    """
    with np.load(path, allow_pickle=False) as file:
        if str(file["head_sha256"]) != head.sha256:
            raise ConfigError(f"{path.name} was made with another head than {head.model_id}: run stage identity again")
        people = sorted(int(name.removeprefix("seen_")) for name in file.files if name.startswith("seen_"))
        looks = {who: PersonLook(*(_value(file[f"{name}_{who}"]) for name in _PARTS)) for who in people}
        return SurfaceSpec(*(int(v) for v in file["surface"])), looks


def _value(stored: Array) -> Any:
    return stored if stored.ndim else stored.item()
