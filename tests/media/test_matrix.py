"""Every container, codec and oddity of the matrix: no wrong frame, sound within a millisecond, or a refusal by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from media_matrix import CASES, Case, check, make, missing_part


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_frames_and_sound_are_where_the_file_says_or_it_is_refused_by_name(folder: Path, case: Case) -> None:
    lacking = missing_part(case)
    if lacking is not None:
        pytest.skip(f"the installed ffmpeg has no {lacking}")
    found = check(case, make(case, folder), folder / f"{case.name}.out")
    assert found.rejected == case.rejects
    assert found.wrong_frames == 0
    assert found.av_error_ms < 1.0
    assert {key: found.record.get(key) for key in case.record} == case.record
    if case.rejects is None:
        assert found.frames >= len(case.expected_s()) - case.lost


def test_the_matrix_is_as_large_as_it_claims() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


def test_a_truth_that_is_off_by_one_frame_or_two_milliseconds_would_be_seen(folder: Path) -> None:
    case = next(case for case in CASES if case.name == "fps2997.mkv")
    path = make(case, folder)
    late = check(replace(case, first=1, n=case.n + 1), path, folder / "late.out")
    assert late.wrong_frames >= case.n - 1
    assert check(replace(case, audio_shift_s=0.002), path, folder / "shifted.out").av_error_ms > 1.5
