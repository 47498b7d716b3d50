from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogbuild.media.clock import FPS, count_ticks, frame_table, is_vfr, samples_per_tick, tick_table


def table(pts: list[int], last: int, base: Fraction):
    return frame_table(np.array(pts), last, np.ones(len(pts), bool), base)


def shown_at(pts: list[int], end: int, base: Fraction, tick: int, fps: Fraction) -> int | None:
    """The definition, literally: the frame whose presentation interval holds the tick's centre."""
    centre = (tick + Fraction(1, 2)) / fps
    for i, (a, b) in enumerate(zip(pts, [*pts[1:], end], strict=True)):
        if (a - pts[0]) * base <= centre < (b - pts[0]) * base:
            return i
    return None


def test_video_at_25_fps_maps_every_tick_to_its_own_frame():
    ticks = tick_table(table([512 * i for i in range(50)], 512, Fraction(1, 12800)))
    assert ticks.frame.tolist() == list(range(50))
    assert not ticks.repeated.any()
    assert ticks.pts.tolist() == [512 * i for i in range(50)]


def test_50_fps_takes_the_second_frame_of_each_pair_because_the_centre_is_its_start():
    ticks = tick_table(table(list(range(20)), 1, Fraction(1, 50)))
    assert ticks.frame.tolist() == list(range(1, 20, 2))


def test_12_5_fps_shows_each_frame_twice_and_flags_the_second():
    ticks = tick_table(table([2 * i for i in range(5)], 2, Fraction(1, 25)))
    assert ticks.frame.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert ticks.repeated.tolist() == [False, True] * 5


def test_a_start_offset_does_not_move_the_ticks():
    pts = [0, 3003, 6006, 9009, 12012]
    late = [p + 132_000_000_123 for p in pts]
    a, b = (tick_table(table(p, 3003, Fraction(1, 90000))) for p in (pts, late))
    assert a.frame.tolist() == b.frame.tolist()
    assert b.pts[0] == late[0]


def test_two_hours_of_2997_fps_end_on_the_right_frame_without_drift():
    n = 215_784  # 7200 s
    base = Fraction(1001, 30000)
    ticks = tick_table(table(list(range(n)), 1, base))
    assert len(ticks.pts) == round(n * base * 25)
    for k in (0, 1, 99_999, len(ticks.pts) - 1):
        assert ticks.frame[k] == ((k + Fraction(1, 2)) / 25) // base


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=40),
    st.sampled_from([Fraction(1, 1000), Fraction(1, 90000) * 37, Fraction(1001, 30000) / 50, Fraction(1, 12800) * 9]),
    st.sampled_from([FPS, Fraction(30000, 1001), Fraction(24)]),
    st.integers(-(10**9), 10**12),
)
def test_any_irregular_timing_agrees_with_the_definition(steps, base, fps, start):
    pts = [start, *(start + int(s) for s in np.cumsum(steps[:-1]))]
    end = pts[-1] + steps[-1]
    ticks = tick_table(table(pts, steps[-1], base), fps)
    n = len(ticks.pts)
    assert shown_at(pts, end, base, n, fps) is None, "a further tick would still have a frame"
    assert n == 0 or shown_at(pts, end, base, n - 1, fps) is not None
    for k in {0, n // 3, n // 2, n - 1} if n else ():
        assert ticks.frame[k] == shown_at(pts, end, base, k, fps)
        assert ticks.repeated[k] == (k > 0 and ticks.frame[k] == ticks.frame[k - 1])


def test_duration_rounds_to_the_nearest_tick_and_half_a_tick_rounds_down():
    ms = Fraction(1, 1000)
    assert [count_ticks(d, ms) for d in (0, 20, 21, 40, 60, 61, 1000)] == [0, 0, 1, 1, 1, 2, 25]


def test_unknown_last_duration_takes_the_median_interval():
    assert table([0, 40, 80, 130], 0, Fraction(1, 1000)).duration.tolist() == [40, 40, 50, 40]


@pytest.mark.parametrize("pts", [[], [0, 40, 40], [0, 40, 20]])
def test_times_that_do_not_increase_are_refused(pts):
    with pytest.raises(ValueError, match="strictly increasing"):
        table(pts, 40, Fraction(1, 1000))


def test_a_time_base_too_fine_for_64_bits_is_refused_not_wrapped():
    with pytest.raises(ValueError, match="too fine"):
        tick_table(table([0, 2**61], 1, Fraction(1, 10**9 + 7)))


def test_rounded_constant_rate_is_not_called_vfr_but_a_dropped_frame_is():
    base = Fraction(1, 1000)
    assert not is_vfr(table([0, 33, 67, 100, 133], 33, base))
    assert is_vfr(table([0, 33, 67, 133, 167], 33, base))


def test_a_tick_has_640_samples_and_an_uneven_rate_is_refused():
    assert samples_per_tick() == 640
    with pytest.raises(ValueError, match="whole number"):
        samples_per_tick(Fraction(30000, 1001))
