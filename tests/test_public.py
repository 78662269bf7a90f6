"""What `import cuhs` offers."""

import subprocess
import sys

import pytest

import cuhs


@pytest.mark.parametrize("name", cuhs.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(cuhs, name) is not None


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'cuhs' has no attribute 'Person'"):
        cuhs.Person  # noqa: B018


def test_importing_the_library_imports_nothing_slow() -> None:
    code = "import sys, cuhs; assert not {'torch', 'pyarrow', 'pydantic', 'scipy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
