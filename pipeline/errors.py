"""The one exception for what a user can cause and can mend."""


class InputError(Exception):
    """Something that was given is wrong.

    The message is one line: it names the file or the key, the value that was
    found, and what would be right. A stage prints it and exits with code 1.
    """


def some(names: list[str], limit: int = 10) -> str:
    """List names in one line, at most `limit` of them, with the count of the rest."""
    shown = ", ".join(one_line(name) for name in names[:limit])
    rest = len(names) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def one_line(error: object) -> str:
    """Return another's error, or its message, in one line, to stand in ours."""
    return " ".join(str(error).split())
