"""Greedy questions whose answers must not depend on who else asks, and neighbours that ask anything."""
import collections
import concurrent.futures
import random
import threading

import grpc

SEED = 20
NUM_NEIGHBOURS = 8
CALL_TIMEOUT_S = 120  # a call that hangs is an error instead of the end of all


def some_prompt(story, choose):
    """A piece of the story. Few beginnings, so that prompts share blocks; any length, so that they end anywhere in one."""
    begin = choose.randrange(6) * 100
    return story[begin:begin + choose.choice((choose.randint(1, 31), choose.randint(32, 100), choose.randint(100, 300)))]


class Question:
    """A greedy request at fixed bits. It follows from its number alone. pb: what make_stubs made of the proto."""

    def __init__(self, pb, story, number):
        self._pb = pb
        choose = random.Random(f"{SEED}/{number}")
        self.prompt = some_prompt(story, choose)
        self.bits = choose.choice((2, 3, 4))
        self.max_tokens = choose.randint(4, 40)
        self.echo = choose.random() < 0.1  # with the prompt's log-probabilities

    def request(self, **params):
        pb = self._pb
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
    """Keeps the server busy with what is not checked, until told to stop. num_ended counts by status."""

    def __init__(self, pb, pb_grpc, open_channel, story, count=NUM_NEIGHBOURS):
        """open_channel: a connection of its own, to be closed by the caller."""
        self._pb, self._pb_grpc = pb, pb_grpc
        self._story = story
        self._open_channel = open_channel
        self._stop = threading.Event()
        self.num_ended = collections.Counter()
        self._lock = threading.Lock()
        self._pool = concurrent.futures.ThreadPoolExecutor(count)
        self._runs = [self._pool.submit(self._run, number) for number in range(count)]

    def _run(self, number):
        choose = random.Random(f"{SEED}/neighbour/{number}")
        with self._open_channel() as channel:
            stub = self._pb_grpc.InferenceServiceStub(channel)
            while not self._stop.is_set():
                status = self._ask(stub, choose)
                with self._lock:
                    self.num_ended[status] += 1
                if status not in ("OK", "CANCELLED"):
                    self._stop.wait(0.2)  # a refusal says: later

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
        pb = self._pb
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
