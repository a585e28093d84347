"""Folders that somebody damaged, by chance or on purpose: an error or the right model, and nothing else."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import resource
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.modules import module as torch_module

from egat_hub.core.files import read_json
from egat_hub.hub import from_pretrained
from tests.hub.conftest import images

NAMES = ("config.json", "egat.json", "model.safetensors")
DEEP = "[" * 100_000 + "]" * 100_000
RAW = (
    "NaN",
    "-Infinity",
    "1e999",
    "9" * 30,
    "9" * 5000,
    DEEP,
    '{"a":' * 40 + "1" + "}" * 40,
    '"\\ud800"',
    "",
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 7, 2**31, 10**9, 10**18, 1.5, 1e300, -1e-300),
    *("", "x" * 1000, "\x00", "\x1b[2J", "../../../etc/passwd", "/dev/zero", "hf-hub:org/other", "os.system"),
    *("vit_giant_patch14_224", "test_vit"),
    *([], [[]], [10**9] * 3, [0, 0, 0], [3, 64, 64], [1, 64, 64], ["a", "a", "b"], ["dog", "owl", "cat"]),
    *({}, {"a": {"b": 1}}),
)
ARGUMENTS = (
    *("img_size", "depth", "embed_dim", "layers", "channels", "num_heads", "in_chans", "patch_size"),
    *("act_layer", "block", "norm_layer", "global_pool", "drop_path_rate", "features_only", "out_indices"),
    *("checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "dtype"),
    *("device", "scriptable", "__class__"),
)
CONFIG_KEYS = (
    "url",
    "file",
    "hf_hub_id",
    "state_dict",
    "custom_load",
    "input_size",
    "mean",
    "std",
    "crop_pct",
)
GROWTH = 300_000
"""Kilobytes by which the process may grow over all folders; one absurd tensor takes gigabytes."""


class Executed:
    """A pickle that leaves a trace when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


@pytest.fixture(scope="module")
def sound(small_model) -> dict[str, bytes]:
    return {name: (small_model / name).read_bytes() for name in NAMES}


@pytest.fixture(scope="module")
def logits(small_model) -> torch.Tensor:
    with torch.no_grad():
        return from_pretrained(small_model)(images())


