"""The order of training: a permutation, the same everywhere, shared out without gaps, and resumable."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogbuild.dataset.sampler import DialogSampler, permute
from dialogbuild.errors import ConfigError


@given(st.integers(1, 700), st.integers(0, 2**63), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_shuffle_is_a_permutation_of_any_length(n, seed, epoch):
    assert sorted(permute(np.arange(n), n, seed, epoch)) == list(range(n))


def test_the_order_is_pinned_because_a_saved_state_relies_on_it():
    """If this fails, saved states of earlier versions continue another sequence: raise STATE_VERSION."""
    assert permute(np.arange(10), 10, 7, 3).tolist() == [5, 2, 8, 0, 1, 9, 7, 3, 6, 4]
    assert permute(np.array([0, 1, 999_999]), 1_000_000, 0, 0).tolist() == [605726, 96156, 453503]


def test_every_item_comes_equally_often_at_every_place():
    n, epochs = 10, 1500
    counts = np.zeros((n, n))
    for epoch in range(epochs):
        counts[np.arange(n), permute(np.arange(n), n, 1, epoch)] += 1
    chi2 = ((counts - epochs / n) ** 2 / (epochs / n)).sum()
    assert chi2 < 81 + 5 * np.sqrt(2 * 81), "81 degrees of freedom, five deviations"


def test_neighbours_are_torn_apart():
    order = permute(np.arange(10_000), 10_000, 0, 0)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(order, permute(np.arange(10_000), 10_000, 0, 1))[0, 1]) < 0.05


@pytest.mark.parametrize("n", [0, 1, 7, 12, 13])
@pytest.mark.parametrize("world", [1, 2, 5])
def test_ranks_are_complete_and_of_equal_length(n, world):
    ranks = [list(DialogSampler(n, seed=2, rank=r, world=world)) for r in range(world)]
    assert {len(r) for r in ranks} == {-(-n // world)}
    flat = [k for rank in ranks for k in rank]
    assert set(flat) == set(range(n))
    assert len(flat) - len(set(flat)) == -n % world, "only what fills up the last round is repeated"


@pytest.mark.parametrize("world", [2, 3, 5])
def test_dropping_makes_ranks_disjoint(world):
    ranks = [list(DialogSampler(13, seed=2, rank=r, world=world, uneven="drop")) for r in range(world)]
    assert {len(r) for r in ranks} == {13 // world}
    flat = [k for rank in ranks for k in rank]
    assert len(flat) == len(set(flat))


def test_two_ranks_of_an_even_set_share_nothing_and_miss_nothing():
    one, two = (list(DialogSampler(14, seed=4, rank=r, world=2)) for r in (0, 1))
    assert sorted(one + two) == list(range(14))


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 60), st.sampled_from(["repeat", "drop"]))
@settings(max_examples=60, deadline=None)
def test_resuming_after_any_step_continues_the_sequence(n, world, steps, uneven):
    def sampler(rank):
        return DialogSampler(n, seed=3, rank=rank, world=world, uneven=uneven)

    def run(s, count):
        out = []
        while len(out) < count:
            epoch = list(s)
            if not epoch:  # "drop" with fewer items than ranks
                return out
            out.append((s.epoch, epoch[0]))
            s.consume(1)
        return out

    whole = run(sampler(world - 1), steps + 5)
    first = sampler(world - 1)
    run(first, steps)
    resumed = sampler(world - 1)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert run(resumed, 5) == whole[steps:]


def test_a_run_may_go_on_with_another_number_of_ranks():
    before = [DialogSampler(24, seed=5, rank=r, world=2) for r in range(2)]
    seen = [k for s in before for k in list(s)[:3]]
    for s in before:
        s.consume(3)
    after = [DialogSampler(24, rank=r, world=3) for r in range(3)]
    for s in after:
        s.load_state_dict(before[0].state_dict())
    rest = [k for s in after for k in s]
    assert sorted(seen + rest) == list(range(24))


def test_too_many_ranks_for_what_is_left_begin_the_next_epoch():
    before = DialogSampler(10, world=2, uneven="drop")
    before.consume(4)
    after = DialogSampler(10, world=3, uneven="drop")
    after.load_state_dict(before.state_dict())
    assert (after.epoch, len(after)) == (1, 3)


def test_a_state_of_other_data_is_refused_and_not_silently_replayed():
    state = DialogSampler(10, fingerprint="a").state_dict()
    for other in (DialogSampler(11, fingerprint="a"), DialogSampler(10, fingerprint="b")):
        with pytest.raises(ConfigError, match="does not fit this data"):
            other.load_state_dict(state)
    with pytest.raises(ConfigError, match="version"):
        DialogSampler(10, fingerprint="a").load_state_dict({**state, "version": 0})


def test_an_epoch_is_left_as_it_was_by_looking_at_it():
    sampler = DialogSampler(9, seed=1)
    assert list(sampler) == list(sampler)
    sampler.set_epoch(1)
    again = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) != again


def test_impossible_ranks_are_named():
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        DialogSampler(4, rank=2, world=2)
