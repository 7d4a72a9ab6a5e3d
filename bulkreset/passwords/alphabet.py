"""The characters that passwords are made of."""

from typing import Final

UPPER: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"
LOWER: Final = "abcdefghijkmnopqrstuvwxyz"
DIGITS: Final = "23456789"
SPECIALS: Final = "!#$*.:?"
ALPHABET: Final = UPPER + LOWER + DIGITS + SPECIALS
"""64 characters: none that reads like another (I l 1 O 0), none that JSON, a form or a CSV cell has to escape."""
