#!/usr/bin/env python3
"""Rows do not depend on neighbours (invariant 8), as a client sees it: greedy answers at fixed bits, asked of a real
`bitdial serve` in the middle of a random load, are those that another process gives to each request alone: token ids and
log-probabilities, bit for bit. Run by ctest; skipped without the packages of requirements.txt.

    BITDIAL=build/release/bitdial python3 tests/e2e/isolation_test.py                  300 answers, as ctest does
    BITDIAL=build/release/bitdial python3 tests/e2e/isolation_test.py --answers 2000

The load: arrivals as fast as the server takes them, cancelled requests, several choices, priorities, auto_bits, sampling,
prompts that begin alike, and a KV cache so small that optimistic admission has to preempt.
"""
import grpc_python  # first: it may change the interpreter

import argparse
import collections
import concurrent.futures
import random
import sys
import threading
import unittest

import grpc

import served
from served import Server

BITDIAL = served.bitdial_path()
SEED = 20
NUM_ASKERS = 8
NUM_NEIGHBOURS = 8
MAX_QUESTIONS = 400       # asked alone once, then in company again and again
KV_CACHE_BYTES = 2 << 20  # 32 blocks of 32 tokens; some eight of these requests want more
CALL_TIMEOUT_S = 120      # a call that hangs fails the test instead of stopping it


def setUpModule():
    global FOLDER, pb, pb_grpc, MODEL
    FOLDER = served.temporary_folder()
    pb, pb_grpc = grpc_python.make_stubs(FOLDER.name)
    MODEL = served.make_demo(BITDIAL, FOLDER.name)


def tearDownModule():
    FOLDER.cleanup()


def some_prompt(story, choose):
    """A piece of the story. Few beginnings, so that prompts share blocks; any length, so that they end anywhere in one."""
    begin = choose.randrange(6) * 100
    return story[begin:begin + choose.choice((choose.randint(1, 31), choose.randint(32, 100), choose.randint(100, 300)))]


class Question:
    """A greedy request at fixed bits. It follows from its number alone."""

    def __init__(self, story, number):
        choose = random.Random(f"{SEED}/{number}")
        self.prompt = some_prompt(story, choose)
        self.bits = choose.choice((2, 3, 4))
        self.max_tokens = choose.randint(4, 40)
        self.echo = choose.random() < 0.1  # with the prompt's log-probabilities

    def request(self, **params):
        return pb.GenerateRequest(token_ids=pb.TokenIds(ids=self.prompt), params=pb.RequestParams(
            weight_bits=self.bits, sampling=pb.SamplingParams(temperature=0),
            stopping=pb.StoppingParams(max_tokens=self.max_tokens, ignore_eos=True),
            output=pb.OutputParams(logprobs=True, top_logprobs=5, echo=self.echo), **params))

    def __str__(self):
        return f"{len(self.prompt)} prompt tokens, {self.max_tokens} output tokens, {self.bits} bits"


class Answer:
    """What one choice of a request got. Log-probabilities stay as the wire has them: equal bytes are equal floats."""

    def __init__(self):
        self.ids, self.logprobs, self.prompt_logprobs, self.usage = [], [], [], None

    def take(self, message):
        self.ids += message.delta.token_ids
        self.logprobs += [p.SerializeToString() for p in message.delta.logprobs]
        self.prompt_logprobs += [p.SerializeToString() for p in message.prompt_logprobs]
        if message.HasField("finish"):
            self.usage = message.finish.usage

    def difference(self, alone, is_first_choice):
        """None where there is none. The prompt's log-probabilities come with the first choice alone."""
        if self.usage is None:
            return "it has no end"
        for name, ours, theirs in (("token id", self.ids, alone.ids), ("log-probability", self.logprobs, alone.logprobs),
                                   ("log-probability of the prompt", self.prompt_logprobs,
                                    alone.prompt_logprobs if is_first_choice else [])):
            if len(ours) != len(theirs):
                return f"{len(ours)} of {name}, {len(theirs)} alone"
            for i, (mine, other) in enumerate(zip(ours, theirs)):
                if mine != other:
                    return f"{name} {i}: {mine} in company, {other} alone"
        return None


def ask(stub, request, num_choices=1):
    answers = [Answer() for _ in range(num_choices)]
    for message in stub.Generate(request, timeout=CALL_TIMEOUT_S):
        index = message.finish.index if message.HasField("finish") else message.delta.index
        answers[index].take(message)
    return answers


