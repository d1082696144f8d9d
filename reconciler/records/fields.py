"""The members of a record's JSON object, each read as what it has to be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Final, TypeVar

from reconciler.model.identifiers import is_link_name, is_name
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.model.subnets import is_unicast, unusable_part
from reconciler.records.document import Misfit, json_object

_ADDRESS_MAX: Final = 64
_ID: Final = re.compile(r"[0-9a-f]{64}\Z")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_UNICAST_MAC: Final = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}\Z")
_NO_MAC: Final = "00:00:00:00:00:00"

I = TypeVar("I", IPv4Interface, IPv6Interface)  # noqa: E741  # an interface


class Fields:
    """A JSON object from outside. Whatever is read of it and does not fit raises Misfit, which names the member, not its value."""

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members

    @classmethod
    def of(cls, text: str, length_max: int) -> Fields:
        return cls(json_object(text, length_max))

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def has(self, key: str) -> bool:
        """Return whether there is such a member, and not null."""
        return self._members.get(key) is not None

    def value(self, key: str) -> object:
        return self._members.get(key)

    def text(self, key: str) -> str:
        value = self._members.get(key)
        if not isinstance(value, str):
            raise Misfit(f"{key} is not a string")
        return value

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self.text(key)
        if not pattern.match(value):
            raise Misfit(f"{key} is malformed")
        return value

    def flag(self, key: str) -> bool:
        value = self._members.get(key)
        if not isinstance(value, bool):
            raise Misfit(f"{key} is neither true nor false")
        return value

    def number(self, key: str, last: int) -> int:
        """Return a whole number from 1 to `last`."""
        value = self._members.get(key)
        if type(value) is not int or not 0 < value <= last:
            raise Misfit(f"{key} is out of range")
        return value

    def id(self, key: str) -> str:
        return self.matching(key, _ID)

    def name(self, key: str) -> str:
        return checked_name(self.text(key))

    def link_name(self, key: str) -> str:
        """Return the name of a link, or ""."""
        value = self.text(key)
        if value and not is_link_name(value):
            raise Misfit(f"{key} is not a link name")
        return value

    def mac(self, key: str) -> str:
        """Return a unicast MAC address in lower case, or ""."""
        value = self.text(key) and self.matching(key, _UNICAST_MAC)
        if value == _NO_MAC:
            raise Misfit(f"{key} is all zero")
        return value

    def moment(self, key: str) -> str:
        """Return a moment (RFC 3339) that exists: no 31st of February."""
        value = self.matching(key, _MOMENT)
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise Misfit(f"{key} is malformed") from None
        return value

    def address(self, key: str) -> IPAddress:
        text = self._address_text(key)
        try:
            return ip_address(text)
        except ValueError:
            raise Misfit(f"{key} is malformed") from None

    def interface(self, key: str, family: type[I]) -> I | None:
        """Return the address and prefix length of an endpoint in this family; None where it has none."""
        if not self.has(key):
            return None
        text = self._address_text(key)
        try:
            found = ip_interface(text)
        except ValueError:
            raise Misfit(f"{key} is not an address") from None
        if not isinstance(found, family):
            raise Misfit(f"{key} is an address of the wrong family")
        if not is_unicast(found.ip):
            raise Misfit(f"{key} is not an endpoint's address")
        return found

    def pool(self, key: str) -> IPNetwork:
        """Return a subnet, without bits behind its prefix, whose addresses links may have."""
        text = self._address_text(key)
        try:
            found = ip_network(text)
        except ValueError:
            raise Misfit(f"{key} is malformed") from None
        if unusable_part(found):
            raise Misfit(f"{key} is not a pool")
        return found

    def items(self, key: str, count_max: int) -> list[object]:
        value = self._members.get(key)
        if not isinstance(value, list) or len(value) > count_max:
            raise Misfit(f"{key} is not a short list")
        return value

    def objects(self, key: str, count_max: int) -> list[Fields]:
        return [self._object(key, item) for item in self.items(key, count_max)]

    def mapping(self, key: str, count_max: int) -> Fields:
        """Return an object whose keys are its content, `count_max` at most."""
        found = self._object(key, self._members.get(key))
        if len(found._members) > count_max:
            raise Misfit(f"{key} has more than {count_max} members")
        return found

    @staticmethod
    def _object(key: str, value: object) -> Fields:
        if not isinstance(value, dict):
            raise Misfit(f"{key} holds what is not an object")
        return Fields(value)

    def _address_text(self, key: str) -> str:
        """Return the text of an address; one with a scope belongs to a link and is no choice of ours."""
        text = self.text(key)
        if "%" in text or len(text) > _ADDRESS_MAX:
            raise Misfit(f"{key} has a scope, or is malformed")
        return text


def checked_name(text: str) -> str:
    """Return the name of a network, an attachment or a host as it is. Raises Misfit."""
    if not is_name(text):
        raise Misfit("not a name")
    return text
