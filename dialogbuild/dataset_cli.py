"""Command line: verbs that check and change a published dataset."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

DatasetDir = Annotated[Path, typer.Argument(help="The dataset folder (the one with CURRENT in it).")]


def validate(
    dataset: DatasetDir,
    deep: Annotated[bool, typer.Option("--deep", help="Also read every page, sample and frame.")] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="First put right what needs no clip part: CURRENT, copies, litter. Never rows."),
    ] = False,
) -> None:
    """Check a dataset against its own contract; lists every finding with its fix; exit status 1 when there is one."""
    from dialogbuild.dataset.repair import repair as put_right
    from dialogbuild.dataset.validate import validate as check

    for line in put_right(dataset) if repair else ():
        typer.echo(line)
    findings = check(dataset, deep)
    for finding in findings:
        typer.echo(str(finding))
    typer.echo(f"{len(findings)} findings in {dataset}" if findings else f"{dataset}: all well")
    if findings:
        raise typer.Exit(1)


def takedown(
    dataset: DatasetDir,
    name: Annotated[str, typer.Argument(metavar="ID", help="A video id or its SHA-256, an identity or a clip id.")],
    by: Annotated[str, typer.Option(help="Office or ticket that decided it, for the audit record; not a person.")],
    reason: Annotated[str, typer.Option(help="One snake_case word for the audit record.")] = "consent_withdrawn",
    work: Annotated[
        Path | None, typer.Option(help="Also delete the video's artefacts in this work folder, such as out/work.")
    ] = None,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Also empty this machine's cache of the training readers.")
    ] = False,
) -> None:
    """Remove a source video, a person or a conversation from a dataset, for good.

    Its rows and media, every commit that refers to them, and with --work what the stages kept of it. The rest stays
    byte for byte; manifests, statistics and card are written again. meta/takedowns.jsonl records who decided it, when
    and why, under a hash; from then on publish, append and merge leave it out.

    Interrupted anywhere, the same command finishes it. Sources, exports and other copies are yours to delete.
    """
    from dialogbuild.dataset.takedown import takedown as take_down

    done = take_down(dataset, name, reason, by)
    what = "was taken down before" if done.again else f"{len(done.clips)} conversations are gone"
    typer.echo(f"{done.kind}: {what}; commit {done.commit}, {len(done.files)} files deleted")
    if work is not None:
        _purge_work(work, name)
    if clear_cache:
        _clear_cache()
    for path in done.left:
        typer.echo(f"still names it: {path}")
    if done.left:
        raise typer.Exit(1)
    typer.echo("not touched: the source file, exports, copies elsewhere" + ("" if clear_cache else ", reader caches"))


def _purge_work(work: Path, name: str) -> None:
    from dialogbuild.pipeline import Places, write_report_of
    from dialogbuild.workpurge import purge_work

    gone = purge_work(work, name)
    typer.echo(f"{work}: {len(gone)} artefacts and books" if gone else f"{work}: nothing of it")
    places = Places(work.parent)
    if places.work.resolve() == work.resolve() and places.report.is_file():
        write_report_of(places)
        typer.echo(f"written again: {places.report}")


def _clear_cache() -> None:
    from dialogbuild.dataset.store import cache_folder

    for name in ("columns", "files", "remote"):
        shutil.rmtree(cache_folder(None) / name, ignore_errors=True)
    typer.echo(f"emptied {cache_folder(None)}")


def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Datasets to take clips from.")],
    into: Annotated[Path, typer.Option(help="The dataset that receives them; made when it is not there.")],
    allow_split_moves: Annotated[
        bool, typer.Option("--allow-split-moves", help="Where they share a person or source, let clips change split.")
    ] = False,
) -> None:
    """Bring the clips of several datasets into one, as one commit; the sources stay as they are.

    Refused when one id means two things, or formats, conventions or head models differ. Every clip keeps its split; a
    group that is in several goes to the first of train, val, test among them, and only with --allow-split-moves.
    """
    from dialogbuild.dataset.merge import merge as bring_together

    done = bring_together(sources, into, allow_split_moves)
    typer.echo(f"{into}: commit {done.commit}, {done.clips} clips, {done.hours:.3f} h")
    for clip, (before, now) in sorted(done.moved.items()):
        typer.echo(f"{clip}: from {before} to {now}")
    for clip in done.withheld:
        typer.echo(f"{clip}: left out, it was taken down")


def compact(
    dataset: DatasetDir,
    clips_per_file: Annotated[int, typer.Option(min=1, help="How many clips share a file, on average.")] = 128,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Commits to keep, the current one included; all when left out.")
    ] = None,
) -> None:
    """Write the frame rows into fewer files; with --keep, also forget older commits and delete what only they name."""
    from dialogbuild.dataset.merge import compact as write_fewer

    done = write_fewer(dataset, clips_per_file, keep)
    before, after = done.frame_files
    typer.echo(f"{dataset}: commit {done.commit}; frame files {before} -> {after}; {len(done.removed)} files deleted")


def add_verbs(app: typer.Typer) -> None:
    """Add this module's verbs."""
    app.command(short_help="Check a dataset against its own contract.")(validate)
    app.command(short_help="Remove a video, person or clip for good.")(takedown)
    app.command(short_help="Bring several datasets into one.")(merge)
    app.command(short_help="Fewer files, less history.")(compact)
