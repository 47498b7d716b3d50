"""Arguments and options that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Src = Annotated[Path, typer.Argument(help="A video file, or a folder that is searched whole.")]
Out = Annotated[Path, typer.Option(help="Folder for the dataset, the report and the intermediate work.")]
Workers = Annotated[int, typer.Option(help="Processes, one thread each; 0 = one per core. Never changes a result.")]
Setting = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting of the recipe: segment.min_s=5 (repeatable).")
]
Head = Annotated[
    str | None,
    typer.Option(
        help="procedural-v1 (built in), a name stored with `models add`, a FLAME file or ICT-FaceKit's folder."
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-versions",
        envvar="DIALOGBUILD_TRUST_VERSIONS",
        help="Keep results of other code where the stages' version numbers are the same.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
