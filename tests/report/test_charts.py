import xml.etree.ElementTree as ET

import numpy as np
import pytest

from dialogbuild.report import charts
from dialogbuild.report.charts import Limit


def shapes(svg, name):
    return [e for e in ET.fromstring(svg).iter() if e.tag.split("}")[-1] == name]


def test_ticks_are_round_and_inside():
    assert charts.round_ticks(0.03, 1.0) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.round_ticks(-13, 13) == [-10, 0, 10]
    assert charts.round_ticks(5.12, 5.19) == [5.12, 5.14, 5.16, 5.18]


def test_a_histogram_counts_every_value_and_draws_every_limit():
    rng = np.random.default_rng(0)
    groups = {"accepted": rng.normal(2, 1, 300), "rejected": rng.normal(8, 1, 100)}
    svg = charts.histogram(groups, [(2.0, True, "good"), (8.0, False, "bad")], [Limit(5, "max", "err > 5")], "px")
    titles = [e.text for e in shapes(svg, "title")]
    counted = sum(int(t.split(": ")[1].split()[0]) for t in titles if "frames" in t)
    assert counted == 400
    assert "err > 5" in [e.text for e in shapes(svg, "text")]
    assert {"good", "bad"} <= set(titles)


def test_empty_and_constant_data_make_a_chart_too():
    for values in (np.zeros(0), np.full(5, 3.0)):
        chart = ET.fromstring(charts.histogram({"accepted": values, "rejected": np.zeros(0)}, [], [], "px"))
        assert chart.tag.endswith("svg")


def test_funnel_segments_are_as_long_as_their_counts():
    row = {
        "stage": "gate",
        "unit": "clip",
        "entered": 10,
        "ok": 7,
        "rejected": 2,
        "quarantined": 1,
        "lost": 0,
        "note": "",
    }
    bars = [float(e.get("width")) for e in shapes(charts.funnel_bars([row]), "rect")]
    assert np.array(bars) / sum(bars) == pytest.approx([0.7, 0.2, 0.1], abs=1e-3)


def test_runs_of_a_mask_are_half_open():
    assert charts.runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 2), (3, 4), (6, 7)]
    assert charts.runs(np.zeros(3, bool)) == []


def test_the_timeline_places_turns_by_time():
    n = 100
    p = {"A": np.full(n, 0.2), "B": np.full(n, 0.8)}
    turns = [
        {"role": "A", "start_tick": 0, "end_tick": 50, "kind": "turn"},
        {"role": "B", "start_tick": 50, "end_tick": 75, "kind": "backchannel"},
    ]
    unseen = {"A": np.zeros(n, bool), "B": np.arange(n) < 10}
    svg = charts.timeline(p, turns, np.zeros(n, bool), unseen, [10, 90])
    rects = {(e.find("{*}title").text): e for e in shapes(svg, "rect")}
    a, b = rects["A, turn: 0.00 to 2.00 s"], rects["B, backchannel: 2.00 to 3.00 s"]
    assert float(a.get("width")) == pytest.approx(2 * float(b.get("width")), rel=0.01)
    assert float(b.get("x")) == pytest.approx(float(a.get("x")) + float(a.get("width")), abs=0.1)
    assert "B is not seen" in rects


def test_markup_in_labels_is_escaped():
    chart = ET.fromstring(charts.hbars([("<b>&", 1.0, "1 < 2")]))
    words = "".join(chart.itertext())
    assert "<b>&" in words, "shown as text"
    assert "1 < 2" in words


def test_curves_over_time_break_where_there_is_no_value():
    a, b = np.full(100, 0.5), np.full(100, 1.0)
    a[40:60] = 0
    lines = shapes(charts.curves({"A": a, "B": b}, "sigma", "mm"), "polyline")
    assert len(lines) == 3
    first, second, whole = ([tuple(map(float, p.split(","))) for p in e.get("points").split()] for e in lines)
    assert [len(first), len(second), len(whole)] == [40, 40, 100]
    assert first[-1][0] < second[0][0]
    assert first[0][1] > whole[0][1], "a larger value lies higher"


def test_curves_of_nothing_are_an_empty_frame():
    assert shapes(charts.curves({"A": np.zeros(10)}, "sigma", "mm"), "polyline") == []
