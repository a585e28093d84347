"""Models as folders and as repositories of the Hugging Face Hub: save, load, push, list."""

from typing import TYPE_CHECKING

from egat_hub.core.lazy import lazy_exports

if TYPE_CHECKING:
    from egat_hub.hub.errors import ChangedMeanwhileError as ChangedMeanwhileError
    from egat_hub.hub.errors import CommitInDoubtError as CommitInDoubtError
    from egat_hub.hub.loading import from_pretrained as from_pretrained
    from egat_hub.hub.publishing import Push as Push
    from egat_hub.hub.pushing import push_to_hub as push_to_hub
    from egat_hub.hub.saving import save_pretrained as save_pretrained
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "errors": (
                "ChangedMeanwhileError",
                "CommitInDoubtError",
            ),
            "loading": ("from_pretrained",),
            "publishing": ("Push",),
            "pushing": ("push_to_hub",),
            "saving": ("save_pretrained",),
        },
    )
