"""The registry server, a program of its own: `onggi registry serve`. See docs/concepts/registry.md."""
