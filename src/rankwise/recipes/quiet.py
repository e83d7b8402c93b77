# SPDX-License-Identifier: Apache-2.0
"""Keeping other libraries' chatter out of what a process writes."""

import logging


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
