"""The store of model files: what is added must load, is recorded with its hash, and is found by name."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from dialogbuild.artifact import file_sha256
from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.head import head_files, load_head
from dialogbuild.head.flame import N_EXPR, N_FACES, N_SHAPE, N_VERTICES
from dialogbuild.models import add, check, records, remove
from dialogbuild.models_cli import app
from dialogbuild.models_known import COMPANIONS, FLAME_FILES, KNOWN


def flame_pickle(seed: int) -> bytes:
    """Official keys and shapes, our own numbers."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((N_VERTICES, 5), np.float32)
    weights[:, 1] = 1
    arrays = {
        "v_template": rng.normal(size=(N_VERTICES, 3)).astype(np.float32) * 0.1,
        "f": rng.integers(0, N_VERTICES, (N_FACES, 3)).astype(np.uint32),
        "shapedirs": np.zeros((N_VERTICES, 3, N_SHAPE + N_EXPR), np.float32),
        "posedirs": np.zeros((N_VERTICES, 3, 36), np.float32),
        "J_regressor": sp.csc_matrix(np.full((5, N_VERTICES), 1 / N_VERTICES)),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.int64),
        "weights": weights,
    }
    return pickle.dumps(arrays, protocol=2)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("downloads")
    for k, name in enumerate(("flame2023_Open.pkl", "generic_model.pkl")):
        (folder / name).write_bytes(flame_pickle(k))
    (folder / "apart").mkdir()
    (folder / "apart" / "FLAME_masks.pkl").write_bytes(pickle.dumps({"lips": np.arange(9), "face": np.arange(99)}, 2))
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "data" / "dialogbuild" / "models"


def problems() -> dict[str, str]:
    return {found.place: found.problem for found in check()}


def test_an_added_head_is_found_by_name_and_is_the_same_model(downloads: Path, store: Path) -> None:
    direct = load_head(downloads / "flame2023_Open.pkl")
    added = add(downloads / "flame2023_Open.pkl")
    assert added.use == "--head flame2023_Open"
    assert "CC-BY-4.0" in added.licence
    found = load_head("flame2023_Open")
    assert (found.model_id, found.sha256) == (direct.model_id, direct.sha256)
    assert head_files("flame2023_Open") == [store / "heads" / "flame2023_Open" / "flame2023_Open.pkl"]
    assert problems() == {"heads/flame2023_Open": ""}


def test_an_unknown_name_lists_what_is_stored(downloads: Path, store: Path) -> None:
    add(downloads / "generic_model.pkl", "flame2020")
    with pytest.raises(MissingPart, match=r"flame2020.*models add"):
        load_head("flame2021")
    with pytest.raises(MissingPart, match="no head model"):
        load_head("../flame2020")


def test_a_changed_byte_is_seen_by_check(downloads: Path, store: Path) -> None:
    file = add(downloads / "flame2023_Open.pkl").path / "flame2023_Open.pkl"
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)
    assert "changed since it was added" in problems()["heads/flame2023_Open"]
    result = CliRunner().invoke(app, ["check"])
    assert (result.exit_code, "BROKEN" in result.output) == (1, True)
    shutil.rmtree(file.parent)
    assert "gone" in problems()["heads/flame2023_Open"]


def test_what_was_put_into_the_store_by_hand_is_named(downloads: Path, store: Path) -> None:
    (store / "heads" / "mine").mkdir(parents=True)
    assert "not in the record" in problems()["heads/mine"]


def test_a_mask_is_read_with_its_model_before_it_is_put_beside_it(downloads: Path, store: Path, tmp_path: Path) -> None:
    masks = downloads / "apart" / "FLAME_masks.pkl"
    with pytest.raises(ConfigError, match="none is stored yet"):
        add(masks)
    before = add(downloads / "flame2023_Open.pkl")
    bad = tmp_path / "FLAME_masks.pkl"
    bad.write_bytes(pickle.dumps({"lips": np.array([N_VERTICES])}, 2))
    with pytest.raises(ConfigError, match=r"masks\[lips\]"):
        add(bad)
    assert not (before.path / "FLAME_masks.pkl").exists()
    after = add(masks)
    assert after.sha256 != before.sha256
    assert set(load_head("flame2023_Open").masks) == {"lips", "face", "skin"}
    assert problems() == {"heads/flame2023_Open": ""}
    add(downloads / "generic_model.pkl", "flame2020")
    with pytest.raises(ConfigError, match="name it with --to"):
        add(masks)
    assert add(masks, to="flame2020").place == "heads/flame2020"


