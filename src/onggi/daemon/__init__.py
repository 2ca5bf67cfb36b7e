"""The process that serves: configuration, sockets, launcher, API."""
