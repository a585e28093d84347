"""Find the models of this package on the Hub."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import islice

from huggingface_hub import HfApi

from egat_hub.card_header import TAG
from egat_hub.hub.access import Access
from egat_hub.hub.errors import hub_errors
from egat_hub.hub.fetching import fetch
from egat_hub.hub.layout import MANIFEST, RESULTS
from egat_hub.hub.model_id import ModelId
from egat_hub.timm_folder import CONFIG
from egat_hub.zoo.model import ZooModel

LIMIT = 1000
"""Most models of the Hub that are looked at."""


def models_of_the_hub(author: str | None, access: Access) -> Iterator[ZooModel]:
    """Models with this package's tag, of one author if one is named.

    One that cannot be read is left out with a warning. Of each, three small files are fetched.

    Raises:
        ConnectionError: the Hub cannot be reached or failed.
        PermissionError: the token is not valid.
    """
    with hub_errors(ModelId("the list of models"), "read"):
        listed = list(islice(HfApi(token=access.token).list_models(filter=TAG, author=author), LIMIT))
    for info in listed:
        try:
            folder = fetch(ModelId(info.id), access, names=(CONFIG, MANIFEST, RESULTS))
            yield ZooModel.of_folder(folder, repo_id=info.id, revision=folder.name)
        except (FileNotFoundError, PermissionError, ValueError) as error:
            warnings.warn(f"{info.id} is left out: {error}", stacklevel=4)
