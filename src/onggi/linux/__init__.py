"""The kernel as Python: one call in, an object or OSError out. Alone knows ctypes and system calls."""
