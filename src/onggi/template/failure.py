"""How a template fails. The sentence is Go's."""


class TemplateError(Exception):
    """A template that does not parse, or does not fit the value. `str()` begins with "template: "."""
