"""The OCI runtime: from config.json to a process, by way of launcher, shim and init."""
