# SPDX-License-Identifier: Apache-2.0
"""`python -m rankwise.cli`, for launchers such as torchrun that start a module."""

import sys

from rankwise.cli.app import main

sys.exit(main())
