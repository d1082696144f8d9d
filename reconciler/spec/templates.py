"""`*.yaml.j2` -> YAML text, and which line of the template each line of it came from.

A template is data that somebody committed, not a program that is trusted: it sees its variables and nothing else, and what
it may repeat, write and multiply is bounded.

Where lines came from is found by rendering twice: once as it is, once with a marker at the start of each line of the
template's literal text. The markers are believed only when the second text without them is the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from reconciler.errors import SpecError
from reconciler.spec.document import BYTES_MAX, Document, LineMap, Tree, kind_of
from reconciler.spec.files import SpecText

STEPS_MAX: Final = 200_000
"""Turns of loops and calls of macros in one template."""
RANGE_MAX: Final = 65_536
NUMBER_MAX: Final = 1 << 128
_TICK: Final = "__step__"
_MARK: Final = re.compile("\ue000([0-9]+)\ue001")
_CONCAT: Final = "__concat__"
_INDENT_MAX: Final = 64
_UNFIT_FILTERS: Final = (
    "batch", "center", "filesizeformat", "format", "pprint", "random", "round", "slice", "urlize", "wordwrap", "xmlattr"
)  # fmt: skip
"""Not the same twice, or able to blow a value up by a number that the template gives."""
_UNFIT_METHODS: Final = frozenset(
    (
        "center",
        "encode",
        "expandtabs",
        "format",
        "format_map",
        "join",
        "ljust",
        "replace",
        "rjust",
        "translate",
        "zfill",
    )
)
_UNFIT_GLOBALS: Final = ("lipsum", "cycler", "joiner")


class TooMuch(TemplateError):
    """A template went over one of its limits."""


class Renderer:
    """Renders the templates of one folder with one set of variables, `host` among them."""

    def __init__(self, variables: Iterable[Document], *, host: str, faults: list[SpecError]) -> None:
        self._variables = _merged(variables, faults) | {"host": host}
        self._faults = faults

    def render(self, template: SpecText) -> tuple[str, LineMap] | None:
        """Return the text and its line map, or None after adding a fault with the template's own line."""
        try:
            text = _render(template.text, self._variables, is_marked=False)
            marked = _render(template.text, self._variables, is_marked=True)
        except TemplateSyntaxError as error:
            self._faults.append(SpecError(template.name, error.lineno, 1, f"bad template: {error.message}"))
        except RecursionError as error:
            line = _template_line(error)
            why = "a macro calls itself without end" if line else "it is nested too deeply"
            self._faults.append(SpecError(template.name, line, 1, f"bad template: {why}"))
        except MemoryError as error:
            self._faults.append(
                SpecError(template.name, _template_line(error), 1, "bad template: it takes too much memory")
            )
        except Exception as error:  # expressions raise whatever Python does: a fault of the template's author
            self._faults.append(SpecError(template.name, _template_line(error), 1, f"bad template: {_said(error)}"))
        else:
            return text, line_map(template.text, text, marked)
        return None


def _said(error: Exception) -> str:
    said = str(error).partition("\n")[0][:200]
    return said if isinstance(error, TemplateError) else f"{type(error).__name__}: {said}"


def _template_line(error: BaseException) -> int:
    """Return the line that jinja2 wrote into the traceback for the innermost frame of the template."""
    line, traceback = 0, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _merged(variables: Iterable[Document], faults: list[SpecError]) -> dict[str, Tree]:
    merged: dict[str, Tree] = {}
    for document in variables:
        if isinstance(document.data, dict):
            merged |= document.data
        elif document.data is not None:
            faults.append(document.fault((), f"variables are a mapping, this is {kind_of(document.data)}"))
    return merged


def _render(source: str, variables: Mapping[str, Tree], *, is_marked: bool) -> str:
    environment = _Environment()
    tree = _Bounding().visit(environment.parse(source))
    if is_marked:
        for data in tree.find_all(nodes.TemplateData):
            data.data = _with_marks(data.data, data.lineno)
    tree.set_environment(environment)
    template = environment.from_string(tree)
    chunks = cast("Generator[str, None, None]", template.generate(variables))
    return "".join(_bounded(chunks, is_marked=is_marked))


