"""Which robots `vla stop` calls, and when, as they are heard of one after the other; without ROS."""

from dataclasses import replace

import pytest

from vla_policy.check.doctor.domains import chosen_domain, domain_in_use
from vla_policy.ros.operator import stop_search
from vla_policy.ros.operator.known_robots import Known
from vla_policy.ros.operator.stop_request import Request, StoppableRobot, choices, told
from vla_policy.ros.operator.stop_search import Search


class Network:
    """Robots by the time at which they are heard of; the clock goes 0.1 s at each look."""

    def __init__(self, script, refusals=None, names=None):
        self.script, self.refusals, self.names = script, refusals or {}, names or {}
        self.calls, self.now_s = [], 0.0

    def monotonic(self):
        return self.now_s

    def watch(self, until_s):
        while self.now_s <= until_s:
            yield tuple(robot for at_s, robot in self.script if at_s <= self.now_s)
            self.now_s = round(self.now_s + 0.1, 1)

    def named(self, robots, within_s):
        return [replace(robot, robot=self.names.get(robot.key, "")) for robot in robots]

    def call(self, robots, service, within_s):
        self.calls += [(self.now_s, service, robot.key) for robot in robots]
        return [self.refusals.get(robot.key) for robot in robots]


@pytest.fixture
def search(monkeypatch):
    def run(network, request, grace_s=0.5, until_s=3.5, patience_s=0.0, **more):
        monkeypatch.setattr(stop_search.time, "monotonic", network.monotonic)
        said = []
        find = Search(network, request, lambda robot, no: said.append((robot.key, no)), **more)
        return find.run(until_s, grace_s, patience_s), said

    return run


A, B = StoppableRobot(5, "/control", ("control", "task")), StoppableRobot(6, "/b/control")


def test_what_is_heard_of_is_stopped_at_once_and_the_look_ends_a_little_later(search):
    network = Network([(1.2, A)], names={A.key: "fr3"})
    end, said = search(network, Request())
    assert network.calls == [(1.2, "stop", A.key)] and said == [(A.key, None)]
    assert end.accepted == {A.key: True} and not end.others and not end.several
    assert network.now_s < 1.2 + 0.8


def test_one_that_is_heard_of_a_moment_later_is_named_and_not_stopped(search):
    network = Network([(1.2, A), (1.5, B)])
    end, _ = search(network, Request())
    assert [key for _, _, key in network.calls] == [A.key]
    assert [robot.key for robot in end.others] == [B.key]


def test_of_two_that_are_heard_of_together_none_is_picked(search):
    network = Network([(1.2, A), (1.2, B)])
    end, said = search(network, Request())
    assert network.calls == [] and said == [] and end.several
    assert [robot.key for robot in end.others] == [A.key, B.key]


def test_with_all_each_is_stopped_as_soon_as_it_is_heard_of_and_the_look_lasts(search):
    network = Network([(0.3, A), (3.1, B)])
    end, _ = search(network, Request(everyone=True))
    assert network.calls == [(0.3, "stop", A.key), (3.1, "stop", B.key)]
    assert end.accepted == {A.key: True, B.key: True} and not end.others
    assert network.now_s > 3.4


def test_a_reset_waits_until_all_have_been_heard_of(search):
    network = Network([(0.3, A), (3.1, B)])
    end, _ = search(network, Request("reset"))
    assert network.calls == [] and end.several
    network = Network([(0.3, A)])
    end, _ = search(network, Request("reset"))
    assert [word for _, word, _ in network.calls] == ["reset"] and end.accepted == {A.key: True}


def test_where_none_is_heard_of_in_time_the_look_goes_on_and_says_so(search):
    told = []
    for word, called_s in (("stop", 6.0), ("reset", 6.5)):
        network = Network([(6.0, A)])
        end, _ = search(
            network,
            Request(word),
            patience_s=6.7,
            nothing_yet=lambda net=network: told.append(net.now_s),
        )
        assert network.calls == [(called_s, word, A.key)] and end.accepted == {A.key: True}
        assert told == [3.5] and network.now_s < 7.0
        told.clear()
    end, _ = search(Network([(6.0, A), (6.3, B)]), Request("reset"), patience_s=6.7)
    assert end.several and not end.accepted
    network = Network([])
    end, _ = search(network, Request(), patience_s=6.7)
    assert end.heard == () and network.now_s > 10.0
    network = Network([(1.0, A)])
    search(network, Request("reset"), patience_s=6.7)
    assert network.now_s < 3.7


