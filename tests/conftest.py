"""Fixtures that every part shares: the real clips where they are present, and one synthetic dialogue per session."""

from __future__ import annotations

from pathlib import Path

import pytest

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """The folder of real test clips beside the checkout; tests skip where it is absent."""
    if not CLIPS.is_dir():
        pytest.skip(f"the real test clips are not at {CLIPS}: they may not be published, ask a maintainer")
    return CLIPS
