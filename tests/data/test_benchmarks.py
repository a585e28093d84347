"""Every registered benchmark opens in DomainBed's layout and in the spellings people use."""

from __future__ import annotations

import pytest

from egat_hub.core.registry import UnknownNameError
from egat_hub.data import BENCHMARKS, DataConfig, open_dataset
from egat_hub.data.domains import normalize_name

SPELLINGS = {
    "as published": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "spaces": lambda name: name.replace("_", " "),
    "hyphens": lambda name: name.replace("_", "-"),
    "joined": lambda name: name.replace("_", ""),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", BENCHMARKS)
def test_layout_opens_in_any_spelling(name, spelling, make_tree):
    benchmark, spell = BENCHMARKS[name], SPELLINGS[spelling]
    root = make_tree(map(spell, benchmark.domains), map(spell, benchmark.classes), count=3)
    dataset = open_dataset(DataConfig(name=name, dir=str(root)))
    assert dataset.classes == benchmark.classes
    assert dataset.domains == benchmark.domains
    for domain in dataset.values():
        assert len(domain) == 3 * len(benchmark.classes)
        for key, label in zip(domain.keys, domain.labels, strict=True):
            assert key.startswith(f"{benchmark.classes[label]}/")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_aliases_are_consistent(name):
    benchmark = BENCHMARKS[name]
    names = benchmark.classes + benchmark.domains
    normalized = [normalize_name(each) for each in (*names, *benchmark.aliases)]
    assert len(set(normalized)) == len(normalized)
    assert set(benchmark.aliases.values()) <= set(names)
    assert benchmark.name == name


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_subset_of_the_domains_opens(name, make_tree):
    benchmark = BENCHMARKS[name]
    first, second, *_ = benchmark.domains
    config = DataConfig(name=name, dir=str(make_tree((first,), benchmark.classes, count=3)))
    assert open_dataset(config).domains == (first,)
    assert open_dataset(config, [first]).domains == (first,)
    with pytest.raises(FileNotFoundError, match=f"no folder for domain '{second}'"):
        open_dataset(config, [first, second])


@pytest.mark.parametrize(
    ("name", "alias", "domain"),
    [
        ("vlcs", "Caltech", "Caltech101"),
        ("vlcs", "Pascal VOC", "VOC2007"),
        ("terra_incognita", "Location 38", "location_38"),
        ("terra_incognita", "L100", "location_100"),
        ("pacs", "Art", "art_painting"),
    ],
)
def test_domains_are_found_by_alias(name, alias, domain, make_tree):
    benchmark = BENCHMARKS[name]
    config = DataConfig(name=name, dir=str(make_tree((alias,), benchmark.classes, count=3)))
    dataset = open_dataset(config, [alias])
    assert dataset.domains == (domain,)
    assert dataset[alias] is dataset[domain]


def test_error_names_unknown_folders(make_tree):
    classes = BENCHMARKS["vlcs"].classes
    root = make_tree(("Catlech101",), classes, count=3)
    with pytest.raises(UnknownNameError, match=r"(?s)Catlech101.*Did you mean 'Caltech101'"):
        open_dataset(DataConfig(name="vlcs", dir=str(root)))
    root = make_tree(("Caltech101",), (*classes, "zebra"), count=3, root="second")
    with pytest.raises(UnknownNameError, match="zebra"):
        open_dataset(DataConfig(name="vlcs", dir=str(root)))


def test_error_names_missing_class(make_tree):
    root = make_tree(("SUN09",), BENCHMARKS["vlcs"].classes[:-1])
    with pytest.raises(FileNotFoundError, match=r"SUN09 has no folder for class 'person'"):
        open_dataset(DataConfig(name="vlcs", dir=str(root)))


def test_two_folders_for_one_domain_are_rejected(make_tree):
    root = make_tree(("VOC2007", "voc"), BENCHMARKS["vlcs"].classes, count=3)
    with pytest.raises(ValueError, match="are both 'VOC2007'"):
        open_dataset(DataConfig(name="vlcs", dir=str(root)))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_missing_dir_suggests_download_or_synthetic(name):
    with pytest.raises(FileNotFoundError, match=r"(?s)dir.*Download.*--data synthetic"):
        open_dataset(DataConfig(name=name))