class Neighbours:
    """Keeps the server busy with what is not checked, until told to stop."""

    def __init__(self, address, story):
        self._story = story
        self._address = address
        self._stop = threading.Event()
        self.num_ended = collections.Counter()
        self._lock = threading.Lock()
        self._pool = concurrent.futures.ThreadPoolExecutor(NUM_NEIGHBOURS)
        self._runs = [self._pool.submit(self._run, number) for number in range(NUM_NEIGHBOURS)]

    def _run(self, number):
        choose = random.Random(f"{SEED}/neighbour/{number}")
        with grpc.insecure_channel(self._address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = pb_grpc.InferenceServiceStub(channel)
            while not self._stop.is_set():
                status = self._ask(stub, choose)
                with self._lock:
                    self.num_ended[status] += 1

    def _ask(self, stub, choose):
        """One request; half of them are cancelled somewhere."""
        patience = choose.randint(0, 12) if choose.random() < 0.5 else 1 << 30
        call = stub.Generate(self._request(choose), timeout=CALL_TIMEOUT_S)
        try:
            for num_messages, _ in enumerate(call):
                if num_messages >= patience:
                    call.cancel()
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    def _request(self, choose):
        if choose.random() < 0.5:
            bits = {"auto_bits": pb.AutoBits(min_bits=choose.choice((2, 3)), tpot_ms=1)}
        else:
            bits = {"weight_bits": choose.choice((2, 3, 4))}
        return pb.GenerateRequest(token_ids=pb.TokenIds(ids=some_prompt(self._story, choose)), params=pb.RequestParams(
            n=choose.choice((1, 1, 2, 4)), priority=choose.randint(-3, 3), prefix_cache=choose.random() < 0.7, **bits,
            sampling=pb.SamplingParams(temperature=choose.choice((0, 1))),
            stopping=pb.StoppingParams(max_tokens=choose.randint(1, 60), ignore_eos=True)))

    def stop(self):
        self._stop.set()
        self._pool.shutdown()
        for run in self._runs:
            run.result()  # so that an exception comes out


class IsolationTest(unittest.TestCase):
    def serve(self, *flags):
        server = Server(BITDIAL, MODEL, *flags, context=None)
        self.addCleanup(lambda: self.assertEqual(server.stop(), 0, server.log[-20:]))
        channel = grpc.insecure_channel(server.address)
        self.addCleanup(channel.close)
        return server, pb_grpc.InferenceServiceStub(channel)

    def ask_in_company(self, stub, number):
        """(question, its answers): one, or as many as it has choices."""
        choose = random.Random(f"{SEED}/asked/{number}")
        question = number % len(self.questions)
        num_choices = choose.choice((1, 1, 1, 1, 2, 3))
        request = self.questions[question].request(n=num_choices, priority=choose.randint(-3, 3),
                                                   prefix_cache=choose.random() < 0.8)
        return question, ask(stub, request, num_choices)

    def test_in_company_as_alone(self):
        # One thread, blocks for all, nothing cached: as little in common with the other as can be.
        _, alone_stub = self.serve("--prefix-cache", "false", "--threads", "1")
        text = (served.SOURCE / "demo/story.txt").read_text()
        story = list(alone_stub.Tokenize(pb.TokenizeRequest(text=text)).token_ids)
        self.questions = [Question(story, number) for number in range(min(OPTIONS.answers, MAX_QUESTIONS))]
        alone = [ask(alone_stub, question.request(prefix_cache=False))[0] for question in self.questions]

        # No --threads: every core, where the other has one.
        server, stub = self.serve("--kv-admission", "optimistic", "--kv-cache-bytes", str(KV_CACHE_BYTES),
                                  "--max-step-tokens", "96", "--priority-step-ms", "50")
        neighbours = Neighbours(server.address, story)
        figures, troubles = collections.Counter(), []
        with concurrent.futures.ThreadPoolExecutor(NUM_ASKERS) as askers:
            for number, answers in askers.map(lambda number: self.ask_in_company(stub, number), range(OPTIONS.answers)):
                figures.update(self.figures_of(answers))
                troubles += [f"question {number} ({self.questions[number]}), choice {i}: {trouble}"
                             for i, answer in enumerate(answers) if (trouble := answer.difference(alone[number], i == 0))]
        neighbours.stop()
        self.report(figures, neighbours.num_ended, troubles)
        self.assertEqual(troubles[:10], [], f"{len(troubles)} answers differ from those given alone")
        self.assertGreaterEqual(figures["answers"], OPTIONS.answers)
        for exercised in ("preempted", "cached tokens", "with choices"):
            self.assertGreater(figures[exercised], 0, f"{exercised}: none, so that this run proves too little")
        for status in ("OK", "CANCELLED"):
            self.assertGreater(neighbours.num_ended[status], 0, neighbours.num_ended)
        self.assertLessEqual(set(neighbours.num_ended), {"OK", "CANCELLED"})

    @staticmethod
    def figures_of(answers):
        usages = [answer.usage for answer in answers if answer.usage is not None]
        return {"answers": len(answers), "with choices": len(answers) > 1,
                "tokens": sum(len(answer.ids) for answer in answers),
                "log-probabilities": sum(len(answer.logprobs) + len(answer.prompt_logprobs) for answer in answers),
                "preempted": sum(usage.preemptions > 0 for usage in usages),
                "preemptions": sum(usage.preemptions for usage in usages),
                "cached": sum(usage.cached_prompt_tokens > 0 for usage in usages),
                "cached tokens": sum(usage.cached_prompt_tokens for usage in usages)}

    def report(self, figures, neighbours, troubles):
        print(f"\n{figures['answers']} answers to {len(self.questions)} questions, {figures['tokens']} tokens, "
              f"{figures['log-probabilities']} log-probabilities: {len(troubles)} differ\n"
              f"  {figures['preempted']} were preempted, {figures['preemptions']} times in all; {figures['cached']} took "
              f"{figures['cached tokens']} prompt tokens from the cache; {figures['with choices']} requests had choices\n"
              f"  neighbours: " + ", ".join(f"{count} {status}" for status, count in sorted(neighbours.items())))


def parse_options():
    """Ours; the rest is unittest's."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--answers", type=int, default=300)
    options, rest = parser.parse_known_args()
    return options, [sys.argv[0], *rest]


if __name__ == "__main__":
    OPTIONS, arguments = parse_options()
    unittest.main(argv=arguments, verbosity=2)
