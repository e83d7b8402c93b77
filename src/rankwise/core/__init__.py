# SPDX-License-Identifier: Apache-2.0
"""The nouns of the library: targets, adapters, methods and the handle on an adapted model."""
