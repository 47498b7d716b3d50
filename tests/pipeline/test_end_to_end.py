"""From videos to a validated dataset: one real run over good and bad inputs, then what may be said of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dialogbuild import ledger
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.validate import validate
from dialogbuild.explain import explain_lines, status_lines
from dialogbuild.pipeline import Finished, Places, finish, run_stages
from dialogbuild.publish import Published
from dialogbuild.recipe import Recipe, load_recipe, override
from dialogbuild.stages import ORDER
from dialogbuild.synth import Truth, make_faulty
from dialogbuild.tables import read_table


@dataclass(frozen=True)
class Run:
    """A finished run and what went into it."""

    src: Path
    places: Places
    finished: Finished
    published: Published
    truth: Truth


def recipe(*settings: str) -> Recipe:
    return load_recipe("demo", ORDER, override(settings))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dialogue: Any, make_clip: Any) -> Run:
    root = tmp_path_factory.mktemp("run")
    src = root / "videos"
    src.mkdir()
    (src / "good.mp4").hardlink_to(dialogue.path)
    (src / "three_faces.mp4").hardlink_to(make_clip(faces=3, duration_s=5.2).path)
    (src / "nobody.mp4").hardlink_to(make_clip(faces=0, duration_s=3.0, width_px=320, height_px=180).path)
    (src / "one_face.mp4").hardlink_to(make_clip(faces=1, duration_s=5.2).path)
    (src / "silent.mp4").hardlink_to(make_clip(audio="silence", duration_s=5.2).path)
    (src / "no_audio.mp4").hardlink_to(make_clip(audio="none", duration_s=3.0, width_px=320, height_px=180).path)
    shutil.copy(dialogue.path, src / "truncated.mp4")
    for name in ("zero_bytes.mp4", "truncated.mp4", "text.mp4", "audio_only.m4a"):
        make_faulty(name.split(".")[0], src / name)  # type: ignore[arg-type]
    (src / "notes.md").write_text("not a medium")
    places = Places(root / "out")
    finished = run_stages(recipe(), src, places, workers=2, quiet=True)
    published = finish(places, finished, src)
    return Run(src, places, finished, published, dialogue.truth)


def ends(run: Run) -> dict[str, tuple[str, str, str | None]]:
    rows = [row for row in ledger.final_entries(run.finished.entries) if row.unit == "video"]
    return {Path(row.source).stem: (row.stage, row.status, row.reason) for row in rows}


def test_nothing_is_quarantined(run: Run) -> None:
    assert [(row.item, row.stage, row.reason) for row in run.finished.quarantined()] == []


@pytest.mark.parametrize(
    ("name", "stage", "reasons"),
    [
        ("zero_bytes", "ingest", {"empty_file"}),
        ("truncated", "ingest", {"truncated", "unreadable"}),
        ("text", "ingest", {"not_a_video"}),
        ("audio_only", "ingest", {"not_a_video"}),
        ("no_audio", "ingest", {"no_audio"}),
        ("nobody", "tracks", {"no_face"}),
        ("three_faces", "assign", {"too_many_people"}),
        ("one_face", "assign", {"not_a_dialogue"}),
        ("silent", "assign", {"no_speech"}),
    ],
)
def test_unsuitable_input_is_rejected_where_it_shows_with_a_fitting_reason(
    run: Run, name: str, stage: str, reasons: set[str]
) -> None:
    where, status, reason = ends(run)[name]
    assert (where, status) == (stage, "rejected")
    assert reason in reasons


def test_the_good_video_reaches_the_dataset_beside_all_the_bad_ones(run: Run) -> None:
    assert ends(run)["good"][1] == "ok"
    assert run.published.clips >= 1
    assert validate(run.places.dataset, deep=True) == []


def test_files_that_are_no_media_are_named_not_swallowed(run: Run) -> None:
    assert [path.name for path in run.finished.ignored] == ["notes.md"]


def test_the_dataset_holds_both_people_over_the_whole_clip(run: Run) -> None:
    dataset = open_dataset(run.places.dataset)
    row = next(row for row in dataset.rows if row["id"].startswith("good"))
    clip = dataset.read_clip(row["id"])
    a, b = (clip.persons[role] for role in ("A", "B"))
    assert len(a.motion["expr"]) == len(b.motion["expr"]) == row["n_ticks"]
    assert a.audio is not None
    assert len(a.audio) == row["n_ticks"] * 640
    assert np.isfinite(a.motion["transl_m"]).all()


def test_the_good_clip_was_fitted_to_its_pixels_which_brought_colours_nearer(run: Run) -> None:
    fit = json.loads(next((run.places.work / "fit_flame").glob("good*/*/fit.json")).read_text())
    assert (fit["method"], fit["method_reason"]) == ("photometric", "")
    for person in fit["persons"].values():
        assert person["share_by_reason"]["ok"] > 0.9
        assert person["median_psnr_db"] > person["median_psnr_landmarks_db"] + 0.5
    clip = open_dataset(run.places.dataset).read_clip()
    assert np.median(clip.persons["A"].quality["colour_psnr_db"]) > 28


def test_the_two_people_are_told_left_from_right_with_their_own_voices(run: Run) -> None:
    folder = next((run.places.work / "assign").glob("good*/*"))
    persons = read_table(folder / "persons.parquet")
    states = read_table(folder / "states.parquet")
    for person, side in zip(persons["person"], persons["side"], strict=True):
        true = next(p.person for p in run.truth.persons if p.side == side)
        speaks = states[f"p_speak_{person}"] > 0.5
        own, other = run.truth.speaking[:, true], run.truth.speaking[:, 1 - true]
        assert (speaks == own).mean() > 0.8 > (speaks == other).mean()


def test_the_same_run_again_computes_nothing_and_commits_nothing(run: Run) -> None:
    again = run_stages(recipe(), run.src, run.places, workers=2, quiet=True)
    assert again.computed == 0
    published = finish(run.places, again, run.src)
    assert (published.created, published.commit) == (False, run.published.commit)


def test_a_retuned_gate_recomputes_only_gates_and_explain_names_the_threshold(run: Run) -> None:
    name = next(iter(type(recipe().configs["gate"]).model_fields))
    value = recipe().configs["gate"].model_dump()[name]
    retuned = run_stages(recipe(f"gate.{name}={value * 1.01}"), run.src, run.places, workers=1, quiet=True)
    n_clips = sum(row.stage == "gate" for row in retuned.entries)
    assert retuned.computed == n_clips
    text = "\n".join(explain_lines(run.places.out, "good"))
    assert "good" in text
    clip = next(row.item for row in retuned.entries if row.stage == "gate")
    assert f"gate.{name} {value}" in "\n".join(explain_lines(run.places.out, clip))
    run_stages(recipe(), run.src, run.places, workers=1, quiet=True)


def test_status_counts_every_input(run: Run) -> None:
    lines = status_lines(run.places.out)
    assert sum(line.startswith(("good", "text", "truncated", "zero_bytes")) for line in lines) == 4


def test_the_report_shows_the_funnel_with_its_reasons(run: Run) -> None:
    page = run.places.report.read_text()
    for word in ("empty_file", "not_a_video", "no_audio", "no_face", "Funnel"):
        assert word in page
    assert "data:image/jpeg" in page, "the filmstrip is embedded"


def test_the_run_left_a_log_of_every_outcome(run: Run) -> None:
    log = sorted((run.places.work / "_run").glob("*Z.jsonl"))[0]
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert {row["reason"] for row in rows if row.get("status") == "rejected"} >= {"empty_file", "no_audio"}
