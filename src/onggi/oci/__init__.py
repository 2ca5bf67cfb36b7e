"""Plain types and pure functions of the OCI specifications and Docker's reference grammar. No I/O."""
