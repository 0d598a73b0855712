"""Calls of services for a page: answered at once without a server, else with its response."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from vla_policy.web.panel import Answer

NOT_THERE = "the {} node is not there"


def answered(answer: Answer) -> Future[Answer]:
    """A future that already holds answer."""
    made: Future[Answer] = Future()
    made.set_result(answer)
    return made


def called(
    client: Any,
    request: Any,
    told: Callable[[Any], Answer],
    if_late: Callable[[Any], None] | None = None,
) -> Future[Answer]:
    """Call a service; told turns its response into the answer.

    if_late: gets a response after the time-out.
    """
    if not client.service_is_ready():
        node = client.srv_name.strip("/").split("/")[-2]
        return answered(Answer(False, f"no server of {client.srv_name}: {NOT_THERE.format(node)}"))
    answer: Future[Answer] = Future()
    asked = client.call_async(request)

    def take(_: Any) -> None:
        response = asked.result()
        if answer.set_running_or_notify_cancel():
            answer.set_result(told(response))
        elif if_late is not None:
            if_late(response)

    asked.add_done_callback(take)
    if if_late is None:
        answer.add_done_callback(
            lambda given: client.remove_pending_request(asked) if given.cancelled() else None
        )
    return answer
