# SPDX-License-Identifier: Apache-2.0
"""The mistakes a user of a recipe can make, beside those of the core.

The command line turns every RankwiseError into one message and exit status 2.
"""

from rankwise.errors import RankwiseError


class RecipeError(RankwiseError, ValueError):
    """A recipe has an unknown field, a value of the wrong type or out of range."""


class DataError(RankwiseError, ValueError):
    """The data cannot be read, or a record has not the expected form."""


class ModelError(RankwiseError, ValueError):
    """The model cannot be found or loaded, or cannot do what the recipe asks."""


class OutputError(RankwiseError, RuntimeError):
    """The output folder cannot be used, or writing to it failed."""
