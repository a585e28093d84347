from __future__ import annotations

import errno
import json
import shutil
import stat
from pathlib import Path

import pytest
import timm
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from timm.data import resolve_model_data_config

from egat_hub.core.results import Row, read_rows
from egat_hub.hub import from_pretrained, save_pretrained, saving
from egat_hub.hub.manifest import TOLERANCE, Fingerprint
from egat_hub.methods import ERM
from egat_hub.models import TimmModel

SIZE = 64
LABELS = ("dog", "cat", "owl")
METADATA = {"method": "egat", "dataset": "synthetic", "config": {"lambda_adv": 0.5}, "seed": 3}
ROW = Row("test_resnet", "egat", "synthetic", "a", "a", "test", "clean_accuracy", 91.5, 120, 3)
FILES = {"config.json", "model.safetensors", "egat.json", "results.json", "README.md"}


def network(name: str = "test_resnet", *, image_size: int | None = SIZE, **arguments) -> TimmModel:
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=3, **arguments)
    for buffer_name, buffer in net.named_buffers():
        if buffer_name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    return TimmModel(net, image_size=image_size).eval()


def images(size: int = SIZE) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def original() -> TimmModel:
    return network()


@pytest.fixture(scope="module")
def pristine(original, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "test_resnet.egat_synthetic"
    save_pretrained(original, folder, label_names=LABELS, metadata=METADATA, rows=[ROW])
    return folder


@pytest.fixture
def saved(pristine, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "model"))


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_pretrained_cfg(folder: Path, **changes) -> None:
    path = folder / "config.json"
    edit(path, pretrained_cfg={**json.loads(path.read_text())["pretrained_cfg"], **changes})


@torch.no_grad()
def test_round_trip(original, pristine):
    classifier = from_pretrained(pristine)
    assert {path.name for path in pristine.iterdir()} == FILES
    assert not any(module.training for module in classifier.modules())
    assert classifier.label_names == LABELS
    assert classifier.metadata == METADATA
    assert classifier.model.image_size == SIZE
    assert torch.equal(classifier(images()), original(images()))
    assert read_rows(pristine / "results.json") == [ROW]
    assert "91.50" in (pristine / "README.md").read_text()
    assert classifier.explain(images()[0]).label in LABELS


@torch.no_grad()
def test_timm_alone_gives_the_same_logits(original, pristine):
    net = timm.create_model(f"local-dir:{pristine}", pretrained=True).eval()
    config = resolve_model_data_config(net)
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert torch.allclose(net((images() - mean) / std), original(images()), atol=1e-6)
    assert tuple(net.pretrained_cfg["label_names"]) == LABELS
    assert config["input_size"] == (3, SIZE, SIZE)
    preprocessing = {key: config[key] for key in ("crop_pct", "crop_mode", "interpolation")}
    assert preprocessing == {"crop_pct": 0.95, "crop_mode": "center", "interpolation": "bilinear"}
    assert net.pretrained_cfg["tag"] == "egat_synthetic"


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet10t", {}),
        ("test_convnext", {}),
        ("test_vit", {"global_pool": "avg", "img_size": 96}),
        ("test_vit", {"img_size": 96}),
        ("test_resnet", {"global_pool": "max", "drop_rate": 0.3}),
        ("test_efficientnet", {"act_layer": "silu"}),
    ],
)
def test_network_arguments_are_restored(name, arguments, tmp_path):
    original = network(name, image_size=arguments.get("img_size"), **arguments)
    save_pretrained(original, tmp_path / "model", label_names=LABELS)
    loaded = from_pretrained(tmp_path / "model")
    x = images(original.image_size)
    assert torch.allclose(loaded(x), original(x), atol=1e-6)


def test_saving_does_not_change_the_model(tmp_path):
    original = network().to(memory_format=torch.channels_last).to(torch.bfloat16).train()
    before = {key: value.clone() for key, value in original.state_dict().items()}
    save_pretrained(original, tmp_path / "model", label_names=LABELS)
    assert all(module.training for module in original.modules())
    assert all(torch.equal(value, before[key]) for key, value in original.state_dict().items())
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert weights["fc.weight"].dtype == torch.float32
    assert torch.equal(weights["fc.weight"], before["net.fc.weight"].float())


