"""What all exporters share: options, the report, an output folder that appears whole or not at all, safe names.

    with new_export(FORMAT, dataset, out, options) as job:
        for row in job.rows(): ...            write below job.folder; job.keep(clip) or job.drop(clip, reason)
    return job.report

``LOST.md`` and ``export.json`` are written beside the data: what the format cannot hold, and what was left out.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from dialogbuild import __version__
from dialogbuild.artifact import write_json
from dialogbuild.dataset.conventions import PROCEDURAL_WARNING, is_procedural
from dialogbuild.dataset.reader import Dataset
from dialogbuild.dataset.schema import SPLITS
from dialogbuild.errors import ConfigError, DatasetError

RECORD: Final = "export.json"  # also the mark of a folder that may be replaced
LOST: Final = "LOST.md"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")


def option(default: Any, meaning: str, choices: tuple[str, ...] = ()) -> Any:
    """A field of an options class; the command line shows its meaning."""
    return field(default=default, metadata={"meaning": meaning, "choices": choices})


@dataclass(frozen=True)
class Options:
    """What every format understands.

    Raises:
        ConfigError: a value is not among its choices.
    """

    splits: tuple[str, ...] = option(SPLITS, "splits to export", SPLITS)
    clips: tuple[str, ...] = option((), "clip ids to export; none = all")
    force: bool = option(False, "replace an earlier export in the same folder")
    allow_other_head: bool = option(
        False, "write coefficients of another head model than the consumer's, cut or padded; for tests of code only"
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value, choices = getattr(self, f.name), f.metadata["choices"]
            for one in value if isinstance(value, tuple) else (value,):
                if choices and one not in choices:
                    raise ConfigError(f"{f.name} is {one!r}; it may be: {', '.join(choices)}")


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote. Paths are relative to the output folder; ``dropped`` names a clip, or a part of one."""

    files: tuple[str, ...]
    clips: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """One entry of the registry. ``lost`` is what the format never holds, ``heads`` whether it holds 3D labels."""

    name: str
    consumer: str
    writes: str
    lost: tuple[str, ...]
    options: type[Options]
    export: Callable[[Dataset, Path, Any], ExportReport]
    heads: bool = True


class Job:
    """One export under way. Write below ``folder`` only."""

    def __init__(self, dataset: Dataset, folder: Path, options: Options, lost: tuple[str, ...]) -> None:
        self.dataset, self.folder, self.options = dataset, folder, options
        self._lost, self._kept, self._dropped = list(lost), dict[str, None](), list[tuple[str, str]]()
        self._names: dict[str, str] = {}
        self.facts: dict[str, Any] = {}
        self.report = ExportReport((), (), (), lost)

    def rows(self) -> list[dict[str, Any]]:
        """Manifest rows that were asked for.

        Raises:
            ConfigError: a clip id that the dataset does not have.
        """
        missing = sorted(set(self.options.clips) - {row["id"] for row in self.dataset.rows})
        if missing:
            raise ConfigError(f"the dataset has no clip {', '.join(missing)}; its ids are in manifests/*.jsonl")
        wanted = self.options.clips
        return [r for r in self.dataset.rows if r["split"] in self.options.splits and (not wanted or r["id"] in wanted)]

    def name(self, identifier: str) -> str:
        """A file name of letters, digits, ``-`` and ``_`` that no other identifier of this export gets."""
        safe = _UNSAFE.sub("_", identifier).strip("_-")
        if not safe or safe != identifier or self._names.get(safe, identifier) != identifier:
            safe = f"{safe or 'clip'}_{hashlib.sha256(identifier.encode()).hexdigest()[:8]}"
        self._names[safe] = identifier
        return safe

    def path(self, *parts: str) -> Path:
        """A path below ``folder`` whose parent exists."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, clip_id: str) -> None:
        """The clip, or at least a part of it, is in the export."""
        self._kept[clip_id] = None

    def drop(self, what: str, reason: str) -> None:
        """Something is not in the export."""
        self._dropped.append((what, reason))

    def lose(self, sentence: str) -> None:
        """Something that this very dataset loses in the format; told once."""
        if sentence not in self._lost:
            self._lost.append(sentence)

    def finish(self, form: Format) -> None:
        """Write ``LOST.md`` and ``export.json``.

        Raises:
            DatasetError: nothing was exported.
        """
        if not self._kept:
            why = "; ".join(f"{what}: {reason}" for what, reason in self._dropped[:5]) or "no clip was selected"
            raise DatasetError(f"nothing to export as {form.name} ({why}); no folder was written")
        head = self.dataset.info["head_model"] or {}
        if form.heads and is_procedural(str(head.get("model_id"))):
            self._lost.insert(0, PROCEDURAL_WARNING)
        commit = self.dataset.commit.number
        text = _lost_page(form, commit, self._lost, self._dropped)
        (self.folder / LOST).write_text(text)
        files = sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())
        self.report = ExportReport((*files, RECORD), tuple(self._kept), tuple(self._dropped), tuple(self._lost))
        record = {
            "format": form.name,
            "made_with": f"dialogbuild {__version__}",
            "dataset_commit": commit,
            "head_model": {k: head.get(k) for k in ("model_id", "sha256", "licence", "n_expr", "n_shape")},
            "options": asdict(self.options),
            **self.facts,
            "clips": list(self._kept),
            "dropped": [list(pair) for pair in self._dropped],
            "lost": self._lost,
            "n_files": len(files) + 1,
        }
        write_json(self.folder / RECORD, record)


def _lost_page(form: Format, commit: int, lost: list[str], dropped: list[tuple[str, str]]) -> str:
    lines = [
        f"# What this export leaves out\n\n{form.name}, for {form.consumer}; made from commit {commit} of the dataset.",
        "When that dataset withdraws somebody, export again and delete this folder.\n",
        *(f"- {sentence}" for sentence in lost),
    ]
    if dropped:
        lines += ["\n| not exported | because |\n|---|---|", *(f"| {what} | {reason} |" for what, reason in dropped)]
    return "\n".join(lines) + "\n"


@contextmanager
def new_export(form: Format, dataset: Dataset, out: Path, options: Options) -> Iterator[Job]:
    """Collect an export in a folder beside ``out`` and give it that name once it is complete.

    Raises:
        ConfigError: ``out`` exists and may not be replaced, or lies inside the dataset.
        DatasetError: nothing was exported; no folder is left.
    """
    _check_target(dataset, out, options.force)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        folder.chmod(0o755)
        job = Job(dataset, folder, options, form.lost)
        yield job
        job.finish(form)
        _put_in_place(folder, out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_target(dataset: Dataset, out: Path, force: bool) -> None:
    if out.resolve().is_relative_to(dataset.root.resolve()):
        raise ConfigError(f"{out} lies inside the dataset: give a folder outside of {dataset.root}")
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise ConfigError(f"{out} is in the way: give the name of a new folder")
    if not any(out.iterdir()):
        return
    if not force:
        raise ConfigError(f"{out} exists: give a new folder, or --force to replace an earlier export")
    if not (out / RECORD).is_file():
        raise ConfigError(f"{out} is not an earlier export ({RECORD} is missing), so it is not replaced: move it away")


def _put_in_place(folder: Path, out: Path) -> None:
    if not out.exists():
        folder.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    out.rename(old)  # an empty folder may be renamed over
    folder.rename(out)
    shutil.rmtree(old)


def write_text(path: Path, lines: list[str]) -> None:
    """Lines to a text file, each with a line end."""
    path.write_text("".join(f"{line}\n" for line in lines))
