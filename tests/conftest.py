"""Fixtures that every part shares: the real clips where they are present, and one synthetic dialogue per session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from dialogbuild.synth import Truth

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """The folder of real test clips beside the checkout; tests skip where it is absent."""
    if not CLIPS.is_dir():
        pytest.skip(f"the real test clips are not at {CLIPS}: they may not be published, ask a maintainer")
    return CLIPS


@dataclass(frozen=True, eq=False)
class Clip:
    """A synthetic dialogue on disk and everything that is true about it."""

    path: Path
    truth: Truth


class MakeClip(Protocol):
    def __call__(self, suffix: str = ".mp4", **spec: Any) -> Clip: ...


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """Factory: ``make_clip(seed=3, layout="close_ups", suffix=".mkv")`` renders each spec once per session."""
    from dialogbuild.synth import DialogueSpec, make_dialogue

    folder = tmp_path_factory.mktemp("dialogues")
    made: dict[tuple[str, DialogueSpec], Clip] = {}

    def make(suffix: str = ".mp4", **values: Any) -> Clip:
        spec = DialogueSpec(**{"duration_s": 6.4, **values})
        if (suffix, spec) not in made:
            # A folder of its own: ingest takes every video of a folder, and truth lies beside its video.
            own = folder / f"d{len(made):02d}"
            own.mkdir()
            path = own / f"dialogue{suffix}"
            made[suffix, spec] = Clip(path, make_dialogue(spec, path))
        return made[suffix, spec]

    return make


@pytest.fixture(scope="session")
def dialogue(make_clip: MakeClip) -> Clip:
    """6.4 s, 640x360, 25 fps: two people in one shot, both speak, with an overlap and backchannels."""
    return make_clip()
