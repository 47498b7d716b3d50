"""The verb ``export``: a dataset in the format of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dialogbuild.errors import ConfigError

SHORT_HELP = "A dataset in the format of another program."


def export(
    dataset: Annotated[Path | None, typer.Argument(help="The dataset folder (the one with CURRENT in it).")] = None,
    format_name: Annotated[
        str, typer.Argument(metavar="FORMAT", help="dualtalk, unils, artalk, vhap, huggingface, webdataset or rttm.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="A new folder. Default: DATASET_FORMAT here.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this split: train, val or test (repeatable).")] = None,
    clip: Annotated[list[str] | None, typer.Option(help="Only this clip id (repeatable).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the format: rotation=root (repeatable); see --list.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export in that folder.")] = False,
    allow_other_head: Annotated[
        bool,
        typer.Option(
            "--allow-other-head",
            "--allow-procedural",
            help="Write FLAME formats from labels of another head, cut or padded: wrong faces, right files.",
        ),
    ] = False,
    list_formats: Annotated[
        bool, typer.Option("--list", help="Every format with its settings and what it loses; or only FORMAT.")
    ] = False,
) -> None:
    """Write a published dataset in the format that another program's loader reads.

    \b
    FORMAT        who reads it                      what it needs
    dualtalk      DualTalk, TIMAR                   FLAME labels, 201 ticks in a row
    unils         UniLS                             FLAME labels, 102 ticks in a row, lmdb
    artalk        ARTalk                            FLAME labels, one person at a time
    vhap          GaussianAvatars                   FLAME labels, crop videos
    huggingface   datasets, the hub                 anything
    webdataset    webdataset, tar readers           anything
    rttm          pyannote and other diarization    anything

    No format holds everything. OUT/LOST.md says what was left out, OUT/export.json the same for programs; a clip that
    does not fit a loader's rules is dropped with its reason. The folder appears whole or not at all, and an existing
    one is never overwritten without --force.

    \b
    dialogbuild export --list
    dialogbuild export out/dataset rttm --out turns
    dialogbuild export out/dataset dualtalk --out data --set rotation=root

    Exit status: 0 done, 1 nothing to export or a damaged dataset, 2 a wrong argument, or labels of another head model.
    """
    from dialogbuild.dataset.exporters import registry

    if list_formats:
        name = format_name or (str(dataset) if dataset else "")  # `export --list unils` reads well, too
        chosen = [registry.find(name)] if name else list(registry.FORMATS.values())
        typer.echo("\n\n".join("\n".join(registry.describe(form)) for form in chosen))
        return
    if dataset is None or not format_name:
        raise ConfigError("give a dataset folder and a format, or --list to see the formats")
    from dialogbuild.dataset.reader import open_dataset

    form = registry.find(format_name)
    common = {"force": force, "allow_other_head": allow_other_head, "clips": tuple(clip or ())}
    if split:
        common["splits"] = tuple(split)
    options = registry.make_options(form, settings or (), **common)
    where = out or Path(f"{dataset.resolve().name}_{form.name}")
    report = form.export(open_dataset(dataset), where, options)
    for what, reason in report.dropped[:10]:
        typer.echo(f"dropped: {what}: {reason}")
    if len(report.dropped) > 10:
        typer.echo(f"dropped: {len(report.dropped) - 10} more, see {where / 'LOST.md'}")
    typer.echo(f"{form.name}: {len(report.clips)} clips in {len(report.files)} files in {where}")
    typer.echo(f"not in this format: {len(report.lost)} things, see {where / 'LOST.md'}")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("export", short_help=SHORT_HELP)(export)
