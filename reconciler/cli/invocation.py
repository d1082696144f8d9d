"""What the global options come to: the settings of a command, checked.

Of command line, environment and configuration file the first that says something wins. A wrong word on the command line is a
usage error, in the other two a configuration error.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from reconciler.cli.options import DEFAULT_CONFIG, GLOBAL_OPTIONS, OPTION_BY_NAME, GlobalOption, Value
from reconciler.errors import ConfigError
from reconciler.model.identifiers import is_name
from reconciler.records.file import content
from reconciler.settings import PruneLimit, Settings, advertised

if TYPE_CHECKING:
    from reconciler.spec.document import Document

_FILE_MAX: Final = 1 << 20
_SOCKET_PATH_MAX: Final = 107
"""sun_path less the terminating zero (unix(7))."""

_WILD: Final = re.compile(r"[*?\[\]!]")
_ANY_HOST: Final = "host"
"""Whom specs are read for that name no hosts, where no host is meant in particular."""


class Invocation(Struct, frozen=True, kw_only=True):
    """What the global options came to. verbosity: 0 is normal, each -v adds one, each -q takes one.

    hosts: as --host has it, names and globs with commas; "" when it is not given.
    """

    settings: Settings
    verbosity: int = 0
    log_format: str = "text"
    hosts: str = ""


def invocation(
    given: Mapping[str, Value], environment: Mapping[str, str] | None = None, *, is_for_hosts: bool = False
) -> Invocation:
    """Put the three sources together. Raises ConfigError for what environment or file have wrong.

    is_for_hosts: --host may name several, by globs and with commas.
    """
    from_environment = _environment_values(os.environ if environment is None else environment)
    file = given.get("config", from_environment.get("config"))
    from_file = _file_values(Path(str(file or DEFAULT_CONFIG)), is_required=file is not None)
    found = {**from_file, **from_environment, **given}
    verbose, quiet = found.get("verbose", 0), found.get("quiet", 0)
    assert isinstance(verbose, int)
    assert isinstance(quiet, int)
    hosts = str(found.get("host", ""))
    if is_for_hosts:
        found["host"] = _ANY_HOST
    elif hosts:
        _check_host(hosts)
    return Invocation(
        settings=_settings(found),
        verbosity=verbose - quiet,
        log_format=str(found.get("log-format", "text")),
        hosts=hosts,
    )


def _settings(found: Mapping[str, Value]) -> Settings:
    defaults = Settings(host="-")
    state_dir = Path(str(found.get("state-dir", defaults.state_dir)))
    netns, pairs = found.get("host-netns"), found.get("cluster-store-opt", ())
    assert isinstance(pairs, tuple)
    return Settings(
        specs_dir=Path(str(found.get("specs", defaults.specs_dir))),
        host=str(found["host"]) if "host" in found else _hostname(),
        state_dir=state_dir,
        status_dir=Path(str(found.get("status-dir", state_dir / "status"))),
        run_dir=Path(str(found.get("run-dir", defaults.run_dir))),
        host_netns=None if netns is None else Path(str(netns)),
        is_bridge_enabled="bridge" not in found,
        is_transit_open=bool(found.get("ip-forward-no-drop")),
        container_engine=_socket_path(str(found["container-engine"])) if "container-engine" in found else None,
        cluster_store=str(found.get("cluster-store", "")),
        cluster_advertise=str(found.get("cluster-advertise", "")),
        cluster_store_options=dict(_pair(text) for text in pairs),
        plugin_root=Path(str(found.get("plugin-root", defaults.plugin_root))),
        plugin_timeout_s=_seconds(str(found.get("plugin-timeout", defaults.plugin_timeout_s))),
        prune_limit=_prune_limit(str(found["prune-limit"])) if "prune-limit" in found else defaults.prune_limit,
    )


def _hostname() -> str:
    name = socket.gethostname()
    try:
        _check_host(name)
    except ConfigError as error:
        raise ConfigError(f"{error}; say which host this is with --host") from error
    return name


def _environment_values(environment: Mapping[str, str]) -> dict[str, Value]:
    """Read RECONCILE_<NAME>; an empty variable says nothing, repeated options are parted by commas."""
    found: dict[str, Value] = {}
    for option in GLOBAL_OPTIONS:
        text = environment.get(option.variable, "")
        if not text:
            continue
        value: object = text.split(",") if option.is_repeated else text
        if option.metavar is None and text.isdecimal():
            value = int(text[:3])
        found[option.name] = _named(option.variable, option, value)
    return found


def _file_values(path: Path, *, is_required: bool) -> dict[str, Value]:
    """Read the configuration file; the default one need not exist. Relative paths in it start at its folder."""
    try:
        text = content(path, bytes_max=_FILE_MAX).decode()
    except FileNotFoundError:
        if not is_required:
            return {}
        raise ConfigError(f"{path}: there is no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the configuration file cannot be read: {error}") from error
    found: dict[str, Value] = {}
    document = _parsed(path, text)
    for key, data in _entries(document).items():
        option = OPTION_BY_NAME.get(key.replace("_", "-"))
        if option is None or option.name == "config":
            place = document.source((key,), at_key=True)
            raise ConfigError(f"{place}: unknown key {key!r}{_suggestion(key)}")
        value = _named(str(document.source((key,))), option, data)
        found[option.name] = str(path.parent / str(value)) if option.is_path else value
    return found


def _parsed(path: Path, text: str) -> Document:
    from reconciler.spec.document import parse_document

    document, faults = parse_document(str(path), text)
    if document is None or faults:
        raise ConfigError("; ".join(map(str, faults)))
    return document


def _entries(document: Document) -> Mapping[str, object]:
    if document.data is None:
        return {}
    if not isinstance(document.data, dict):
        raise ConfigError(f"{document.file}:1:1: expected a mapping of options, as `specs: /etc/reconciler/specs`")
    return document.data


def _suggestion(key: str) -> str:
    near = get_close_matches(key.replace("_", "-"), OPTION_BY_NAME, n=1)
    return (
        f": did you mean {near[0]!r}?"
        if near
        else f"; known are {', '.join(sorted(OPTION_BY_NAME.keys() - {'config'}))}"
    )


def _named(place: str, option: GlobalOption, value: object) -> Value:
    """Bring a value from environment or file into the form that the command line gives. Errors name its place."""
    try:
        return checked(option, _typed(option, value))
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _typed(option: GlobalOption, value: object) -> Value:
    if option.is_repeated and isinstance(value, dict):
        return tuple(f"{key}={item}" for key, item in value.items())
    if option.is_repeated and isinstance(value, list):
        return tuple(map(str, value))
    if option.metavar is None and isinstance(value, int):
        return int(value)
    if option.metavar is not None and not option.is_repeated and isinstance(value, str) and value:
        return value
    expected = "a list of K=V" if option.is_repeated else "a number" if option.metavar is None else "text"
    raise ConfigError(f"{option.name} takes {expected}, not {value!r}")


def checked(option: GlobalOption, value: Value) -> Value:
    """Return `value` when the option may have it. Raises ConfigError."""
    if option.choices and value not in option.choices:
        raise ConfigError(f"{option.name} is one of {', '.join(option.choices)}, not {value!r}")
    if isinstance(value, str) and (not value or "\0" in value):
        raise ConfigError(f"{option.name} is empty")
    if option.name == "host":
        _check_hosts(str(value))
    if option.name == "cluster-advertise":
        advertised(str(value))
    if option.name == "container-engine":
        _socket_path(str(value))
    if option.name == "prune-limit":
        _prune_limit(str(value))
    if option.name == "plugin-timeout":
        _seconds(str(value))
    if isinstance(value, tuple):
        for text in value:
            _pair(text)
    return value


def _socket_path(text: str) -> Path:
    path = text.removeprefix("unix://")
    if path == text or not path.startswith("/") or len(path.encode()) > _SOCKET_PATH_MAX:
        raise ConfigError(
            f"container-engine is unix:// and the path of a socket, as unix:///run/docker.sock, not {text!r}"
        )
    return Path(path)


def _prune_limit(text: str) -> PruneLimit:
    count, _, percent = text.partition(",")
    percent = percent.removesuffix("%")
    if not (count.isdecimal() and percent.isdecimal() and int(count[:9]) > 0 and int(percent[:9]) <= 100):
        raise ConfigError(f"prune-limit is a number of networks and a share of them, as 3,50%, not {text!r}")
    return PruneLimit(count=int(count[:9]), percent=int(percent[:9]))


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or not float(text):
        raise ConfigError(f"plugin-timeout is a number of seconds, as 20 or 0.5, not {text!r}")
    return float(text)


def _check_hosts(text: str) -> None:
    """Check names, and what may fit some; a command that is for one host checks that it is one."""
    for name in text.split(","):
        _check_host(_WILD.sub("x", name))


def _check_host(name: str) -> None:
    """The name is part of the path of a spec file, `hosts/<host>.yaml`."""
    if not is_name(name):
        raise ConfigError(
            f"{name!r} is no host name: letters, digits, dots, dashes, not beginning with a dash or a dot"
        )


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        # The text itself may hold a token and stays out of the message.
        raise ConfigError("a store option is K=V, as kv.cacertfile=/etc/ssl/ca.pem")
    return key, value
