"""What strangers' names may do to a terminal: nothing."""


def printable(text: str) -> str:
    r"""The text with each character that a terminal would obey, such as escape, written out: \x1b."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
