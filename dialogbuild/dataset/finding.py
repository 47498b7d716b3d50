"""One thing that is wrong with a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to do. ``code`` is one snake_case word; warnings leave the data usable."""

    level: Literal["error", "warning"]
    code: str
    path: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.level}: {self.path}: {self.message} [{self.code}]; to fix: {self.fix}"
