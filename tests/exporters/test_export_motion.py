"""Each test reads an export by the rule of its consumer's own loader, written here from the loader's description."""

import io
import json

import lmdb
import numpy as np
import pytest
import soundfile
from scipy.spatial.transform import Rotation

from dialogbuild.dataset.exporters import artalk, dualtalk, unils

LONG, SHORT = "speaker1.talk_c000", "talk-35_c000"


def total_rotation(motion):
    """Root and neck in one, by another library than the package's own."""
    both = Rotation.from_rotvec(motion["root_rad"]) * Rotation.from_rotvec(motion["neck_rad"])
    return both.as_rotvec().astype(np.float32)


@pytest.fixture(scope="module")
def for_dualtalk(flame, tmp_path_factory):
    out = tmp_path_factory.mktemp("x") / "data"
    return out, dualtalk.export(flame, out)


def dualtalk_windows(folder):
    """DualTalk's and TIMAR's rule: pairs by name, T > 200, windows of 200 frames, 128,000 samples; exp, jaw, neck."""
    items = []
    for path in sorted(folder.glob("*speaker1*.wav")):
        window = {}
        for side in ("speaker1", "speaker2"):
            name = path.name.replace("speaker1", side)
            stem = name.split(".")[0]
            audio, rate = soundfile.read(folder / name, dtype="float32")
            assert (rate, audio.ndim) == (16000, 1)
            data = np.load(folder / f"{stem}.npz")
            motion = np.concatenate([data["exp"], data["pose"][:, 3:], data["pose"][:, :3]], axis=1)
            count = len(motion) // 200 if len(motion) > 200 else 0
            window[side] = [
                (audio[i * 128000 : (i + 1) * 128000], motion[i * 200 : (i + 1) * 200]) for i in range(count)
            ]
        items.append((path.stem, window))
    return items


def test_dualtalk_every_file_holds_exactly_one_window_so_its_loader_cannot_repeat_the_last(for_dualtalk):
    out, report = for_dualtalk
    items = dualtalk_windows(out / "train")
    assert len(items) == 1
    for name, window in items:
        assert "." not in name
        assert name.count("speaker") == 1, "files are paired by replacing speaker1, which may occur once"
        for side in window.values():
            assert len(side) == 1
            audio, motion = side[0]
            assert audio.shape == (128000,)
            assert motion.shape == (200, 56)
            assert motion.dtype == np.float32, "TIMAR does not cast"
    assert report.clips == (LONG,)
    assert any(what == SHORT and "no 201 ticks" in why for what, why in report.dropped)


def test_dualtalk_values_are_the_datasets_at_the_ticks_where_both_are_fitted(for_dualtalk, flame):
    out, _ = for_dualtalk
    clip = flame.read_clip(LONG)
    start, stop = 65, clip.n_ticks  # video ticks 60 to 69 of person 1 are not fitted; the clip begins at tick 5
    for number, role in enumerate("AB", 1):
        person = clip.persons[role]
        motion = {k: v[start:stop] for k, v in person.motion.items()}
        (path,) = (out / "train").glob(f"*speaker{number}.npz")
        data = np.load(path)
        shapes = {"exp": 50, "pose": 6, "shape": 100, "tex": 50, "cam": 3}
        n = stop - start
        assert {k: v.shape for k, v in data.items()} == {**{k: (n, w) for k, w in shapes.items()}, "light": (n, 9, 3)}
        assert {v.dtype for v in data.values()} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(data["exp"], motion["expr"][:, :50])
        np.testing.assert_array_equal(data["pose"][:, 3:], motion["jaw_rad"])
        np.testing.assert_allclose(data["pose"][:, :3], total_rotation(motion), atol=1e-6)
        np.testing.assert_array_equal(data["shape"], np.repeat(person.shape[None, :100], n, 0))
        audio, _ = soundfile.read(path.with_suffix(".wav"), dtype="float32")
        np.testing.assert_array_equal(audio, person.audio[start * 640 : stop * 640])
        assert len(audio) == n * 640


def test_dualtalk_the_camera_puts_the_head_where_the_crop_shows_it(for_dualtalk, flame):
    out, _ = for_dualtalk
    clip = flame.read_clip(LONG)
    (path,) = (out / "train").glob("*speaker1.npz")
    cam = np.load(path)["cam"]
    person, t = clip.persons["A"], 100
    x, y, z = person.motion["transl_m"][t].astype(float)
    track = person.track
    source = np.array([track["focal_px"] * x / z + track["cx_px"], track["focal_px"] * y / z + track["cy_px"], 1])
    crop = person.landmarks["crop_m"][t].reshape(2, 3).astype(float) @ source
    s, tx, ty = cam[t - 65].astype(float)
    np.testing.assert_allclose([(s * tx + 1) * 256, (1 - s * ty) * 256], crop, atol=1e-2)


def test_timar_finds_the_statistics_it_cannot_start_without(for_dualtalk):
    out, _ = for_dualtalk
    stats = json.loads((out / "stat_flame.json").read_text())
    assert {k: (len(v["mean"]), len(v["std"])) for k, v in stats.items()} == {
        "exp": (50, 50),
        "jawpose": (3, 3),
        "neck": (3, 3),
    }
    data = [np.load(p) for p in sorted((out / "train").glob("*.npz"))]
    for name, rows in (
        ("exp", [d["exp"] for d in data]),
        ("jawpose", [d["pose"][:, 3:] for d in data]),
        ("neck", [d["pose"][:, :3] for d in data]),
    ):
        stacked = np.concatenate(rows).astype(np.float64)
        np.testing.assert_allclose(stats[name]["mean"], stacked.mean(0), atol=1e-9)
        np.testing.assert_allclose(stats[name]["std"], stacked.std(0), atol=1e-9)


