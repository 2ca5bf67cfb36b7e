"""Request and response shapes of the Docker Engine API, per resource."""
