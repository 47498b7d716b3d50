import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fabricate import fabricate, shard_outcome

from dialogbuild.artifact import file_sha256, write_json
from dialogbuild.dataset.part import read_part
from dialogbuild.dataset.rows import bit, source_rows, turn_rows
from dialogbuild.dataset.schema import FAMILIES, MOTION, SAMPLES_PER_TICK
from dialogbuild.errors import DatasetError
from dialogbuild.media.audio import read_audio, to_pcm16, write_flac
from dialogbuild.media.channels import channel_levels
from dialogbuild.stages.shard import STAGE
from dialogbuild.tables import from_arrow, read_table, write_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp("shard") / "stages", n_ticks=100)


@pytest.fixture(scope="module")
def clip(made):
    return next(iter(made.clips))


@pytest.fixture(scope="module")
def part(made, clip, tmp_path_factory):
    return read_part(shard_outcome(STAGE, made, clip, tmp_path_factory.mktemp("work")).path)


def columns(part, family, person):
    table = part.table(family, part.tracks[person]["track_id"])
    return {name: from_arrow(table.column(name)) for name in table.column_names}


def test_every_tick_of_both_persons_has_one_row_in_every_family(part, made, clip):
    start, stop = made.clips[clip]
    for family in FAMILIES:
        for person in (0, 1):
            assert np.array_equal(columns(part, family, person)["tick"], np.arange(stop - start))


def test_unseen_ticks_are_neutral_flagged_and_black(part, made, clip):
    start, _ = made.clips[clip]
    unseen = slice(60 - start, 70 - start)
    marks, motion = columns(part, FAMILIES[1], 1), columns(part, MOTION, 1)
    assert not marks["crop_ok"][unseen].any()
    assert marks["crop_ok"].sum() == len(marks["crop_ok"]) - 10
    for name in ("box_px", "lmk_px", "lmk_z_px", "presence", "mask_box_px"):
        assert not marks[name][unseen].any(), name
    assert set(marks["mask_bits"][unseen]) == {bytes(512)}
    assert set(marks["mask_parts"][unseen]) == {bytes(1024)}
    assert not motion["valid"][unseen].any()
    assert not motion["expr"][unseen].any()
    frames = list(decode(part.directory / "media" / f"{clip}_p1.mp4"))
    levels = np.array([frame.max() for frame in frames])
    assert levels[unseen].max() < 8
    assert np.delete(levels, np.arange(*unseen.indices(len(levels)))).min() > 100


def decode(path):
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def test_audio_of_each_person_and_the_mix_is_exactly_640_samples_per_tick(part, made, clip):
    start, stop = made.clips[clip]
    n = (stop - start) * SAMPLES_PER_TICK
    source = read_audio(made.dirs["ingest"] / "audio.flac", start * SAMPLES_PER_TICK, stop * SAMPLES_PER_TICK)
    mix, a, b = (read_audio(part.directory / "media" / f"{clip}_{x}.flac") for x in ("mix", "p0", "p1"))
    assert len(mix) == len(a) == len(b) == n
    assert np.array_equal(mix, source)
    state = columns(part, MOTION, 0)["state"]
    both = np.repeat(np.convolve(state == 3, np.ones(3), "same") == 3, SAMPLES_PER_TICK)
    assert both.any()
    assert np.array_equal(a[both], mix[both])
    assert np.array_equal(b[both], mix[both])
    only_b = np.repeat(np.convolve(state == 2, np.ones(3), "same") == 3, SAMPLES_PER_TICK)
    assert np.abs(a[only_b]).mean() < 0.05 * np.abs(mix[only_b]).mean()


