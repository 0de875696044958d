"""Errors that a user can mend; the command line prints them as one line and exits with 2."""

from __future__ import annotations


class VernierError(Exception):
    """What Vernier raises on purpose: the message says what is wrong and what to do."""


class InputError(VernierError, ValueError):
    """A file, a value or a setting that the user gave cannot be used.

    Example:
        >>> from vernier import Upscaler
        >>> try:
        ...     Upscaler("sesr-m6")
        ... except InputError as error:
        ...     print(str(error).partition(";")[0])
        sesr-m6: no such weight file or model (did you mean 'sesr-m7'?)
    """


class MissingPackageError(VernierError, ImportError):
    """A package that this task needs is not installed; the message has the command for it."""
