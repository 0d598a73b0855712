"""A policy on another machine behind the same questions: what it answers, and what happens when it does not."""

import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from serving import CONTRACT, OFFER, ROWS, Played, Running, observation

from vla_policy.commands.serve_policy import read_adapters
from vla_policy.families.tiny.tiny import fit_square
from vla_policy.models.sampling import InferenceOptions, Pull, Sampling
from vla_policy.policy import load_policy
from vla_policy.remote import wire
from vla_policy.remote.address import Address, address_text, find_token, parse_address
from vla_policy.remote.answers import Served
from vla_policy.remote.client import WORDS_S, RemotePolicy
from vla_policy.remote.handshake import changed, metadata
from vla_policy.remote.serving import Serving
from vla_policy.runtime.policy_protocol import Unavailable


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    for name in ("VLA_TOKEN", "VLA_TOKEN_FILE", "VLA_TLS_CA"):
        monkeypatch.delenv(name, raising=False)


def test_every_question_has_the_answer_of_the_policy_itself():
    here, seen = Played(), observation()
    with Running() as running:
        there = load_policy(running.address)
        assert there.contract == CONTRACT
        for name in ("rows", "head", "continues", "can_point", "can_answer", "understanding"):
            assert getattr(there, name) == getattr(here, name), name
        for text in ("pick it", "dance", "dance"):
            assert there.understands(text) == here.understands(text)
        cup = observation("pick the cup")
        assert there.sees(seen) is None and there.sees(cup) == here.sees(cup)
        np.testing.assert_allclose(
            there.point(seen)["target_xyz"], here.point(seen)["target_xyz"], atol=1e-6
        )
        assert there.ask(seen, "where?") == here.ask(seen, "where?")
        for options in (
            InferenceOptions(),
            InferenceOptions(seed=4, num_steps=3, pull=Pull("ones", 2.5)),
        ):
            got, want = (
                there.infer_chunk(seen, None, options),
                here.infer_chunk(seen, None, options),
            )
            np.testing.assert_allclose(got.actions, want.actions, atol=1e-6)
            np.testing.assert_allclose(got.model_actions, want.model_actions, atol=1e-6)
            assert (
                replace(got, infer_ns=0, actions=want.actions, model_actions=want.model_actions)
                == want
            )
        before = replace(want, obs_ns=seen.obs_ns, sequence=12)
        got = there.infer(seen, before, frozen_rows=3, guidance_rows=5)
        assert (got.frozen_rows, got.continues) == (3, 12)
        np.testing.assert_array_equal(got.actions[:3], before.actions[:3])
        # Of several candidates the server chooses, by the plan that it is told.
        for plan in (None, before):
            got, want = (p.infer(seen, plan, seed=4, candidates=3) for p in (there, here))
            np.testing.assert_allclose(got.actions, want.actions, atol=1e-6)
            assert (got.frozen_rows, got.continues) == (0, None)
        with pytest.raises(
            Unavailable, match=r"candidates: got 17, expected a whole number from 1 to 16"
        ):
            there.infer(seen, candidates=17)
        three = there.infer_candidates(seen, Sampling(candidates=3))
        assert [c.actions[0, 0] for c in three] == [
            c.actions[0, 0] for c in here.infer_candidates(seen, Sampling(candidates=3))
        ]
        there.close()


def test_what_the_policy_refuses_is_its_own_sentence_and_what_it_raises_is_not_told():
    with Running() as running:
        there = load_policy(running.address)
        with pytest.raises(ValueError, match=r"^the cup is too far$"):
            there.infer(observation("please refuse"))
        with pytest.raises(ValueError, match="what is 'dance'"):
            there.infer(observation("dance"))
        with pytest.raises(Unavailable, match="the model raised; the server's log") as raised:
            there.infer(observation("please raise"))
        assert "secret" not in str(raised.value)
        with pytest.raises(ValueError, match="camera 'wrist' is missing"):
            there.infer(replace(observation(), images={"front": np.zeros((2, 2, 3), np.uint8)}))
        assert len(there.infer(observation()).actions) == ROWS
        there.close()


