# SPDX-License-Identifier: Apache-2.0
"""Ways to count the states at each distance; `search.py` chooses one."""
