#!/usr/bin/env python3
"""A cancel storm on a real `bitdial serve`: requests of many kinds are ended at random moments in every state and by every
means, and afterwards nothing is left of them: no request, block, thread, descriptor or memory. Run by ctest; skipped without
the packages of requirements.txt.

    BITDIAL=build/release/bitdial python3 tests/e2e/storm_test.py                      250 requests a storm, as ctest does
    BITDIAL=build/release/bitdial python3 tests/e2e/storm_test.py --requests 10000     also holds the second storm's
                                                                                       memory to 1%

Each kv_admission has a warm-up storm and two equal ones.
"""
import grpc_python  # first: it may change the interpreter

import argparse
import collections
import concurrent.futures
import itertools
import os
import random
import re
import sys
import threading
import time
import unittest

import grpc

import served
from served import Server, wait_until

BITDIAL = served.bitdial_path()
NUM_WORKERS = 24          # twice what runs together, and many have several choices: some always wait
MAX_RUNNING = 12
MAX_STEP_TOKENS = 64      # a prompt takes several steps, so that some requests are ended inside one
KV_CACHE_BYTES = 20 << 16  # 20 blocks of 32 tokens: one long request and little more
MAX_TOKENS = 64
MAX_PROMPT = 400
CALL_TIMEOUT_S = 120      # for what nobody ends: a call that hangs fails the test instead of stopping it
DEFAULT_REQUESTS = 250           # with fewer some pairs of moment and means are not drawn
MIN_REQUESTS_FOR_MEMORY = 10000  # below it the allocator's noise is about 1%
MIN_REQUESTS_FOR_STATES = 1000   # below it luck decides whether the short states are met
# gRPC's own pools: they begin small, grow when many calls come at once, and never shrink. Each stays within a few a core;
# every other thread has to be there as before.
GRPC_POOLS = ("default-executo", "resolver-execut", "grpc_global_tim", "event_engine")
MAX_POOL_THREADS = 2 * os.cpu_count() + 2

MOMENTS = ("at once", "waiting", "first token", "middle", "last token", "finished")
MEANS = ("call.cancel", "Cancel, server's id", "Cancel, own id", "CancelRequest", "deadline", "channel closed")
MAX_WAIT_S = 0.4  # about what the queue takes here: "waiting" ends some in the queue, some in the prompt, some later
DEADLINES_S = (0.001, 0.5)

STATES = ("queued", "prompt", "first token", "decode", "done")
ENDED = re.compile(r"ended: status=(\w+) .* computed=(\d+) .* prefill_s=([\d.]+) ")


def setUpModule():
    global FOLDER, pb, pb_grpc, admin_pb, admin_grpc, MODEL
    FOLDER = served.temporary_folder()
    pb, pb_grpc = grpc_python.make_stubs(FOLDER.name)
    admin_pb, admin_grpc = grpc_python.make_stubs(FOLDER.name, "admin")
    MODEL = served.make_demo(BITDIAL, FOLDER.name)


def tearDownModule():
    FOLDER.cleanup()


def open_channel(address):
    """A connection of its own."""
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


