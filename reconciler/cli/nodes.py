"""`node`: the hosts of the cluster, as its store tells of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.logs import log
from reconciler.cli.options import global_options
from reconciler.cli.table import table
from reconciler.cli.terminal import show
from reconciler.errors import ConfigError, ExitCode
from reconciler.settings import Settings

if TYPE_CHECKING:
    from reconciler.cluster.nodes import NodeRow
    from reconciler.kv.protocol import KvStore

_HEADS: Final = ("NAME", "ADDRESS", "ALIVE", "ENDPOINTS", "REVISION")


@click.group()
@global_options()
def node() -> None:
    """Show and remove the hosts of the cluster."""


@node.command()
@global_options(without=("quiet",))
@click.option("-q", "--quiet", "is_quiet", is_flag=True, help="Only names.")
@click.option(
    "--format", "template", metavar="TEMPLATE", help="A line for each: `json`, or Jinja2 as '{{Name}} {{Address}}'."
)
@click.pass_context
def ls(context: click.Context, *, is_quiet: bool, template: str | None) -> ExitCode:
    """List the hosts of the cluster, sorted by name.

    ALIVE is `yes` for a host whose watcher gives signs of life, `no` for one whose signs are missed, `unwatched` for one where
    passes are run without a watcher. ENDPOINTS are those on networks of the cluster, REVISION is that of the host's specs.
    """
    from reconciler.apply.node_removal import cluster_entries, texts
    from reconciler.cluster.nodes import node_rows

    with _opened(begin(context).settings) as (kv, nodes_folder):
        rows = node_rows(texts(cluster_entries(kv, nodes_folder)), nodes_folder)
    show(_listing(rows, is_quiet=is_quiet, template=template))
    return ExitCode.OK


@node.command()
@global_options()
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.pass_context
def rm(context: click.Context, *, hosts: tuple[str, ...]) -> ExitCode:
    """Remove hosts that will not come back: their endpoints leave all networks, their addresses are free again.

    A host that gives signs of life is refused. One that comes back later joins anew.
    """
    from reconciler.apply.node_removal import remove_nodes

    with _opened(begin(context).settings) as (kv, nodes_folder):
        remove_nodes(kv, tuple(dict.fromkeys(hosts)), nodes_folder)
    for host in dict.fromkeys(hosts):
        log.info("removed: node %s", host)
    return ExitCode.OK


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[KvStore, str]]:
    """Return the cluster's store and the folder of nodes in it."""
    from reconciler.kv.address import discovery, store_config
    from reconciler.kv.registry import open_store

    if not settings.cluster_store:
        raise ConfigError("cluster-store is not set: this host is in no cluster, so it has no nodes")
    config = store_config(settings.cluster_store, settings.cluster_store_options, os.environ)
    nodes_folder = discovery(settings.cluster_store_options).path
    enter_host(settings)
    kv = open_store(config)
    try:
        yield kv, nodes_folder
    finally:
        kv.close()


def _listing(rows: tuple[NodeRow, ...], *, is_quiet: bool, template: str | None) -> str:
    if is_quiet:
        return "".join(f"{row.name}\n" for row in rows)
    if template is not None:
        from reconciler.cli.template import formatted

        return "".join(formatted(template, [_columns(row) for row in rows]))
    return table(_HEADS, [tuple(map(str, _columns(row).values())) for row in rows])


def _columns(row: NodeRow) -> dict[str, object]:
    return {
        "Name": row.name,
        "Address": row.address,
        "Alive": row.alive,
        "Endpoints": row.endpoints,
        "Revision": row.revision,
    }
