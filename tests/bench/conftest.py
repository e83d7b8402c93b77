# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from fashion_files import write_fashion


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small Fashion-MNIST."""
    folder = tmp_path_factory.mktemp("data")
    write_fashion(folder)
    return folder