def test_images_are_sent_as_small_as_the_policy_makes_them():
    """Where the server says how it scales them; what comes out is the same to the last bit."""
    rng = np.random.default_rng(3)
    images = {n: rng.integers(0, 255, (60, 80, 3), dtype=np.uint8) for n in CONTRACT.camera_names}
    seen = replace(observation(), images=images)
    got = []

    class Looks(Played):
        def infer_chunk(self, observation, previous, options):
            got.append(observation.images)
            return super().infer_chunk(observation, previous, options)

    with Running(Looks(), offer=replace(OFFER, square_px=32)) as running:
        there = load_policy(running.address)
        there.infer(seen)
        small = {n: image[:20, :30] for n, image in images.items()}
        there.infer(replace(seen, images=small))
        there.close()
    for name in images:
        np.testing.assert_array_equal(got[0][name], fit_square(images[name], 32))
        np.testing.assert_array_equal(got[1][name], small[name])


def test_a_robot_gets_the_adapter_that_it_asks_for_and_no_batch_has_two():
    class Adapted(Played):
        def __init__(self, shift):
            super().__init__()
            self.shift, self.together = shift, []

        def understands(self, instruction):
            return None if self.shift else super().understands(instruction)

        def infer_chunk(self, observation, previous, options):
            chunk = super().infer_chunk(observation, previous, options)
            return replace(chunk, actions=chunk.actions + self.shift)

        def infer_many(self, seen, options):
            self.together.append(len(seen))
            time.sleep(0.05)
            return [self.infer_chunk(s, None, o) for s, o in zip(seen, options, strict=True)]

    base, fine = Adapted(0.0), Adapted(10.0)
    offer = replace(OFFER, adapters={"fine": "sha256:2"})
    with Running(
        base, offer, infer_many=base.infer_many, adapters={"fine": Served(fine, fine.infer_many)}
    ) as running:
        robots = [
            load_policy(running.address + ("?adapter=fine" if i % 2 else "")) for i in range(6)
        ]
        assert (
            robots[0].understands("dance") is not None and robots[1].understands("dance") is None
        )
        firsts = [0.0] * len(robots)

        def ask(index):
            for _ in range(4):
                firsts[index] = robots[index].infer(observation()).actions[0, 0]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(robots))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for robot in robots:
            robot.close()
        with pytest.raises(ValueError, match="adapter: got 'coarse', the server has fine"):
            load_policy(running.address + "?adapter=coarse")
    alone = Played().infer(observation()).actions[0, 0]
    np.testing.assert_allclose(firsts, [alone, alone + 10] * 3, atol=1e-6)
    assert max(base.together) > 1 and max(fine.together) > 1


def test_another_adapter_of_the_same_name_is_not_gone_on_with():
    first = replace(OFFER, adapters={"fine": "sha256:2"})
    with Running(offer=first, adapters={"fine": Served(Played())}) as running:
        there, port = load_policy(running.address + "?adapter=fine"), running.port
    time.sleep(0.15)
    other = replace(OFFER, adapters={"fine": "sha256:3"})
    with Running(offer=other, serving=Serving(port=port), adapters={"fine": Served(Played())}):
        for _ in range(40):
            with pytest.raises(Unavailable) as raised:
                there.infer(observation())
            if "another adapter fine" in str(raised.value):
                break
            time.sleep(0.05)
    assert "another adapter fine" in str(raised.value)


def test_compressed_pictures_are_nearly_the_same():
    seen = observation()
    with Running() as running:
        there = load_policy(f"{running.address}?jpeg=95")
        np.testing.assert_allclose(
            there.infer(seen).actions, Played().infer(seen).actions, atol=2e-3
        )
        there.close()


def test_a_lost_server_is_no_answer_and_is_found_again():
    with Running() as running:
        there = load_policy(running.address)
        port = running.port
        there.infer(observation())
    started = time.monotonic()
    for _ in range(5):
        with pytest.raises(Unavailable):
            there.infer(observation())
    assert time.monotonic() - started < 1.0
    with Running(serving=Serving(port=port)):
        for _ in range(100):
            try:
                there.infer(observation())
                break
            except Unavailable:
                time.sleep(0.02)
        assert len(there.infer(observation()).actions) == ROWS
        there.close()


