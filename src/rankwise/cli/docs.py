# SPDX-License-Identifier: Apache-2.0
"""Texts for help and lists, read from the docstrings, so that they are written once."""

import re
from inspect import getdoc


def first_paragraph(kind: type) -> str:
    """The beginning of a class's docstring, as one line."""
    return " ".join((getdoc(kind) or "").split("\n\n")[0].split())


def attribute_texts(kind: type) -> dict[str, str]:
    """What the `Attributes:` section of a class's docstring says about each field."""
    section = (getdoc(kind) or "").partition("Attributes:\n")[2]
    section = re.split(r"^\S", section, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