def test_a_loaded_model_can_be_saved_again(pristine, tmp_path):
    first = from_pretrained(pristine)
    save_pretrained(
        first.model, tmp_path / "again", label_names=first.label_names, metadata=first.metadata, rows=[ROW]
    )
    for name in FILES - {"config.json"}:
        assert (tmp_path / "again" / name).read_bytes() == (pristine / name).read_bytes()
    configs = [json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "again", pristine)]
    for config in configs:
        config["pretrained_cfg"] = {k: v for k, v in config["pretrained_cfg"].items() if v is not None}
    assert configs[0] == configs[1]


def test_a_new_head_and_another_image_size(pristine, tmp_path):
    classifier = from_pretrained(pristine, num_classes=5, image_size=80)
    assert classifier.label_names == ("0", "1", "2", "3", "4")
    assert classifier.model.image_size == 80
    assert classifier(images(80)).shape == (2, 5)
    body = from_pretrained(pristine).model.net.conv1[0].weight
    assert torch.equal(classifier.model.net.conv1[0].weight, body)
    save_pretrained(classifier.model, tmp_path / "new", label_names=list("abcde"))
    assert from_pretrained(tmp_path / "new").label_names == tuple("abcde")
    same = from_pretrained(pristine, num_classes=3, image_size=SIZE)
    assert same.label_names == LABELS


def test_fixed_size_networks_are_resized_or_raise(tmp_path):
    save_pretrained(
        network("test_vit", image_size=None, global_pool="avg"), tmp_path / "vit", label_names=LABELS
    )
    assert from_pretrained(tmp_path / "vit", image_size=96)(images(96)).shape == (2, 3)
    save_pretrained(network("gmlp_ti16_224", image_size=None), tmp_path / "mlp", label_names=LABELS)
    with pytest.raises(ValueError, match=r"gmlp_ti16_224 takes images of 224 x 224 only, got image_size=96"):
        from_pretrained(tmp_path / "mlp", image_size=96)


def test_licence_of_the_source_stays_with_fine_tuned_weights(tmp_path):
    original = network(pretrained_cfg_overlay={"license": "cc-by-nc-4.0", "paper_name": "Another"})
    save_pretrained(original, tmp_path / "a", label_names=LABELS, metadata={"base_model": "x"})
    save_pretrained(original, tmp_path / "b", label_names=LABELS)
    for name, license in (("a", "cc-by-nc-4.0"), ("b", "apache-2.0")):
        cfg = json.loads((tmp_path / name / "config.json").read_text())["pretrained_cfg"]
        assert cfg["license"] == license
        assert cfg["paper_name"] is None
        assert f"license: {license}" in (tmp_path / name / "README.md").read_text()


def test_figures_are_copied_beside_the_card(original, tmp_path):
    figure = Figure()
    figure.subplots().plot([0, 1])
    save_pretrained(original, tmp_path / "model", label_names=LABELS, figures={"case_study": figure})
    assert (tmp_path / "model" / "case_study.png").stat().st_size > 0
    assert "](case_study.png)" in (tmp_path / "model" / "README.md").read_text()
    with pytest.raises(ValueError, match=r"figure names .* got \['\.\./x'\]"):
        save_pretrained(original, tmp_path / "other", label_names=LABELS, figures={"../x": figure})


@pytest.mark.parametrize("step", ["write_network", "write_rows", "card_text"])
def test_full_disk_keeps_the_earlier_save(saved, original, monkeypatch, step):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, step, fail)
    for target in (saved, saved.parent / "new"):
        with pytest.raises(OSError, match="No space left"):
            save_pretrained(original, target, label_names=LABELS)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert list(saved.parent.iterdir()) == [saved]


@torch.no_grad()
def test_wrappers_of_the_network_can_be_saved(original, pristine, tmp_path):
    method = Accelerator().prepare(ERM(original))
    save_pretrained(method, tmp_path / "method", label_names=LABELS)
    save_pretrained(from_pretrained(pristine), tmp_path / "classifier", metadata={"seed": 4})
    expected = original(images())
    for name, metadata in (("method", {}), ("classifier", {**METADATA, "seed": 4})):
        model = from_pretrained(tmp_path / name)
        assert torch.equal(model(images()), expected)
        assert (model.label_names, model.metadata) == (LABELS, metadata)
    for model, message in (
        (original, "Expected label_names"),
        (torch.nn.Linear(2, 3), "Expected a Classifier"),
    ):
        with pytest.raises(ValueError, match=message):
            save_pretrained(model, tmp_path / "not")


class _Constant(torch.nn.Module):
    """A module that holds a network and computes something else."""

    def __init__(self, model: TimmModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images) * 0


