"""The C library's allocator, told to give memory back.

Measured (2026-12, glibc 2.36, a new registry before its first request): 86 MB of private memory as it comes, 29 MB so. A
password's hash takes 19 MiB once, and glibc takes that for a sign to keep blocks of this size for good; and each thread
has an arena of its own.
"""

import os
import sys

SETTINGS = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "8388608", "MALLOC_MMAP_THRESHOLD_": "2097152"}


def settle() -> None:
    """Begin anew with the settings, which are read once, when a process starts. Those that are given already stay."""
    if SETTINGS.keys() <= os.environ.keys():
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], SETTINGS | dict(os.environ))
