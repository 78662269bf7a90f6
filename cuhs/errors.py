"""The exception for failures that the user can fix."""


class CuhsError(Exception):
    """A failure with a one-line message that names the file or key and says how to fix it.

    Command-line entry points print the message without a stack trace and exit with code 2.
    """
