"""diarize with turns that somebody brings, and what then enters the key."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from spoken import Spoken, spoken

from dialogbuild.artifact import Inputs
from dialogbuild.dialogue.backends.rttm import RttmError, parse_rttm
from dialogbuild.dialogue.turns import rttm
from dialogbuild.errors import ConfigError
from dialogbuild.recipe import parse_recipe
from dialogbuild.runner import Plan, VideoState
from dialogbuild.sources import Source
from dialogbuild.stages.diarize import STAGE, Config
from dialogbuild.tables import read_table


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Spoken:
    return spoken(tmp_path_factory.mktemp("brought"), seed=3, duration_s=10.0)


def written(talk: Spoken) -> list[tuple[str, float, float]]:
    return [(f"guest {t.person}".replace(" ", "_"), t.start_s, t.end_s) for t in talk.truth.turns]


def run(talk: Spoken, out: Path, **config: object) -> dict[str, object]:
    out.mkdir()
    STAGE.run(talk.inputs(STAGE), out, Config.model_validate({"embedding": "spectral", **config}))
    facts: dict[str, object] = json.loads((out / "voices.json").read_text())
    return facts


def test_a_brought_rttm_fills_the_same_tables_as_the_offline_backend(talk: Spoken, tmp_path: Path) -> None:
    (tmp_path / "talk.rttm").write_text(rttm(written(talk), "anything"))
    brought = run(talk, tmp_path / "brought", backend="rttm", rttm_dir=str(tmp_path))
    offline = run(talk, tmp_path / "offline")
    assert offline.keys() <= brought.keys()
    assert (brought["backend"], brought["n_voices"], brought["doubtful"]) == ("rttm", 2, False)
    for name in ("vad", "voices", "embeddings", "turns"):
        ours, theirs = (read_table(tmp_path / kind / f"{name}.parquet") for kind in ("brought", "offline"))
        assert {n: (c.dtype, c.ndim) for n, c in ours.items()} == {n: (c.dtype, c.ndim) for n, c in theirs.items()}


def test_the_turns_come_back_as_they_were_brought(talk: Spoken, tmp_path: Path) -> None:
    (tmp_path / "all.rttm").write_text(rttm(written(talk), "talk") + rttm([("x", 0.0, 9.0)], "other"))
    run(talk, tmp_path / "out", backend="rttm", rttm_dir=str(tmp_path / "all.rttm"))
    spans = parse_rttm((tmp_path / "out" / "diarize.rttm").read_text(), "out")["talk"]
    first = min(talk.truth.turns, key=lambda t: t.start_s).person
    expected = sorted((t.start_s, t.end_s, t.person) for t in talk.truth.turns)
    found = sorted((a, b, first if name == "voice_0" else 1 - first) for name, a, b in spans)
    assert np.allclose([row[:2] for row in found], [row[:2] for row in expected], atol=2e-3)
    assert [row[2] for row in found] == [row[2] for row in expected]


def test_a_video_without_its_rttm_fails_alone_and_says_where_it_is_looked_for(talk: Spoken, tmp_path: Path) -> None:
    with pytest.raises(RttmError, match=r"talk\.rttm does not exist") as caught:
        run(talk, tmp_path / "out", backend="rttm", rttm_dir=str(tmp_path))
    assert not isinstance(caught.value, ConfigError)  # that would stop the run for every other video


@pytest.mark.parametrize(("backend", "needs"), [("pyannote", "pyannote_path"), ("rttm", "rttm_dir")])
def test_a_backend_without_what_it_needs_is_refused_before_anything_runs(backend: str, needs: str) -> None:
    with pytest.raises(ValidationError, match=f"backend = '{backend}' needs {needs}"):
        Config.model_validate({"backend": backend})
    with pytest.raises(ConfigError, match=rf"\[diarize\].*needs {needs}"):
        parse_recipe({"diarize": {"backend": backend}}, ("ingest", "diarize"))


def key_of(talk: Spoken, tmp_path: Path, stem: str, **config: str) -> str:
    recipe = parse_recipe({"diarize": {"embedding": "spectral", **config}}, ("ingest", "diarize"))
    plan = Plan(recipe, tmp_path / "work")
    state = VideoState(Source(stem, tmp_path / f"{stem}.mp4", "0" * 64, 1, (1, 1)))
    return plan.job(recipe.stage("diarize"), stem, state, {}).key


def test_only_the_video_whose_rttm_changed_is_done_again(talk: Spoken, tmp_path: Path) -> None:
    def keys() -> list[str]:
        return [key_of(talk, tmp_path, stem, backend="rttm", rttm_dir=str(tmp_path)) for stem in ("a", "b")]

    missing = keys()
    (tmp_path / "a.rttm").write_text(rttm([("x", 0.0, 1.0)], "a"))
    (tmp_path / "b.rttm").write_text(rttm([("x", 0.0, 1.0)], "b"))
    before = keys()
    (tmp_path / "b.rttm").write_text(rttm([("x", 0.0, 1.1)], "b"))
    after = keys()
    assert (before[0], before[1]) != (missing[0], missing[1])
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_changed_model_of_the_pipeline_changes_the_key(talk: Spoken, tmp_path: Path) -> None:
    """Also where two files agree in their own and their folder's names."""
    for part in ("a/net", "b/net"):
        (tmp_path / "pipe" / part).mkdir(parents=True)
        (tmp_path / "pipe" / part / "pytorch_model.bin").write_text("weights")
    (tmp_path / "pipe" / "config.yaml").write_text("pipeline: {}")
    keys = set()
    for content in ("weights", "other"):
        for part in ("a/net", "b/net"):
            (tmp_path / "pipe" / part / "pytorch_model.bin").write_text(content)
            keys.add(key_of(talk, tmp_path, "a", backend="pyannote", pyannote_path=str(tmp_path / "pipe")))
    assert len(keys) == 3


def test_a_pipeline_that_is_not_there_stops_before_anything_runs(talk: Spoken, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder with a config"):
        key_of(talk, tmp_path, "a", backend="pyannote", pyannote_path=str(tmp_path))


def test_the_sources_name_finds_the_rttm_not_the_id(talk: Spoken, tmp_path: Path) -> None:
    (tmp_path / "My Talk.rttm").write_text(rttm([("x", 0.0, 1.0)], "whatever"))
    inputs: Inputs = replace(talk.inputs(STAGE), video_id="my_talk-0a1b2c3d", source=Path("in/My Talk.mp4"))
    STAGE.run(inputs, tmp_path, Config(backend="rttm", rttm_dir=str(tmp_path), embedding="spectral"))
    facts = json.loads((tmp_path / "voices.json").read_text())
    assert (facts["n_voices"], facts["labels"], facts["speech_s"]) == (1, ["x"], 1.0)