def test_dualtalk_has_the_three_folders_even_where_one_is_empty(for_dualtalk):
    out, _ = for_dualtalk
    assert {p.name for p in out.iterdir() if p.is_dir()} == {"train", "test", "ood"}
    record = json.loads((out / "export.json").read_text())
    assert record["folders"] == {"train": "train", "val": "ood", "test": "test"}
    assert (record["rotation"], record["order"]) == ("head", "exp50 jaw3 neck3")


@pytest.mark.parametrize("which", ["root", "neck"])
def test_dualtalk_rotation_is_the_one_that_was_asked_for_and_is_declared(flame, tmp_path, which):
    dualtalk.export(flame, tmp_path / "d", dualtalk.DualTalkOptions(rotation=which))
    (path,) = (tmp_path / "d" / "train").glob("*speaker2.npz")
    rows = flame.read_clip(LONG).persons["B"].motion[f"{which}_rad"][65:]
    np.testing.assert_array_equal(np.load(path)["pose"][:, :3], rows)
    assert json.loads((tmp_path / "d" / "export.json").read_text())["rotation"] == which


@pytest.fixture(scope="module")
def for_unils(flame, tmp_path_factory):
    out = tmp_path_factory.mktemp("x") / "unils"
    return out, unils.export(flame, out)


def unils_records(out, split):
    """UniLS's rule: pairs longer than 101, keys into an LMDB opened read-only without a lock, 108 of the columns."""
    env = lmdb.open(str(out / "data_lmdb"), readonly=True, lock=False, readahead=False, meminit=True)
    with env, env.begin(write=False) as transaction:
        pairs = [p for p in json.loads((out / "pairs.json").read_text())[split].values() if p[2] > 101]
        for a, b, n in pairs:
            sides = []
            for key in (a, b):
                payload = np.load(io.BytesIO(transaction.get(key.encode())))
                audio, code = payload["audio"], payload["motioncode"]
                motion = np.concatenate([code[:, :104], code[:, 106:108], code[:, 109:111]], axis=1)
                sides.append((audio[: int(n * 640.0)], motion, payload["speech_mask"]))
            yield n, sides


@pytest.mark.parametrize(("split", "clip_id"), [("train", LONG), ("val", SHORT)])
def test_unils_reads_both_sides_with_lengths_that_fit(for_unils, flame, split, clip_id):
    out, _ = for_unils
    ((n, sides),) = unils_records(out, split)
    clip = flame.read_clip(clip_id)
    start = clip.n_ticks - n
    for number, (role, (audio, motion, mask)) in enumerate(zip("AB", sides, strict=True), 1):
        rows = {k: v[start:] for k, v in clip.persons[role].motion.items()}
        assert audio.shape == (n * 640,)
        assert motion.shape == (n, 108)
        assert mask.shape == (n,)
        assert {audio.dtype, motion.dtype, mask.dtype} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(motion[:, :100], rows["expr"])
        np.testing.assert_allclose(motion[:, 100:103], total_rotation(rows), atol=1e-6)
        np.testing.assert_array_equal(motion[:, 103], rows["jaw_rad"][:, 0])
        np.testing.assert_array_equal(motion[:, 104:], rows["eyes_rad"][:, [0, 1, 3, 4]])
        np.testing.assert_array_equal(mask, np.isin(rows["state"], (number, 3)))
        np.testing.assert_array_equal(audio, clip.persons[role].audio[start * 640 :])
    assert 0 < sides[0][2].mean() < 1, "a mask that never changes would prove nothing"


def test_unils_statistics_are_of_the_columns_that_are_taken(for_unils):
    out, _ = for_unils
    stats = json.loads((out / "motion_stats.json").read_text())
    motion = np.concatenate([side[1] for _, sides in unils_records(out, "train") for side in sides]).astype(np.float64)
    np.testing.assert_allclose(stats["motion_mean"], motion.mean(0), atol=1e-9)
    np.testing.assert_allclose(stats["motion_std"], motion.std(0), atol=1e-9)
    assert len(stats["motion_std"]) == 108


def test_artalk_chunks_are_whole_and_in_step(flame, tmp_path):
    artalk.export(flame, tmp_path / "a")
    root = tmp_path / "a" / "train"
    entries = json.loads((root / "metadata.json").read_text())
    clip = flame.read_clip(LONG)
    ends = {"A": [(0, clip.n_ticks)], "B": [(0, 55), (65, clip.n_ticks)]}
    assert len(entries) == 3
    for entry, (role, (a, b)) in zip(entries, [(r, s) for r in "AB" for s in ends[r]], strict=True):
        motion = np.load(root / entry["motion_path"])
        audio, rate = soundfile.read(root / entry["audio_path"], dtype="float32")
        person = clip.persons[role]
        assert motion.shape == (b - a, 106)
        assert motion.dtype == np.float32
        np.testing.assert_array_equal(motion[:, :100], person.motion["expr"][a:b])
        np.testing.assert_array_equal(motion[:, 103:], person.motion["jaw_rad"][a:b])
        np.testing.assert_array_equal(audio, person.audio[a * 640 : b * 640])
        assert entry["duration"] * rate == len(audio)
    for split in ("val", "test"):
        assert (tmp_path / "a" / split / "metadata.json").is_file()
