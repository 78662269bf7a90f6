"""The exception for failures that the user can fix, and how its message quotes what others wrote."""

from reprlib import Repr

# Characters that a message quotes of one value, and of what another library says.
VALUE, SAID = 80, 200


class CuhsError(Exception):
    """A failure with a one-line message that names the file or key and says how to fix it.

    Command-line entry points print the message without a stack trace and exit with code 2.
    """


def cut(text: str, most: int = SAID) -> str:
    """Return text on one line, cut after ``most`` characters."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most and len(text) <= 4 * most else f"{line[: most - 1]}…"


def quoted(value: object) -> str:
    """Return a value as it would be written in Python, cut in depth and length."""
    return cut(_QUOTES.repr(value), VALUE)


class _Quotes(Repr):
    """Writes integers of any size; Python refuses to write those of thousands of digits."""

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 256 else f"a number of {x.bit_length()} bits"


_QUOTES = _Quotes()
_QUOTES.maxlevel, _QUOTES.maxstring, _QUOTES.maxother = 3, VALUE, VALUE
