"""The ROS domain of a graph, and how `vla say` and `vla stop` in another terminal find it."""

from __future__ import annotations

import os
import random
import socket

from vla_policy.check.doctor.domains import (
    DOMAIN_ID,
    LAST_CLEAR,
    chosen_domain,
    domain_in_use,
    keep_to_loopback,
)
from vla_policy.ros.process.notes import running

DOMAINS = range(1, LAST_CLEAR)
PARTICIPANTS = 4  # of a domain whose discovery port is tried; the first may have ended


def join_or_isolate() -> int:
    """Set ROS_DOMAIN_ID to a free domain and keep to loopback, unless the user has chosen already."""
    if chosen_domain() is None:
        os.environ[DOMAIN_ID] = str(free_domain())
    keep_to_loopback()
    return domain_in_use()


def free_domain() -> int:
    """A domain in which no DDS participant of this machine holds the first discovery port.

    Raises ValueError if every domain is taken.
    """
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        if not _taken(domain, 0):
            return domain
    raise ValueError(f"no free ROS domain from 1 to {DOMAINS[-1]}; set {DOMAIN_ID}")


def domains_in_use() -> tuple[int, ...]:
    """Domains in which a DDS participant of this machine holds one of the first discovery ports."""
    return tuple(
        domain
        for domain in (0, *DOMAINS)
        if any(_taken(domain, participant) for participant in range(PARTICIPANTS))
    )


def join(domain: int | None = None, namespace: str | None = None) -> tuple[int, str]:
    """Choose the graph to talk to: (domain, which becomes ROS_DOMAIN_ID; namespace).

    None is taken from ROS_DOMAIN_ID, then from the one graph that announced itself.
    Raises ValueError with the choices if several did.
    """
    chosen = chosen_domain()
    domain = chosen if domain is None else domain
    fits = [
        session
        for session in running()
        if domain in (None, session.domain) and namespace in (None, session.namespace)
    ]
    if len({(session.domain, session.namespace) for session in fits}) > 1:
        choices = "; or ".join(
            f"--domain {s.domain} --namespace {s.namespace or '/'} ({s.robot})" for s in fits
        )
        raise ValueError(f"several robots are running; say which: {choices}")
    if fits:
        domain, namespace = fits[0].domain, fits[0].namespace
        if chosen is None and fits[0].discovery == "LOCALHOST":
            keep_to_loopback()
    domain = domain or 0
    os.environ[DOMAIN_ID] = str(domain)
    return domain, namespace or ""


def _taken(domain: int, participant: int) -> bool:
    # RTPS 9.6.1: unicast discovery of a participant is at 7400 + 250 * domain + 10 + 2 * participant.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 7400 + 250 * domain + 10 + 2 * participant))
        except OSError:
            return True
    return False
