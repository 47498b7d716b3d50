"""Heads that a person has added on this machine, by name: ``$XDG_DATA_HOME/dialogbuild/models/heads/NAME``."""

from __future__ import annotations

import os
from pathlib import Path

from dialogbuild.errors import MissingPart

WHERE = (
    "use the built-in procedural-v1, or bring a model: FLAME 2023 Open (register at https://flame.is.tue.mpg.de and "
    "download flame2023_Open.pkl) or ICT-FaceKit (git clone https://github.com/ICT-VGL/ICT-FaceKit); then give its "
    "path, or store it once: dialogbuild models add PATH"
)


def models_folder() -> Path:
    """``$XDG_DATA_HOME/dialogbuild/models``, else ``~/.local/share/dialogbuild/models``; it need not exist."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "share") / "dialogbuild" / "models"


def stored_heads() -> list[str]:
    """Names of the heads that are stored, sorted."""
    folder = models_folder() / "heads"
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []


def stored_head(spec: str | Path) -> Path:
    """The path that a head's name or path means: what exists is itself, any other plain name is looked up in the store.

    Raises:
        MissingPart: it is neither; the message names the stored ones and says where heads come from.
    """
    path = Path(spec)
    if path.exists():
        return path
    names = stored_heads()
    if str(spec) in names:
        return models_folder() / "heads" / str(spec)
    raise MissingPart(
        f"no head model at {path}, and none stored by that name ({', '.join(names) or 'none is'}): {WHERE}"
    )
