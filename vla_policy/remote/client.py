"""A policy on another machine: the answers of any policy, or Unavailable within a bounded time.

A server's reply is checked as far as possible: request number, columns, sizes, finite numbers, the
rows to be kept. Whether the motion is safe is decided by the guard, as for every policy.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from vla_policy.checkpoint.contract import Contract, check_middles
from vla_policy.checkpoint.contract import check as check_contract
from vla_policy.embodiment import Embodiment
from vla_policy.models.fitting import scaled_down, with_bars
from vla_policy.models.sampling import InferenceOptions, Sampling
from vla_policy.parsing.files import one_line
from vla_policy.remote import wire
from vla_policy.remote.address import (
    TLS_CA,
    Address,
    client_tls,
    find_token,
    is_address,
    parse_address,
    server_file,
)
from vla_policy.remote.connection import FIRST_S, Connection
from vla_policy.remote.foreign import ForeignPolicy
from vla_policy.remote.handshake import Offer, changed, read_offer
from vla_policy.remote.messages import (
    MAX_DEADLINE_S,
    OWN,
    PROMPT,
    STATE,
    camera_key,
    read_chunk,
    write_chunk,
    write_options,
)
from vla_policy.remote.openvla_client import OpenVlaPolicy
from vla_policy.remote.server_file import read_server_file
from vla_policy.runtime.images import encode_jpeg
from vla_policy.runtime.policy_protocol import KeywordInfer, Unavailable
from vla_policy.types import ActionChunk, Array, Observation, Reason

WORDS_S = 0.5  # timeout of a question about the text, which is sent from a message callback
LIE_S = 0.05  # timeout of closing a connection after an invalid reply while another thread uses it
LEAST_S = 0.5
WORDS_KEPT = 64
UNANSWERED = 2  # requests in a row after which the connection is closed
REPLY_LIMITS = wire.MessageLimits(items=4096)


class RemotePolicy(KeywordInfer):
    """A vla_policy server's policy. One request at a time; threads wait for each other.

    Raises ValueError if the policy itself refuses, Unavailable if there is no answer now.
    """

    def __init__(self, address: Address, token: str | None, ca: str | None = None) -> None:
        """Connects. Raises Unavailable without a server, ValueError if its offer is malformed."""
        self._address = address
        self._lock = threading.RLock()  # of the connection; held during a request
        self._words_lock = threading.Lock()
        self._number = 0
        self._unanswered = 0
        self._words: OrderedDict[str, Reason | None] = OrderedDict()
        self._offer: Offer | None = None
        self._connection = Connection(address.url, token, client_tls(address.url, ca), self._greet)
        self._connection.connect(FIRST_S)

    @property
    def offer(self) -> Offer:
        """The server's offer: its policy's contract, rows and heads."""
        if self._offer is None:
            raise Unavailable(f"{self._address.url}: it has not sent its offer yet")
        return self._offer

    @property
    def contract(self) -> Contract:
        """The policy's inputs and outputs."""
        return self.offer.contract

    @property
    def rows(self) -> int:
        """Rows of a chunk."""
        return self.offer.rows

    @property
    def head(self) -> str | None:
        """The head that the server uses."""
        return self.offer.head

    @property
    def continues(self) -> bool:
        """Whether it continues a chunk in execution."""
        return self.offer.continues

    @property
    def can_point(self) -> bool:
        """Whether point is supported."""
        return self.offer.can_point

    @property
    def can_answer(self) -> bool:
        """Whether ask is supported."""
        return self.offer.can_answer

    @property
    def understanding(self) -> str:
        """What it reports of instructions that it does not understand, one sentence."""
        return self.offer.understanding

    @property
    def timeout_s(self) -> float:
        """For one request: after a chunk's last row is due, its answer is useless."""
        lasts_s = self.rows * self.contract.step_ns / 1e9
        return min(MAX_DEADLINE_S, max(LEAST_S, lasts_s))

    def check(self, embodiment: Embodiment) -> tuple[str, ...]:
        """One sentence for each difference of embodiment and the server's contract."""
        problems = check_contract(self.contract, embodiment)
        return problems + check_middles("statistics", self.offer.middles, embodiment)

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._connection.close()

    def understands(self, instruction: str) -> Reason | None:
        """The server's answer; None without one in time: it checks again before inference."""
        with self._words_lock:
            if instruction in self._words:
                return self._words[instruction]
        try:
            said = self._ask({"want": "understands"}, {PROMPT: instruction}, WORDS_S)
            why = self._reason(said)
        except Unavailable:
            return None
        except ValueError as error:  # the request has only text, and the server refuses it
            return Reason("words", str(error))
        with self._words_lock:
            self._words[instruction] = why
            while len(self._words) > WORDS_KEPT:
                self._words.popitem(last=False)
        return why

    def sees(self, observation: Observation) -> Reason | None:
        """What the instruction names and no image shows; None if all is shown, or if unknown."""
        return self._reason(self._ask({"want": "sees"}, self._seen(observation), self.timeout_s))

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        """The chunk of actions for observation. Raises ValueError as a Policy, and Unavailable."""
        started_ns = time.perf_counter_ns()
        continued = previous if options.frozen_rows or options.guidance_rows else None
        beside = previous if options.candidates > 1 else continued  # to choose by
        own: dict[str, Any] = {"options": write_options(options), "obs_ns": observation.obs_ns}
        if beside is not None:
            own["previous"] = write_chunk(beside)
        said = self._ask(own, self._seen(observation), self.timeout_s)
        chunk = self._chunks(said, observation, 1, continued is not None)[0]
        if continued is not None:
            chunk = self._continuing(chunk, continued, options.frozen_rows)
        return replace(chunk, infer_ns=time.perf_counter_ns() - started_ns)

    def infer_candidates(
        self, observation: Observation, sampling: Sampling
    ) -> tuple[ActionChunk, ...]:
        """sampling.candidates chunks for one observation; only infer_chunk continues a chunk."""
        if sampling.previous is not None:
            raise ValueError(
                "candidates: a policy on another machine draws none that continue a chunk"
            )
        plain = {n: getattr(sampling, n) for n in InferenceOptions.__dataclass_fields__}
        own = {
            "want": "candidates",
            "candidates": sampling.candidates,
            "options": write_options(replace(InferenceOptions(**plain), candidates=1)),
            "obs_ns": observation.obs_ns,
        }
        said = self._ask(own, self._seen(observation), self.timeout_s)
        return self._chunks(said, observation, sampling.candidates)

    def point(self, observation: Observation) -> Mapping[str, Array]:
        """Positions of the named objects. Raises ValueError if it does not point."""
        found = self._ask({"want": "point"}, self._seen(observation), self.timeout_s).get("points")
        if not isinstance(found, dict) or not all(
            isinstance(v, np.ndarray) and v.shape == (3,) for v in found.values()
        ):
            raise self._lies("points that are not float64[3]")
        return found

    def ask(self, observation: Observation, question: str) -> str:
        """Its answer as text. Raises ValueError if it answers no questions."""
        own = {"want": "ask", "question": question}
        text = self._ask(own, self._seen(observation), self.timeout_s).get("text")
        if not isinstance(text, str):
            raise self._lies("an answer that is no text")
        return text

    def _seen(self, observation: Observation) -> dict[str, Any]:
        """The contract's cameras, raw or compressed. Raises ValueError for an absent one."""
        missing = [n for n in self.contract.camera_names if n not in observation.images]
        if missing:
            raise ValueError(
                f"camera {missing[0]!r} is missing; the observation has {', '.join(observation.images) or 'none'}"
            )
        if observation.state_names != self.contract.state_names:
            raise ValueError(
                f"observation.state_names: got {observation.state_names}, expected {self.contract.state_names}"
            )
        quality = self._address.jpeg
        images = {n: self._small(observation.images[n]) for n in self.contract.camera_names}
        return {
            **{
                camera_key(name): image if quality is None else encode_jpeg(image, quality=quality)
                for name, image in images.items()
            },
            STATE: observation.state,
            PROMPT: observation.instruction,
        }

    def _small(self, image: Array) -> Array:
        """image as the policy scales it anyway, where that makes it smaller; else as it is."""
        if image.ndim != 3:
            return image
        side_px, scaling = self.offer.square_px, self.offer.scaling
        if side_px is not None and image.shape[0] * image.shape[1] > side_px**2:
            return with_bars(image, (side_px, side_px))
        return scaled_down(image, scaling) if scaling and self._address.scaled else image

    def _ask(
        self, own: dict[str, Any], message: dict[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        """The server's reply to one request, by its number. Raises ValueError and Unavailable."""
        ends_s = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            raise Unavailable(f"{self._address.url}: the request before is not answered yet")
        try:
            self._number += 1
            number, left_s = self._number, max(0.05, ends_s - time.monotonic())
            if self._address.adapter is not None:
                own = {**own, "adapter": self._address.adapter}
            request = {**message, OWN: {**own, "request_id": number, "deadline_s": left_s}}
            self._connection.request(wire.encode(request), left_s)
            said = self._reply(number, ends_s, timeout_s)
        finally:
            self._lock.release()
        error = said.get("error")
        if error is None:
            answer: dict[str, Any] = said[OWN]
            return answer
        code, detail = (
            (error.get("code"), error.get("detail")) if isinstance(error, dict) else (None, None)
        )
        if not isinstance(detail, str):
            raise self._lies("an error without a sentence")
        if code == "refused":
            raise ValueError(one_line(detail, 1000))
        raise Unavailable(
            f"{self._address.url}: the server is not able to answer: {one_line(detail, 1000)}"
        )

    def _reply(self, number: int, ends_s: float, timeout_s: float) -> dict[str, Any]:
        """The reply to request number; late replies to earlier requests are dropped."""
        while True:
            try:
                data = self._connection.reply(ends_s)
            except TimeoutError as error:
                self._unanswered += 1
                why = f"no answer in {timeout_s:.2f} s"
                if self._unanswered >= UNANSWERED:
                    raise self._connection.failed(why) from error
                raise Unavailable(f"{self._address.url}: {why}") from error
            said = self._decoded(data)
            own = said.get(OWN)
            answered = own.get("request_id") if isinstance(own, dict) else None
            if answered == number:
                self._unanswered = 0
                self._connection.worked()
                return said
            if type(answered) is not int or not 0 < answered < number:
                raise self._lies(
                    f"an answer to request {one_line(repr(answered), 40)} instead of {number}"
                )

    def _decoded(self, data: bytes | str) -> dict[str, Any]:
        if isinstance(data, str):
            raise self._lies(f"a text: {one_line(data, 300)}")
        try:
            said = wire.decode(data, REPLY_LIMITS)
        except ValueError as error:
            raise self._lies(str(error)) from error
        if not isinstance(said, dict):
            raise self._lies(f"a {type(said).__name__}")
        return said

    def _chunks(
        self, said: dict[str, Any], observation: Observation, count: int, continued: bool = False
    ) -> tuple[ActionChunk, ...]:
        """Checked chunks of a reply.

        continued: whether they should continue the one in execution.
        """
        given = said.get("chunks")
        if not isinstance(given, list) or len(given) != count:
            raise self._lies(f"something else than {count} chunks")
        try:
            chunks = tuple(
                read_chunk(
                    one,
                    self.contract,
                    obs_ns=observation.obs_ns,
                    instruction=observation.instruction,
                )
                for one in given
            )
        except ValueError as error:
            raise self._lies(str(error)) from error
        if any(len(chunk.actions) > self.rows for chunk in chunks):
            raise self._lies(
                f"{max(len(c.actions) for c in chunks)} rows, expected at most {self.rows}"
            )
        # They would be executed as a continuation, without blending.
        if not continued and any(c.frozen_rows or c.continues is not None for c in chunks):
            raise self._lies("a chunk that continues one, which was not asked for")
        return chunks

    def _continuing(self, chunk: ActionChunk, previous: ActionChunk, frozen: int) -> ActionChunk:
        """chunk, whose first rows must be those that are executed meanwhile."""
        kept = min(frozen, len(previous.actions), len(chunk.actions))
        if chunk.frozen_rows != frozen or not np.allclose(
            chunk.actions[:kept], previous.actions[:kept], rtol=0.0, atol=1e-9
        ):
            raise self._lies("a chunk that does not continue the one in execution")
        return replace(chunk, continues=previous.sequence)

    def _greet(self, first: bytes | str) -> None:
        """On a new connection: the policy must be the one that this robot was started with."""
        if isinstance(first, str):
            raise ValueError(f"{self._address.url}: {one_line(first, 300)}")
        try:
            offer = read_offer(wire.decode(first, REPLY_LIMITS))
        except ValueError as error:
            raise ValueError(f"{self._address.url}: {error}") from error
        if self._offer is not None and (problem := changed(self._offer, offer)) is not None:
            raise Unavailable(
                f"{self._address.url}: {problem}; configure the policy node again for it"
            )
        self._require_adapter(offer)
        if self._address.scaled and offer.scaling is None and offer.square_px is None:
            raise ValueError(
                f"{self._address.url}: scaled: the server does not say how its policy scales images; send them whole"
            )
        self._offer, self._unanswered = offer, 0

    def _require_adapter(self, offer: Offer) -> None:
        """Raises ValueError for a server without the adapter, Unavailable if it changed."""
        name = self._address.adapter
        if name is None:
            return
        if name not in offer.adapters:
            there = one_line(", ".join(sorted(offer.adapters)), 200) or "none"
            raise ValueError(f"{self._address.url}: adapter: got {name!r}, the server has {there}")
        if self._offer is not None and offer.adapters[name] != self._offer.adapters[name]:
            raise Unavailable(
                f"{self._address.url}: the server has another adapter {name} now; configure the policy node again for it"
            )

    def _reason(self, said: Mapping[str, Any]) -> Reason | None:
        """The answer to understands or sees. A missing one is an error, not a None."""
        why = said.get("reason", "")
        if why is None:
            return None
        code, detail = (why.get("code"), why.get("detail")) if isinstance(why, dict) else (0, 0)
        if not isinstance(code, str) or not isinstance(detail, str):
            raise self._lies("neither a reason nor that there is none")
        return Reason(one_line(code, 40), one_line(detail, 500))

    def _lies(self, what: str) -> Unavailable:
        """The server sent an invalid reply; this connection is closed."""
        why = f"the server sent {what}"
        if not self._lock.acquire(timeout=LIE_S):
            return Unavailable(f"{self._address.url}: {why}")  # another request is using it
        try:
            return self._connection.failed(why)
        finally:
            self._lock.release()


# A policy that is reached over the network.
Remote: TypeAlias = RemotePolicy | ForeignPolicy | OpenVlaPolicy


def connect_policy(name: str, head: str | None = None) -> Remote:
    """The policy of a server at ws://host:port, or of a server's policy file.

    Token and certificate come from the environment.

    head: required of the server; None: any. Raises ValueError, and Unavailable without a server.
    """
    token, ca = find_token(), os.environ.get(TLS_CA)
    policy: Remote
    if (path := None if is_address(name) else server_file(name)) is not None:
        file = read_server_file(path)
        policy = (OpenVlaPolicy if file.is_http else ForeignPolicy)(file, token, ca)
    else:
        policy = RemotePolicy(parse_address(name), token, ca)
    if head is not None and policy.head != head:
        policy.close()
        raise ValueError(f"head: got {head!r}, {name} has the {policy.head} head; choose it there")
    return policy
