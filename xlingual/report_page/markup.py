"""HTML as a tree: text is escaped by whoever writes the tree, so that no text becomes markup."""

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

Node = ElementTree.Element
Child = Node | str | None


def element(tag: str, *children: Child, **attributes: str | bool | None) -> Node:
    """Returns an element.

    >>> text(element("p", "a < b ", element("bdi", "c"), class_="note", hidden=True))
    '<p class="note" hidden="">a &lt; b <bdi>c</bdi></p>'

    Args:
      tag: its name.
      *children: elements and text, in order; None is left out.
      **attributes: an underscore at the end is dropped, others become hyphens; True is an
        attribute without a value, None and False are left out.
    """
    node = ElementTree.Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            node.set(name.rstrip("_").replace("_", "-"), "" if value is True else str(value))
    return add(node, *children)


def add(node: Node, *children: Child) -> Node:
    """Returns `node` with further children."""
    for child in children:
        if isinstance(child, str):
            if len(node):
                node[-1].tail = (node[-1].tail or "") + child
            else:
                node.text = (node.text or "") + child
        elif child is not None:
            node.append(child)
    return node


def text(node: Node) -> str:
    """Returns an element as HTML."""
    return ElementTree.tostring(node, encoding="unicode", method="html")


def paragraph(*children: Child, class_: str | None = None) -> Node:
    """Returns a paragraph."""
    return element("p", *children, class_=class_)


def command(line: str) -> Node:
    """Returns a command to copy."""
    return element("code", line)


def missing(what: str, *commands: str) -> Node:
    """Returns a note that says what is not there and which commands make it."""
    node = element("div", paragraph(what), class_="missing")
    for line in commands:
        add(node, element("pre", command(line), tabindex="0"))
    return node


def table(
    head: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    *,
    words: int = 1,
    caption: str = "",
) -> Node:
    """Returns a table in a box that scrolls by itself.

    Args:
      head: cells of the first row.
      rows: cells of the others; the first of each is its heading.
      words: so many first columns are words, the others are numbers and stand right.
      caption: for those who cannot see it.
    """
    number = [None if column < words else "number" for column in range(len(head))]
    body = element("tbody")
    for row in rows:
        line = add(body, element("tr"))[-1]
        for column, cell in enumerate(row):
            kind = {"scope": "row"} if column == 0 else {}
            add(line, element("td" if column else "th", cell, class_=number[column], **kind))
    cells = [element("th", cell, scope="col", class_=number[i]) for i, cell in enumerate(head)]
    return element(
        "div",
        element(
            "table",
            element("caption", caption) if caption else None,
            element("thead", element("tr", *cells)),
            body,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption or "table",
    )


def details(summary: str, *children: Child, open_: bool = False) -> Node:
    """Returns what opens on a click."""
    return element("details", element("summary", summary), *children, open=open_)


def foreign(words: str, language: str | None = None, *, tag: str = "p") -> Node:
    """Returns text in any language: it runs in its own direction and does not touch its neighbours.

    Args:
      words: the text; line breaks and spaces stay.
      language: its code, for fonts and voices; None where it is not known.
      tag: of the element.
    """
    return element(tag, words, class_="foreign", dir="auto", lang=language)
