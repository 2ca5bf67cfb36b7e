"""Container IDs: 64 hexadecimal digits, drawn at random; the first 12 are shown."""

import os

SHORT = 12


def new_id() -> str:
    """A fresh ID whose first twelve digits are not all decimal: those serve as a host name, and a number is none."""
    while True:
        drawn = os.urandom(32).hex()
        if not drawn[:SHORT].isdecimal():
            return drawn
