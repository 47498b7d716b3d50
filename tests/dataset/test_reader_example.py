"""The example of docs/training.md trains, and goes on exactly where it was stopped."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from dialogbuild.dataset import open_dataset

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "train_listener.py"


@pytest.fixture
def example(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec = importlib.util.spec_from_file_location("train_listener", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_steps_and_two_more_are_four_steps(example, published, tmp_path):
    split = str(open_dataset(published).rows[0]["split"])

    def train(state, steps):
        options = f"--split {split} --steps {steps} --batch 2 --ticks 20 --workers 0".split()
        return example.main(example.arguments([str(published), *options, "--state", str(tmp_path / state)]))

    before = example.Listener(16)
    whole = train("whole.pt", 4)
    train("parts.pt", 2)
    parts = train("parts.pt", 4)
    for name, value in whole.state_dict().items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, parts.state_dict()[name]), name
        assert not torch.equal(value, before.state_dict()[name]), name


def test_the_page_shows_the_example_as_it_is():
    page = (EXAMPLE.parents[1] / "docs" / "training.md").read_text()
    code = EXAMPLE.read_text()
    shown = code[code.index("def inputs_and_targets") : code.index("def arguments")].strip()
    assert shown in page
    assert len(shown.splitlines()) <= 50
