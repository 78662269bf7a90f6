"""JSON documents: read into a type, with one line for whatever is wrong with them."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from cuhs.errors import CuhsError, cut, quoted
from cuhs.files import read_file

T = TypeVar("T")

# In bytes; the largest that are written here have a few hundred thousand.
MOST = 16 * 2**20
# How many problems of one document are told.
TOLD = 5


class Document(Generic[T]):
    """A kind of JSON document.

    Args:
        kind: the type of its content; pydantic checks it.
        what: what it is, with an article, such as ``a model card``.
        mend: what to do if it is missing or damaged.
    """

    def __init__(self, kind: type[T], what: str, mend: str) -> None:
        self._kind, self._what, self._mend = kind, what, mend

    def read(self, path: Path) -> T:
        """Read a file.

        Raises:
            CuhsError: it is missing, cannot be read, or is no such document.
        """
        try:
            content = read_file(path, MOST)
        except FileNotFoundError as error:
            raise CuhsError(f"{path}: missing; {self._mend}") from error
        except OSError as error:
            raise CuhsError(f"{path}: not {self._what} ({error.strerror}); {self._mend}") from error
        return self.parse(content, str(path))

    def parse(self, content: bytes | str, origin: str) -> T:
        """Read JSON; ``origin`` names it in errors.

        Raises:
            CuhsError: it is no such document.
        """
        try:
            return self._adapter.validate_json(content)
        except ValidationError as error:
            raise CuhsError(f"{origin}: not {self._what} ({problems(error)}); {self._mend}") from error

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        return TypeAdapter(self._kind)


def problems(error: ValidationError) -> str:
    """Return what is wrong with a document, on one line of bounded length."""
    return in_short(
        f"{place(item['loc'])}{cut(item['msg'])}"
        + ("" if item["type"] in {"missing", "json_invalid"} else f", got {quoted(item['input'])}")
        for item in error.errors()
    )


def place(location: Iterable[int | str]) -> str:
    """Return a place in a document as ``a.b: ``; empty for the whole document."""
    name = cut(".".join(str(part) for part in location))
    return f"{name}: " if name else ""


def in_short(told: Iterable[str]) -> str:
    """Join the first few problems, and count the others."""
    listed = list(told)
    more = f"; and {len(listed) - TOLD} more" if len(listed) > TOLD else ""
    return "; ".join(listed[:TOLD]) + more
