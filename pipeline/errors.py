"""The one exception for what a user can cause and can mend."""


class InputError(Exception):
    """Something that was given is wrong.

    The message is one line: it names the file or the key, the value that was
    found, and what would be right. A stage prints it and exits with code 1.
    """


def incomplete_val(key: str, value: str, instead: str) -> InputError:
    """Return the error of a key that needs the complete labels of val, where they are not there."""
    return InputError(
        f"{key} = {value}: counts the positives of the val pictures, of which only some are known "
        f"(prepare.val_labels is observed); should be {instead}"
    )


def some(names: list[str], limit: int = 10) -> str:
    """List names in one line, at most `limit` of them, with the count of the rest."""
    shown = ", ".join(names[:limit])
    rest = len(names) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def one_line(error: object) -> str:
    """Return another's error, or its message, in one line, to stand in ours."""
    return " ".join(str(error).split())
