"""Regular expressions from clients, matched in linear time: no pattern can hold up the engine.

Docker matches names by Go's regexp, which never backtracks; Python's `re` does, without end for patterns such as
`(a+)+$`. So the pattern is only parsed by `re`, and run here as a set of states that advances once a character.
"""

import re
import warnings
from collections.abc import Callable
from typing import Any

from onggi.errors import InvalidParameter

_PATTERN_LIMIT, _STATE_LIMIT = 256, 5000
_LITERAL = re.compile(r"[A-Za-z0-9_/ -]*", re.ASCII)

Accepts = Callable[[str], bool]


class _State:
    """Either consumes a character that `accepts` takes, or (None) goes on to all of `following` for nothing."""

    __slots__ = ("accepts", "following", "guard")

    def __init__(self, accepts: Accepts | None = None, guard: str = "") -> None:
        self.accepts = accepts
        self.following: list[_State] = []
        self.guard = guard
        """`^` or `$`: passable there only."""


class Pattern:
    """A compiled pattern. Raises InvalidParameter for what is none, is too long, or uses what Go's regexp lacks."""

    def __init__(self, text: str) -> None:
        self._literal = text if _LITERAL.fullmatch(text) else None
        if self._literal is not None:
            return
        if len(text) > _PATTERN_LIMIT:
            raise InvalidParameter(f"invalid filter: the pattern is longer than {_PATTERN_LIMIT} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parsed = re._parser.parse(text)  # type: ignore[attr-defined]
        except (re.error, RecursionError, OverflowError) as error:
            raise InvalidParameter(f"invalid filter: error parsing regexp: {error}") from error
        self._count = 0
        self._end = self._state()
        self._start = self._sequence(list(parsed), self._end)

    def found_in(self, text: str) -> bool:
        """Whether any part of `text` matches."""
        if self._literal is not None:
            return self._literal in text
        current: set[_State] = set()
        for position in range(len(text) + 1):
            self._reach(self._start, position, len(text), current)
            if self._end in current:
                return True
            if position == len(text):
                return False
            reached: set[_State] = set()
            for state in current:
                if state.accepts is not None and state.accepts(text[position]):
                    for following in state.following:
                        self._reach(following, position + 1, len(text), reached)
            current = reached
        return False

    @staticmethod
    def _reach(state: _State, position: int, length: int, into: set[_State]) -> None:
        todo = [state]
        while todo:
            one = todo.pop()
            if one in into or (one.guard == "^" and position != 0) or (one.guard == "$" and position != length):
                continue
            into.add(one)
            if one.accepts is None:
                todo.extend(one.following)

    def _state(self, accepts: Accepts | None = None, guard: str = "") -> _State:
        self._count += 1
        if self._count > _STATE_LIMIT:
            raise InvalidParameter("invalid filter: the pattern repeats too much")
        return _State(accepts, guard)

    def _sequence(self, parts: list[Any], then: _State) -> _State:
        for kind, argument in reversed(parts):
            then = self._part(str(kind), argument, then)
        return then

    def _part(self, kind: str, argument: Any, then: _State) -> _State:
        if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            state = self._state(_accepts(kind, argument))
            state.following.append(then)
            return state
        if kind == "AT":
            guard = {"AT_BEGINNING": "^", "AT_BEGINNING_STRING": "^", "AT_END": "$", "AT_END_STRING": "$"}
            if str(argument) in guard:
                state = self._state(guard=guard[str(argument)])
                state.following.append(then)
                return state
        if kind == "SUBPATTERN" and not argument[1] and not argument[2]:
            return self._sequence(list(argument[3]), then)
        if kind == "BRANCH":
            state = self._state()
            state.following += [self._sequence(list(branch), then) for branch in argument[1]]
            return state
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeat(int(argument[0]), argument[1], list(argument[2]), then)
        raise InvalidParameter("invalid filter: the pattern uses what is not supported, such as a look-ahead or \\b")

    def _repeat(self, least: int, most: Any, body: list[Any], then: _State) -> _State:
        if str(most) == "MAXREPEAT":
            loop = self._state()
            loop.following = [self._sequence(body, loop), then]
            then = loop
        else:
            end = then
            for _ in range(int(most) - least):
                choice = self._state()
                choice.following = [self._sequence(body, then), end]
                then = choice
        for _ in range(least):
            then = self._sequence(body, then)
        return then


def _accepts(kind: str, argument: Any) -> Accepts:
    if kind == "ANY":
        return lambda character: character != "\n"
    if kind == "LITERAL":
        wanted = chr(argument)
        return lambda character: character == wanted
    if kind == "NOT_LITERAL":
        unwanted = chr(argument)
        return lambda character: character != unwanted
    if kind == "CATEGORY":
        return _category(str(argument))
    if kind == "RANGE":
        low, high = argument
        return lambda character: low <= ord(character) <= high
    if kind == "IN":
        negated = bool(argument) and str(argument[0][0]) == "NEGATE"
        members = [_accepts(str(part), value) for part, value in argument[negated:]]
        return lambda character: any(member(character) for member in members) != negated
    raise InvalidParameter("invalid filter: the pattern uses what is not supported")


def _category(name: str) -> Accepts:
    tests: dict[str, Accepts] = {
        "DIGIT": lambda character: "0" <= character <= "9",
        "WORD": lambda character: character.isascii() and (character.isalnum() or character == "_"),
        "SPACE": lambda character: character in " \t\n\r\f",
    }
    word = name.removeprefix("CATEGORY_")
    test = tests[word.removeprefix("NOT_")]
    return (lambda character: not test(character)) if word.startswith("NOT_") else test
