"""YAML files, read as plain values or refused in one line."""

from pathlib import Path
from typing import Any

import yaml

from cuhs.errors import CuhsError, cut, quoted
from cuhs.files import read_file

# In bytes; this project's files have a few thousand.
MOST = 2**20


def read_yaml(path: Path, missing: str) -> Any:
    """Read a file.

    Args:
        path: the file, or a link to it.
        missing: what to do if it is missing.

    Raises:
        CuhsError: it is missing, cannot be read, or is no YAML; or it uses aliases, with which a small file can
            stand for gigabytes.
    """
    try:
        text = read_file(path, MOST).decode()
    except FileNotFoundError as error:
        raise CuhsError(f"{path}: missing; {missing}") from error
    except OSError as error:
        raise CuhsError(f"{path}: cannot be read as text ({error.strerror}); make it a readable file") from error
    except UnicodeDecodeError as error:
        raise CuhsError(f"{path}: cannot be read as text ({cut(str(error))}); save it in UTF-8") from error
    try:
        return yaml.load(text, _Loader)
    except RecursionError as error:
        raise CuhsError(f"{path}: not valid YAML (nested too deeply); make it flatter") from error
    except yaml.YAMLError as error:
        raise CuhsError(f"{path}: not valid YAML ({cut(str(error))}); correct it") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases; whatever it cannot read is a ``YAMLError`` that names the place."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem=f"the alias *{cut(event.anchor)} is refused; write the value out", problem_mark=_place(event)
            )
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int):
                value.to_bytes(8, signed=value < 0)  # no parameter has more than 64 bits
            return value
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # constructors raise anything on a bad date, a number of 5,000 digits, …
            raise yaml.MarkedYAMLError(
                problem=f"{quoted(node.value)} is no value of its kind", problem_mark=_place(node)
            ) from error


def _place(thing: Any) -> yaml.Mark:
    """Where an event or a node begins, without the text around it."""
    mark = thing.start_mark
    return yaml.Mark("the file", mark.index, mark.line, mark.column, None, 0)
