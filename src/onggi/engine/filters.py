"""The `filters` parameter of Docker's lists: {"label": ["a=b"], …} or, from older clients, {"label": {"a=b": true}}."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from onggi.errors import InvalidParameter


class Filters:
    """Values by key. A key without values filters nothing."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = {key: tuple(found) for key, found in values.items() if found}

    @classmethod
    def parse(cls, text: str, accepted: Collection[str]) -> "Filters":
        """Read the query parameter. Raises InvalidParameter with Docker's sentences."""
        if not text:
            return cls({})
        try:
            found: Any = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise InvalidParameter("invalid filter") from error
        if not isinstance(found, dict):
            raise InvalidParameter("invalid filter")
        values: dict[str, list[str]] = {}
        for key, given in found.items():
            if key not in accepted:
                raise InvalidParameter(f"invalid filter '{key}'")
            if isinstance(given, dict):
                values[key] = [value for value, wanted in given.items() if wanted]
            elif isinstance(given, list) and all(isinstance(value, str) for value in given):
                values[key] = given
            else:
                raise InvalidParameter("invalid filter")
        return cls(values)

    def __getitem__(self, key: str) -> tuple[str, ...]:
        return self._values.get(key, ())

    def has(self, key: str) -> bool:
        return key in self._values

    def values(self) -> Mapping[str, tuple[str, ...]]:
        return self._values

    def exact(self, key: str, value: str) -> bool:
        """True when the key is not given or one of its values is `value`."""
        return key not in self._values or value in self._values[key]

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A key that holds one truth value. Raises InvalidParameter when it holds another or several."""
        if key not in self._values:
            return default
        truths = {"1": True, "true": True, "0": False, "false": False}
        given = {truths.get(value.lower()) for value in self._values[key]}
        if len(given) != 1 or None in given:
            raise InvalidParameter(f"invalid filter '{key}=[{' '.join(self._values[key])}]'")
        return given == {True}

    def labels(self, key: str, labels: Mapping[str, str]) -> bool:
        """True when each of the key's values, `name` or `name=value`, is among the labels."""
        for wanted in self._values.get(key, ()):
            name, equals, value = wanted.partition("=")
            if name not in labels or (equals and labels[name] != value):
                return False
        return True
