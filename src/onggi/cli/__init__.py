"""The command line. It speaks HTTP to an engine, imports no other part of Onggi, and starts within milliseconds."""
