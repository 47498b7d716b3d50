import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogbuild.dataset import stats
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.splits import assign_splits, components, moved

LINKS = st.dictionaries(
    st.integers(0, 200).map("clip{}".format),
    st.lists(st.integers(0, 60).map("person{}".format), min_size=1, max_size=3).map(tuple),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(LINKS)
def test_nothing_linked_is_ever_parted(links):
    split = assign_splits(links)
    where = {}
    for clip, members in links.items():
        for member in members:
            assert where.setdefault(member, split[clip]) == split[clip]


def test_a_chain_of_shared_persons_is_one_component():
    root = components([("a", "p1", "p2"), ("b", "p2", "p3"), ("c", "p9")])
    assert root["a"] == root["b"] != root["c"]


def test_one_video_lands_in_train_whatever_its_name():
    for i in range(50):
        assert set(assign_splits({f"v{i}_c000": (f"v{i}_p0", f"v{i}_p1")}).values()) == {"train"}


def test_shares_are_about_eighty_ten_ten():
    split = list(assign_splits({f"c{i}": (f"p{i}",) for i in range(4000)}).values())
    shares = [split.count(name) / len(split) for name in ("train", "val", "test")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_new_videos_and_lost_clips_move_nothing_that_was_there():
    old = {f"v{i:03d}_c{j}": (f"v{i:03d}_p0", f"v{i:03d}_p1") for i in range(40) for j in range(3)}
    more = old | {f"w{i:03d}_c0": (f"w{i:03d}_p0",) for i in range(40)}
    fewer = {clip: members for clip, members in more.items() if not clip.endswith("c0") or clip.startswith("w")}
    before, after, later = assign_splits(old), assign_splits(more), assign_splits(fewer)
    moved = [c for c in old if before[c] != after[c]]
    assert moved == []
    assert all(later[c] == after[c] for c in fewer)


def test_a_split_once_given_stays_even_where_the_hash_says_otherwise():
    links = {f"c{i}": (f"p{i}",) for i in range(200)}
    before = dict.fromkeys(links, "test")
    more = links | {f"d{i}": (f"q{i}",) for i in range(200)}
    after = assign_splits(more, before)
    assert moved(before, after) == {}
    fresh = [after[f"d{i}"] for i in range(200)]
    assert fresh == [assign_splits(more)[f"d{i}"] for i in range(200)], "new ones go by their hash alone"


def test_a_video_that_was_train_because_it_came_first_stays_there_when_others_come():
    """The hash of some lone video says test; the rule of the first one says train; later videos must not undo it."""
    for i in range(40):
        before = assign_splits({f"v{i}_c0": (f"v{i}_p0",)})
        after = assign_splits({f"v{j}_c0": (f"v{j}_p0",) for j in range(60)}, before)
        assert moved(before, after) == {}


@settings(max_examples=60, deadline=None)
@given(LINKS, st.randoms(use_true_random=False))
def test_only_components_that_are_joined_move_and_then_to_the_first_of_train_val_test(links, rng):
    before = {clip: rng.choice(("train", "val", "test")) for clip in links if rng.random() < 0.6}
    after = assign_splits(links, before)
    root = components((f"talk:{c}", *(f"id:{m}" for m in members)) for c, members in links.items())
    for clip, split in after.items():
        mine = [before[c] for c in before if root[f"talk:{c}"] == root[f"talk:{clip}"]]
        if mine:
            assert split == min(mine, key=("train", "val", "test").index)
    assert set(moved(before, after)) <= set(before)


def test_nothing_old_is_moved_to_train_because_train_became_empty():
    assert assign_splits({"a": ("p",)}, {"a": "test", "gone": "train"}) == {"a": "test"}
    assert assign_splits({"a": ("p",), "b": ("q",)}, {"a": "test"})["b"] == "train"


def values_of(rng, n):
    """Components of very different scales, signs and repetition."""
    zeros = np.where(rng.random(n) < 0.3, 0.0, rng.normal(size=n))
    scales = [rng.normal(1000, 0.1, n), rng.normal(0, 1e-3, n), zeros, rng.exponential(5, n), np.full(n, -2.5)]
    return np.stack(scales, 1)


@pytest.mark.parametrize("n", [1, 7, 5000])
def test_quantiles_are_within_their_stated_error_and_do_not_depend_on_how_rows_were_parted(n):
    rng = np.random.default_rng(n)
    x = values_of(rng, n)
    cuts = np.sort(rng.integers(0, n + 1, 5))
    parts = [stats.summary(p) for p in np.split(x, cuts)]
    merged = stats.merge_summaries(parts)
    assert merged["sketch"] == stats.sketch(x), "merging counts loses nothing"
    assert stats.unpack(stats.pack({"x": merged}))["x"] == merged
    shown = stats.describe(merged)
    for q in stats.QUANTILES:
        true = np.quantile(x, q, axis=0, method="lower")
        found = np.array(shown[f"q{round(100 * q):02d}"])
        allowed = np.maximum(stats.RELATIVE_ERROR * np.abs(true), stats.SMALLEST) * (1 + 1e-9)
        assert (np.abs(found - true) <= allowed).all(), q


def test_statistics_of_nothing_are_empty_and_a_quantile_of_nothing_is_an_error():
    none = stats.merge_summaries([stats.summary(np.zeros((0, 3)))])
    assert stats.describe(none)["q50"] == []
    with pytest.raises(ValueError, match="no value"):
        stats.quantile({"at": [], "n": []}, 0.5)


def test_published_statistics_are_those_of_the_fitted_rows(published):
    shown = json.loads((published / "meta" / "stats.json").read_text())
    opened = open_dataset(published)
    rows = {"all": [], "train": []}
    for row in opened.rows:
        for person in opened.read_clip(row["id"], ("motion",), audio=False).persons.values():
            fitted = person.motion["expr"][(person.motion["valid"] >> 1) & 1 == 1]
            rows["all"].append(fitted)
            if row["split"] == "train":
                rows["train"].append(fitted)
    for split, parts in rows.items():
        x = np.concatenate(parts).astype(np.float64)
        assert shown[split]["expr"]["count"] == len(x)
        assert shown[split]["expr"]["mean"] == pytest.approx(x.mean(0), abs=1e-9)
        assert shown[split]["expr"]["q90"] == pytest.approx(
            np.quantile(x, 0.9, axis=0, method="lower"), rel=0.0101, abs=1e-5
        )


def test_merged_moments_are_those_of_all_rows():
    x = np.random.default_rng(0).normal(1000, 0.1, (500, 3))
    parts = [stats.moments(x[a:b]) for a, b in ((0, 7), (7, 7), (7, 300), (300, 500))]
    merged = stats.describe(stats.merge(parts))
    assert merged["count"] == 500
    assert merged["mean"] == pytest.approx(x.mean(0), rel=1e-12)
    assert merged["std"] == pytest.approx(x.std(0), rel=1e-6)
    assert merged["min"] == x.min(0).tolist()
    assert stats.describe(stats.merge([]))["count"] == 0
