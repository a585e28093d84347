"""Hub data sets, read from local repositories of the same form."""

from __future__ import annotations

import io

import datasets
import numpy as np
import pytest

from egat_hub.core.registry import UnknownNameError
from egat_hub.data import DataConfig, UnreadableImageError, open_dataset
from tests.data.conftest import picture


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def table(columns, *, rows=20, mask_size=(24, 20)):
    """Rows of two classes; ``columns`` are the optional ones to have."""
    classes = datasets.ClassLabel(names=["cat", "dog"])
    features = {"image": datasets.Image(), "label": classes, "domain": datasets.Value("string")}
    features |= {"mask": datasets.Image()}
    content = {
        "image": [png(picture(n)) for n in range(rows)],
        "label": [n % 2 for n in range(rows)],
        "domain": [("indoor", "outdoor")[n // 2 % 2] for n in range(rows)],
        "mask": [png(picture(n, mask_size).convert("L")) for n in range(rows)],
    }
    names = ["image", "label", *columns]
    return datasets.Dataset.from_dict(
        {name: content[name] for name in names}, datasets.Features({name: features[name] for name in names})
    )


def repository(root, *, splits):
    (root / "data").mkdir(parents=True)
    for split, rows in splits.items():
        rows.to_parquet(root / "data" / f"{split}-00000-of-00001.parquet")
    return DataConfig(name=str(root))


def test_domains_from_domain_column(tmp_path):
    config = repository(tmp_path / "zoo", splits={"train": table(["domain"]), "test": table(["domain"])})
    dataset = open_dataset(config)
    assert dataset.domains == ("indoor", "outdoor")
    assert dataset.classes == ("cat", "dog")
    domain = dataset["Outdoor"]
    assert len(domain) == 20
    assert not domain.has_masks
    assert sorted(domain.keys)[0] == "test/000002"
    index = domain.keys.index("train/000003")
    assert domain.labels[index] == 1
    assert np.array_equal(np.asarray(domain.load(index)[0]), np.asarray(picture(3)))
    assert open_dataset(config, ["outdoor"]).domains == ("outdoor",)
    with pytest.raises(UnknownNameError, match="Did you mean 'indoor'"):
        open_dataset(config, ["indor"])


def test_domains_from_class_label_column(tmp_path):
    rows = table(["domain"])
    rows = rows.cast_column("domain", datasets.ClassLabel(names=["indoor", "outdoor"]))
    dataset = open_dataset(repository(tmp_path / "zoo", splits={"train": rows}))
    assert dataset.domains == ("indoor", "outdoor")
    assert [len(domain) for domain in dataset.values()] == [10, 10]


def test_repository_without_domains_is_one_domain(tmp_path):
    dataset = open_dataset(repository(tmp_path / "zoo", splits={"train": table([])}))
    assert dataset.domains == ("zoo",)


def test_domains_from_configurations(tmp_path):
    root = tmp_path / "zoo"
    for name in ("indoor", "outdoor"):
        (root / name).mkdir(parents=True)
        table([]).to_parquet(root / name / "train.parquet")
    entries = "".join(f"- config_name: {n}\n  data_files: {n}/*.parquet\n" for n in ("indoor", "outdoor"))
    (root / "README.md").write_text(f"---\nconfigs:\n{entries}---\n")
    config = DataConfig(name=str(root))
    assert open_dataset(config).domains == ("indoor", "outdoor")
    assert len(open_dataset(config, ["outdoor"])["outdoor"]) == 20


def test_different_classes_in_two_configurations_raise(tmp_path):
    root = tmp_path / "zoo"
    owls = table([]).cast_column("label", datasets.ClassLabel(names=["cat", "owl"]))
    for name, rows in {"indoor": table([]), "outdoor": owls}.items():
        (root / name).mkdir(parents=True)
        rows.to_parquet(root / name / "train.parquet")
    entries = "".join(f"- config_name: {n}\n  data_files: {n}/*.parquet\n" for n in ("indoor", "outdoor"))
    (root / "README.md").write_text(f"---\nconfigs:\n{entries}---\n")
    with pytest.raises(ValueError, match="cat, dog in indoor and cat, owl in outdoor"):
        open_dataset(DataConfig(name=str(root)))


def test_masks_from_mask_column(tmp_path):
    dataset = open_dataset(repository(tmp_path / "zoo", splits={"train": table(["mask"])}))
    domain = dataset["zoo"]
    assert domain.has_masks
    assert np.array_equal(np.asarray(domain.load(4)[1]), np.asarray(picture(4).convert("L")))


def test_mask_of_another_size_raises(tmp_path):
    config = repository(tmp_path / "zoo", splits={"train": table(["mask"], mask_size=(9, 9))})
    with pytest.raises(UnreadableImageError, match=r"20 of 20 (?s:.*)train/000000: the mask is 9 x 9"):
        open_dataset(config)


def test_damaged_images_raise(tmp_path):
    rows = table([]).cast_column("image", datasets.Image(decode=False)).to_list()
    rows[3]["image"]["bytes"] = rows[3]["image"]["bytes"][:200]
    rows[5]["image"] = None
    damaged = datasets.Dataset.from_list(rows, features=table([]).features)
    with pytest.raises(
        UnreadableImageError, match=r"2 of 20 (?s:.*)train/000003(?s:.*)train/000005: the row"
    ):
        open_dataset(repository(tmp_path / "zoo", splits={"train": damaged}))


def test_integer_labels_raise(tmp_path):
    rows = table([]).cast_column("label", datasets.Value("int64"))
    with pytest.raises(ValueError, match="'label' of type ClassLabel"):
        open_dataset(repository(tmp_path / "zoo", splits={"train": rows}))


def test_missing_labels_raise(tmp_path):
    rows = table([]).map(lambda row, n: {"label": -1 if n < 4 else row["label"]}, with_indices=True)
    with pytest.raises(ValueError, match=r"4 images of .* have no label"):
        open_dataset(repository(tmp_path / "zoo", splits={"train": rows}))


def test_missing_repository_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="Cannot open"):
        open_dataset(DataConfig(name=str(tmp_path / "nowhere")))
