"""Options of `run` and `create` → the body of POST /containers/create, as docker 28 writes it.

`request` holds what every container has; each other module is loaded when one of its options is given.
"""
