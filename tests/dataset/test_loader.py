"""A run that is interrupted anywhere goes on with exactly the batches that it had not seen."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from dialogbuild.dataset import DialogLoader, DialogWindows, open_dataset
from dialogbuild.errors import ConfigError

BATCH = 3


@pytest.fixture(scope="module")
def windows(published: Path, tmp_path_factory: pytest.TempPathFactory) -> DialogWindows:
    split = open_dataset(published).rows[0]["split"]
    cache = tmp_path_factory.mktemp("cache")
    return DialogWindows(published, split, 10, 6, columns=("jaw_rad",), audio=False, cache=cache)


def loader(windows, workers=0, **options):
    return DialogLoader(windows, BATCH, seed=5, num_workers=workers, **options)


def name(batch):
    return tuple(zip(batch["clip_id"], batch["start_tick"].tolist(), strict=True))


def batches(source, epochs=2):
    """Names of all batches up to the end of epoch ``epochs - 1``, and the state after each."""
    out = []
    while source.epoch < epochs:
        for batch in source:
            out.append((name(batch), json.loads(json.dumps(source.state_dict()))))
    return out


def test_an_epoch_shows_every_window_once_in_another_order_than_the_next(windows):
    run = [n for n, _ in batches(loader(windows))]
    half = len(run) // 2
    one, two = (list(itertools.chain(*part)) for part in (run[:half], run[half:]))
    everything = sorted(windows.where(k) for k in range(len(windows)))
    assert sorted(one) == sorted(two) == everything
    assert one != two
    assert len(loader(windows)) == half


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
@pytest.mark.parametrize("workers", [0, 2, 4])
def test_the_sequence_does_not_depend_on_workers_and_resumes_after_any_step(windows, workers):
    """Workers read ahead; the state must not count what the loop was not given."""
    want = batches(loader(windows))
    assert batches(loader(windows, workers)) == want
    # starting workers costs: without them every step is tried, with them some
    steps = range(len(want)) if workers == 0 else (0, len(want) // 2 - 1, len(want) // 2 + 1)
    for step in steps:
        resumed = loader(windows, workers)
        resumed.load_state_dict(want[step][1])
        assert batches(resumed) == want[step + 1 :]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_that_was_left_goes_on(windows, workers):
    want = [n for n, _ in batches(loader(windows), 1)]
    source = loader(windows, workers, persistent_workers=workers > 0)
    seen = []
    for batch in source:
        seen.append(name(batch))
        if len(seen) == 2:
            break
    assert len(source) == len(want) - 2
    seen += [name(batch) for batch in source]
    assert seen == want
    assert source.epoch == 1


def test_spawned_workers_give_the_same_batches(windows):
    want = [n for n, _ in batches(loader(windows), 1)]
    assert [name(b) for b in loader(windows, 1, multiprocessing_context="spawn")] == want


@pytest.mark.parametrize("uneven", ["repeat", "drop"])
def test_two_ranks_take_equally_many_batches_and_share_none(windows, uneven):
    ranks = [[name(b) for b in loader(windows, rank=r, world=2, uneven=uneven)] for r in (0, 1)]
    assert len(ranks[0]) == len(ranks[1])
    assert [len(b) for b in ranks[0]] == [len(b) for b in ranks[1]]
    one, two = (list(itertools.chain(*r)) for r in ranks)
    assert len(set(one) & set(two)) == (len(windows) % 2 if uneven == "repeat" else 0)
    assert len(set(one) | set(two)) == len(windows) - (len(windows) % 2 if uneven == "drop" else 0)


def test_ranks_resume_together_from_one_ranks_state(windows):
    want = [batches(loader(windows, rank=r, world=2), 1) for r in (0, 1)]
    for rank in (0, 1):
        resumed = loader(windows, rank=rank, world=2)
        resumed.load_state_dict(want[0][0][1])
        assert batches(resumed, 1) == want[rank][1:]


def test_a_state_of_other_windows_is_refused(windows, published, tmp_path):
    state = loader(windows).state_dict()
    split = open_dataset(published).rows[0]["split"]
    other = DialogWindows(published, split, 10, 5, columns=("jaw_rad",), audio=False, cache=tmp_path)
    with pytest.raises(ConfigError, match="does not fit this data"):
        loader(other).load_state_dict(state)


def test_a_loader_without_a_batch_says_so_instead_of_looping_for_ever(windows, published, tmp_path):
    split = open_dataset(published).rows[0]["split"]
    with pytest.raises(ConfigError, match="in 0 windows"):
        loader(DialogWindows(published, split, 5000, audio=False, cache=tmp_path))
    with pytest.raises(ConfigError, match="rank 1 of 99"):
        loader(windows, rank=1, world=99, uneven="drop")


def test_set_epoch_starts_over_only_in_another_epoch(windows):
    source = loader(windows)
    first = name(next(iter(source)))
    source.set_epoch(0)
    assert len(source) == len(loader(windows)) - 1
    source.set_epoch(1)
    source.set_epoch(0)
    assert name(next(iter(source))) == first
