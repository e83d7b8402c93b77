# SPDX-License-Identifier: Apache-2.0
"""The two places a command writes to, and keeping other libraries' chatter out of them."""

import logging

from rich.console import Console


def output() -> Console:
    """Standard output: results."""
    return Console(highlight=False)


def status() -> Console:
    """Standard error: what is going on."""
    return Console(stderr=True)


def quiet() -> None:
    """Silence the loading bars and compatibility notes of the libraries underneath; their errors still come through.

    To be called before anything else imports transformers, since some of the notes come at import.
    """
    for name in ("torchao", "torch.utils._pytree", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import transformers  # noqa: PLC0415 - in the extra `tune`

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
