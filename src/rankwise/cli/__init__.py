# SPDX-License-Identifier: Apache-2.0
"""The command line: one file a verb.

A mistake of the user is one message on standard error and exit status 2, Ctrl-C is exit status 130. A traceback means a
bug of ours.
"""

from rankwise.cli.app import main

__all__ = ["main"]