def test_another_policy_behind_the_same_address_is_not_gone_on_with():
    with Running() as running:
        there, port = load_policy(running.address), running.port
    other = replace(OFFER, statistics="sha256:1", contract=replace(CONTRACT, policy_hz=20.0))
    time.sleep(0.15)
    with Running(offer=other, serving=Serving(port=port)):
        for _ in range(20):
            with pytest.raises(Unavailable) as raised:
                there.infer(observation())
            if "another policy" in str(raised.value):
                break
            time.sleep(0.05)
    assert "statistics was 'sha256:0' and is 'sha256:1'; policy_hz was 10.0 and is 20.0" in str(
        raised.value
    )


def test_a_slow_server_is_no_answer_in_time_and_its_old_answers_are_never_taken():
    played = Played()
    with Running(played) as running:
        there = load_policy(running.address)
        played.wait_s, started = 1.5, time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer in 0\.80 s"):
            there.infer(observation(value=1))
        took_s = time.monotonic() - started
        assert took_s < played.wait_s
        time.sleep(played.wait_s - took_s + 0.2)  # the answer to the first request lies there now
        played.wait_s = 0.0
        got = there.infer(observation(value=200))
        np.testing.assert_allclose(got.actions, Played().infer(observation(value=200)).actions)
        there.close()


class Fake:
    """A server that says what it is told to, byte for byte: one answer for each request."""

    def __init__(self, first, answers):
        from websockets.sync.server import serve

        def converse(socket):
            socket.send(first)
            for answer, data in zip(answers, socket, strict=False):
                said = answer(msgpack.unpackb(data, strict_map_key=False))
                if said is not None:
                    socket.send(said)
            socket.recv()

        self._server = serve(converse, "127.0.0.1", 0, compression=None)
        self.address = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self.address

    def __exit__(self, *_):
        self._server.shutdown()


def reply(**other):
    """What a true server answers, with some of it otherwise."""

    def say(request):
        rows = np.zeros((ROWS, 3))
        chunk = {
            "actions": rows, "names": list(CONTRACT.action_names), "sequence": 0, "plan": "", "terminate": False,
            "frozen_rows": 0, "continues": None, "model_actions": rows,
        }  # fmt: skip
        own = {"request_id": request["vla"]["request_id"] + other.pop("number", 0)}
        return wire.encode({"vla": {**own, "chunks": [{**chunk, **other}]}})

    return say


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(number=1), "an answer to request 2 instead of 1"),
        (reply(number=-1), "an answer to request 0 instead of 1"),
        (reply(names=["joint.b", "joint.a", "gripper"]), r"chunk\.names"),
        (reply(actions=np.zeros((ROWS, 2))), r"chunk\.actions: got float64\[8, 2\]"),
        (reply(actions=np.zeros((ROWS + 1, 3))), "9 rows, expected at most 8"),
        (reply(actions=np.zeros((0, 3))), r"chunk\.actions"),
        (reply(actions=np.zeros((ROWS, 3), np.int64)), r"chunk\.actions"),
        (reply(actions="nothing"), r"chunk\.actions"),
        (reply(terminate=1), r"chunk\.terminate"),
        (reply(frozen_rows=2), "a chunk that continues one, which was not asked for"),
        (reply(continues=0), "a chunk that continues one, which was not asked for"),
        (reply(other=1), "chunk: got"),
        (lambda request: b"\xc1", "type 0xc1"),
        (lambda request: b"\x90", "the server sent a list"),
        (lambda request: "Traceback", "the server sent a text: Traceback"),
        (lambda request: wire.encode({"vla": {"request_id": 1}}), "something else than 1 chunks"),
        (lambda request: wire.encode({"vla": {"request_id": 1}, "error": 3}), "an error without a sentence"),
        (lambda request: msgpack.packb({"vla": {"request_id": 1}, "x": float("nan")}), "not finite"),
    ],
)  # fmt: skip
def test_a_server_that_says_what_cannot_be_is_not_believed(answer, words):
    with Fake(wire.encode(metadata(OFFER)), [answer]) as address:
        there = RemotePolicy(parse_address(address), None)
        with pytest.raises(Unavailable, match=words) as raised:
            there.infer(observation())
        assert "\n" not in str(raised.value)