def test_robots_of_the_chosen_domain_go_first_and_others_for_want_of_them(search):
    network = Network([(0.2, B), (0.8, A)])
    end, _ = search(network, Request(own=5))
    assert network.calls == [(0.8, "stop", A.key)] and not end.others
    network = Network([(0.2, B)])
    search(network, Request(own=5))
    assert network.calls == [(1.1, "stop", B.key)]
    network = Network([(0.2, B)])
    end, _ = search(network, Request("reset", own=5))
    assert network.calls == [] and end.heard == (B,)


def test_after_a_stop_elsewhere_one_of_the_chosen_domain_is_stopped_as_well(search):
    network = Network([(0.2, B), (0.4, A)])
    end, _ = search(network, Request(own=5), None, 0.7, told=(B,), accepted={B.key: True})
    assert network.calls == [(0.4, "stop", A.key)] and not end.others
    assert end.accepted == {B.key: True, A.key: True}


def test_of_one_that_is_known_and_silent_no_other_is_taken_for_it(search):
    silent = [Known(A.key, "fr3", (1,))]
    network = Network([(0.2, B)])
    end, _ = search(network, Request(), silent=silent)
    assert network.calls == [] and end.several
    assert {robot.key for robot in end.others} == {A.key, B.key}
    network = Network([(2.0, A)])
    end, _ = search(network, Request(), silent=silent)
    assert network.calls == [(2.0, "stop", A.key)]
    end, _ = search(Network([]), Request(), silent=silent)
    assert end.accepted == {} and not end.several


def test_of_two_that_are_known_in_other_domains_none_is_picked_either(search):
    known = [Known(B.key, "fr3", (1,)), Known((7, "/control"), "aloha", (2,))]
    network = Network([(0.2, B)])
    end, _ = search(network, Request(own=5), silent=known)
    assert network.calls == [] and end.several and len(end.others) == 2
    network = Network([(0.2, B), (2.0, A)])
    end, _ = search(network, Request(own=5), silent=known[:1])
    assert network.calls == [(1.1, "stop", B.key)]


def test_what_is_refused_or_only_half_confirmed_is_not_called_stopped(search):
    end, said = search(Network([(0.0, A)], {A.key: "no answer in 1 s"}), Request())
    assert end.accepted == {A.key: False} and said == [(A.key, "no answer in 1 s")]
    twice = replace(A, nodes=("control", "control"))
    end, said = search(Network([(0.0, twice)]), Request())
    assert end.accepted == {A.key: False} and "one of 2 control nodes" in said[0][1]


def test_a_robot_is_chosen_by_its_name_once_it_says_it(search):
    network = Network([(0.1, A), (0.1, B)], names={A.key: "fr3", B.key: "aloha"})
    end, _ = search(network, Request(robot="aloha"))
    assert [key for _, _, key in network.calls] == [B.key] and not end.others
    end, _ = search(Network([(0.1, A)]), Request(robot="aloha"))
    assert end.accepted == {} and [robot.key for robot in end.heard] == [A.key]


def test_the_commands_that_are_told_choose_the_same():
    request = Request(robot="fr3", namespace="/b")
    assert (
        choices([B], request)
        .splitlines()[0]
        .endswith("vla stop --robot fr3 --domain 6 --namespace /b")
    )
    assert request.command_for_all == "vla stop --robot fr3 --namespace /b --all"
    assert Request("reset", domain=3).command_for_all == "vla stop --reset --domain 3 --all"
    known = Known(A.key, "fr3", (1,))
    assert told(known, None, Request()).startswith("stopped: fr3 in domain 5, namespace / ")
    assert "NOT STOPPED" in told(known, "refused", Request())


@pytest.mark.parametrize("text", ["robot", "-1", "233", "1_0", "٣"])
def test_a_domain_that_is_none_is_refused_in_a_sentence(text):
    with pytest.raises(
        ValueError, match=r"ROS_DOMAIN_ID: got .*, expected a number from 0 to 232"
    ):
        chosen_domain({"ROS_DOMAIN_ID": text})


def test_a_domain_that_is_not_chosen_is_none_and_ros_talks_in_0():
    assert chosen_domain({}) is None and chosen_domain({"ROS_DOMAIN_ID": ""}) is None
    assert domain_in_use({}) == 0 and domain_in_use({"ROS_DOMAIN_ID": "7"}) == 7
