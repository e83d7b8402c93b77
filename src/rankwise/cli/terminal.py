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
    """Silence loading bars, but for downloads, and compatibility notes of the libraries underneath, but for errors.

    To be called before anything else imports transformers, since some of the notes come at import.
    """
    for name in ("torchao", "torch.utils._pytree", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import huggingface_hub  # noqa: PLC0415 - in the extra `tune`
    import transformers  # noqa: PLC0415

    transformers.utils.logging.disable_progress_bar()
    huggingface_hub.utils.enable_progress_bars()  # the line above hides downloads, too
    transformers.utils.logging.set_verbosity_error()
