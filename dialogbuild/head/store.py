"""Model files that a person has added on this machine: ``$XDG_DATA_HOME/dialogbuild/models``.

Every model is a file or folder ``<name>...`` in there; ``models.json`` records what was added, when it loaded, with the
SHA-256 of its content.
"""

from __future__ import annotations

import os
from pathlib import Path

from dialogbuild.errors import ConfigError, MissingPart


def models_folder() -> Path:
    """``$XDG_DATA_HOME/dialogbuild/models``, else ``~/.local/share/dialogbuild/models``; it need not exist."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "share") / "dialogbuild" / "models"


def stored_head(spec: str | Path) -> Path:
    """The path that a head's name or path means: an existing path is itself, a plain name is looked up in the store.

    Raises:
        ConfigError: a name that nothing in the store fits.
        MissingPart: a path that does not exist; the message says where heads come from.
    """
    path = Path(spec)
    if path.exists():
        return path
    name = str(spec)
    if name != path.name or name in ("", ".", ".."):
        raise MissingPart(f"no head model at {path}: {_WHERE}")
    folder = models_folder() / "heads"
    for candidate in (folder / name, *(folder / name / f"{name}{end}" for end in (".pkl",)), folder / f"{name}.pkl"):
        if candidate.exists():
            return candidate
    if path.suffix:
        raise MissingPart(f"no head model at {path}: {_WHERE}")
    known = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    raise ConfigError(
        f"no head model is called {name!r}; here are procedural-v1{''.join(f', {k}' for k in known)}; {_WHERE}"
    )


_WHERE = (
    "use the built-in procedural-v1; or register at https://flame.is.tue.mpg.de, download FLAME 2023 Open "
    "(flame2023_Open.pkl), or clone https://github.com/ICT-VGL/ICT-FaceKit, and give the path, or add it once: "
    "dialogbuild models add PATH"
)
