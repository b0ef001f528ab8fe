"""Templates of configuration values: sandboxed expressions that keep their type.

Used where YAML fills in a value: command translations, inverses, runbooks. Only
`{{ expression }}` is understood, never statements; an expression reads data and applies
a few filters. It can't call anything, reach a Python attribute or make a value grow
beyond what it read, because parameters come from a language model and from logs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.environment import TemplateExpression
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.tests import TESTS

from infrastructure.errors import PermanentError
from infrastructure.service import Service

# Bounds against hostile input, far above any honest use; not a matter of taste.
MAX_TEMPLATE_CHARS = 4_000
MAX_OUTPUT_CHARS = 1_000_000
_MAX_DEPTH = 32
_MAX_INT_BITS = 64
_SHOWN_CHARS = 120

_FILTERS = ("abs", "d", "default", "first", "float", "int", "last", "length", "lower", "upper")
_TESTS = ("boolean", "defined", "eq", "in", "integer", "mapping", "none", "number", "string")
_MORE_TESTS = ("false", "true", "undefined", "==", "!=", "<", "<=", ">", ">=", "sequence")
# What a template's author can get wrong at run time beside undefined names.
_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    NameError,  # the literal 1e999 compiles to the name inf
    RecursionError,
    MemoryError,
    SyntaxError,
)


def render(value: Any, context: Mapping[str, Any]) -> Any:
    """Fill in every template of nested data; everything else is copied unchanged.

    A string that is exactly one `{{ expression }}` becomes the expression's value with
    its type. Other strings with expressions become text; there `true` and `false` stand
    for booleans, and nothing but text, numbers and booleans is allowed. Keys are not
    rendered, and neither is a rendered value again.

    Raises:
        PermanentError: names the template and what is wrong with it.
    """
    if isinstance(value, str):
        return _render_text(value, context) if "{" in value else value
    if isinstance(value, Mapping):
        return {key: render(item, context) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, context) for item in value]
    return value


def render_condition(value: str | bool | None, context: Mapping[str, Any]) -> bool:
    """Whether a `when` holds; None holds. Emptiness counts as false, as in Jinja2.

    Raises:
        PermanentError: as `render`, or it gives text: "false" would count as true.
    """
    rendered = True if value is None else render(value, context)
    if isinstance(rendered, str):
        raise PermanentError(f"template {_shown(str(value))}: a condition must not give text")
    return bool(rendered)


def check(value: Any) -> list[str]:
    """Mistakes that can be seen without rendering, one line each."""
    if isinstance(value, Mapping):
        return [problem for item in value.values() for problem in check(item)]
    if isinstance(value, list | tuple):
        return [problem for item in value for problem in check(item)]
    if isinstance(value, str) and "{" in value:
        try:
            _compiled(value)
        except PermanentError as exc:
            return [str(exc)]
    return []


def is_template(value: Any) -> bool:
    """Whether rendering could change the value: its context need not be made otherwise."""
    if isinstance(value, Mapping):
        return any(is_template(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(is_template(item) for item in value)
    return isinstance(value, str) and "{{" in value


def service_data(service: Service) -> dict[str, Any]:
    """Desired state as templates see it: plain data under the names of the YAML file."""
    return service.model_dump(mode="json", by_alias=True)


def _join(value: Sequence[Any], separator: str = ", ") -> str:
    items = [str(item) for item in value]
    _bounded(sum(map(len, items)) + len(items) * len(separator))
    return separator.join(items)


def _replace(value: str, old: str, new: str) -> str:
    text = str(value)
    _bounded(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _to_json(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _bounded(chars: int) -> None:
    if chars > MAX_OUTPUT_CHARS:
        raise SecurityError(f"its result is longer than {MAX_OUTPUT_CHARS} characters")


class _Sandbox(SandboxedEnvironment):
    """Narrower than Jinja2's own sandbox: data and operators, nothing that can be called."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True)
        self.globals.clear()
        own: dict[str, Callable[..., Any]] = {
            "join": _join,
            "replace": _replace,
            "tojson": _to_json,
            "string": str,
            "trim": lambda value: str(value).strip(),
        }
        self.filters = {name: FILTERS[name] for name in _FILTERS} | own
        self.tests = {name: TESTS[name] for name in _TESTS + _MORE_TESTS}

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Undefined):
            return obj  # the first missing name is the one to tell, or to default
        if attribute.startswith("_"):
            return self.unsafe_undefined(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Mapping | list | tuple | str):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        return self.undefined(f"nothing is named {argument!r} here", obj=obj, name=str(argument))

    def call(self, *_args: Any, **_kwargs: Any) -> Any:
        raise SecurityError("calls are not allowed; there are filters for what is needed")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        # Text and lists would be repeated, text formatted, numbers raised, without bound.
        numbers = all(isinstance(side, int | float) for side in (left, right))
        if operator == "**" or not numbers:
            raise SecurityError(f"{operator} is not allowed between these values")
        return super().call_binop(context, operator, left, right)


