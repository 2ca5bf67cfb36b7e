"""The management API under /api/v1: JSON for people's programs and the page. One module per noun; `routes(service)`."""