@pytest.fixture
def place(tmp_path) -> Path:
    """Where to put a folder; afterwards nothing else may be there, and nothing may have grown."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH
    assert not torch_module._global_parameter_registration_hooks


@torch.no_grad()
def outcome(folder: Path, contents: dict[str, bytes], logits: torch.Tensor) -> str:
    """The error that loading ends in, or nothing if the right model was loaded."""
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        (folder / name).write_bytes(contents[name])
    message = ""
    try:
        classifier = from_pretrained(folder)
    except ValueError as error:
        message = str(error)
    if message:
        assert str(folder) in message
        assert len(message) < 1500
        return message
    found = classifier(images())
    assert found.shape == logits.shape
    assert (found - logits).abs().max() < 0.01 * logits.abs().max()
    return ""


def edited(content: bytes, keys: tuple[str, ...], value: Any) -> bytes:
    tree = json.loads(content)
    node = tree
    for key in keys[:-1]:
        node = node.setdefault(key, {})
    node[keys[-1]] = value
    return json.dumps(tree).encode()


def with_header(content: bytes, change) -> bytes:
    """A weights file with another header, as its length says."""
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    header = change(header) or header
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def paths(node: Any, start: tuple = ()) -> list[tuple]:
    """Where values lie in a JSON tree."""
    found = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found += [(*start, key), *paths(value, (*start, key))]
    return found


def replaced(tree: Any, path: tuple, value: Any) -> Any:
    tree = copy.deepcopy(tree)
    node = tree
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = copy.deepcopy(value)
    return tree


@st.composite
def damaged_json(draw, content: bytes, keys: tuple[str, ...]) -> bytes:
    """A JSON file with values, members or bytes of it replaced."""
    tree = json.loads(content)
    how = draw(st.sampled_from(("value", "value", "value", "extra", "remove", "raw", "bytes")))
    if how == "bytes":
        position = draw(st.integers(0, len(content) - 1))
        return (
            content[:position] + draw(st.binary(max_size=3)) + content[position + draw(st.integers(0, 9)) :]
        )
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(paths(tree)))
        if how == "extra":
            tree = replaced(tree, (*keys[:1], draw(st.sampled_from(keys[1:]))), draw(st.sampled_from(VALUES)))
        elif how == "raw":
            text = json.dumps(replaced(tree, path, "RAW"))
            return text.replace('"RAW"', draw(st.sampled_from(RAW)), 1).encode("utf-8", "surrogatepass")
        else:
            tree = replaced(tree, path, ... if how == "remove" else draw(st.sampled_from(VALUES)))
            if how == "remove":
                break
    return json.dumps(tree).encode()


@st.composite
def damaged_weights(draw, content: bytes) -> bytes:
    """A weights file that is cut, bent, or claims other tensors than it has."""
    how = draw(
        st.sampled_from(("cut", "bytes", "length", "shape", "dtype", "offsets", "extra", "rename", "values"))
    )
    size = struct.unpack("<Q", content[:8])[0]
    if how == "cut":
        return content[: draw(st.one_of(st.integers(0, size + 8), st.integers(0, len(content) - 1)))]
    if how == "bytes":
        position = draw(st.integers(0, size + 7))
        return content[:position] + draw(st.binary(min_size=1, max_size=4)) + content[position + 4 :]
    if how == "length":
        return (
            struct.pack("<Q", draw(st.sampled_from((0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1))))
            + content[8:]
        )
    if how == "values":
        position = 8 + size + 4 * draw(st.integers(0, (len(content) - size - 12) // 4))
        value = struct.pack("<f", draw(st.sampled_from((float("nan"), float("inf"), 1e30, 0.0))))
        return content[:position] + value + content[position + 4 :]

    def change(header: dict) -> dict:
        names = [name for name in header if name != "__metadata__"]
        name = draw(st.sampled_from(names))
        if how == "shape":
            header[name]["shape"] = draw(
                st.sampled_from(
                    ([], [10**9, 10**9], [2**32, 2**32], [10**18, 0], [-1, -1], ["a"], [1] * 100, None)
                )
            )
        elif how == "dtype":
            header[name]["dtype"] = draw(
                st.sampled_from(("F64", "I64", "U8", "C64", "F8_E4M3", "F4", "?", 3))
            )
        elif how == "offsets":
            header[name]["data_offsets"] = draw(
                st.sampled_from(([0, 10**15], [10**15, 0], [-4, 0], [0, 0], [0], ["a", "b"], None))
            )
        elif how == "extra":
            header["x"] = {"dtype": "F32", "shape": [10**9, 0], "data_offsets": [0, 0]}
        else:
            header[draw(st.sampled_from(("../../x", "", "x" * 10_000, "__class__")))] = header.pop(name)
        return header

    return with_header(content, change)


@pytest.mark.parametrize(
    ("name", "examples"), [("config.json", 120), ("egat.json", 90), ("model.safetensors", 90)]
)
def test_damaged_folders_raise(place, sound, logits, name, examples):
    errors = []
    if name == "model.safetensors":
        damaged = damaged_weights(sound[name])
    elif name == "egat.json":
        damaged = damaged_json(sound[name], ("fingerprint", "seed", "image_size", "logits", "label_names"))
    else:
        damaged = st.one_of(
            damaged_json(sound[name], ("model_args", *ARGUMENTS)),
            damaged_json(sound[name], ("pretrained_cfg", *CONFIG_KEYS)),
        )

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged)
    def load(content: bytes) -> None:
        errors.append(outcome(place / "model", {**sound, name: content}, logits))

    load()
    assert len(errors) >= examples
    assert sum(map(bool, errors)) > examples / 2


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("test_vit", {"depth": 20_000}, "more than 6,000 tensors|numbers that its weights allow"),
        ("test_vit", {"embed_dim": 19_968}, "numbers that its weights allow"),
        ("test_vit", {"img_size": 10**9}, "img_size is 1000000000, more than 20000"),
        ("test_vit", {"img_size": 2048, "patch_size": 1}, "numbers that its weights allow"),
        ("test_vit", {"depth": 10**9}, "more than 20000"),
        ("test_vit", {"mlp_ratio": 1e300}, "more than 1e\\+06"),
        ("test_resnet", {"layers": [20_000] * 4}, "more than 6,000 tensors|numbers that its weights allow"),
        ("test_resnet", {"layers": [1] * 300}, "too large"),
        ("test_resnet", {"in_chans": 10_000}, "such as conv1.0.weight"),
        ("test_resnet", {"checkpoint_path": "x"}, "may not hold checkpoint_path"),
        ("test_resnet", {"pretrained_cfg_overlay": {"file": "x"}}, "may not hold pretrained_cfg_overlay"),
        ("test_resnet", {"features_only": True}, "may not hold features_only"),
        ("vit_giant_patch14_dinov2", {}, "numbers that its weights allow"),
        ("resnet50.a1_in1k", {}, "does not know"),
        ("hf-hub:org/other", {}, "does not know"),
    ],
)
def test_oversized_configs_raise(place, sound, logits, architecture, arguments, message):
    config = edited(edited(sound["config.json"], ("architecture",), architecture), ("model_args",), arguments)
    assert re.search(message, outcome(place / "model", {**sound, "config.json": config}, logits))


@pytest.mark.parametrize(
    ("name", "keys", "value", "message"),
    [
        ("config.json", ("num_classes",), 10**9, "num_classes must be from 1 to"),
        (
            "config.json",
            ("pretrained_cfg", "input_size"),
            [3, 10**6, 10**6],
            "input_size must have sides from 1 to 2048",
        ),
        ("config.json", ("pretrained_cfg", "std"), [0, 0, 0], "does not compute"),
        ("config.json", ("pretrained_cfg", "crop_pct"), 1e-9, "crop_pct must be from 0.1 to 10"),
        ("config.json", ("label_names",), ["dog", "owl", "cat"], "the label names differ"),
        ("config.json", ("label_names",), ["dog"], "the label names differ"),
        ("egat.json", ("label_names",), ["dog", "dog", "owl"], "distinct label names"),
        ("egat.json", ("label_names",), ["dog\x1b[2J", "cat", "owl"], "printable"),
        ("egat.json", ("fingerprint", "image_size"), 10**6, "images have 1000000 pixels, not 64"),
        ("egat.json", ("fingerprint", "seed"), 2**70, "not valid JSON"),
        ("egat.json", ("fingerprint", "logits"), [1e300] * 6, "does not compute"),
    ],
)
def test_config_values_out_of_bounds_raise(place, sound, logits, name, keys, value, message):
    contents = {**sound, name: edited(sound[name], keys, value)}
    assert message in outcome(place / "model", contents, logits)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("url", "https://example.org/x.bin"),
        ("file", "x.bin"),
        ("hf_hub_id", "org/other"),
        ("custom_load", True),
    ],
)
def test_weights_are_never_loaded_from_elsewhere(place, sound, logits, key, value):
    config = edited(sound["config.json"], ("pretrained_cfg", key), value)
    assert outcome(place / "model", {**sound, "config.json": config}, logits) == ""


def test_pickles_are_not_read_under_any_name(place, sound, logits):
    trace = place / "executed"
    evil = pickle.dumps(Executed(trace))
    for name in NAMES:
        assert outcome(place / "model", {**sound, name: evil}, logits)
    (place / "model" / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt", "model.pkl"):
        (place / "model" / name).write_bytes(evil)
    with pytest.raises(FileNotFoundError, match="pickled"):
        from_pretrained(place / "model")
    assert not trace.exists()


def test_weights_with_a_header_only_raise(place, sound, logits):
    header = json.dumps(
        {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(9000)}
    )
    weights = struct.pack("<Q", len(header)) + header.encode()
    message = outcome(place / "model", {**sound, "model.safetensors": weights}, logits)
    assert "tensors differ" in message
    weights = struct.pack("<Q", 20_000_000) + b" " * 20_000_000
    message = outcome(place / "model", {**sound, "model.safetensors": weights}, logits)
    assert "not a complete safetensors file" in message


@pytest.mark.parametrize("text", [text for text in RAW if text not in ('"\\ud800"', "")])
def test_oversized_json_raises(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(f'{{"a": {text}}}')
    with pytest.raises(ValueError, match=r"x\.json is not valid JSON"):
        read_json(path)
    path.write_bytes(b'{"a": "' + b"a" * 10_000_001 + b'"}')
    with pytest.raises(ValueError, match=r"x\.json has 10,000,010 bytes"):
        read_json(path)


def test_parameter_limit_ignores_networks_of_other_threads(small_model):
    from egat_hub.hub.timm_files import _limited_size

    with _limited_size(10):
        thread = threading.Thread(target=lambda: torch.nn.Linear(100, 100))
        thread.start()
        thread.join()
        with pytest.raises(ValueError, match="more than the 10 numbers"):
            torch.nn.Linear(100, 100)
