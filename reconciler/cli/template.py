"""`--format`: a Jinja2 template over one document, or `json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reconciler.cli.terminal import printable
from reconciler.errors import ReconcilerError


def formatted(template: str, documents: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield one line per document. Names are the document's own keys; `json` is a filter, and alone the whole document.

    Raises ReconcilerError for a template that cannot be read or asks for what is not there.
    """
    if template == "json":
        yield from (f"{_json(document)}\n" for document in documents)
        return
    try:
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)  # not HTML
        environment.filters["json"] = _json
        compiled = environment.from_string(template)
        for document in documents:
            yield printable(compiled.render(document), keep="\n\t") + "\n"
    except TemplateSyntaxError as error:
        hint = "; Jinja2 has no dot before a name: {{ Name }}" if "{{." in template.replace(" ", "") else ""
        raise ReconcilerError(f"--format: {error.message}{hint}") from error
    except (TemplateError, TypeError, ValueError, ArithmeticError, OverflowError) as error:
        raise ReconcilerError(f"--format: {error}") from error


def _json(value: object) -> str:
    """Escape all that is not ASCII, so that no value can steer the terminal."""
    return json.dumps(value, separators=(",", ":"))
