# SPDX-License-Identifier: Apache-2.0
"""`python -m rankwise.cli`, for where the script `rankwise` is not on the path."""

import sys

from rankwise.cli.app import main

sys.exit(main())