def test_another_model_never_replaces_one_silently(downloads: Path, store: Path, tmp_path: Path) -> None:
    first = add(downloads / "flame2023_Open.pkl")
    assert add(downloads / "flame2023_Open.pkl") == first, "the same again is no harm"
    other = tmp_path / "flame2023_Open.pkl"
    other.write_bytes(flame_pickle(7))
    with pytest.raises(ConfigError, match="--replace"):
        add(other)
    assert add(other, "second").place == "heads/second"
    replaced = add(other, replace=True)
    assert replaced.model_id != first.model_id
    assert load_head("flame2023_Open").model_id == replaced.model_id
    assert [p for p in (store / "heads").iterdir() if p.name.startswith(".")] == [], "nothing half-written stays"


def test_a_link_copies_nothing_and_keeps_to_its_file(downloads: Path, store: Path) -> None:
    added = add(downloads / "generic_model.pkl", "flame2020", link=True)
    assert (added.path / "generic_model.pkl").is_symlink()
    # beside the source lies another release, which must not be picked
    assert load_head("flame2020").sha256 == file_sha256(downloads / "generic_model.pkl")


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "procedural-v1", "x" * 80, "a b"])
def test_a_name_cannot_leave_the_store(downloads: Path, store: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a model's name"):
        add(downloads / "flame2023_Open.pkl", name)
    assert not store.exists()


class _Run:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_hostile_file_is_refused_not_run_and_not_stored(store: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    for name in ("flame2023.pkl", "weights.model"):
        (tmp_path / name).write_bytes(pickle.dumps({"v_template": _Run(proof)}, 2))
        with pytest.raises(ConfigError):
            add(tmp_path / name)
    assert not proof.exists()
    assert not store.exists()


def test_a_file_of_unknown_kind_or_version_says_what_is_known(downloads: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "FLAME_NEUTRAL.pkl").write_bytes((downloads / "flame2023_Open.pkl").read_bytes())
    with pytest.raises(ConfigError, match="as released"):
        add(tmp_path / "FLAME_NEUTRAL.pkl")
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"FLAME 2023 Open.*ICT-FaceKit"):
        add(tmp_path / "x.onnx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no model's folder"):
        add(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"generic_model\.pkl: give the path of one"):
        add(downloads)
    with pytest.raises(MissingPart, match="nothing at"):
        add(tmp_path / "absent.pkl")
    (tmp_path / "flame2023.pkl").write_bytes(pickle.dumps({"v_template": np.zeros((10, 3))}, 2))
    with pytest.raises(ConfigError, match="no FLAME model"):
        add(tmp_path / "flame2023.pkl")


def test_a_pipelines_folder_is_copied_with_everything_inside(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    (folder / "segmentation-3.0").mkdir(parents=True)
    (folder / "config.yaml").write_text("pipeline: {}\n")
    (folder / "segmentation-3.0" / "pytorch_model.bin").write_bytes(b"x")
    added = add(folder)
    assert (added.path / "segmentation-3.0" / "pytorch_model.bin").read_bytes() == b"x"
    assert added.use == f"--set diarize.pyannote_path={store / 'pipelines' / 'pipeline'}"
    assert problems() == {"pipelines/pipeline": ""}


def test_the_list_names_every_kind_and_says_what_is_here(downloads: Path, store: Path) -> None:
    before = CliRunner().invoke(app, ["list"]).output
    assert all(known.title in before and known.file in before for known in KNOWN.values())
    assert "absent  FLAME 2023 Open" in before
    shown = CliRunner().invoke(app, ["add", str(downloads / "flame2023_Open.pkl")])
    assert shown.exit_code == 0
    for wanted in ("CC-BY-4.0", records()[0].sha256, "--head flame2023_Open"):
        assert wanted in shown.output
    assert "ok      FLAME 2023 Open" in CliRunner().invoke(app, ["list", "--long"]).output


def test_the_record_can_be_read_by_other_programs(downloads: Path, store: Path) -> None:
    added = add(downloads / "flame2023_Open.pkl")
    record = json.loads((store / "models.json").read_text())["heads/flame2023_Open"]
    assert record["sha256"] == added.sha256
    assert record["files"] == ["flame2023_Open.pkl"]
    (store / "models.json").write_text('{"heads/x": {"files": 3}}')
    with pytest.raises(ConfigError, match="damaged record"):
        records()


def test_every_companion_and_flame_file_is_a_known_kind() -> None:
    assert set(COMPANIONS.values()) | set(FLAME_FILES.values()) <= set(KNOWN)


def test_a_copied_model_goes_only_when_told_so_and_says_what_it_freed(downloads: Path, store: Path) -> None:
    add(downloads / "flame2023_Open.pkl")
    kept = add(downloads / "generic_model.pkl", "flame2020")
    size = (downloads / "flame2023_Open.pkl").stat().st_size
    asked = CliRunner().invoke(app, ["remove", "flame2023_Open"])
    assert isinstance(asked.exception, ConfigError)
    assert "--yes" in str(asked.exception)
    assert load_head("flame2023_Open").model_id
    done = CliRunner().invoke(app, ["remove", "flame2023_Open", "--yes"])
    assert f"freed    {size / 1e6:.1f} MB" in done.output
    assert records() == [kept]
    assert problems() == {"heads/flame2020": ""}
    assert [path.name for path in (store / "heads").iterdir()] == ["flame2020"], "nothing hidden stays either"
    with pytest.raises(MissingPart, match="none stored by that name"):
        load_head("flame2023_Open")


def test_of_a_linked_model_only_the_link_goes(downloads: Path, store: Path) -> None:
    add(downloads / "generic_model.pkl", "flame2020", link=True)
    done = CliRunner().invoke(app, ["remove", "heads/flame2020"])
    assert (done.exit_code, "freed    0.0 MB" in done.output) == (0, True)
    assert (downloads / "generic_model.pkl").is_file()
    assert records() == []


@pytest.mark.parametrize(
    "name", ["flame2021", "../models.json", "heads/../heads/flame2020", "", "models.json", "heads"]
)
def test_an_unknown_name_is_refused_with_what_there_is(downloads: Path, store: Path, name: str) -> None:
    add(downloads / "generic_model.pkl", "flame2020")
    with pytest.raises(ConfigError, match=r"is not stored.*heads/flame2020"):
        remove(name, yes=True)
    assert problems() == {"heads/flame2020": ""}


@pytest.mark.parametrize("name", ["procedural-v1", "silero"])
def test_what_comes_with_a_package_stays(store: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="comes with a package"):
        remove(name, yes=True)


@pytest.mark.parametrize("place", ["heads/..", "../../precious", "heads/../../../precious", "/precious", "beside/x"])
def test_a_record_that_points_out_of_the_store_deletes_nothing(
    downloads: Path, store: Path, tmp_path: Path, place: str
) -> None:
    add(downloads / "generic_model.pkl", "flame2020")
    precious = tmp_path / "data" / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    entry = json.loads((store / "models.json").read_text())["heads/flame2020"]
    (store / "models.json").write_text(json.dumps({place: entry}))
    for name in (place, Path(place).name):
        with pytest.raises(ConfigError, match="is not stored"):
            remove(name, yes=True)
    assert (precious / "thesis.txt").is_file()
    assert (store / "heads" / "flame2020").is_dir()


def test_the_record_of_a_model_that_is_gone_can_be_removed(downloads: Path, store: Path) -> None:
    shutil.rmtree(add(downloads / "generic_model.pkl", "flame2020").path)
    assert remove("flame2020")[1] == 0
    assert records() == []
