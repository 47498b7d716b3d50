import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogbuild.dataset import stats
from dialogbuild.dataset.splits import assign_splits, components

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


def test_merged_moments_are_those_of_all_rows():
    x = np.random.default_rng(0).normal(1000, 0.1, (500, 3))
    parts = [stats.moments(x[a:b]) for a, b in ((0, 7), (7, 7), (7, 300), (300, 500))]
    merged = stats.describe(stats.merge(parts))
    assert merged["count"] == 500
    assert merged["mean"] == pytest.approx(x.mean(0), rel=1e-12)
    assert merged["std"] == pytest.approx(x.std(0), rel=1e-6)
    assert merged["min"] == x.min(0).tolist()
    assert stats.describe(stats.merge([]))["count"] == 0
