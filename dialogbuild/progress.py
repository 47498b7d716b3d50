"""What a person sees while a run goes on: one bar per stage with its ETA; nothing when nobody looks."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm

from dialogbuild.artifact import Outcome
from dialogbuild.engines import Event, Failure, Tick
from dialogbuild.runner import Planned


class Bars:
    """One tqdm bar per stage that has work. Long items move it by fractions, so that the ETA means something."""

    def __init__(self, quiet: bool | None = None) -> None:
        self.quiet = not sys.stderr.isatty() if quiet is None else quiet
        self._bars: dict[str, tqdm[Any]] = {}
        self._parts: dict[tuple[str, str], float] = {}

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for bar in self._bars.values():
            bar.close()

    def __call__(self, event: Event | Planned) -> None:
        """Show what happened."""
        if self.quiet:
            return
        if isinstance(event, Planned):
            if not event.cached:
                bar = self._bar(event.stage)
                bar.total = (bar.total or 0) + 1
                bar.refresh()
        elif isinstance(event, Tick):
            self._move(event.job.stage, event.job.item, min(event.fraction, 0.99))
        else:
            stage, item = (event.job.stage, event.job.item) if isinstance(event, Failure) else (event.stage, event.item)
            self._move(stage, item, 1.0)
            if isinstance(event, Failure):
                tqdm.write(f"{item}: {stage} failed and is quarantined: {event.error}", file=sys.stderr)
            elif isinstance(event, Outcome) and event.status == "rejected":
                why = " ".join(f"{k}={v}" for k, v in event.values.items())
                tqdm.write(f"{item}: rejected at {stage}: {event.reason} {why}"[:160], file=sys.stderr)

    def _bar(self, stage: str) -> tqdm[Any]:
        if stage not in self._bars:
            layout = "{desc:<10} {percentage:3.0f}%|{bar:24}| {n:.1f}/{total} [{elapsed}<{remaining}]"
            self._bars[stage] = tqdm(total=0, desc=stage, bar_format=layout, file=sys.stderr, position=len(self._bars))
        return self._bars[stage]

    def _move(self, stage: str, item: str, fraction: float) -> None:
        before = self._parts.get((stage, item), 0.0)
        self._parts[stage, item] = fraction
        self._bar(stage).update(fraction - before)
