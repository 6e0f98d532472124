"""Templates of keys and tags: `projects:{workspace_id}` names arguments of a function, whose values are escaped."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from string import Formatter
from typing import Any

from app_kernel.cache.keys import part_of, shortened
from app_kernel.core.errors import InvalidCacheKey

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

Take = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]
"""Finds the value of a field among the arguments of a call."""


class CallSignature:
    """What a function may be called with; quicker than `inspect.Signature.bind`, which is left the doubtful calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = function.__qualname__
        self._signature = inspect.signature(function)
        self.names = tuple(self._signature.parameters)
        """What all its arguments are called, those of `*args` and `**kwargs` too."""
        self.parameters = {
            name: parameter for name, parameter in self._signature.parameters.items() if parameter.kind not in _VARIADIC
        }
        positional = [each for each in self.parameters.values() if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        self.positions = {parameter.name: at for at, parameter in enumerate(positional)}
        needed = [each for each in self.parameters.values() if each.default is inspect.Parameter.empty]
        self._plain = range(
            sum(each.name in self.positions for each in needed),
            # One that must be named is in no plain call.
            len(positional) + 1 if all(each.name in self.positions for each in needed) else 0,
        )

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raises TypeError for a call that the function would refuse, so that a hit does not hide it."""
        if kwargs or len(args) not in self._plain:
            self._signature.bind(*args, **kwargs)

    def check_partly(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raises TypeError for arguments that the function does not have."""
        self._signature.bind_partial(*args, **kwargs)


class Template:
    """A text with fields in braces, each an argument or, with dots, an attribute of one."""

    def __init__(self, text: object, signature: CallSignature) -> None:
        if type(text) is not str or not text or not text.isprintable():
            raise InvalidCacheKey(f"{signature.name}: a template is printable text, not {text!r}.")
        self.text = text
        self.arguments: set[str] = set()
        """The arguments that its fields name, themselves or an attribute of them."""
        self._literals: list[str] = []
        self._fields: list[Take] = []
        try:
            parts = list(Formatter().parse(text))
        except ValueError as exc:
            raise InvalidCacheKey(f"{signature.name}: {text!r} is no template: {exc}.") from exc
        literal = ""
        for before, name, spec, conversion in parts:
            literal += before
            if name is None:
                continue
            if spec or conversion:
                raise InvalidCacheKey(f"{signature.name}: {text!r} formats {name!r}; a field is a name alone.")
            self._literals.append(self._separated(literal, signature))
            self._fields.append(_field(name, text, signature))
            self.arguments.add(name.partition(".")[0])
            literal = ""
        self._literals.append(literal)

    def _separated(self, literal: str, signature: CallSignature) -> str:
        # With {a}-{b} the ids "x-y", "z" and "x", "y-z" would meet.
        if self._fields and part_of(literal)[0] == literal:
            raise InvalidCacheKey(
                f"{signature.name}: in {self.text!r} two fields are not separated by a `:`, so that the keys of"
                " different ids could be the same."
            )
        return literal

    def render(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, str]:
        """The text for a call, and the types of its values, empty when all are texts.

        Raises InvalidCacheKey for a value that is no id.
        """
        text, shape = self._literals[0], ""
        for at, take in enumerate(self._fields, 1):
            part, letter = part_of(take(args, kwargs))
            text += part + self._literals[at]
            shape += letter
        return shortened(text), shape if shape.strip("s") else ""


def check_all_named(key: Template, signature: CallSignature, ignore: object) -> None:
    """Raises InvalidCacheKey when a call with another argument would be given the value of this one's.

    `ignore` has the arguments that make no difference. The object of a method (`self`, `cls`) needs no mention.
    """
    if isinstance(ignore, str) or not isinstance(ignore, Iterable):
        raise InvalidCacheKey(f'{signature.name}: `ignore` is a list of arguments, such as ("db",), not {ignore!r}.')
    ignored = list(ignore)
    for name in ignored:
        if name not in signature.names or name in key.arguments:
            why = "is named by the key" if name in key.arguments else "is no argument of it"
            raise InvalidCacheKey(f"{signature.name}: `ignore` has {name!r}, which {why}.")
    owner = signature.names[:1] if signature.names[:1] in (("self",), ("cls",)) else ()
    left = [name for name in signature.names if name not in key.arguments and name not in (*ignored, *owner)]
    if left:
        raise InvalidCacheKey(
            f"{signature.name}: the key {key.text!r} does not name {', '.join(left)}, so that a call with another"
            f" {left[0]} would be given the same value. Put what makes a difference into the key, such as"
            f" {{{left[0]}}}, and what makes none into ignore=({left[-1]!r},)."
        )


def _field(name: str, text: str, signature: CallSignature) -> Take:
    argument, dot, path = name.partition(".")
    parameter = signature.parameters.get(argument)
    if parameter is None or (dot and not all(part.isidentifier() for part in path.split("."))):
        known: Sequence[str] = tuple(signature.parameters)
        raise InvalidCacheKey(
            f"{signature.name}: {text!r} names {name!r}, which is no argument of it. There are: {', '.join(known)}."
        )
    position, default = signature.positions.get(argument, 1_000_000), parameter.default

    def take(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        value = args[position] if position < len(args) else kwargs.get(argument, default)
        if value is inspect.Parameter.empty:
            raise TypeError(f"{signature.name}: the key {text!r} needs the argument {argument!r}.")
        return value

    if not dot:
        return take
    attribute = attrgetter(path)
    return lambda args, kwargs: attribute(take(args, kwargs))
