"""The one exception for failures that the user can mend."""


class CuhsError(Exception):
    """A failure whose message is one line naming the file or key and what to do about it.

    Command-line entry points print it without a stack trace and exit with code 2.
    """
