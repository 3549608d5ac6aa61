"""The one exception that is shown to people as a sentence.

`UserError` means: what you asked for cannot be done, and its message says what,
where, what is accepted and what to do. The command line prints it as one line
and exits with status 2; everything else is a bug and keeps its traceback.
"""


class UserError(ValueError):
    """Bad input, said in one clear line."""