class Victim:
    """One request of a storm. What it asks for, and when and how it ends, follow from (seed, number) alone."""

    def __init__(self, story, seed, number):
        self.random = random.Random(f"{seed}/{number}")
        self.own_id = f"storm-{seed}-{number}"
        self.moment = self.random.choice(MOMENTS)
        self.means = self.random.choice(MEANS)
        self.timeout = CALL_TIMEOUT_S
        if self.means == "deadline":  # it comes when it comes: mostly early, as the other moments do
            self.moment = "deadline"
            self.timeout = DEADLINES_S[0] * (DEADLINES_S[1] / DEADLINES_S[0]) ** self.random.random()
        self.max_tokens = self.random.randint(2, MAX_TOKENS)
        self.n = self.random.choice((1, 1, 1, 2, 4))
        self.request = self._make_request(story)

    def _make_request(self, story):
        choose = self.random
        begin = choose.randrange(8) * 64  # few beginnings: prompts share prefixes
        prompt = story[begin:begin + choose.choice((1, choose.randint(2, 40), choose.randint(100, MAX_PROMPT)))]
        bits = {"auto_bits": pb.AutoBits()} if choose.random() < 0.25 else {"weight_bits": choose.choice((2, 3, 4))}
        return pb.GenerateRequest(token_ids=pb.TokenIds(ids=prompt), params=pb.RequestParams(
            n=self.n, priority=choose.randint(-2, 2), request_id=self.own_id, prefix_cache=choose.random() < 0.8, **bits,
            sampling=pb.SamplingParams(temperature=choose.choice((0, 1)), seed=choose.randrange(1 << 30)),
            stopping=pb.StoppingParams(max_tokens=self.max_tokens, ignore_eos=True,
                                       stop=["the cat", " and"] if choose.random() < 0.3 else []),
            output=pb.OutputParams(logprobs=choose.random() < 0.2)))

    def tokens_before_the_end(self):
        """Of all choices together; None: the moment does not depend on them."""
        total = self.max_tokens * self.n
        middle = self.random.randint(2, max(2, total - 2))
        return {"first token": 1, "middle": middle, "last token": total - 1}.get(self.moment)


class Storm:
    """So many requests, as many at a time as there are workers. outcomes counts (moment, means, status)."""

    def __init__(self, server, admin, story, num_requests, seed):
        self._address = server.address
        self._admin = admin
        self._channels = [open_channel(server.address) for _ in range(4)]
        self._stubs = [pb_grpc.InferenceServiceStub(channel) for channel in self._channels]
        self._lock = threading.Lock()
        self.outcomes = collections.Counter()
        with concurrent.futures.ThreadPoolExecutor(NUM_WORKERS) as workers:
            for _ in workers.map(self._one, (Victim(story, seed, number) for number in range(num_requests))):
                pass  # so that an exception comes out
        for channel in self._channels:
            channel.close()

    def _one(self, victim):
        channel = open_channel(self._address) if victim.means == "channel closed" else None
        stub = pb_grpc.InferenceServiceStub(channel) if channel else victim.random.choice(self._stubs)
        call = stub.Generate(victim.request, timeout=victim.timeout)
        try:
            self._follow(victim, call, lambda: self._end(victim, call, stub, channel))
            status = "OK"
        except grpc.RpcError as error:
            status = error.code().name
        if channel:
            channel.close()
        with self._lock:
            self.outcomes[victim.moment, victim.means, status] += 1

    def _follow(self, victim, call, end):
        """Reads the answer to its end, and ends it at its moment. What comes too late does nothing, and is counted as OK."""
        wanted, num_tokens, num_finishes = victim.tokens_before_the_end(), 0, 0
        if victim.moment == "at once":
            end()
        if victim.moment == "waiting":
            call.initial_metadata()  # sent when the request is booked
            time.sleep(victim.random.random() * MAX_WAIT_S)
            end()
        for message in call:
            num_tokens += len(message.delta.token_ids)
            num_finishes += message.HasField("finish")
            if wanted is not None and num_tokens >= wanted:
                wanted = None
                end()
            if victim.moment == "finished" and num_finishes == victim.n:
                end()

    def _end(self, victim, call, stub, channel):
        if victim.means == "call.cancel":
            call.cancel()
        elif victim.means == "Cancel, server's id":
            name = dict(call.initial_metadata()).get("bitdial-request-id")
            if name:
                stub.Cancel(pb.CancelRequest(request_id=name), timeout=CALL_TIMEOUT_S)
        elif victim.means == "Cancel, own id":
            stub.Cancel(pb.CancelRequest(request_id=victim.own_id), timeout=CALL_TIMEOUT_S)
        elif victim.means == "CancelRequest":
            self._admin.CancelRequest(admin_pb.CancelRequestRequest(request_id=victim.own_id), timeout=CALL_TIMEOUT_S)
        elif victim.means == "channel closed":
            channel.close()