_SANDBOX = _Sandbox()


@lru_cache(maxsize=4096)
def _compiled(text: str) -> tuple[str | TemplateExpression, ...]:
    """Literal pieces and compiled expressions, in order."""
    if len(text) > MAX_TEMPLATE_CHARS:
        raise PermanentError(
            f"template {_shown(text)}: longer than {MAX_TEMPLATE_CHARS} characters"
        )
    try:
        return tuple(_pieces(text))
    except _FAULTS as exc:
        raise PermanentError(f"template {_shown(text)}: {_reason(exc)}") from exc


def _pieces(text: str) -> list[str | TemplateExpression]:
    """Split by Jinja2's own lexer, which knows of quotes and nested braces."""
    pieces: list[str | TemplateExpression] = []
    expression: list[str] | None = None
    for line, kind, value in _SANDBOX.lex(text):
        if kind == "variable_begin":
            expression = []
        elif kind == "variable_end":
            source = "".join(expression or ())
            pieces.append(_SANDBOX.compile_expression(source, undefined_to_none=False))
            expression = None
        elif expression is not None:
            expression.append(value)
        elif kind == "data":
            pieces.append(value)
        else:
            raise TemplateSyntaxError("only {{ expression }} is allowed", line)
    if expression is not None:
        raise TemplateSyntaxError("}} is missing", 1)
    return pieces


def _render_text(text: str, context: Mapping[str, Any]) -> Any:
    pieces = _compiled(text)
    try:
        if len(pieces) == 1 and not isinstance(pieces[0], str):
            return _evaluate(pieces[0], context)
        parts = [
            piece if isinstance(piece, str) else _inline(_evaluate(piece, context))
            for piece in pieces
        ]
        _bounded(sum(map(len, parts)))
        return "".join(parts)
    except _FAULTS as exc:
        raise PermanentError(f"template {_shown(text)}: {_reason(exc)}") from exc


def _evaluate(expression: TemplateExpression, context: Mapping[str, Any]) -> Any:
    return _plain(expression(context))


def _inline(value: Any) -> str:
    """One value within text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    what = "nothing" if value is None else "a list or mapping"
    raise SecurityError(f"an expression within text gives {what}; use an if or the join filter")


def _plain(value: Any) -> Any:
    """A copy made of JSON's types only, so that no template hands out a live object."""
    size = 0

    def copy(item: Any, depth: int) -> Any:
        nonlocal size
        size += len(item) if isinstance(item, str) else 1
        _bounded(size)
        if depth > _MAX_DEPTH:
            raise SecurityError("its result is nested too deeply")
        if isinstance(item, Mapping):
            return {str(key): copy(inner, depth + 1) for key, inner in item.items()}
        if isinstance(item, list | tuple):
            return [copy(inner, depth + 1) for inner in item]
        return _scalar(item)

    return copy(value, 0)


def _scalar(item: Any) -> Any:
    if isinstance(item, Undefined):
        str(item)  # a strict undefined raises here, with the reason it was made with
        raise SecurityError("its condition is false and it has no else")
    if isinstance(item, float) and not math.isfinite(item):
        raise SecurityError("its result is not a finite number")
    if isinstance(item, int) and item.bit_length() > _MAX_INT_BITS:
        raise SecurityError("its result is too large a number")
    if item is None or isinstance(item, bool | int | float):
        return item
    if isinstance(item, str):
        return str(item)
    raise SecurityError(f"its result is not data but a {type(item).__name__}")


def _shown(text: str) -> str:
    """The template on one line, for messages."""
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN_CHARS else line[:_SHOWN_CHARS] + " …")


def _reason(exc: BaseException) -> str:
    if isinstance(exc, RecursionError | MemoryError | SyntaxError):
        return "too deeply nested"
    message = getattr(exc, "message", None) or str(exc) or type(exc).__name__
    return " ".join(str(message).split())[:300]
