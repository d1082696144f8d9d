"""What was seen before, so that a process that stays looks again only where something may have changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter

from msgspec import Struct, field

from reconciler.incremental import Each, Kept, Made, Union
from reconciler.kernel.neighbours import EntryKey
from reconciler.kinds import sublinks
from reconciler.kinds.firewall import FirewallView
from reconciler.kinds.kv_record import RecordReader
from reconciler.kinds.name_tables import ZonesFile
from reconciler.kinds.neighbours import Entries
from reconciler.kinds.sandbox_file import SandboxFiles
from reconciler.kinds.view import NamespaceView, Peers
from reconciler.model.containers import ContainerAnswer
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Key, Object, SandboxFile, Seen
from reconciler.model.observed import Keyed, Named, SandboxFact
from reconciler.model.plan import Operation
from reconciler.model.wanted import AttachmentWanted, SandboxKind
from reconciler.observe.glimpse import Glimpse
from reconciler.observe.host_objects import HostObjects
from reconciler.observe.kept_sandboxes import KeptSandboxes
from reconciler.observe.sysctls import AskedSettings

Part = tuple[int, str]
"""Of what was seen: a rank, and whose it is. Of a key that is in several the part with the highest rank counts."""


class Overlay(Struct, frozen=True, kw_only=True):
    """The namespace of an overlay network. objects: what is in there but for entries, told the far ends of its pairs."""

    ns: NsRef
    seen: NamespaceView
    objects: Callable[[Peers], Keyed]

    def devices(self) -> dict[int, str]:
        """Return the names of our VXLAN devices, by index."""
        return {link.ifindex: link.ifname for link in self.seen.links if link.is_ours and link.kind == "vxlan"}


class Memory(Struct):
    """Kept from pass to pass; a new one remembers nothing, so that everything is looked at.

    news: forgets what changed since it was asked last, and says whether it hears of all that changes on the host; None where nobody
    listens. is_told: what it said. host: the host's own namespace. stale_links: of the host, by index, to be looked at again with
    its addresses and routes; None: its view is as new. stale_names: the same by name. sandboxes: those that attachments name;
    asked_before: what they were asked for; unsettled: those that no event tells all of. names: all named namespaces;
    stale_namespaces: those of them to be looked for. others: namespaces under other names, by name and inode, with what was found
    in them. overlays: the same for namespaces with names of overlay networks, None for those of others. entries: those in there;
    stale_entries: which of them to ask for again. containers: what their engine said, by the name that the specs call each by.
    container_files: those of theirs that hold our text. firewall: our tables on the host and in the namespaces of overlay networks;
    touched_elements: what was done to them since. name_server: the process of the name server that answered last, 0 when none did;
    zones: what was published for it. at_plugins: what exists there. records: reads what the host's own store holds. ask: what
    follows from what was seen alone. asked: says what attachments need of their sandboxes, container_names: which containers these
    are. all_asked, kept, sublinks, all_sublinks, host_objects, all_sandboxes, all_firewalls, seen: put together what was found.
    """

    news: Callable[[], bool] | None = None
    is_told: bool = False
    host: NamespaceView | None = None
    stale_links: frozenset[int] | None = None
    stale_names: frozenset[str] = frozenset()
    sandboxes: dict[NsRef, Glimpse] = field(default_factory=dict)
    asked_before: Mapping[NsRef, frozenset[str]] = field(default_factory=dict)
    unsettled: set[NsRef] = field(default_factory=set)
    names: set[NsRef] | None = None
    stale_namespaces: set[NsRef] = field(default_factory=set)
    others: dict[Named, Glimpse] = field(default_factory=dict)
    overlays: dict[Named, Overlay | None] = field(default_factory=dict)
    entries: dict[Named, Entries] = field(default_factory=dict)
    stale_entries: frozenset[tuple[NsRef, EntryKey]] = frozenset()
    files: SandboxFiles = field(default_factory=SandboxFiles)
    containers: dict[str, ContainerAnswer] = field(default_factory=dict)
    container_files: Keyed | None = None
    firewall: dict[Named, FirewallView] = field(default_factory=dict)
    touched_elements: list[Operation] = field(default_factory=list)
    name_server: int = 0
    zones: ZonesFile = field(default_factory=ZonesFile)
    at_plugins: Keyed = field(default_factory=dict)
    records: RecordReader = field(default_factory=RecordReader)
    ask: Kept = field(default_factory=Kept)
    asked: AskedSettings = field(default_factory=AskedSettings)
    all_asked: Union[tuple[int], NsRef, frozenset[str]] = field(default_factory=Union)
    container_names: Each[str, AttachmentWanted, str] = field(default_factory=lambda: Each(attrgetter("name")))
    kept: KeptSandboxes = field(default_factory=KeptSandboxes)
    sublinks: Made[NsRef, Keyed] = field(default_factory=lambda: Made(sublinks.observe))
    all_sublinks: Union[tuple[NsRef], Key, Seen] = field(default_factory=Union)
    host_objects: HostObjects = field(default_factory=HostObjects)
    all_sandboxes: Union[tuple[int], NsRef, SandboxFact] = field(default_factory=Union)
    all_firewalls: Union[Named, Key, Seen] = field(default_factory=Union)
    seen: Union[Part, Key, Seen] = field(default_factory=Union)

    def hear(self) -> None:
        """Forget what is known to have changed."""
        self.is_told = self.news is not None and self.news()

    def forget(self, namespaces: Iterable[NsRef]) -> None:
        """Look again into these at the next occasion. What is not remembered is fine."""
        for ns in namespaces:
            if ns == HOST:
                self.host = None
                continue
            self.sandboxes.pop(ns, None)
            kind, _, name = ns.partition(":")
            if kind == SandboxKind.NETNS:
                self.stale_namespaces.add(ns)
                for known in (self.others, self.overlays):
                    for named in [named for named in known if named[0] == name]:
                        del known[named]

    def forget_touched(self, operations: Sequence[Operation]) -> None:
        """Look again where these took place. On the host, as long as events tell what else changed, at the links that they name."""
        for operation in operations:
            part = operation.object.traits.memory
            if self.is_told and part == "stale_entries":
                continue  # told by now
            self.forget(ns for ns in operation.namespaces() if ns != HOST or not self.is_told)
            for touched in (operation.before, operation.after):
                if touched is None:
                    continue
                if self.is_told and HOST in touched.touches():
                    self._forget_on_host(touched)
                if isinstance(touched, SandboxFile):
                    self.files.touched(touched)
            match part:
                case "container_files":
                    self.container_files = None
                case "firewall":
                    self.touched_elements.append(operation)

    def _forget_on_host(self, touched: Object) -> None:
        links = {place[1] for place in (*touched.carries(), *touched.sits_on()) if place[0] == HOST and len(place) > 1}
        if not links or not links.isdisjoint(("all", "default")):  # settings of all links, and links of plugins
            self.host = None
        self.stale_names |= links
        self.stale_links = self.stale_links or frozenset()

    def forget_host_links(self, links: frozenset[int]) -> None:
        """Look again at these links of the host, and at its addresses and routes."""
        self.stale_links = links | (self.stale_links or frozenset())

    def forget_containers(self, names: Collection[str]) -> None:
        """Ask for these again, and look into their namespaces and files."""
        if names:
            self.container_files = None
            self.forget(NsRef(f"container:{name}") for name in names)
            self.containers = {name: found for name, found in self.containers.items() if name not in names}

    def forget_all(self) -> None:
        self.host = self.container_files = self.names = None
        self.files.forget()
        self.firewall.clear()
        self.containers.clear()
        self.sandboxes.clear()
        self.others.clear()
        self.overlays.clear()