class CancelStorm:
    """The tests of one kv_admission; a subclass names it."""
    kv_admission = ""

    @classmethod
    def setUpClass(cls):
        cls.socket = f"unix:{FOLDER.name}/{cls.kv_admission}.sock"
        flags = {"--kv-admission": cls.kv_admission, "--kv-cache-bytes": KV_CACHE_BYTES, "--admin-listen": cls.socket,
                 "--max-running-requests": MAX_RUNNING, "--max-step-tokens": MAX_STEP_TOKENS}
        cls.server = Server(BITDIAL, MODEL, *[str(part) for flag in flags.items() for part in flag], context=None)
        cls.admin_channel = grpc.insecure_channel(cls.socket)
        cls.admin = admin_grpc.AdminServiceStub(cls.admin_channel)
        with open_channel(cls.server.address) as channel:
            text = (served.SOURCE / "demo/story.txt").read_text()
            cls.story = list(pb_grpc.InferenceServiceStub(channel).Tokenize(pb.TokenizeRequest(text=text)).token_ids)

    @classmethod
    def tearDownClass(cls):
        cls.admin_channel.close()
        code = cls.server.stop()
        assert code == 0, (code, cls.server.log[-20:])

    def status(self):
        return self.admin.GetStatus(admin_pb.GetStatusRequest())

    def answer(self):
        with open_channel(self.server.address) as channel:
            request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=self.story[:50]), params=pb.RequestParams(
                weight_bits=3, sampling=pb.SamplingParams(temperature=0), stopping=pb.StoppingParams(max_tokens=20),
                output=pb.OutputParams(logprobs=True), prefix_cache=False))
            messages = list(pb_grpc.InferenceServiceStub(channel).Generate(request))
        return [(p.chosen.token_id, p.chosen.logprob) for message in messages for p in message.delta.logprobs]

    def is_idle(self):
        status = self.status()
        engine = status.engine
        return (engine.num_running, engine.num_queued, engine.num_queued_tokens, engine.kv_blocks_used,
                status.num_active) == (0, 0, 0, 0, 0)

    def storm(self, num_requests, seed):
        """Returns the outcomes, and the footprint when nobody asks any more."""
        storm = Storm(self.server, self.admin, self.story, num_requests, seed)
        self.assertTrue(wait_until(self.is_idle), self.status())
        status = self.status()
        self.assertLessEqual(status.engine.kv_blocks_cached, status.engine.kv_blocks_total)
        self.assertEqual(len(status.active), 0)
        with open_channel(self.server.address) as channel:
            model = pb_grpc.InferenceServiceStub(channel).GetModel(pb.GetModelRequest())
        self.assertEqual((model.num_running, model.num_queued), (0, 0))
        return storm.outcomes, self.settled_footprint()

    def settled_footprint(self):
        """Closed connections and ended threads are gone a moment later: waits until nothing has changed for a second."""
        last, since = served.footprint(self.server.process.pid), time.monotonic()
        while time.monotonic() - since < 1:
            time.sleep(0.05)
            now = served.footprint(self.server.process.pid)
            if now[1:] != last[1:]:
                since = time.monotonic()
            last = now
        return last

    def expect_known_outcomes(self, outcomes):
        """No status but that of what ended the request, or OK where that came too late."""
        for (moment, means, status), count in outcomes.items():
            expected = {"OK", "DEADLINE_EXCEEDED" if means == "deadline" else "CANCELLED"}
            self.assertIn(status, expected, f"{count} requests ended by {means} {moment}")

    def expect_every_kind(self, outcomes):
        for moment, means in itertools.product(MOMENTS, MEANS):
            if means != "deadline":
                self.assertTrue(any(key[:2] == (moment, means) for key in outcomes), f"nothing ended by {means}, {moment}")
        for means in MEANS:
            self.assertTrue(any(key[1] == means and key[2] != "OK" for key in outcomes), f"{means} ended nothing")

    def states_in_the_log(self):
        """(status, state) of every choice: where the server itself says it ended."""
        states = collections.Counter()
        for line in self.server.log:
            if match := ENDED.search(line):
                status, computed, prefill_s = match[1], int(match[2]), float(match[3])
                state = "done" if status == "OK" else "queued" if not computed and not prefill_s else \
                    ("prompt", "first token")[computed] if computed < 2 else "decode"
                states[status, state] += 1
        return states

    def expect_same(self, after, before):
        def own(threads):
            return {name: count for name, count in threads.items() if name not in GRPC_POOLS}

        self.assertEqual(after.descriptors, before.descriptors)
        self.assertEqual(own(after.threads), own(before.threads))
        for name in GRPC_POOLS:
            self.assertLessEqual(after.threads[name], MAX_POOL_THREADS, name)

    def test_nothing_is_left(self):
        expected = self.answer()
        self.storm(max(100, OPTIONS.requests // 4), "warm-up")
        baseline = self.settled_footprint()
        began = time.monotonic()
        first, after_first = self.storm(OPTIONS.requests, "storm")
        seconds = time.monotonic() - began
        second, after_second = self.storm(OPTIONS.requests, "storm")
        states = self.states_in_the_log()
        engine = self.status().engine
        self.report(first + second, states, engine, seconds, baseline, after_first, after_second)
        self.expect_known_outcomes(first + second)
        if OPTIONS.requests >= DEFAULT_REQUESTS:
            self.expect_every_kind(first + second)
        if OPTIONS.requests >= MIN_REQUESTS_FOR_STATES:
            for state in STATES:
                self.assertTrue(any(key[1] == state for key in states), f"no request ended in the state {state}: {states}")
        self.expect_same(after_first, baseline)
        self.expect_same(after_second, baseline)
        if OPTIONS.requests >= MIN_REQUESTS_FOR_MEMORY:
            self.assertLessEqual(after_second.resident_kib, after_first.resident_kib * 1.01, "resident memory")
        self.assertEqual(self.answer(), expected)

    def report(self, outcomes, states, engine, seconds, baseline, after_first, after_second):
        growth = after_second.resident_kib / after_first.resident_kib - 1
        is_judged = OPTIONS.requests >= MIN_REQUESTS_FOR_MEMORY
        verdict = "" if is_judged else f", not judged below {MIN_REQUESTS_FOR_MEMORY} requests"
        print(f"\n{self.kv_admission}: two storms of {OPTIONS.requests}, {OPTIONS.requests / seconds:.0f} requests/s, "
              f"{engine.num_preemptions} preemptions, {engine.num_prefix_tokens_hit} prompt tokens from the cache")
        for (moment, means), of_kind in grouped(outcomes):
            print(f"  {moment:12} {means:20} " + ", ".join(f"{count} {status}" for status, count in sorted(of_kind.items())))
        print("  choices by the server's log: " + ", ".join(f"{count} {status} {state}" for (status, state), count
                                                            in sorted(states.items())))
        for name, figures in (("baseline", baseline), ("after the first", after_first), ("after the second", after_second)):
            pools = sum(figures.threads[pool] for pool in GRPC_POOLS)
            print(f"  {name:16} {figures.threads.total() - pools} threads and {pools} of gRPC's pools, "
                  f"{figures.descriptors} descriptors, {figures.resident_kib} KiB")
        print(f"  resident memory after the second storm: {growth:+.2%}{verdict}")


def grouped(outcomes):
    """[((moment, means), {status: count})], sorted."""
    kinds = collections.defaultdict(dict)
    for (moment, means, status), count in outcomes.items():
        kinds[moment, means][status] = count
    return sorted(kinds.items())


class Reserve(CancelStorm, unittest.TestCase):
    kv_admission = "reserve"


class Optimistic(CancelStorm, unittest.TestCase):
    kv_admission = "optimistic"


def parse_options():
    """Ours; the rest is unittest's."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--requests", type=int, default=DEFAULT_REQUESTS)
    options, rest = parser.parse_known_args()
    return options, [sys.argv[0], *rest]


if __name__ == "__main__":
    OPTIONS, arguments = parse_options()
    unittest.main(argv=arguments, verbosity=2)
