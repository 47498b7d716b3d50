import numpy as np
import pytest

from dialogbuild.artifact import Outcome
from dialogbuild.report.records import funnel, read_records, stage_times, to_records
from dialogbuild.tables import write_table


def row(stage, item, status="ok", unit="video", **more):
    video = item.split("_c")[0]
    return {"stage": stage, "item": item, "status": status, "unit": unit, "video_id": video, **more}


def test_every_stage_adds_up_and_hands_on_what_was_ok():
    steps = funnel(
        to_records(
            [
                row("ingest", "a", hours=1.0),
                row("ingest", "b", hours=2.0),
                row("ingest", "c", "rejected", reason="no_audio"),
                row("tracks", "a", hours=1.0),
                row("tracks", "b", "quarantined", reason="OSError", hours=2.0),
                row("fit", "a_c000", unit="clip", hours=0.5),
                row("fit", "a_c001", "rejected", unit="clip", reason="small_face", hours=0.4),
            ]
        )
    )
    assert [(s.stage, s.entered, s.ok, s.rejected, s.quarantined) for s in steps] == [
        ("ingest", 3, 2, 1, 0),
        ("tracks", 2, 1, 0, 1),
        ("fit", 2, 1, 1, 0),
    ]
    assert all(s.adds_up for s in steps)
    assert [(x.reason, x.count) for x in steps[2].losses] == [("small_face", 1)]
    assert [s.hours_in for s in steps] == pytest.approx([3.0, 3.0, 0.9])
    assert [s.hours_ok for s in steps] == pytest.approx([3.0, 1.0, 0.5])


def test_an_item_without_an_outcome_is_unaccounted():
    steps = funnel(to_records([row("ingest", "a"), row("ingest", "b"), row("tracks", "a")]))
    assert not steps[1].adds_up
    assert steps[1].unaccounted == ("b",)


def test_a_clip_that_segment_cut_and_no_stage_took_is_unaccounted(tmp_path):
    write_table(tmp_path / "clips.parquet", {"clip_id": np.array(["a_c000", "a_c001"], object)})
    records = [row("segment", "a", path=str(tmp_path)), row("fit", "a_c000", unit="clip")]
    assert funnel(to_records(records))[1].unaccounted == ("a_c001",)


def test_a_video_that_failed_in_one_branch_is_not_counted_again_in_the_other():
    """tracks and diarize both follow ingest: a video without faces may still have its voices measured."""
    steps = funnel(
        to_records([row("ingest", "a"), row("tracks", "a", "rejected", reason="no_face"), row("diarize", "a")])
    )
    assert [(s.stage, s.entered) for s in steps] == [("ingest", 1), ("tracks", 1), ("diarize", 0)]
    assert sum(s.rejected + s.quarantined for s in steps) == 1
    assert all(s.adds_up for s in steps)


def test_outcomes_of_the_runner_are_taken_as_they_are(tmp_path):
    outcome = Outcome("ingest", "a", "k", "rejected", tmp_path, "no_audio", {"streams": 0}, 1.5)
    (record,) = to_records([outcome])
    assert (record.stage, record.reason, record.values, record.wall_s) == ("ingest", "no_audio", {"streams": 0}, 1.5)
    assert record.path == str(tmp_path)


def test_an_outcome_without_a_status_is_refused():
    with pytest.raises(KeyError, match="an outcome lacks status"):
        to_records([{"stage": "ingest", "item": "a"}])


def test_a_folder_in_which_nothing_ran_has_no_records(tmp_path):
    assert read_records(tmp_path) == []
    assert funnel([]) == []


def test_times_add_up_per_stage():
    times = stage_times(to_records([row("fit", "a", wall_s=2.0), row("fit", "b", wall_s=5.0), row("gate", "a")]))
    assert [(t.stage, t.items, t.wall_s, t.slowest_s) for t in times] == [("fit", 2, 7.0, 5.0), ("gate", 1, 0.0, 0.0)]
