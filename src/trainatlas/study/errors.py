"""The one exception a user is meant to see."""


class UserError(Exception):
    """A mistake in the user's input, told in one line: file, key, bad value, allowed values.

    The command line prints it without a traceback and ends with exit status 1.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))
