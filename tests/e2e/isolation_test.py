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
import unittest

import grpc

import served
from questions import SEED, Neighbours, Question, ask
from served import Server

BITDIAL = served.bitdial_path()
NUM_ASKERS = 8
MAX_QUESTIONS = 400       # asked alone once, then in company again and again
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
KV_CACHE_BYTES = 2 << 20  # 32 blocks of 32 tokens; some eight of these requests want more


def setUpModule():
    global FOLDER, pb, pb_grpc, MODEL
    FOLDER = served.temporary_folder()
    pb, pb_grpc = grpc_python.make_stubs(FOLDER.name)
    MODEL = served.make_demo(BITDIAL, FOLDER.name)


def tearDownModule():
    FOLDER.cleanup()


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
        self.questions = [Question(pb, story, number) for number in range(min(OPTIONS.answers, MAX_QUESTIONS))]
        alone = [ask(alone_stub, question.request(prefix_cache=False))[0] for question in self.questions]

        # No --threads: every core, where the other has one.
        server, stub = self.serve("--kv-admission", "optimistic", "--kv-cache-bytes", str(KV_CACHE_BYTES),
                                  "--max-step-tokens", "96", "--priority-step-ms", "50")
        neighbours = Neighbours(pb, pb_grpc, lambda: grpc.insecure_channel(server.address, OWN_CONNECTION), story)
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
