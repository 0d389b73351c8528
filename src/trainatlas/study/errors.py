"""The one exception a user is meant to see."""


class UserError(Exception):
    """A mistake in the user's input, told in one line: file, key, bad value, allowed values.

    The command line prints it without a traceback and ends with exit status 1.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


def said(error: BaseException) -> str:
    """Return what an error says in words of the system, or of its own."""
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of that."""
    return (said(error).splitlines() or [type(error).__name__])[0]
