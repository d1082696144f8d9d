"""A plugin of mypy: `msgspec.structs.replace` takes only fields that there are, of their types, as `dataclasses.replace` does."""

from __future__ import annotations

from collections.abc import Callable

from mypy.plugin import FunctionSigContext, Plugin
from mypy.plugins.dataclasses import replace_function_sig_callback
from mypy.types import FunctionLike, Instance, get_proper_type


class TypedReplace(Plugin):
    def get_function_signature_hook(self, fullname: str) -> Callable[[FunctionSigContext], FunctionLike] | None:
        return _signature if fullname == "msgspec.structs.replace" else None


def _signature(context: FunctionSigContext) -> FunctionLike:
    given = get_proper_type(context.api.get_expression_type(context.args[0][0]))
    if isinstance(given, Instance) and not given.type.has_base("msgspec.Struct"):
        return context.default_signature  # which refuses it
    return replace_function_sig_callback(context)


def plugin(version: str) -> type[Plugin]:
    return TypedReplace
