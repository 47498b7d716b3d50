"""The built-in head, made by code from a few constants; see ``load_procedural``."""

from dialogbuild.head.procedural.build import LICENCE, MODEL_ID, load_procedural, source_files

__all__ = ["LICENCE", "MODEL_ID", "load_procedural", "source_files"]
