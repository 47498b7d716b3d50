"""Networks that the user brings: tiny ones are made here and run by the real runtime."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.faces import onnx as own

onnx = pytest.importorskip("onnx", reason="onnx makes the files of these tests")
pytest.importorskip("onnxruntime")


def network(path: Path, inputs: list[str], shape: list[object], kind: int = onnx.TensorProto.FLOAT) -> Path:
    """y = x + x of a given shape; what else is listed as an input is not used."""
    values = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    out = onnx.helper.make_tensor_value_info("y", kind, shape)
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "x"], ["y"])], "g", values, [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def test_a_network_is_run_on_what_it_declares(tmp_path: Path) -> None:
    session = own.load_session(network(tmp_path / "twice.onnx", ["x"], ["batch", 3, 4, 4]), "parsing")
    assert session.input_shape == (None, 3, 4, 4)
    own.require_input(session, (1, 3, 4, 4), "a test")
    assert own.require_output(session, (1, 3, None, None), "a test") == 0
    image = np.random.default_rng(0).random((1, 3, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(session(image)[0], 2 * image)


def test_a_wrong_shape_or_type_is_told_before_anything_runs(tmp_path: Path) -> None:
    session = own.load_session(network(tmp_path / "small.onnx", ["x"], [1, 3, 4, 4]), "parsing")
    with pytest.raises(ConfigError, match="takes 1x3x4x4, but a parser takes 1x3x512x512"):
        own.require_input(session, (1, 3, 512, 512), "a parser")
    with pytest.raises(ConfigError, match="gives 1x3x4x4, but a parser gives 1x19"):
        own.require_output(session, (1, 19, 512, 512), "a parser")
    whole = own.load_session(network(tmp_path / "whole.onnx", ["x"], [1, 3], onnx.TensorProto.INT64), "parsing")
    with pytest.raises(ConfigError, match="int64"):
        own.require_input(whole, (1, 3), "a parser")


def test_an_input_that_breaks_its_own_declaration_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    session = own.load_session(network(tmp_path / "small.onnx", ["x"], [1, 3, 4, 4]), "parsing")
    with pytest.raises(ConfigError, match=r"small\.onnx cannot be run"):
        session(np.zeros((1, 3, 5, 5), np.float32))


def test_what_is_no_network_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_bytes(b"not a network")
    with pytest.raises(ConfigError, match=r"text\.onnx is no ONNX network"):
        own.load_session(tmp_path / "text.onnx", "parsing")
    with pytest.raises(ConfigError, match="there is no file"):
        own.load_session(tmp_path / "absent.onnx", "parsing")
    with pytest.raises(ConfigError, match="2 inputs"):
        own.load_session(network(tmp_path / "two.onnx", ["x", "z"], [1, 3]), "parsing")


def test_weights_in_another_file_are_refused_because_the_hash_would_not_see_them(tmp_path: Path) -> None:
    w = onnx.numpy_helper.from_array(np.ones((1, 3), np.float32), "w")
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 3]) for n in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [w])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(ConfigError, match=r"m\.onnx"):
        own.load_session(tmp_path / "m.onnx", "parsing")


def test_a_missing_runtime_is_told_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPart, match=r"pip install 'dialogbuild\[parsing\]'"):
        own.load_session(network(tmp_path / "a.onnx", ["x"], [1, 3]), "parsing")
