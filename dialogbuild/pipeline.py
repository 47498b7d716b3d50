"""A whole run: sources in, dataset and report out. What the command line calls, and what a script may call too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialogbuild import ledger
from dialogbuild.artifact import read_json
from dialogbuild.engines import Event, LocalPool, stoppable, usable_cores
from dialogbuild.errors import ConfigError
from dialogbuild.progress import Bars
from dialogbuild.publish import Published, Rights, publish
from dialogbuild.recipe import Recipe, parse_recipe
from dialogbuild.runner import Plan, Planned, RunLog, VideoState, exclusive, run_items
from dialogbuild.sources import Source, discover


@dataclass(frozen=True)
class Places:
    """Where a run keeps what it makes."""

    out: Path

    @property
    def work(self) -> Path:
        """Artefacts of every stage; may be deleted at the price of computing them again."""
        return self.out / "work"

    @property
    def dataset(self) -> Path:
        """The product."""
        return self.out / "dataset"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.out / "report.html"


@dataclass(frozen=True)
class Share:
    """The part of the sources that one of several machines takes: ``--shard 3/16``."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """``"3/16"``, counted from 0, or the empty text for everything.

        Raises:
            ConfigError: not of that form, or out of range.
        """
        if not text:
            return cls()
        try:
            index, count = (int(part) for part in text.split("/"))
        except ValueError:
            raise ConfigError(f"--shard is INDEX/COUNT counted from 0, such as 3/16, not {text!r}") from None
        if not 0 <= index < count:
            raise ConfigError(f"--shard {text}: the index goes from 0 to {count - 1}")
        return cls(index, count)

    def takes(self, source: Source) -> bool:
        """Whether this share holds the source: by content, so that it does not depend on the other files."""
        return int(hashlib.sha256(source.sha256.encode()).hexdigest(), 16) % self.count == self.index


@dataclass(frozen=True)
class Finished:
    """How a run ended."""

    entries: list[ledger.Entry]
    ignored: list[Path]
    computed: int  # jobs that really ran, the rest was there already
    sha256: Mapping[str, str]  # video id -> content
    changed: bool  # the books differ from the last run's

    def quarantined(self) -> list[ledger.Entry]:
        """Items that failed and wait for the next run."""
        return [row for row in self.entries if row.status == "quarantined"]

    def clips(self, stage: str = "shard") -> list[Path]:
        """Artefact folders of the clips that are ok at ``stage``."""
        return [Path(row.path) for row in self.entries if row.stage == stage and row.status == "ok" and row.path]


@stoppable()
def run_stages(
    recipe: Recipe,
    src: Path,
    places: Places,
    workers: int = 0,
    share: Share | None = None,
    quiet: bool | None = None,
    trust_versions: bool = False,
) -> Finished:
    """Take every source through the recipe's stages, as far as each gets.

    Args:
        workers: processes, one thread each; 0 = one per usable core. Does not change any result.
        share: the part of the sources to take; another machine takes the rest.
        trust_versions: keep results of other code where the stages' versions are the same.

    Raises:
        ConfigError: nothing to do, or a setting is wrong.
        Stopped: Ctrl-C was pressed.
        DialogbuildError: another run holds ``places``, or a fault that stops every item.
    """
    share = share or Share()
    hashes = f"hashes.{share.index}of{share.count}.json"
    sources, ignored = discover(src, places.work / "_run" / hashes, (places.work, places.dataset))
    mine = [source for source in sources if share.takes(source)]
    plan = Plan(recipe, places.work, trust_versions)
    computed = 0

    with exclusive(places.work, f"{share.index}of{share.count}"), Bars(quiet) as bars:
        ledger.announce(plan, src)
        log = RunLog(places.work, recipe)

        def listen(event: Event | Planned) -> None:
            nonlocal computed
            computed += isinstance(event, Planned) and not event.cached
            log(event)
            bars(event)

        with LocalPool(workers or usable_cores(), log.path.with_suffix(".native.log")) as pool:
            states = run_items(plan, mine, pool, listen)
        ledger.check_books(recipe, states)
        rows = ledger.entries(recipe, states)
        changed = ledger.save(places.work, rows)
    return Finished(rows, ignored, computed, {source.video_id: source.sha256 for source in mine}, changed)


@stoppable()
def finish(places: Places, finished: Finished, src: Path) -> Published:
    """Publish the clips that passed as one commit of the dataset, and write the report.

    Args:
        src: where the sources came from; a ``sources.jsonl`` there, as ``dialogbuild download`` writes it, says
            under which licence and consent each was published.
    """
    published = publish(finished.clips(), places.dataset, rights_of(finished, src))
    if finished.computed or finished.changed or published.created or not places.report.is_file():
        write_report_of(places)
    return published


def rights_of(finished: Finished, src: Path) -> dict[str, Rights]:
    """Video id -> licence and consent, for the videos that a source list names; by content, not by file name."""
    from dialogbuild.download import read_records

    folder = src if src.is_dir() else src.parent
    known = {record.sha256: record for record in read_records(folder) if record.sha256}
    return {
        video_id: Rights(known[sha256].licence or "unknown", known[sha256].consent or "unknown")
        for video_id, sha256 in finished.sha256.items()
        if sha256 in known
    }


def write_report_of(places: Places) -> None:
    """Write the report page of the last run, from what is on disk."""
    from dialogbuild.report import write_report

    if not (places.work / ledger.FUNNEL).is_file():
        raise ConfigError(f"nothing has run in {places.out} yet: dialogbuild run RECIPE SRC --out {places.out}")
    write_report(places.work, None, places.dataset, places.report)


def survey(places: Places) -> tuple[Plan, list[VideoState], list[Any]]:
    """What a run would find on disk and what it would compute, without computing anything.

    Returns:
        The plan of the last run, the state of each video, and the jobs that are ready to run.

    Raises:
        ConfigError: nothing has run here yet.
    """
    last = places.work / ledger.LAST
    saved = read_json(last)
    if saved is None:
        raise ConfigError(f"nothing has run in {places.out} yet: dialogbuild run RECIPE SRC --out {places.out}")
    recipe = parse_recipe(saved["recipe"], tuple(saved["stages"]), str(last))
    sources, _ = discover(Path(saved["src"]), places.work / "_run" / "hashes.json", (places.work, places.dataset))
    plan = Plan(recipe, places.work, bool(saved.get("trust_versions")))
    states = [plan.state(source) for source in sources]
    return plan, states, list(_pending(plan, states))


def _pending(plan: Plan, states: Sequence[VideoState]) -> Iterator[Any]:
    for state in states:
        yield from plan.advance(state)
