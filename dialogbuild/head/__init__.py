"""Head models and how they are posed: plain arrays, numpy and scipy only."""

from __future__ import annotations

from pathlib import Path

from dialogbuild.head.model import HeadModel

__all__ = ["HeadModel", "head_files", "load_head"]

PROCEDURAL = "procedural-v1"


def load_head(spec: str | Path = PROCEDURAL) -> HeadModel:
    """A head by name or file.

    Args:
        spec: ``procedural-v1`` for the built-in head, the name of a model that ``dialogbuild models add`` has
            stored, or a path: of an official FLAME pickle or its folder, or of the folder of ICT-FaceKit.

    Raises:
        ConfigError: the name is unknown or the file is no head model.
        MissingPart: the file does not exist; the message says where to get it.
    """
    if str(spec) == PROCEDURAL:
        from dialogbuild.head.procedural import load_procedural

        return load_procedural()
    from dialogbuild.head.ict import find_ict, load_ict
    from dialogbuild.head.store import stored_head

    path = stored_head(spec)
    if find_ict(path) is not None:
        return load_ict(path)
    from dialogbuild.head.flame import load_flame

    return load_flame(path)


def head_files(spec: str | Path = PROCEDURAL) -> list[Path]:
    """The files whose content decides what ``load_head(spec)`` gives: constants and code, or a model's files.

    Raises:
        MissingPart: the file does not exist; the message says where to get it.
    """
    if str(spec) == PROCEDURAL:
        from dialogbuild.head.procedural import source_files

        return source_files()
    from dialogbuild.head.ict import find_ict, ict_files
    from dialogbuild.head.store import stored_head

    path = stored_head(spec)
    if find_ict(path) is not None:
        return ict_files(path)
    from dialogbuild.head.flame import flame_files

    return flame_files(path)
