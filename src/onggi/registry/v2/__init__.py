"""The OCI distribution specification's endpoints, and Docker's token server. One module per noun; `routes(service)`."""
