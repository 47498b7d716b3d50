"""The verbs ``models list``, ``models add``, ``models check`` and ``models remove``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dialogbuild.models_known import Known

SHORT_HELP = "Model files that you bring: which there are, storing, checking, removing them."

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help=SHORT_HELP,
    help="Model files that you bring: heads (FLAME, ICT-FaceKit), active-speaker networks, pyannote pipelines.\n\n"
    "Nothing is downloaded and nothing is shipped: docs/models.md says where each comes from. Results of different "
    "heads cannot be compared or mixed: their coefficients mean other things.",
)


@app.command("list")
def list_models(
    long: Annotated[bool, typer.Option("--long", "-l", help="Licence and source of what is there, too.")] = False,
) -> None:
    """Every model file that can be used, whether it is here, and where to get it."""
    from dialogbuild.models import stored
    from dialogbuild.models_known import COMPANIONS, KNOWN

    for kind, known in KNOWN.items():
        if known.section == "beside":
            file = next(name for name, argument in COMPANIONS.items() if argument == kind)
            paths = [str(a.path / file) for a in _flames() if (a.path / file).is_file()]
        elif known.section:
            paths = [f"{added.path}   {added.use}" for added in stored(known)]
        else:
            paths = _installed(kind)
        _show(known, paths, long)


@app.command("add")
def add_model(
    path: Annotated[Path, typer.Argument(help="A model's file or folder.")],
    name: Annotated[str, typer.Option(help="Store it under this name; default: its own.")] = "",
    to: Annotated[str, typer.Option(help="The stored FLAME model that this mask, texture or embedding is of.")] = "",
    link: Annotated[bool, typer.Option("--link", help="Only point to it instead of copying.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another one of that name.")] = False,
) -> None:
    """Read a model with the loader that will use it, store it, and record the SHA-256 of its content.

    \b
    dialogbuild models add downloads/flame2023_Open.pkl
    dialogbuild models add downloads/mediapipe_landmark_embedding.npz
    dialogbuild models add ICT-FaceKit --link
    dialogbuild run mango_dialog videos/ --head flame2023_Open

    Exit status: 0 stored, 1 a file is missing, 2 it is no model that is known here, or damaged, or the name is taken.
    """
    from dialogbuild.models import add

    added = add(path, name, link=link, to=to, replace=replace)
    typer.echo(f"stored   {added.path}{' (a link)' if added.linked else ''}")
    if added.model_id:
        typer.echo(f"model    {added.model_id}")
    typer.echo(f"sha256   {added.sha256}")
    typer.echo(f"licence  {added.licence}")
    typer.echo(f"use      {added.use}")


@app.command("check")
def check_models() -> None:
    """Compare every stored model with its SHA-256, and read it.

    Exit status: 0 all are as they were added, 1 one is not.
    """
    from dialogbuild.models import check

    broken = False
    for found in check():
        typer.echo(f"{'BROKEN' if found.problem else 'ok    '}  {found.place}{found.problem and ': ' + found.problem}")
        broken = broken or bool(found.problem)
    if broken:
        raise typer.Exit(1)


@app.command("remove")
def remove_model(
    name: Annotated[str, typer.Argument(help="Its name, or its place such as heads/NAME.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete copied files: they may be the only ones.")] = False,
) -> None:
    """Take a model out of the store. A model that was added with --link stays where it lies.

    Exit status: 0 removed, 2 nothing of that name was added, or --yes is needed.
    """
    from dialogbuild.models import remove

    removed, freed = remove(name, yes=yes)
    typer.echo(f"removed  {removed.path}{' (what its links point to stays)' if removed.linked else ''}")
    typer.echo(f"freed    {freed / 1e6:.1f} MB")


def _flames() -> list:  # type: ignore[type-arg]
    from dialogbuild.models import records
    from dialogbuild.models_known import FLAME_FILES

    return [added for added in records() if added.kind in FLAME_FILES.values()]


def _installed(kind: str) -> list[str]:
    """Where a package brought the model."""
    from dialogbuild.dialogue.embedding import ge2e_path
    from dialogbuild.dialogue.vad import silero_path
    from dialogbuild.errors import MissingPart

    try:
        path = silero_path() if kind == "silero" else ge2e_path()
    except MissingPart:
        return []
    return [] if path is None else [str(path)]


def _show(known: Known, paths: list[str], long: bool) -> None:
    typer.echo(f"{'ok    ' if paths else 'absent'}  {known.title} ({known.file}): {known.gives}")
    for path in paths:
        typer.echo(f"        {path}")
    if long or not paths:
        typer.echo(f"        licence: {known.licence}")
        typer.echo(f"        get it:  {known.where}")