class _Bounding(NodeTransformer):
    """Puts a step counter into whatever repeats, and a bounded function where texts are joined by `~`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  # jinja2 dispatches on the class's name
        return self._counted(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._counted(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call(_CONCAT, node.nodes, node.lineno)

    def _counted(self, node: nodes.For | nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.Output([_call(_TICK, [], node.lineno)], lineno=node.lineno))
        return node


def _call(name: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load", lineno=line), arguments, [], None, None, lineno=line)


def _bounded(chunks: Generator[str, None, None], *, is_marked: bool) -> Iterator[str]:
    size, limit = 0, BYTES_MAX * (8 if is_marked else 1)
    try:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise TooMuch(f"the rendered text is larger than {BYTES_MAX >> 20} MiB")
            yield chunk
    except TooMuch as error:  # this one, or the time is up just here
        chunks.throw(error)  # into the template, so that the traceback knows its line


def _with_marks(text: str, line: int) -> str:
    parts = text.split("\n")
    return "\n".join(f"\ue000{line + index}\ue001{part}" for index, part in enumerate(parts))


def line_map(template: str, text: str, marked: str) -> LineMap:
    """Read the markers, one at least per line that has literal text; a line without one belongs to the line before it."""
    if _MARK.sub("", marked) != text:
        return LineMap(is_rendered=True)
    template_lines, lines, same, last = template.split("\n"), [], set(), 0
    for number, (line, marked_line) in enumerate(zip(text.split("\n"), marked.split("\n"), strict=True), start=1):
        mark = _MARK.search(marked_line)
        last = int(mark[1]) if mark else last
        lines.append(last)
        if 0 < last <= len(template_lines) and template_lines[last - 1] == line:
            same.add(number)
    return LineMap(lines=tuple(lines), same=frozenset(same), is_rendered=True)


class _Environment(ImmutableSandboxedEnvironment):
    """One rendering: counts its steps and what it writes."""

    intercepted_binops = frozenset(("*", "**", "+", "%", "//"))

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, finalize=self._finalize, loader=None)
        for name in _UNFIT_FILTERS:
            del self.filters[name]
        for name in _UNFIT_GLOBALS:
            del self.globals[name]
        self.globals |= {"range": _range, _TICK: self._step, _CONCAT: _concat}
        self.filters |= {"indent": _indent, "join": _join, "replace": _replace, "string": _string, "tojson": _tojson}
        self._steps = 0
        self._written = 0

    def _step(self) -> str:
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise TooMuch(f"more than {STEPS_MAX} turns of loops and calls of macros")
        return ""

    def _finalize(self, value: Any) -> Any:
        if value is None:
            raise TooMuch("a value is null where text is written: use the filter default('...', true)")
        if isinstance(value, str):
            self._written += len(value)
            if self._written > 4 * BYTES_MAX:
                raise TooMuch("too much text is written")
        return _bounded_value(value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse arithmetic whose result has no bound: text and lists that multiply, numbers beyond 128 bits."""
        if operator == "*" and isinstance(left, int) and not isinstance(right, int | float):
            left, right = right, left
        if operator == "*" and hasattr(left, "__len__"):
            _fitting(len(left) * max(right, 0))
        if (
            operator == "+"
            and hasattr(left, "__len__")
            and hasattr(right, "__len__")
            and len(left) + len(right) > BYTES_MAX
        ):
            raise TooMuch("a text or list grows too large")
        if operator == "%" and isinstance(left, str):
            raise TooMuch("the operator % is for numbers here: join texts with ~")
        if operator == "**" and not (isinstance(right, int | float) and abs(right) <= 128 and abs(left) <= 1 << 32):
            raise TooMuch("a number grows too large")
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and abs(result) > NUMBER_MAX:
            raise TooMuch("a number grows too large")
        return result

    def wrap_str_format(self, value: Any) -> None:
        """Leave str.format to `is_safe_attribute`: the sandbox's own wrapper bounds what it reaches, not how wide it writes."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, int | float | bytes) or (isinstance(obj, str) and attr in _UNFIT_METHODS):
            return False
        return super().is_safe_attribute(obj, attr, value)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > RANGE_MAX:
        raise TooMuch(f"range() gives at most {RANGE_MAX} numbers")
    return numbers


def _fitting(size: int) -> None:
    if size > BYTES_MAX:
        raise TooMuch("a text or list grows too large")


def _bounded_value(value: Any) -> Any:
    """Return it; refuse what would be too large as text: what is in a list again and again is written as often."""
    size, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple):
            waiting += each
        size += len(each) if isinstance(each, str) else 1
        _fitting(size)
    return value


def _string(value: object) -> str:
    return str(_bounded_value(value))


def _concat(*values: object) -> str:
    texts = [_string(value) for value in values]
    _fitting(sum(map(len, texts)))
    return "".join(texts)


def _join(values: Iterable[object], separator: str = "") -> str:
    texts = [_string(value) for value in values]
    _fitting(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _replace(text: str, old: str, new: str) -> str:
    _fitting(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _indent(text: str, width: int = 4) -> str:
    if not 0 <= width <= _INDENT_MAX:
        raise TooMuch(f"indent takes a width up to {_INDENT_MAX}")
    return text.replace("\n", "\n" + " " * width)


def _tojson(value: object) -> str:
    """Write JSON, which is YAML too: how a list or a text with odd characters gets into a spec."""
    return json.dumps(_bounded_value(value), ensure_ascii=False)
