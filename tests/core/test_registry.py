"""Names lead to objects, and wrong names to the right ones."""

from __future__ import annotations

from importlib import metadata

import pytest

from egat_hub.core.registry import Registry, UnknownNameError


class EntryPoint:
    """What a third party's package declares."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value, self.loads = name, value, 0

    def load(self) -> object:
        self.loads += 1
        return self.value


@pytest.fixture
def colours() -> Registry[int]:
    registry: Registry[int] = Registry("colours")
    for name, value in (("red", 1), ("green", 2), ("blue_green", 3)):
        registry.register(name)(value)
    return registry


@pytest.fixture
def third_party(monkeypatch) -> EntryPoint:
    point = EntryPoint("violet", 7)
    monkeypatch.setattr(
        metadata, "entry_points", lambda *, group: [point] if group == "egat_hub.colours" else []
    )
    return point


def test_registry_is_a_sorted_mapping(colours):
    assert dict(colours) == {"red": 1, "green": 2, "blue_green": 3}
    assert list(colours) == ["blue_green", "green", "red"]
    assert len(colours) == 3
    assert "red" in colours
    assert "pink" not in colours


def test_register_gives_the_object_back(colours):
    class Item: ...

    assert colours.register("item")(Item) is Item
    assert colours["item"] is Item


def test_unknown_name_lists_the_closest_and_all_names(colours):
    with pytest.raises(
        UnknownNameError,
        match=r"No 'gren' among colours\. Did you mean 'green'\? Known: blue_green, green, red\.",
    ):
        colours["gren"]


def test_no_suggestion_for_a_dissimilar_name(colours):
    with pytest.raises(UnknownNameError) as caught:
        colours["xyzzy"]
    assert str(caught.value) == "No 'xyzzy' among colours. Known: blue_green, green, red."


def test_an_unknown_name_is_a_key_error(colours):
    assert colours.get("pink") is None
    with pytest.raises(KeyError):
        colours["pink"]


def test_a_taken_name_is_refused_to_another_object_only(colours):
    assert colours.register("red")(1) == 1
    with pytest.raises(ValueError, match="'red' among colours is already taken by 1"):
        colours.register("red")(99)
    assert colours["red"] == 1


@pytest.mark.parametrize("name", ["Red", "blue-green", "1st", "", "light red"])
def test_names_are_lower_case_identifiers(colours, name):
    with pytest.raises(ValueError, match="lower-case identifier"):
        colours.register(name)


def test_entry_points_are_found_by_name(colours, third_party):
    assert colours["violet"] == 7
    assert third_party.loads == 1


@pytest.mark.parametrize("look", [list, len, lambda registry: "violet" in registry])
def test_entry_points_are_listed(colours, third_party, look):
    look(colours)
    assert sorted(colours) == ["blue_green", "green", "red", "violet"]
    assert third_party.loads == 1


def test_registered_name_loads_no_entry_points(colours, third_party):
    assert colours["red"] == 1
    assert third_party.loads == 0


def test_entry_points_of_another_group_are_ignored(third_party):
    assert len(Registry("shapes")) == 0


def test_an_entry_point_cannot_replace_what_is_built_in(colours, third_party):
    third_party.name = "red"
    with pytest.raises(ValueError, match="already taken"):
        list(colours)
    assert colours["red"] == 1