def test_wrappers_that_change_the_output_raise(original, tmp_path):
    with pytest.raises(ValueError, match=r"Expected a Classifier, .* got _Constant"):
        save_pretrained(_Constant(original), tmp_path / "model", label_names=LABELS)
    hooked = network()
    hooked.net.register_forward_hook(lambda module, inputs, logits: logits * 2)
    hooked.net.fc.register_forward_hook(lambda module, inputs, logits: logits * 2)
    with pytest.raises(ValueError, match="returns other logits"):
        save_pretrained(hooked, tmp_path / "model", label_names=LABELS)


def test_an_earlier_save_is_replaced_whole(saved, original):
    (saved / "old_figure.png").write_bytes(b"")
    save_pretrained(original, saved, label_names=("a", "b", "c"))
    assert {path.name for path in saved.iterdir()} == FILES
    assert from_pretrained(saved).label_names == ("a", "b", "c")
    assert list(saved.parent.iterdir()) == [saved]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in saved.iterdir()}
    assert len(modes) == 1


def test_a_folder_with_other_files_is_never_replaced(saved, original):
    (saved / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        save_pretrained(original, saved, label_names=LABELS)
    assert (saved / "thesis.tex").read_text() == "precious"
    with pytest.raises(FileExistsError, match="is a file"):
        save_pretrained(original, saved / "thesis.tex", label_names=LABELS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_names": ("dog", "cat")}, "Expected 3 label names"),
        ({"label_names": LABELS, "metadata": {"config": object()}}, "metadata of JSON types"),
        ({"label_names": LABELS, "metadata": {"lr": float("nan")}}, "metadata of JSON types"),
    ],
)
def test_mismatched_metadata_is_not_saved(original, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        save_pretrained(original, tmp_path / "model", **arguments)
    assert not any(tmp_path.iterdir())


def test_broken_weights_are_not_saved(tmp_path):
    broken = network()
    broken.classifier.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        save_pretrained(broken, tmp_path / "model", label_names=LABELS)


def test_a_network_that_config_cannot_restore_is_not_saved(tmp_path):
    changed = network()
    changed.net.layer1 = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"cannot be restored from config\.json.*model_args"):
        save_pretrained(changed, tmp_path / "a", label_names=LABELS)
    other = network()
    other.net.layer1[0].act2 = torch.nn.Tanh()
    with pytest.raises(ValueError, match=r"returns other logits.*model_args"):
        save_pretrained(other, tmp_path / "b", label_names=LABELS)
    assert not any(tmp_path.iterdir())


def test_folders_without_a_model_raise(saved, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"org/name of a model .*got 'no/such/folder', which does not exist"
    ):
        from_pretrained("no/such/folder")
    with pytest.raises(FileNotFoundError, match="which is a file"):
        from_pretrained(saved / "config.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"empty has no config\.json, model\.safetensors, egat\.json\. Save"
    ):
        from_pretrained(tmp_path / "empty")
    (saved / "egat.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no egat\.json.*timm\.create_model\('local-dir:"):
        from_pretrained(saved)


def test_pickle_is_never_read(saved):
    weights = saved / "model.safetensors"
    torch.save(load_file(weights), saved / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"pickled.*save_pretrained"):
        from_pretrained(saved)
    torch.save({}, weights)
    with pytest.raises(ValueError, match=r"model\.safetensors is not a complete safetensors file"):
        from_pretrained(saved)


def test_config_may_not_name_other_files(saved):
    edit(saved / "config.json", model_args={"checkpoint_path": "evil.bin"})
    with pytest.raises(ValueError, match=r"config\.json .*may not hold checkpoint_path"):
        from_pretrained(saved)


@pytest.mark.parametrize("kept", [0, 4, 500, -1])
def test_truncated_weights_raise(saved, kept):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model\.safetensors is not a complete safetensors file"):
        from_pretrained(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("fc.bias"), r"1 tensors differ, such as fc\.bias \(shape None, expected \[3\]\)"),
        (lambda w: w.update(extra=torch.zeros(1)), r"such as extra \(shape \[1\], expected None\)"),
        (
            lambda w: w.update({"fc.weight": torch.zeros(4, 96)}),
            r"such as fc\.weight \(shape \[4, 96\], expected \[3, 96\]\)",
        ),
    ],
)
def test_mismatched_weights_raise(saved, change, message):
    path = saved / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    with pytest.raises(ValueError, match=message):
        from_pretrained(saved)