def test_candidates_that_continue_a_chunk_are_not_believed():
    with Fake(wire.encode(metadata(OFFER)), [reply(continues=3)]) as address:
        there = RemotePolicy(parse_address(address), None)
        with pytest.raises(Unavailable, match="which was not asked for"):
            there.infer_candidates(observation(), Sampling(candidates=1))


def test_a_question_about_words_does_not_wait_for_an_inference():
    played = Played()
    with Running(played) as running:
        there = load_policy(running.address)
        assert there.understands("pick it") is None
        played.wait_s = 0.7
        busy = threading.Thread(target=there.infer, args=(observation(),))
        busy.start()
        while not played.calls:
            time.sleep(0.01)
        for words, longest_s in (("pick it", 0.1), ("pick another", WORDS_S + 0.15)):
            started = time.monotonic()
            assert there.understands(words) is None
            assert time.monotonic() - started < longest_s, words
        busy.join()
        there.close()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"policy": "another"}, "policy was 'played' and is 'another'"),
        ({"weights": "sha256:1"}, "weights was 'sha256:0' and is 'sha256:1'"),
        ({"version": "9"}, None),
    ],
)
def test_another_name_or_other_weights_are_another_policy(other, words):
    told = changed(OFFER, replace(OFFER, **other))
    assert told is None if words is None else words in told


@pytest.mark.parametrize(
    "own",
    [{}, {"reason": 3}, {"reason": {}}, {"reason": {"code": "not_seen"}}, {"reason": {"code": 1, "detail": "no"}}],
)  # fmt: skip
def test_an_answer_that_does_not_say_whether_it_sees_is_none(own):
    """What is not said is unknown: it must not count as seen."""

    def say(request):
        return wire.encode({"vla": {"request_id": request["vla"]["request_id"], **own}})

    with Fake(wire.encode(metadata(OFFER)), [say]) as address:
        there = RemotePolicy(parse_address(address), None)
        with pytest.raises(Unavailable, match="the server sent"):
            there.sees(observation())


def test_words_that_a_server_refuses_to_judge_are_refused():
    def say(request):
        own = {"request_id": request["vla"]["request_id"]}
        return wire.encode({"vla": own, "error": {"code": "refused", "detail": "no such want"}})

    with Fake(wire.encode(metadata(OFFER)), [say]) as address:
        there = RemotePolicy(parse_address(address), None)
        why = there.understands("pick it")
        assert why is not None and why.detail == "no such want"


def test_a_chunk_that_does_not_keep_the_frozen_rows_is_not_taken():
    with Fake(wire.encode(metadata(OFFER)), [reply(frozen_rows=2)]) as address:
        there = RemotePolicy(parse_address(address), None)
        with pytest.raises(Unavailable, match="does not continue the one in execution"):
            there.infer(observation(), Played().infer(observation()), frozen_rows=2)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (wire.encode({}), "does not say what its policy expects"),
        (
            wire.encode({"vla": {"protocol": 2}}),
            "speaks version 2 of the protocol, this client version 3",
        ),
        (wire.encode({"vla": {"protocol": 3}}), "handshake: got"),
        (b"\xc1", "type 0xc1"),
        ("go away", "go away"),
    ],
)
def test_a_first_frame_that_is_none_is_refused_in_a_sentence(first, words):
    with Fake(first, []) as address, pytest.raises(ValueError, match=words):
        RemotePolicy(parse_address(address), None)


def test_the_robot_is_compared_with_the_contract_by_name():
    from vla_policy.embodiment import load_embodiment

    with Running() as running:
        there = load_policy(running.address)
        told = " ".join(there.check(load_embodiment("vx300s")))
        there.close()
    for words in (
        "state: the checkpoint has ('joint.a'",
        "action names",
        "trained for played, not for 'vx300s'",
    ):
        assert words in told


