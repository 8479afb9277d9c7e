"""What may lie in a model folder: every way in which a file can lie is refused from its bytes, before a library opens it."""
from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.engine.models_stage import INDEX, WEIGHTS, make_model

from engine.errors import ModelError
from engine.models import admission
from engine.models.admission import Tensor, admit_name, check_folder, check_json, header


def written(path, fields, body=b"", length=None):
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def a_tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_an_honest_file_is_read(tmp_path):
    save_file({"a": np.zeros((2, 3), np.float16), "b": np.zeros(5, np.int64), "empty": np.zeros((0, 4), np.float32)}, tmp_path / "a.safetensors",
              metadata={"format": "pt"})
    tensors, metadata = header(tmp_path / "a.safetensors")
    assert tensors == {"a": Tensor("F16", (2, 3)), "b": Tensor("I64", (5,)), "empty": Tensor("F32", (0, 4))} and metadata == {"format": "pt"}


def test_tensor_names_are_only_names(tmp_path):
    tensors, _ = header(written(tmp_path / "a.safetensors", {"../../evil": a_tensor()}, b"x" * 8))
    assert list(tensors) == ["../../evil"] and [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("fields, body, length", [
    (b"", b"", 0), ({"a": a_tensor()}, b"x" * 8, 10**9), ({"a": a_tensor()}, b"x" * 8, 2**63), (b"[]", b"", None), (b"{nonsense", b"", None),
    ({"a": a_tensor()}, b"x" * 7, None), ({"a": a_tensor()}, b"x" * 9, None),
    ({"a": a_tensor(), "b": a_tensor()}, b"x" * 8, None), ({"a": a_tensor(offsets=(4, 12))}, b"x" * 12, None),
    ({"a": a_tensor(offsets=(8, 0))}, b"x" * 8, None), ({"a": a_tensor(shape=(3,))}, b"x" * 8, None), ({"a": a_tensor(shape=(-2,))}, b"x" * 8, None),
    ({"a": a_tensor(shape=(True, 2))}, b"x" * 8, None), ({"a": a_tensor(dtype="PICKLE")}, b"x" * 8, None), ({"a": [1]}, b"", None),
    ({"n" * 2000: a_tensor()}, b"x" * 8, None), ({"__metadata__": 3}, b"", None), (b"[" * 100_000, b"", None),
    (b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', b"", None)])
def test_a_lying_header_is_refused(tmp_path, fields, body, length):
    with pytest.raises(ModelError, match="damaged"):
        header(written(tmp_path / "a.safetensors", fields, body, length))


def test_too_many_tensors_are_refused(tmp_path):
    fields = {f"t{number}": a_tensor("U8", (0,), (0, 0)) for number in range(admission.TENSORS + 1)}
    with pytest.raises(ModelError, match="too many"):
        header(written(tmp_path / "a.safetensors", fields))


@pytest.mark.parametrize("cut", [0, 3, 8, 40, -1])
def test_a_truncated_file_is_refused(tmp_path, cut):
    save_file({"a": np.zeros(64, np.float32)}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:cut])
    with pytest.raises(ModelError, match="damaged"):
        header(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["a/model.safetensors", "model-00001-of-00002.safetensors", "spiece.model", "a b (2).json"])
def test_plain_names_are_admitted(name):
    assert str(admit_name(name)) == name


@pytest.mark.parametrize("name", ["../a.json", "/a.json", "a/../b.json", "a\\b.json", "C:a.json", "a//b.json", "", ".hidden.json", "a/.b.json",
                                  "con.json", "a/NUL", "a.json.", "a.json ", "a\n.json", "a\u202e.json", "a" * 500, "a/b/c/d/e/f/g.json", "ä.json"])
def test_other_names_are_not(name):
    with pytest.raises(ModelError):
        admit_name(name)


@pytest.mark.parametrize("value, sentence", [
    ({"_class_name": ["a", "B"]}, "would load code"), ({"_class_name": {"a": 1}}, "would load code")])
def test_a_class_by_list_is_refused_in_any_configuration(tmp_path, value, sentence):
    (tmp_path / "config.json").write_text(json.dumps(value))
    with pytest.raises(ModelError, match=sentence):
        check_json(tmp_path / "config.json")


@pytest.mark.parametrize("component", [["os", "system"], ["unet", "Evil"], ["diffusers", "a.b"], ["diffusers"], ["diffusers", 3], ["", "A"],
                                       ["transformers.models", "A"]])
def test_a_component_from_elsewhere_is_refused(tmp_path, component):
    make_model(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({**INDEX, "vae": component}))
    with pytest.raises(ModelError, match="not a library"):
        check_folder(tmp_path)


@pytest.mark.parametrize("index", ["{}", "[]", "nonsense", '{"_class_name": 3}', "\x00\x01", "[" * 100_000])
def test_an_index_that_names_no_pipeline_is_refused(tmp_path, index):
    make_model(tmp_path)
    (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(ModelError):
        check_folder(tmp_path)


def test_a_whole_folder_is_listed(tmp_path):
    make_model(tmp_path)
    (tmp_path / "README.md").write_text("read me")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "hook.py").write_text("evil")
    names = check_folder(tmp_path)
    assert WEIGHTS in names and "model_index.json" in names and "README.md" not in names and len(names) == 10


@pytest.mark.parametrize("name", ["transformer/weights.bin", "custom.py", "vae/a.ckpt", "a.pt", "text_encoder/x.pkl", "lib.so"])
def test_a_folder_with_code_in_it_is_refused(tmp_path, name):
    (make_model(tmp_path) / name).write_bytes(b"x")
    with pytest.raises(ModelError, match="could run code"):
        check_folder(tmp_path)


def test_missing_components_and_shards_are_said(tmp_path):
    make_model(tmp_path)
    (tmp_path / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {"a": "diffusion_pytorch_model-00002-of-00002.safetensors"}}))
    with pytest.raises(ModelError, match="lacks diffusion_pytorch_model-00002-of-00002.safetensors"):
        check_folder(tmp_path)
    (tmp_path / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {"a": "../vae/diffusion_pytorch_model.safetensors"}}))
    with pytest.raises(ModelError, match="not a safetensors file beside it"):
        check_folder(tmp_path)
    (tmp_path / f"{WEIGHTS}.index.json").unlink()
    for file in (tmp_path / "vae").iterdir():
        file.unlink()
    with pytest.raises(ModelError, match="lacks vae"):
        check_folder(tmp_path)