def test_weights_of_another_architecture_raise(saved):
    save_file(timm.create_model("test_vit", num_classes=3).state_dict(), saved / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors does not hold.*\d+ tensors differ.*same save"):
        from_pretrained(saved)


@pytest.mark.parametrize("name", ["config.json", "egat.json"])
def test_malformed_json_raises(saved, name):
    path = saved / name
    path.write_text(path.read_text()[:-10])
    with pytest.raises(ValueError, match=rf"{name} is not valid JSON"):
        from_pretrained(saved)
    path.write_text("[]")
    with pytest.raises(ValueError, match=rf"Expected a JSON object in .*{name}, got a list"):
        from_pretrained(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "test_resne"}, r"config\.json names .*'test_resne'.* Did you mean 'test_resnet'"),
        ({"architecture": 3}, r"names the architecture '3'"),
        ({"model_args": {"no_such": 1}}, r"config\.json does not describe a network"),
        ({"pretrained_cfg": {"no_such": 1}}, r"config\.json does not describe a network"),
        ({"pretrained_cfg": None}, r"config\.json does not describe a network"),
    ],
)
def test_invalid_network_configs_raise(saved, changes, message):
    edit(saved / "config.json", **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_names": ["dog", "cat"]}, r"egat\.json does not fit .*config\.json.*3 label names.*got 2"),
        ({"label_names": "dog"}, r"egat\.json does not fit .*Expected label_names as a list of strings"),
        ({"label_names": [1, 2, 3]}, r"egat\.json does not fit .*Expected label_names as a list of strings"),
        ({"metadata": []}, r"metadata as objects"),
        ({"fingerprint": None}, r"fingerprint"),
        ({"fingerprint": {"seed": 0}}, r"egat\.json is not a manifest of egat_hub"),
        ({"fingerprint": {"seed": 0, "image_size": "64", "logits": [0] * 6}}, r"image_size of type int"),
        (
            {"fingerprint": {"seed": 0, "image_size": 64, "logits": ["a"] * 6}},
            r"fingerprint in .* does not fit the network",
        ),
        ({"fingerprint": {"seed": 0, "image_size": 64, "logits": [0, 0]}}, r"does not compute"),
        ({"schema_version": 2}, r"schema_version is 2 .*upgrade egat_hub"),
        ({"surprise": 1}, r"egat\.json .*has no surprise"),
    ],
)
def test_invalid_manifests_raise(saved, changes, message):
    edit(saved / "egat.json", **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(saved)


def test_weights_changed_after_saving_raise(saved):
    path = saved / "model.safetensors"
    weights = load_file(path)
    weights["fc.weight"] *= 1.1
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"does not compute what was saved.*normalised twice"):
        from_pretrained(saved)


@pytest.mark.parametrize(
    ("mean", "std"), [([0.0] * 3, [1.0] * 3), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
)
def test_changed_mean_and_std_raise(saved, mean, std):
    edit_pretrained_cfg(saved, mean=mean, std=std)
    with pytest.raises(ValueError, match="does not compute what was saved"):
        from_pretrained(saved)


class _NormalisedTwice(TimmModel):
    def forward(self, images):
        return super().forward((images - self.mean) / self.std)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_fingerprint_detects_double_normalisation_and_tolerates_rounding(name):
    original = network(name, image_size=None)
    fingerprint = Fingerprint.of(original)
    assert fingerprint.deviation(_NormalisedTwice(original.net)) > 100 * TOLERANCE
    generator = torch.Generator().manual_seed(0)
    for parameter in original.net.parameters():  # as far off as float32 sums in another order are, and more
        parameter.data *= 1 + 1e-5 * torch.randn(parameter.shape, generator=generator)
    assert fingerprint.deviation(original) < TOLERANCE / 5
    assert fingerprint.deviation(original.double()) < TOLERANCE / 5


def test_loading_tolerates_rounding_of_other_hardware(saved, original):
    path = saved / "egat.json"
    fingerprint = json.loads(path.read_text())["fingerprint"]
    dark, bright = torch.tensor(fingerprint["logits"]).view(2, 3)
    scale = (dark - bright).abs().max().item()
    for relative, passes in ((3e-4, True), (3e-3, False)):
        logits = [value + relative * scale for value in fingerprint["logits"]]
        edit(path, fingerprint={**fingerprint, "logits": logits})
        if passes:
            from_pretrained(saved)
        else:
            with pytest.raises(ValueError, match="does not compute"):
                from_pretrained(saved)
