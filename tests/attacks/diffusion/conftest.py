"""A Stable Diffusion pipeline, in memory and saved."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tests.attacks.diffusion.tiny import SCHEDULE, WIDTH, diffusion


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """A Stable Diffusion pipeline whose tokenizer knows letters."""
    folder = tmp_path_factory.mktemp("tokenizer")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        attention_dropout=0.5,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    parts = diffusion()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text_encoder = CLIPTextModel(config)
    return StableDiffusionPipeline(
        vae=parts.vae,
        unet=parts.unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=PNDMScheduler(**SCHEDULE, skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="session")
def folder(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo") / "tiny-diffusion"
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder
