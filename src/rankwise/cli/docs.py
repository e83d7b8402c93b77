# SPDX-License-Identifier: Apache-2.0
"""Texts for help and lists, read from the docstrings, so that they are written once."""

import re
from inspect import cleandoc, getdoc


def first_paragraph(kind: type) -> str:
    """The beginning of a class's docstring, as one line."""
    return " ".join((getdoc(kind) or "").split("\n\n")[0].split())


def attribute_texts(kind: type) -> dict[str, str]:
    """What the `Attributes:` sections of the docstrings of a class and its bases say about each field."""
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        section = cleandoc(one.__doc__ or "").partition("Attributes:\n")[2]
        section = re.split(r"^\S", section, maxsplit=1, flags=re.MULTILINE)[0]
        found = re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", section, flags=re.MULTILINE)
        texts |= {name: " ".join(text.split()) for name, text in found}
    return texts
