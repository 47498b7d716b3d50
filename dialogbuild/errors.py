"""Everything that dialogbuild raises on purpose.

    DialogbuildError
    ├── Reject              the data is unsuitable: a result, counted in the funnel
    ├── ConfigError         a recipe or an argument is wrong: nothing ran
    ├── MissingPart         an optional package, model file or system library is absent
    ├── DatasetError        a dataset on disk breaks its own contract
    └── Stopped             a person interrupted the run

Any other exception that leaves a stage is a bug or a machine fault: the runner quarantines the item
with its traceback, and tries it again on the next run.
"""

from __future__ import annotations

import re
from typing import Any

_ONE_WORD = re.compile(r"^[a-z0-9]+(_[a-z0-9]+)*$")


class DialogbuildError(Exception):
    """Base of every error that dialogbuild raises on purpose."""


class Reject(DialogbuildError):
    """Unsuitable data: a recorded outcome, never a failure of the run.

    Args:
        reason: one snake_case word, the funnel's key (``no_audio``).
        values: the numbers behind the verdict, JSON-serialisable (``seconds=3.2``).

    Raises:
        ValueError: the reason is not one snake_case word.
    """

    def __init__(self, reason: str, **values: Any) -> None:
        if not _ONE_WORD.match(reason):
            raise ValueError(f"a reject reason is one snake_case word, not {reason!r}")
        self.reason = reason
        self.values = values
        super().__init__(reason, values)

    def __str__(self) -> str:
        return self.reason + "".join(f" {k}={v}" for k, v in self.values.items())

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_reject, (self.reason, self.values))


def _rebuild_reject(reason: str, values: dict[str, Any]) -> Reject:
    return Reject(reason, **values)


class ConfigError(DialogbuildError):
    """A recipe or an argument is wrong; the message says which key and what it may be."""


class MissingPart(DialogbuildError):
    """An optional part is absent; the message says what it gives and the command that brings it."""


class Stopped(DialogbuildError):
    """A person interrupted the run; what was committed stays, and the same command goes on from there."""


class DatasetError(DialogbuildError):
    """A dataset on disk breaks its contract; the message says which file and what to do."""
