"""What survives kill -9: the SQLite database, its schema, the journal of intents."""
