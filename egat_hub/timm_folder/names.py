"""Names of timm's files."""

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
