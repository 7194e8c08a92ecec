"""Puts a drawing into a page: ids of its own, variables for colours, texts under the pointer."""

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from xlingual.report_page import palette
from xlingual.report_page.drawing import Drawing
from xlingual.report_page.markup import Node

MAX_SCALE = 1.4
"""So much larger than drawn may a picture be shown."""

_FONT = re.compile(r"font: (?:\w+ )?([\d.]+)px [^;]*")
_NUMBER = re.compile(r"-?\d+\.\d+")


def inline(drawing: Drawing, *, name: str, label: str) -> Node:
    """Returns a drawing as an element of HTML.

    Args:
      drawing: from `draw_svg`.
      name: unique in the page; begins its ids.
      label: what it shows, for those who cannot see it.
    """
    text = palette.with_variables(_FONT.sub(r"font-size: \1px", drawing.svg))
    root = ElementTree.fromstring(text.encode("utf-8"))
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
        for key in list(node.attrib):
            value = node.attrib.pop(key).strip()
            node.set(key.rpartition("}")[2], _renamed(key, value, name))
    _drop_outside_content(root)
    _add_titles(root, drawing, name)
    if drawing.boxes:
        root = _split(root, drawing, name)
    _drop_unused_ids(root)
    _slim(root)
    if drawing.boxes:
        root.set("role", "img")
        root.set("aria-label", label)
        return root
    width = float(root.get("viewBox", "0 0 380 0").split()[2])
    root.set("style", f"max-width:{width * MAX_SCALE:.0f}px")
    for key in ("width", "height", "version", "id"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", label)
    if drawing.hover:
        root.set("data-hover", _compact(drawing.hover))
        root.set("tabindex", "0")
    root.tail = None
    return root


def _drop_outside_content(root: Node) -> None:
    """Drops what describes the file, and the style that would hold for the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style"):
                parent.remove(child)


def _split(root: Node, drawing: Drawing, name: str) -> Node:
    """Returns a picture for each panel, which flow like words; shared definitions come first."""
    definitions = ElementTree.Element("svg", {"class": "definitions", "aria-hidden": "true"})
    groups = {}
    for node in root.iter():
        if node.tag == "defs":
            definitions.append(node)
        if re.fullmatch(rf"{name}-axes_\d+", node.get("id", "")):
            groups[int(node.get("id", "").rpartition("_")[2]) - 1] = node
    panels = ElementTree.Element("div", {"class": "panels"})
    panels.append(definitions)
    for place, box in enumerate(drawing.boxes):
        view = " ".join(f"{number:g}" for number in box)
        panel = ElementTree.SubElement(panels, "svg", {"viewBox": view})
        panel.append(groups[place])
    return panels


def _renamed(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href") and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return re.sub(r"url\(#", f"url(#{name}-", value)


def _add_titles(root: Node, drawing: Drawing, name: str) -> None:
    for node in root.iter():
        title = drawing.titles.get(node.get("id", "").removeprefix(f"{name}-"))
        if title is not None:
            words = ElementTree.Element("title")
            words.text = title
            node.insert(0, words)
            node.set("class", "mark")


def _drop_unused_ids(root: Node) -> None:
    """Drops ids that nothing points to."""
    used = set()
    for node in root.iter():
        for key, value in node.attrib.items():
            used |= set(re.findall(r"url\(#([^)]+)\)", value))
            if key == "href":
                used.add(value[1:])
    for node in root.iter():
        if node.get("id") not in used:
            node.attrib.pop("id", None)


def _slim(node: Node) -> None:
    """Drops what nobody sees, a third of a drawing: empty groups, far digits, spaces, fonts."""
    children = []
    for child in list(node):
        _slim(child)
        child.tail = None
        bare = child.tag == "g" and not child.attrib
        if child.tag == "path" and child.get("style") == "fill:none":
            continue
        children += list(child) if bare else [child]
    node[:] = children
    if node.tag not in ("text", "title"):
        node.text = None
    if style := node.get("style"):
        rules = (rule.strip() for rule in style.split(";"))
        kept = (rule.replace(": ", ":") for rule in rules if not rule.startswith("font-family"))
        node.set("style", ";".join(kept))
    if node.get("transform", "").startswith("rotate(-0 "):
        del node.attrib["transform"]
    for key in ("d", "x", "y", "width", "height", "transform"):
        if value := node.get(key):
            node.set(key, " ".join(_NUMBER.sub(_rounded, value).split()))


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found.group()):.2f}".rstrip("0").rstrip(".")


def _compact(hover: Mapping[str, Any]) -> str:
    """Returns JSON in which the points of a line are one text: quotation marks are long in HTML."""
    lines = [
        {**line, "points": ";".join("|".join(map(str, point)) for point in line["points"])}
        for line in hover["lines"]
    ]
    return json.dumps({**hover, "lines": lines}, ensure_ascii=False, separators=(",", ":"))
