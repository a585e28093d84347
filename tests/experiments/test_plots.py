from __future__ import annotations

import pytest
import timm
import torch
from matplotlib.figure import Figure
from PIL import Image

from egat_hub.attacks import PGD
from egat_hub.experiments.plots import case_study
from egat_hub.explanations import GradCAM, InputGradient
from egat_hub.explanations.overlay import overlay
from egat_hub.models import TimmModel

LABELS = ("dog", "cat", "owl")
SETTINGS = {"attack": PGD(steps=2), "epsilon": 0.03, "explanation": GradCAM()}


@pytest.fixture
def models() -> dict[str, TimmModel]:
    torch.manual_seed(0)
    nets = [timm.create_model("test_resnet", num_classes=3) for _ in range(2)]
    return {name: TimmModel(net, image_size=64) for name, net in zip(("erm", "egat"), nets, strict=True)}


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_case_study_shows_labels_and_predictions(models, images, tmp_path):
    with torch.no_grad():
        predicted = [int(model.eval()(images[:1]).argmax()) for model in models.values()]
    right = predicted[0]
    labels = torch.tensor([right, (right + 1) % 3])
    figure = case_study(models, images, labels, LABELS, **SETTINGS)
    assert isinstance(figure, Figure)
    grid = figure.axes
    assert len(grid) == 4 * 3
    assert [axes.get_title() for axes in grid[:3]] == ["image", "erm", "egat"]
    assert [axes.get_ylabel() for axes in grid[::3]] == ["clean", "attacked"] * 2
    assert grid[0].get_xlabel() == f"true: {LABELS[right]}"
    assert grid[1].get_xlabel().startswith(f"{LABELS[right]} 0.")
    caption = figure.get_supxlabel()
    for part in ("GradCAM", "n = 2", "PGD", "epsilon 0.03", "steps 2", "20%"):
        assert part in " ".join(caption.split())
    figure.savefig(tmp_path / "figure.png", dpi=30)
    assert Image.open(tmp_path / "figure.png").width > 0


def test_only_wrong_predictions_are_marked(models, images):
    model = models["erm"].eval()
    with torch.no_grad():
        predicted = int(model(images[:1]).argmax())
    for label, marked in ((predicted, False), ((predicted + 1) % 3, True)):
        settings = {**SETTINGS, "epsilon": 0.0}
        figure = case_study({"erm": model}, images[:1], torch.tensor([label]), LABELS, **settings)
        texts = [axes.get_xlabel() for axes in figure.axes[1::2]]
        assert all(("\N{BALLOT X}" in text) == marked for text in texts)


def test_dead_map_is_labelled(models, images):
    model = models["erm"]
    torch.nn.init.zeros_(model.classifier.weight)
    figure = case_study({"erm": model}, images[:1], torch.tensor([0]), LABELS, **SETTINGS)
    assert "no map" in figure.axes[1].get_xlabel()


def test_modes_and_gradients_are_unchanged(models, images):
    model = models["erm"].train()
    case_study(models, images, torch.tensor([0, 1]), LABELS, **SETTINGS)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_empty_case_study_raises(models, images):
    with pytest.raises(ValueError, match="got 0 models"):
        case_study({}, images, torch.tensor([0, 1]), LABELS, **SETTINGS)
    with pytest.raises(ValueError, match="2 images and 1 labels"):
        case_study(models, images, torch.tensor([0]), LABELS, **SETTINGS)


def test_overlay_refuses_a_map_of_another_size():
    with pytest.raises(ValueError, match=r"\[20,10\], got \[10, 20\]"):
        overlay(Image.new("RGB", (10, 20)), torch.zeros(10, 20))


def test_maps_of_single_pixels_are_smoothed_and_the_caption_says_so(models, images):
    labels, caption = torch.zeros(2, dtype=torch.long), "of smoothed maps"
    for explanation, smoothed in ((GradCAM(), False), (InputGradient(), True)):
        settings = {**SETTINGS, "epsilon": 0.0, "explanation": explanation}
        figure = case_study(models, images, labels, LABELS, **settings)
        assert (caption in " ".join(figure.get_supxlabel().split())) == smoothed
