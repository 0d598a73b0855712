"""Threads that work for the disk go behind those that move the robot."""

import os
import threading

from vla_policy.data.background import give_way


def in_a_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_one_thread_gives_way_and_the_others_do_not():
    def work():
        give_way(7)
        thread = threading.get_native_id()
        return os.getpriority(os.PRIO_PROCESS, thread), os.sched_getscheduler(thread)

    before = os.getpriority(os.PRIO_PROCESS, 0)
    nice, policy = in_a_thread(work)
    assert (nice, policy) == (max(7, before), os.SCHED_BATCH)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    assert os.sched_getscheduler(threading.get_native_id()) == os.SCHED_OTHER


def test_a_thread_never_becomes_more_urgent():
    def work():
        give_way(8)
        give_way(3)
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert in_a_thread(work) >= 8
