"""Boxes are drawn as masks of the pixels they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egat_hub.data.annotations import Box, Boxes
from egat_hub.data.images import UnreadableImageError, same_aspect

WIDTH, HEIGHT = 24, 20


def drawn(*corners, size=None, on=(WIDTH, HEIGHT)):
    boxes = tuple(Box(*four, "thing") for four in corners)
    return np.asarray(Boxes("a.xml", boxes, size).draw(on))


def spans(limit):
    return st.tuples(st.integers(0, limit), st.integers(0, limit)).filter(lambda s: s[0] != s[1]).map(sorted)


@given(st.lists(st.tuples(spans(WIDTH), spans(HEIGHT)), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_pixels_inside_boxes_are_white(found):
    corners = [(x[0], y[0], x[1], y[1]) for x, y in found]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    for left, top, right, bottom in corners:
        expected[top:bottom, left:right] = 255
    assert np.array_equal(drawn(*corners), expected)


@given(st.tuples(st.floats(0, 11), st.floats(0, 9)), st.tuples(st.floats(12, 24), st.floats(10, 20)))
@settings(max_examples=50, deadline=None)
def test_partly_covered_pixels_are_gray(start, end):
    fine = 64
    x, y = ((np.arange(n * fine) + 0.5) / fine for n in (WIDTH, HEIGHT))
    inside = np.outer((start[1] < y) & (y < end[1]), (start[0] < x) & (x < end[0]))
    shares = inside.reshape(HEIGHT, fine, WIDTH, fine).mean((1, 3))
    assert np.abs(drawn((*start, *end)) / 255 - shares).max() < 2 / fine + 1 / 255


@pytest.mark.parametrize("scale", [2, 5])
def test_boxes_follow_the_scale_of_their_image(scale):
    corners = (3, 4, 10, 9), (8, 8, 24, 20)
    large = drawn(*corners, size=(WIDTH, HEIGHT), on=(scale * WIDTH, scale * HEIGHT))
    assert np.array_equal(large, np.kron(drawn(*corners), np.ones((scale, scale), np.uint8)))


def test_boxes_are_clipped_to_the_image():
    assert np.array_equal(drawn((-9, 5, 99, 99), size=(WIDTH, HEIGHT)), drawn((0, 5, WIDTH, HEIGHT)))
    assert np.array_equal(drawn((-1, -1, 5, 5)), drawn((0, 0, 5, 5)))  # corners counted from 0 as if from 1


@pytest.mark.parametrize(
    ("corners", "size", "reason"),
    [
        ((0, 0, 9, 9), (20, 24), r"drawn on 20 x 24 pixels, the image \(upright\) has 24 x 20"),
        ((0, 0, 26, 9), None, "leaves the image .* add width and height"),
        ((30, 0, 40, 9), (24, 20), "no box lies in the image"),
    ],
)
def test_boxes_of_another_image_are_rejected(corners, size, reason):
    with pytest.raises(UnreadableImageError, match=rf"a\.xml: .*{reason}"):
        drawn(corners, size=size)


@pytest.mark.parametrize("corners", [(5, 5, 5, 9), (5, 9, 7, 4), (0, 0, math.nan, 4), (0, 0, math.inf, 4)])
def test_boxes_without_area_are_rejected(corners):
    with pytest.raises(UnreadableImageError, match=r"a\.xml: a box .* has no area"):
        drawn(corners)


@pytest.mark.parametrize(
    ("size", "other", "same"),
    [
        ((500, 375), (224, 168), True),
        ((500, 333), (128, 85), True),  # 85.2
        ((500, 333), (128, 86), True),
        ((500, 333), (128, 88), False),
        ((24, 20), (20, 24), False),
        ((224, 224), (224, 200), False),
        ((24, 15), (1000, 640), True),  # 15.4
    ],
)
def test_same_aspect(size, other, same):
    assert same_aspect(size, other) == same_aspect(other, size) == same
