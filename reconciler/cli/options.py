"""The global options: what they are called, and how commands take them. `invocation.py` makes settings of them.

One table serves the command line, the environment (`RECONCILE_<NAME>`) and the configuration file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import click

from reconciler.errors import ConfigError

DEFAULT_CONFIG: Final = "/etc/reconciler/config.yaml"
ENVIRONMENT_PREFIX: Final = "RECONCILE_"

Command = TypeVar("Command", bound=Callable[..., object])
Value = str | int | tuple[str, ...]


class GlobalOption(NamedTuple):
    """name: with dashes, as after `--`. Without a metavar it is counted; repeated ones are lists of K=V."""

    name: str
    help: str
    metavar: str | None = None
    short: str | None = None
    choices: tuple[str, ...] = ()
    is_repeated: bool = False
    is_path: bool = False

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.replace("-", "_").upper()


GLOBAL_OPTIONS: Final = (
    GlobalOption(name="specs", metavar="DIR", is_path=True, help="Folder of the specs [default: specs]"),
    GlobalOption(name="host", metavar="NAME", help="Which host this is [default: the hostname]"),
    GlobalOption(
        name="state-dir", metavar="DIR", is_path=True, help="Promised addresses [default: /var/lib/reconciler]"
    ),
    GlobalOption(name="status-dir", metavar="DIR", is_path=True, help="Status files [default: STATE-DIR/status]"),
    GlobalOption(name="run-dir", metavar="DIR", is_path=True, help="Files of sandboxes [default: /run/reconciler]"),
    GlobalOption(
        name="host-netns", metavar="PATH", is_path=True, help="Network namespace that plays the host [default: our own]"
    ),
    GlobalOption(
        name="container-engine",
        metavar="unix:///PATH",
        help="Socket of the engine of `sandbox: {container: …}` [default: Docker's or Podman's]",
    ),
    GlobalOption(name="cluster-store", metavar="URL", help="Key-value store: PROVIDER://HOST[,HOST]/PREFIX"),
    GlobalOption(name="cluster-advertise", metavar="ADDR", help="Address for other hosts: IP|IFACE[:PORT]"),
    GlobalOption(
        name="cluster-store-opt", metavar="K=V", is_repeated=True, help="Option of the store; may be repeated"
    ),
    GlobalOption(name="bridge", metavar="none", choices=("none",), help="none: do without the network `bridge`"),
    GlobalOption(
        name="ip-forward-no-drop",
        help="Forward between links of others too, where nothing was forwarded before us",
    ),
    GlobalOption(
        name="prune-limit",
        metavar="N,P%",
        help="Refuse to remove N networks or more at once when that is more than P% of them [default: 3,50%]",
    ),
    GlobalOption(
        name="plugin-root",
        metavar="DIR",
        is_path=True,
        help="Where run/docker/plugins and etc/docker/plugins are looked for [default: /]",
    ),
    GlobalOption(
        name="plugin-timeout", metavar="SECONDS", help="How long one call to a network plugin may take [default: 20]"
    ),
    GlobalOption(
        name="config", metavar="FILE", is_path=True, help=f"These options by name, in YAML [default: {DEFAULT_CONFIG}]"
    ),
    GlobalOption(name="verbose", short="-v", help="Log more: every operation and detail"),
    GlobalOption(name="quiet", short="-q", help="Log less; twice for errors only"),
    GlobalOption(
        name="log-format",
        metavar="text|json",
        choices=("text", "json"),
        help="Form of the log on stderr [default: text]",
    ),
)

OPTION_BY_NAME: Final = {option.name: option for option in GLOBAL_OPTIONS}


def global_options(*, without: tuple[str, ...] = (), is_hidden: bool = True) -> Callable[[Command], Command]:
    """Let a command take the global options too. without: names that mean something else there (`ls -q`)."""

    def decorate(command: Command) -> Command:
        for option in reversed(GLOBAL_OPTIONS):
            if option.name not in without:
                command = _click_option(option, is_hidden=is_hidden)(command)
        return command

    return decorate


def _click_option(option: GlobalOption, *, is_hidden: bool) -> Callable[[Command], Command]:
    flags = [option.short] if option.short else []
    return click.option(
        *flags,
        f"--{option.name}",
        metavar=option.metavar,
        type=click.Choice(option.choices) if option.choices else None,
        count=option.metavar is None,
        multiple=option.is_repeated,
        help=option.help,
        hidden=is_hidden,
        expose_value=False,
        callback=_remember,
    )


def _remember(context: click.Context, parameter: click.Parameter, value: Value | None) -> None:
    """Keep what was given; the place next to the command wins, repeated and counted ones add up."""
    if value is None or value == () or value == 0:
        return
    assert parameter.name is not None
    name, given = parameter.name.replace("_", "-"), context.find_root().ensure_object(dict)
    option, before = OPTION_BY_NAME[name], given.get(name)
    if option.choices or before is None or isinstance(value, str):
        given[name] = value
    else:
        given[name] = before + value
    from reconciler.cli.invocation import checked

    try:
        checked(option, given[name])
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx=context, param=parameter) from error
