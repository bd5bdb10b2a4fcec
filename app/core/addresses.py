"""What may be reached at a user's wish: public network addresses, web addresses, mailboxes."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

MAIL_SCHEME = "mailto:"

# Deliberately narrow: nothing that a mail header or a URL could read in another way.
_MAILBOX = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_LONGEST_MAILBOX = 254

# `is_global` alone lets these pass, or did in some version of Python.
_HELD_BACK_4 = (
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("224.0.0.0/4"),
)
# All unicast that is global lies in 2000::/3; this leaves out what carries an IPv4 address in
# another place (::ffff:0:0/96, 64:ff9b::/96, 64:ff9b:1::/48). Inside it these do.
_UNICAST_6 = IPv6Network("2000::/3")
_HELD_BACK_6 = (
    IPv6Network("2001::/23"),  # Teredo, and what is reserved for protocols
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),
)


def is_public(address: str) -> bool:
    """Whether an address stands for a machine on the open internet. Raises ValueError."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        return (
            parsed in _UNICAST_6
            and parsed.is_global
            and not any(parsed in network for network in _HELD_BACK_6)
        )
    return parsed.is_global and not any(parsed in network for network in _HELD_BACK_4)


def is_web_address(url: str) -> bool:
    """Whether it is an http or https URL without a user name, in signs that a header may have."""
    try:
        parts = urlsplit(url)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_fit = is_fit and parts.port != 0 and parts.username is None
    except ValueError:
        return False
    return is_fit and all(sign.isprintable() and sign != " " for sign in url)


def is_mailbox(address: str) -> bool:
    """Whether it is an e-mail address, such as ops@example.org."""
    return len(address) <= _LONGEST_MAILBOX and _MAILBOX.fullmatch(address) is not None
