"""The picture of a cycle."""

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from checkers.elle.analysis import Analysis
from checkers.elle.picture import cycle_svg
from harness.history import OpType

Make = Callable[..., list[tuple[int, OpType, str]]]
Analyse = Callable[..., Analysis]
SVG = "{http://www.w3.org/2000/svg}"


def drawn(analysis: Analysis) -> ElementTree.Element:
    [case] = [case for cases in analysis.cases.values() for case in cases]
    return ElementTree.fromstring(cycle_svg(case))


def around(count: int) -> list[str]:
    """Each reads what the one before appended, and the last one misses what the first did."""
    keys = "abcdefghijklm"
    found = ["aa1 az1", *(f"r{keys[i - 1]}1 a{keys[i]}1" for i in range(1, count))]
    return [*found[:-1], found[-1] + " rz"]


def texts(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("count", [2, 3, 4, 7, 12])
def test_it_has_a_box_a_transaction_and_an_arrow_a_dependency(
    analysed: Analyse, at_once: Make, count: int
) -> None:
    root = drawn(analysed("list-append", at_once(*around(count))))
    assert len(list(root.iter(f"{SVG}rect"))) == count
    assert len(list(root.iter(f"{SVG}path"))) == count


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_boxes_do_not_overlap_and_all_is_inside(analysed: Analyse, at_once: Make, count: int) -> None:
    root = drawn(analysed("list-append", at_once(*around(count))))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [
        tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
    ]
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for other_x, other_y, other_w, other_h in boxes[:i]:
            apart = x + w <= other_x or other_x + other_w <= x or y + h <= other_y or other_y + other_h <= y
            assert apart


def test_it_says_why(analysed: Analyse, at_once: Make) -> None:
    told = texts(drawn(analysed("list-append", at_once("ax1 ay1", "rx1 ry"))))
    assert told[0] == "G-single-item"
    assert "T1 → T2 (wr): T2 read T1's 1 in x" in told
    assert "T2 → T1 (rw): T2 read y = [], without T1's 1" in told
    assert "T1  process 0, event 2" in told


def test_whoever_is_mentioned_is_introduced(analysed: Analyse, one_by_one: Make) -> None:
    told = texts(drawn(analysed("rw-register", one_by_one("wx1", "wx2", "rx1"))))
    assert any(line.startswith("T2 → T1 (rw): T2 read x = 1 of T3") for line in told)
    assert "T3: process 0 wrote x = 1" in told


def test_what_values_hold_cannot_break_it(analysed: Analyse, at_once: Make) -> None:
    rows = [(process, type_, text.replace("x", "<")) for process, type_, text in at_once("ax1 ay1", "rx1 ry")]
    assert any("<" in line for line in texts(drawn(analysed("list-append", rows))))
