"""Publishing on the Hub, by the real client."""

from __future__ import annotations

import pytest
import timm
import torch

from egat_hub.hub import from_pretrained, push_to_hub

from .conftest import images


@torch.no_grad()
def test_push_and_load(hub, small_model, tmp_path):
    hub.arm()
    push = push_to_hub(small_model, "org/dog")
    print(push); print(hub.requests)
    hub.arm()
    loaded = from_pretrained("org/dog", cache_dir=tmp_path / "other")
    print(hub.requests)
    assert torch.equal(loaded(images()), from_pretrained(small_model)(images()))
    hub.arm()
    push = push_to_hub(small_model, "org/dog")
    print(push); print(hub.requests)
    net = timm.create_model("hf-hub:org/dog", pretrained=True).eval()
    assert 0
