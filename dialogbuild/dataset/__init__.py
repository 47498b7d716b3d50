"""The dataset: format, writer's parts, validator and readers. Readers load torch only when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dialogbuild.dataset.loader import DialogLoader
    from dialogbuild.dataset.reader import open_dataset
    from dialogbuild.dataset.reading import Frames
    from dialogbuild.dataset.sampler import DialogSampler
    from dialogbuild.dataset.stream import DialogStream
    from dialogbuild.dataset.windows import DialogWindows, Keep

__all__ = ["DialogLoader", "DialogSampler", "DialogStream", "DialogWindows", "Frames", "Keep", "open_dataset"]

_HOME = {
    "DialogLoader": "loader",
    "DialogSampler": "sampler",
    "DialogStream": "stream",
    "DialogWindows": "windows",
    "Frames": "reading",
    "Keep": "windows",
    "open_dataset": "reader",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use. AttributeError for any other."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
