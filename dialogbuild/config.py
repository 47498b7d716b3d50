"""Frozen configuration: one class per stage, filled from a recipe in TOML, unknown keys refused."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict


class StageConfig(BaseModel):
    """What changes a stage's result, and nothing else.

    Every field carries ``Field(description=...)`` with its unit and the reason for its default.
    Device, workers and batch size are no fields: they must not change the result, so they are not in the key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def canonical(self) -> str:
        """The same text for the same values, whatever the order they were given in."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
