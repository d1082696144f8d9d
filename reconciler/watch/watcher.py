"""The watcher of one host: its sources, its passes and the loop that joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reconciler.apply.executor import Progress
from reconciler.backends import Backends
from reconciler.container_engine.client import ContainerEngine
from reconciler.kernel.lock import WATCHER, HostLock
from reconciler.observe.host_facts import HOST_FILES
from reconciler.settings import Settings
from reconciler.watch.cluster_events import ClusterEvents
from reconciler.watch.container_events import ContainerEvents
from reconciler.watch.kernel_events import KernelEvents
from reconciler.watch.listener import PassListener
from reconciler.watch.loop import Loop, waiting_for
from reconciler.watch.names_events import NamesEvents
from reconciler.watch.passes import Passes
from reconciler.watch.path_events import PathEvents
from reconciler.watch.presence import Presence
from reconciler.watch.signals import Signals
from reconciler.watch.source import Dirty, EventSource

if TYPE_CHECKING:
    from reconciler.watch.git_source import GitSource
    from reconciler.watch.prober import Prober


def watch(
    settings: Settings,
    backends: Backends,
    listeners: Sequence[PassListener],
    *,
    servers: Sequence[EventSource] = (),
    progress: Progress | None = None,
    open_repository: Callable[[], GitSource] | None = None,
    open_prober: Callable[[Backends], Prober] | None = None,
) -> None:
    """Keep one host converged until SIGTERM or SIGINT. Raises LockHeld when another watcher is at work on this host.

    servers: answer others from the loop; whoever made them closes them. open_repository: where the specs come from, if not from a
    folder of people. open_prober: who sends real packets, if somebody shall.
    """
    with HostLock(WATCHER) as lock, ExitStack() as stack:
        repository = stack.enter_context(closing(open_repository())) if open_repository is not None else None
        containers = stack.enter_context(closing(ContainerEvents(ContainerEngine(settings.container_engine))))
        backends = replace(backends, containers=containers)
        specs, host_file = Dirty(is_specs=True), Dirty(is_other=True)
        prober = stack.enter_context(closing(open_prober(backends))) if open_prober is not None else None
        given = [each for each in (repository, prober) if each is not None]
        files = PathEvents({settings.specs_dir: specs, **dict.fromkeys(HOST_FILES, host_file)})
        stack.callback(files.close)
        kernel = stack.enter_context(closing(KernelEvents(backends.namespaces)))
        sources: list[EventSource] = [containers, files, kernel, *given]
        for make in (lambda: NamesEvents(settings.run_dir), Signals):
            sources.append(stack.enter_context(closing(make())))
        cluster, presence = backends.cluster, None
        if cluster is not None:
            sources.append(stack.enter_context(closing(ClusterEvents(cluster, cluster.kv))))
        if cluster is not None and settings.cluster_advertise:  # others can reach it
            presence = Presence(cluster.kv, settings.host, cluster.instance, cluster.discovery)
            stack.callback(presence.close)
        passes = Passes(settings, backends, files, kernel, presence, lock, progress, repository, prober)
        wait = stack.enter_context(waiting_for([*sources, *servers]))
        if prober is not None:
            prober.start()
        Loop(passes, sources, [*listeners, *given], wait).run()
