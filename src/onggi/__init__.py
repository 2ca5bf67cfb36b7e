"""Onggi: a container platform. See docs/internals/one-run.md for the way of one `onggi run`."""

__version__ = "0.1.0"
