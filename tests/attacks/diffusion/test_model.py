"""A diffusion model from a pipeline of diffusers or from its parts."""

from __future__ import annotations

import sys

import pytest
import torch

from egat_hub.attacks.diffusion import LatentDiffusion, load_diffusion
from egat_hub.attacks.diffusion.model import smooth_clamp
from tests.attacks.diffusion.tiny import EPSILON, attack, classifier, diffusion, make_images, make_unet


def test_parts_come_from_a_pipeline(pipeline):
    pipeline.text_encoder.train()
    model = LatentDiffusion.of(pipeline)
    assert (model.resolution, model.prediction) == (8, "epsilon")
    assert torch.equal(model.alphas_cumprod, diffusion().alphas_cumprod)
    with torch.no_grad():
        first, again = model.embed(["a photo of a dog", ""]), model.embed(["a photo of a dog", ""])
        ids = pipeline.tokenizer(["a photo of a dog"], padding="max_length", return_tensors="pt").input_ids
        expected = pipeline.text_encoder.eval()(ids)[0]
    assert torch.equal(first, again)
    torch.testing.assert_close(first[:1], expected)
    assert not torch.equal(first[0], first[1])


def test_a_pipeline_is_loaded_by_name(pipeline, folder):
    loaded = load_diffusion(folder, dtype=torch.bfloat16)
    assert loaded.name == "tiny-diffusion"
    assert loaded.unet.dtype == loaded.embed([""]).dtype == torch.bfloat16
    assert loaded.vae.dtype == torch.float32
    images, labels = make_images(4, seed=2)
    net = classifier()
    adversarial = attack(model=loaded)(net, images, labels, EPSILON)
    assert (net(adversarial).argmax(1) != labels).any()
    assert attack(model=loaded).protocol()["diffusion"] == "tiny-diffusion"
    exact = load_diffusion(folder)
    with torch.no_grad():
        torch.testing.assert_close(exact.encode(images), LatentDiffusion.of(pipeline).encode(images))


def test_pickled_weights_are_not_read(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(OSError, match="safetensors"):
        load_diffusion(tmp_path)


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_without_the_extra_the_error_names_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'egat-hub\[sca\]'"):
        load_diffusion("org/name")


def test_parts_that_do_not_fit_together_raise():
    with pytest.raises(ValueError, match=r"float16.*vae\.to\(torch\.float32\)"):
        diffusion(vae=diffusion().vae.half())
    with pytest.raises(ValueError, match="takes the 4 channels of the latent and no others, got 9"):
        diffusion(unet=make_unet(in_channels=9))
    with pytest.raises(ValueError, match="Stable Diffusion XL"):
        diffusion(
            unet=make_unet(
                addition_embed_type="text_time",
                addition_time_embed_dim=4,
                projection_class_embeddings_input_dim=32,
            )
        )
    with pytest.raises(ValueError, match="one of epsilon, v_prediction, sample, got 'flow'"):
        diffusion(prediction="flow")
    with pytest.raises(TypeError, match="StableDiffusionPipeline, got Linear, which has no vae"):
        LatentDiffusion.of(torch.nn.Linear(1, 1))


def test_decoded_values_are_squashed_smoothly_into_the_range():
    values = torch.linspace(-0.5, 1.5, 200_001, dtype=torch.float64, requires_grad=True)
    bent = smooth_clamp(values)
    (gradient,) = torch.autograd.grad(bent.sum(), values)
    inside = (values > 0.01) & (values < 0.99)
    assert torch.equal(bent[inside], values[inside])
    assert bent.min() >= 0
    assert bent.max() <= 1
    assert (gradient.diff().abs() < 1e-2).all()
    near = (values > -0.02) & (values < 1.02)
    assert (gradient[near] > 0).all()
    assert (bent - values.clamp(0, 1)).abs().max() < 1 / 255
