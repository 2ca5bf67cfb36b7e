"""Onggi: a container platform. See docs/internals/one-run.md for the way of one `onggi run`."""
