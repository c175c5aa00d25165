"""The one base class of errors that a user can cause and mend."""


class ReelflowError(Exception):
    """Bad input or a state that forbids the work; the message says what was found, what was expected and what to do.

    Commands print it without a traceback and exit with status 2.
    """