def test_token_and_certificate(tmp_path, monkeypatch, certificate):
    cert, key = certificate
    serving = Serving(port=0, token="right", tls_cert=cert, tls_key=key)
    with Running(serving=serving) as running:
        with pytest.raises(Unavailable, match="its certificate is refused: self-signed"):
            load_policy(running.address)
        monkeypatch.setenv("VLA_TLS_CA", cert)
        with pytest.raises(Unavailable, match="refuses the token"):
            load_policy(running.address)
        file = tmp_path / "token"
        file.write_text("right\n")
        file.chmod(0o640)
        monkeypatch.setenv("VLA_TOKEN_FILE", str(file))
        with pytest.raises(ValueError, match=r"mode 0640.*chmod 600"):
            load_policy(running.address)
        file.chmod(0o600)
        there = load_policy(running.address)
        assert len(there.infer(observation()).actions) == ROWS
        there.close()
        with pytest.raises(
            Unavailable, match=r"no connection: .*; wss:// is the address of a ser"
        ):
            load_policy(running.address.replace("wss", "ws"))
    began_s = time.monotonic()
    with Running() as running, pytest.raises(Unavailable, match="; ws:// is the address of a ser"):
        load_policy(running.address.replace("ws", "wss"))
    assert time.monotonic() - began_s < 3.0  # told, not waited for


def test_nobody_there_is_a_sentence():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match=r"ws://127\.0\.0\.1:\d+/: no connection: .*refused"):
            load_policy(f"ws://127.0.0.1:{held.getsockname()[1]}")


def test_addresses(monkeypatch):
    assert parse_address("wss://gpu:8000?jpeg=90") == Address("wss://gpu:8000/", 90)
    assert parse_address("ws://gpu:8000?adapter=cups").adapter == "cups"
    for one in (
        Address("ws://gpu:1/"),
        Address("wss://[::1]/x", 90, "cups"),
        Address("ws://a/", None, "a&jpeg=1", True),
    ):
        assert parse_address(address_text(one)) == one
    assert read_adapters(["cups=runs/cups", "lids=a=b"]) == {"cups": "runs/cups", "lids": "a=b"}
    for given in (["cups"], ["=folder"], ["cups="], ["a=b", "a=c"], ["a b=c"]):
        with pytest.raises(ValueError, match="--adapter: got"):
            read_adapters(given)
    assert parse_address("ws://[::1]:8000") == Address("ws://[::1]:8000/")
    for wrong in (
        "ws://",
        "ws://gpu:port",
        "ws://gpu:99999",
        "ws://gpu?jpeg=x",
        "ws://gpu?speed=1",
        "ws://gpu?adapter=",
        "ws://gpu?scaled=yes",
        "ws://gpu#a",
    ):
        with pytest.raises(ValueError, match="expected ws://HOST:PORT"):
            parse_address(wrong)
    with pytest.raises(ValueError, match="a token in an address is read by everybody") as raised:
        parse_address("ws://user:secret@gpu:8000")
    assert "secret" not in str(raised.value)
    assert find_token({}) is None and find_token({"VLA_TOKEN": " abc\n"}) == "abc"
    for values in (
        {"VLA_TOKEN": ""},
        {"VLA_TOKEN": "a b"},
        {"VLA_TOKEN": "a", "VLA_TOKEN_FILE": "b"},
    ):
        with pytest.raises(ValueError, match="VLA_TOKEN"):
            find_token(values)


def test_the_robots_side_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from vla_policy.embodiment import load_embodiment\n"
        "from vla_policy.ros.nodes.policy_startup import load\n"
        "load(load_embodiment('vx300s'), sys.argv[1], 'auto', 'cpu', 1)\n"
    )
    with Running() as running:
        done = subprocess.run(
            [sys.executable, "-c", code, running.address], capture_output=True, text=True
        )
    assert (
        "does not fit robot 'vx300s': cameras" in done.stderr
        or "state: the checkpoint has" in done.stderr
    )
    assert "torch" not in done.stderr
