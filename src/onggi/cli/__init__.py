"""The command line: options become API calls. Imports nothing that only Linux has."""