def test_stereo_channels_and_a_late_sound_reach_the_part(made, clip, part, tmp_path):
    start, stop = made.clips[clip]
    inputs, n = made.inputs(clip), len(read_audio(made.dirs["ingest"] / "audio.flac"))
    ingest, assign = (Path(shutil.copytree(inputs[name], tmp_path / name)) for name in ("ingest", "assign"))
    states = read_table(assign / "states.parquet")
    states["state"] = np.repeat(np.array([1, 2], np.int8), len(states["tick"]) // 2)
    states |= {f"p_speak_{k}": np.where(states["state"] == k + 1, 0.97, 0.03).astype(np.float32) for k in (0, 1)}
    write_table(assign / "states.parquet", states)
    state = np.repeat(states["state"], SAMPLES_PER_TICK)
    noise = 0.1 * np.random.default_rng(0).standard_normal((n, 2)).astype(np.float32)
    stereo = np.where(np.stack([state == 2, state == 1], axis=1), noise, 0.1 * noise)  # person 0 on the right
    write_flac(ingest / "channels.flac", [stereo], channels=2)
    level_db, _ = channel_levels(ingest / "channels.flac", SAMPLES_PER_TICK)
    write_table(ingest / "channels.parquet", {f"level_db_{k}": level_db[:, k].copy() for k in (0, 1)})
    offset = {"ms": 150.0, "sigma_ms": 50.25, "z": 8.0, "solo_s": 20.0, "reason": "ok"}
    write_json(assign / "assign.json", {"posterior": 0.99, "av_offset": offset})
    changed = type(inputs)(
        inputs.item, inputs.video_id, inputs.source, {**inputs.dirs, "ingest": ingest, "assign": assign}
    )
    (tmp_path / "out").mkdir()
    STAGE.run(changed, tmp_path / "out", STAGE.config(apply_av_offset=True))
    made_now = read_part(tmp_path / "out")
    talk, about = made_now.record["conversation"], made_now.record["sound"]
    assert (talk["av_offset_ms"], talk["av_offset_sigma_ms"], talk["av_offset_applied_ms"]) == (150.0, 50.25, 150.0)
    assert (about["applied_av_offset_ms"], about["channels"]["channel"]) == (150.0, [1, 0])
    assert [t["audio_method"] for t in made_now.tracks] == ["stereo", "stereo"]
    own = read_audio(made_now.directory / "media" / f"{clip}_p0.flac")
    there = min(len(own), n - start * SAMPLES_PER_TICK - 2400)
    stored = to_pcm16(stereo[start * SAMPLES_PER_TICK + 2400 :, 1]) / np.float32(32768)
    assert len(own) == (stop - start) * SAMPLES_PER_TICK
    assert np.array_equal(own[:there], stored[:there])
    for person in (0, 1):
        now, before = (columns(p, MOTION, person)["valid"] for p in (made_now, part))
        assert np.array_equal(bit(now, "sync_ok"), now > 0), "measured, and nothing is left after it was applied"
        assert not bit(before, "sync_ok").any(), "not measured, whatever the fit said"
        assert np.array_equal(now & ~np.uint32(16), before)


def test_turns_count_from_the_clip_and_are_cut_at_its_borders(part, made, clip):
    start, stop = made.clips[clip]
    turns = part.record["turns"]
    first = turns[0]
    assert (first["person"], first["start_tick"], first["clipped"]) == (0, 0, True)
    assert first["end_sample"] == round((50 / 25 + 0.01) * 16000) - start * SAMPLES_PER_TICK
    assert [t["turn"] for t in turns] == list(range(len(turns)))
    assert all(t["end_tick"] <= stop - start for t in turns)
    talk = part.record["conversation"]
    assert (talk["n_turns"], talk["n_backchannels"]) == (2, 1)
    assert talk["speak_s_0"] + talk["speak_s_1"] - talk["overlap_s"] + talk["silence_s"] == pytest.approx(
        (stop - start) / 25
    )


def test_a_turn_outside_the_clip_is_left_out():
    columns = {
        "person": np.array([0, 1]), "start_tick": np.array([0, 30]), "end_tick": np.array([10, 40]),
        "start_s": np.array([0, 1.2]), "end_s": np.array([0.4, 1.6]), "kind": np.array(["turn", "turn"]),
        "gap_s": np.zeros(2), "confidence": np.ones(2),
    }  # fmt: skip
    (turn,) = turn_rows(columns, "c", 20, 60)
    assert (turn["start_tick"], turn["end_tick"], turn["start_sample"]) == (10, 20, 6400)


def test_the_better_of_two_overlapping_tracks_is_taken_and_strangers_never():
    tracks = {
        "track": np.array([0, 0, 1, 1, 2]),
        "tick": np.array([5, 6, 6, 7, 8]),
        "score": np.array([0.5, 0.5, 0.9, 0.9, 1.0]),
    }
    people = {"track": np.array([0, 1, 2]), "person": np.array([0, 0, -1])}
    assert source_rows(tracks, people, 0, 4, 9).tolist() == [-1, 0, 2, 3, -1]
    assert source_rows(tracks, people, 1, 4, 9).tolist() == [-1] * 5


def test_the_part_lists_every_file_with_its_hash(part):
    listed = part.record["files"]
    there = {p.relative_to(part.directory).as_posix() for p in part.directory.rglob("*") if p.is_file()}
    assert set(listed) == there - {"clip.json", "_done.json"}
    assert all(file_sha256(part.directory / name) == entry["sha256"] for name, entry in listed.items())


def test_the_same_inputs_give_the_same_bytes(part, made, clip, tmp_path):
    again = shard_outcome(STAGE, made, clip, tmp_path).path
    for name in [*part.record["files"], "clip.json"]:
        assert (again / name).read_bytes() == (part.directory / name).read_bytes(), name


def test_landmarks_keep_a_128th_of_a_pixel(part, made, clip):
    start, stop = made.clips[clip]
    source = read_table(made.dirs["landmarks"] / "landmarks.parquet")
    mine = (source["track"] == 0) & (source["tick"] >= start) & (source["tick"] < stop)
    stored = columns(part, FAMILIES[1], 0)["lmk_px"]
    ok = source["ok"][mine]
    assert np.abs(stored[ok] - source["lmk_px"][mine][ok]).max() <= 1 / 128 + 1e-5
    assert not stored[~ok].any()


def test_moments_are_those_of_the_fitted_rows(part):
    expr = np.concatenate([columns(part, MOTION, k)["expr"][columns(part, MOTION, k)["valid"] > 0] for k in (0, 1)])
    found = part.record["moments"]["expr"]
    assert found["count"] == len(expr)
    assert found["mean"] == pytest.approx(expr.mean(0), abs=1e-5)


def test_a_fit_that_lacks_ticks_is_an_error_and_not_a_short_clip(made, clip, tmp_path):
    inputs = made.inputs(clip)
    broken = tmp_path / "fit"
    broken.mkdir()
    motion = read_table(inputs["fit_flame"] / "motion.parquet")
    write_table(broken / "motion.parquet", {name: values[1:] for name, values in motion.items()})
    quality = read_table(inputs["quality"] / "quality.parquet")
    (tmp_path / "quality").mkdir()
    write_table(tmp_path / "quality" / "quality.parquet", {name: values[1:] for name, values in quality.items()})
    dirs = {**inputs.dirs, "fit_flame": broken, "quality": tmp_path / "quality"}
    changed = type(inputs)(inputs.item, inputs.video_id, inputs.source, dirs)
    (tmp_path / "out").mkdir()
    with pytest.raises(DatasetError, match="fit_flame has 94 rows, the clip has 95 ticks"):
        STAGE.run(changed, tmp_path / "out", STAGE.config())


def test_tables_that_do_not_line_up_are_an_error(made, clip, tmp_path):
    inputs = made.inputs(clip)
    (tmp_path / "landmarks").mkdir()
    marks = read_table(inputs["landmarks"] / "landmarks.parquet")
    write_table(tmp_path / "landmarks" / "landmarks.parquet", {name: values[::-1] for name, values in marks.items()})
    changed = type(inputs)(
        inputs.item, inputs.video_id, inputs.source, {**inputs.dirs, "landmarks": tmp_path / "landmarks"}
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(DatasetError, match="have different rows"):
        STAGE.run(changed, tmp_path / "out", STAGE.config())


def test_conventions_name_the_model_and_its_coefficients(part):
    model = part.record["convention"]["head_model"]
    assert (model["model_id"], model["n_expr"], len(model["expr_names"])) == ("procedural-v1", 8, 8)
    assert json.dumps(part.record)  # no numpy value slipped in


def test_importing_the_stage_loads_no_heavy_library():
    heavy = "{'cv2', 'torch', 'mediapipe', 'numba', 'sklearn', 'plotly', 'jinja2'}"
    code = f"import sys, dialogbuild.stages.shard; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
