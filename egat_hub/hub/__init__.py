"""Models as folders and as repositories of the Hugging Face Hub: save, load, push."""

from egat_hub.hub.errors import ChangedMeanwhileError, CommitInDoubtError
from egat_hub.hub.loading import from_pretrained
from egat_hub.hub.push import Push
from egat_hub.hub.pushing import push_to_hub
from egat_hub.hub.saving import save_pretrained

__all__ = [
    "ChangedMeanwhileError",
    "CommitInDoubtError",
    "Push",
    "from_pretrained",
    "push_to_hub",
    "save_pretrained",
]
