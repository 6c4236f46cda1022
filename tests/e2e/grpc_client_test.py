#!/usr/bin/env python3
"""A client that knows only the published proto speaks to a real `bitdial serve`. Run by ctest; skipped without the
packages of requirements.txt.
"""
import grpc_python  # first: it may change the interpreter

import json
import math
import threading
import time
import unittest

import grpc
from google.protobuf import descriptor_pool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

import served
from served import Server, wait_until

BITDIAL = served.bitdial_path()
SERVICE = "bitdial.v1.InferenceService"


def setUpModule():
    global FOLDER, pb, pb_grpc, SERVER, CHANNEL, STUB
    FOLDER = served.temporary_folder()
    pb, pb_grpc = grpc_python.make_stubs(FOLDER.name)
    _, bits = served.make_model(BITDIAL, FOLDER.name)
    SERVER = Server(BITDIAL, bits, "--max-stop-strings", "4", "--log-format", "json")
    CHANNEL = grpc.insecure_channel(SERVER.address)
    STUB = pb_grpc.InferenceServiceStub(CHANNEL)


def tearDownModule():
    CHANNEL.close()
    code = SERVER.stop()
    FOLDER.cleanup()
    assert code == 0, (code, SERVER.log)
    for line in SERVER.log:  # whatever the clients sent, also to the standard services
        json.loads(line)


def generate(text="the thing", token_ids=None, **params):
    prompt = {"token_ids": pb.TokenIds(ids=token_ids)} if token_ids is not None else {"text": text}
    return pb.GenerateRequest(params=pb.RequestParams(**params), **prompt)


def greedy(max_tokens=16, **stopping):
    return {"sampling": pb.SamplingParams(temperature=0), "stopping": pb.StoppingParams(max_tokens=max_tokens, **stopping)}


def running():
    return STUB.GetModel(pb.GetModelRequest()).num_running


def long_request():
    return generate(stopping=pb.StoppingParams(max_tokens=30000, ignore_eos=True))


class Streams(unittest.TestCase):
    def test_text_ids_and_finish(self):
        messages = list(STUB.Generate(generate(weight_bits=3, **greedy(ignore_eos=True))))
        self.assertTrue(messages[0].request_id)
        self.assertEqual([m.HasField("finish") for m in messages], [False] * (len(messages) - 1) + [True])
        ids = [i for m in messages for i in m.delta.token_ids]
        finish = messages[-1].finish
        self.assertEqual(len(ids), 16)
        self.assertEqual(finish.reason, pb.FINISH_REASON_LENGTH)
        self.assertEqual((finish.usage.completion_tokens, finish.weight_bits), (16, 3))
        self.assertEqual(finish.usage.prompt_tokens, len(STUB.Tokenize(pb.TokenizeRequest(text="the thing")).token_ids))
        text = "".join(m.delta.text for m in messages)
        self.assertEqual(text, STUB.Detokenize(pb.DetokenizeRequest(token_ids=ids)).text)

    def test_choices(self):
        sampling = pb.SamplingParams(temperature=1, seed=5)
        stopping = pb.StoppingParams(max_tokens=12, ignore_eos=True)
        ids = {}
        for m in STUB.Generate(generate(n=4, sampling=sampling, stopping=stopping)):
            ids.setdefault(m.delta.index, []).extend(m.delta.token_ids)
        self.assertEqual(sorted(map(len, ids.values())), [12] * 4)
        self.assertEqual(len({tuple(i) for i in ids.values()}), 4)  # each draws for itself
        alone = [i for m in STUB.Generate(generate(sampling=sampling, stopping=stopping)) for i in m.delta.token_ids]
        self.assertEqual(alone, ids[0])

    def test_a_prompt_met_before_is_taken_from_the_cache(self):
        def ask(**params):
            messages = list(STUB.Generate(generate(token_ids=list(range(3, 103)), **greedy(), **params)))
            return [i for m in messages for i in m.delta.token_ids], messages[-1].finish.usage.cached_prompt_tokens

        first, none = ask(weight_bits=3)
        again, cached = ask(weight_bits=3)
        self.assertEqual((none, cached), (0, 96))
        self.assertEqual(first, again)
        self.assertEqual(ask(weight_bits=2)[1], 0)  # K/V of other bits is another
        self.assertEqual(ask(weight_bits=3, prefix_cache=False), (first, 0))

    def test_auto_bits_are_listed_and_can_be_replayed(self):
        def ask(**auto):
            messages = list(STUB.Generate(generate(auto_bits=pb.AutoBits(**auto), **greedy(ignore_eos=True))))
            return ([i for m in messages for i in m.delta.token_ids], [b for m in messages for b in m.delta.weight_bits],
                    messages[-1].finish)

        ids, bits, finish = ask(min_bits=3)
        self.assertEqual(bits, [4] * 16)  # no load
        self.assertEqual((finish.weight_bits, finish.prompt_weight_bits), (4, 4))
        schedule = [3] * 5 + [2] * 4 + [4]
        replayed = ask(schedule=schedule)
        self.assertEqual(replayed[1], schedule + [4] * 6)
        self.assertEqual((replayed[2].weight_bits, replayed[2].prompt_weight_bits), (2, 3))
        self.assertEqual(ask(schedule=replayed[1])[0], replayed[0])

    def test_streams_as_it_computes(self):
        call = STUB.Generate(long_request())
        next(call)
        self.assertEqual(running(), 1)
        call.cancel()
        self.assertTrue(wait_until(lambda: running() == 0))

    def test_bits_differ_and_repeat(self):
        ids = {bits: [[i for m in STUB.Generate(generate(weight_bits=bits, **greedy())) for i in m.delta.token_ids]
                      for _ in range(2)] for bits in (2, 3, 4)}
        for twice in ids.values():
            self.assertEqual(twice[0], twice[1])
        self.assertEqual(len({tuple(twice[0]) for twice in ids.values()}), 3)

    def test_token_ids_in_equal_text_in(self):
        tokens = STUB.Tokenize(pb.TokenizeRequest(text="the thing")).token_ids
        by_text = [i for m in STUB.Generate(generate(**greedy())) for i in m.delta.token_ids]
        by_ids = [i for m in STUB.Generate(generate(token_ids=tokens, **greedy())) for i in m.delta.token_ids]
        self.assertEqual(by_text, by_ids)

    def test_the_seed_reported_replays(self):
        params = {"stopping": pb.StoppingParams(max_tokens=30, ignore_eos=True)}
        first = list(STUB.Generate(generate(**params)))
        again = list(STUB.Generate(generate(sampling=pb.SamplingParams(seed=first[-1].finish.seed), **params)))
        self.assertEqual([i for m in first for i in m.delta.token_ids], [i for m in again for i in m.delta.token_ids])

    def test_stop_string_is_cut_and_reported(self):
        whole = "".join(m.delta.text for m in STUB.Generate(generate(**greedy(40, ignore_eos=True))))
        at = next(i for i in range(5, len(whole) - 2) if whole[i:i + 2].isascii())
        stop = whole[at:at + 2]
        messages = list(STUB.Generate(generate(**greedy(40, ignore_eos=True, stop=[stop]))))
        self.assertEqual("".join(m.delta.text for m in messages), whole[:whole.index(stop)])
        self.assertEqual((messages[-1].finish.reason, messages[-1].finish.stop), (pb.FINISH_REASON_STOP, stop))

    def test_logprobs_and_echo(self):
        output = pb.OutputParams(logprobs=True, top_logprobs=3, echo=True)
        messages = list(STUB.Generate(generate(output=output, **greedy(5, ignore_eos=True))))
        self.assertTrue("".join(m.delta.text for m in messages).startswith("the thing"))
        prompt = [p for m in messages for p in m.prompt_logprobs]
        self.assertEqual(len(prompt), messages[-1].finish.usage.prompt_tokens - 1)
        chosen = [p for m in messages for p in m.delta.logprobs]
        self.assertEqual(len(chosen), 5)
        for logprob in chosen:  # greedy: the chosen one is the best
            self.assertEqual(logprob.chosen.token_id, logprob.top[0].token_id)
            self.assertAlmostEqual(logprob.chosen.logprob, logprob.top[0].logprob, places=5)
        for logprob in prompt + chosen:
            self.assertEqual(len(logprob.top), 3)
            self.assertLessEqual(logprob.chosen.logprob, 0)
            self.assertGreaterEqual(logprob.top[0].logprob, logprob.top[2].logprob)

    def test_scoring_a_prompt_without_output(self):
        output = pb.OutputParams(logprobs=True, echo=True)
        messages = list(STUB.Generate(generate(output=output, stopping=pb.StoppingParams(max_tokens=0))))
        self.assertEqual(messages[-1].finish.usage.completion_tokens, 0)
        self.assertTrue(any(m.prompt_logprobs for m in messages))

    def test_chat(self):
        request = pb.ChatRequest(params=pb.RequestParams(**greedy(8)), messages=[
            pb.ChatMessage(role=pb.ChatMessage.ROLE_SYSTEM, content="brief"),
            pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content="<|im_end|> is text here")])
        messages = list(STUB.Chat(request))
        self.assertTrue(messages[-1].HasField("finish"))

    def test_many_at_once_of_mixed_bits_equal_alone(self):
        def ids(bits, text):
            return [i for m in STUB.Generate(generate(text, weight_bits=bits, **greedy(40, ignore_eos=True)))
                    for i in m.delta.token_ids]

        cases = [(bits, f"prompt number {i}") for i in range(4) for bits in (2, 3, 4)]
        alone = [ids(*case) for case in cases]
        together = [None] * len(cases)
        threads = [threading.Thread(target=lambda i=i: together.__setitem__(i, ids(*cases[i]))) for i in range(len(cases))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)


class Ends(unittest.TestCase):
    def computed(self):
        return STUB.GetModel(pb.GetModelRequest()).num_tokens_computed

    def expect_computing_stopped(self):
        self.assertTrue(wait_until(lambda: running() == 0))
        before = self.computed()
        time.sleep(0.2)
        self.assertEqual(self.computed(), before)

    def test_cancel_stops_the_computing(self):
        call = STUB.Generate(long_request())
        next(call)
        call.cancel()
        with self.assertRaises(grpc.RpcError) as caught:
            list(call)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.CANCELLED)
        self.expect_computing_stopped()

    def test_deadline_stops_the_computing(self):
        with self.assertRaises(grpc.RpcError) as caught:
            list(STUB.Generate(long_request(), timeout=0.3))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.expect_computing_stopped()

    def test_a_client_that_vanishes_stops_the_computing(self):
        channel = grpc.insecure_channel(SERVER.address, options=[("grpc.use_local_subchannel_pool", 1)])
        call = pb_grpc.InferenceServiceStub(channel).Generate(long_request())
        next(call)
        channel.close()
        self.expect_computing_stopped()


class BadInput(unittest.TestCase):
    def refused(self, request, code, word="", method=None):
        with self.assertRaises(grpc.RpcError) as caught:
            list((method or STUB.Generate)(request, timeout=20))
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertIn(word, caught.exception.details())
        # Nothing was started; the request of the test before may still be on its way out.
        self.assertTrue(wait_until(lambda: running() == 0))
        return caught.exception

    def invalid(self, field, **params):
        error = self.refused(generate(**params), grpc.StatusCode.INVALID_ARGUMENT, field)
        details = {any.TypeName(): any.value for any in rpc_status.from_call(error).details}
        info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
        self.assertEqual((info.reason, info.domain), ("INVALID_FIELD", "bitdial"))
        bad_request = error_details_pb2.BadRequest.FromString(details["google.rpc.BadRequest"])
        self.assertIn(field, [violation.field for violation in bad_request.field_violations])

    def test_sampling_values(self):
        for name, values in {"temperature": (-1, math.nan, math.inf), "top_k": (-1, 10**6), "top_p": (0, -1, 2, math.nan),
                             "min_p": (-0.1, 2), "repetition_penalty": (0, math.inf), "presence_penalty": (101, math.nan),
                             "frequency_penalty": (-101,), "logit_bias": ({272: 1.0}, {-1: 1.0}, {3: math.nan})}.items():
            for value in values:
                self.invalid(f"params.sampling.{name}" + (f"[{list(value)[0]}]" if isinstance(value, dict) else ""),
                             sampling=pb.SamplingParams(**{name: value}))

    def test_stopping_values(self):
        for field, stopping in {"max_tokens": {"max_tokens": -1}, "min_tokens": {"max_tokens": 3, "min_tokens": 4},
                                "stop[0]": {"stop": [""]}, "stop": {"stop": ["x"] * 5},
                                "stop_token_ids[0]": {"stop_token_ids": [272]}}.items():
            self.invalid(f"params.stopping.{field}", stopping=pb.StoppingParams(**stopping))
        self.invalid("params.stopping.max_tokens", stopping=pb.StoppingParams(max_tokens=served.CONTEXT))

    def test_bits_the_file_lacks(self):
        for bits in (0, 1, 5, -1):
            self.invalid("params.weight_bits", weight_bits=bits)

    def test_prompts(self):
        self.invalid("text", text="")
        self.invalid("text", text="x " * served.CONTEXT)
        self.invalid("token_ids.ids[1]", token_ids=[1, 272])
        self.invalid("token_ids.ids[0]", token_ids=[-1])
        self.invalid("token_ids", token_ids=[1] * (served.CONTEXT + 1))
        self.refused(pb.GenerateRequest(), grpc.StatusCode.INVALID_ARGUMENT, "neither text nor token_ids")

    def test_logprobs(self):
        self.invalid("params.output.top_logprobs", output=pb.OutputParams(top_logprobs=2))
        self.invalid("params.output.top_logprobs", output=pb.OutputParams(logprobs=True, top_logprobs=21))

    def test_not_built(self):
        self.refused(generate(kv=pb.KvParams()), grpc.StatusCode.UNIMPLEMENTED, "params.kv")

    def test_choices_priority_and_auto_bits(self):
        self.invalid("params.n", n=9)
        self.invalid("params.n", n=0)
        self.invalid("params.priority", priority=101)
        self.invalid("params.auto_bits.min_bits", auto_bits=pb.AutoBits(min_bits=7))
        self.invalid("params.auto_bits", auto_bits=pb.AutoBits(), weight_bits=3)

    def test_unknown_model(self):
        self.refused(generate(model="gpt"), grpc.StatusCode.NOT_FOUND, "tiny-bits")

    def test_bytes_that_are_no_request(self):
        raw = CHANNEL.unary_stream(f"/{SERVICE}/Generate", request_serializer=bytes, response_deserializer=bytes)
        for data in (b"\x12\x02\xc3\x28", b"\x12\x7f", b"\xff\xff\xff\xff"):  # invalid UTF-8, cut short, noise
            self.refused(data, grpc.StatusCode.INVALID_ARGUMENT, "UTF-8", method=raw)
        for method in ("grpc.health.v1.Health/Check", "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
            raw = CHANNEL.stream_stream(f"/{method}", request_serializer=bytes, response_deserializer=bytes)
            try:
                list(raw(iter([b"\x0a\x02\xc3\x28"])))
            except grpc.RpcError:
                pass  # gRPC's own answer; tearDownModule looks at what it logged

    def test_too_large(self):
        self.refused(generate("x" * (5 << 20)), grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_chat_values(self):
        self.refused(pb.ChatRequest(), grpc.StatusCode.INVALID_ARGUMENT, "messages", method=STUB.Chat)
        self.refused(pb.ChatRequest(messages=[pb.ChatMessage(content="x")]), grpc.StatusCode.INVALID_ARGUMENT,
                     "messages[0].role", method=STUB.Chat)

    def test_detokenize_ids(self):
        with self.assertRaises(grpc.RpcError) as caught:
            STUB.Detokenize(pb.DetokenizeRequest(token_ids=[1, 272]))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_unknown_fields_are_ignored(self):
        raw = CHANNEL.unary_stream(f"/{SERVICE}/Generate", request_serializer=bytes,
                                   response_deserializer=pb.GenerateResponse.FromString)
        request = generate(**greedy(2)).SerializeToString() + b"\xfa\x01\x01x"  # field 31
        self.assertTrue(list(raw(request))[-1].HasField("finish"))

    def test_still_serving_after_all_that(self):
        self.assertTrue(list(STUB.Generate(generate(**greedy(2))))[-1].HasField("finish"))


class AnyBcqRelease(unittest.TestCase):
    """A published checkpoint is served as it is: greedy ids are those of numpy, at each number of bits, all at once."""

    def test_greedy_ids(self):
        golden = served.anybcq_golden()
        # f32: the margins of the golden are far above its rounding, not above that of f16 keys and values.
        server = Server(BITDIAL, served.ANYBCQ_RELEASE, "--kv-format", "f32", "--numerics", "exact",
                        context=served.ANYBCQ_CONTEXT)
        self.addCleanup(server.stop)
        with grpc.insecure_channel(server.address) as channel:
            stub = pb_grpc.InferenceServiceStub(channel)
            self.assertEqual(list(stub.GetModel(pb.GetModelRequest()).weight_bits), [2, 3, 4])
            tokens = stub.Tokenize(pb.TokenizeRequest(text=golden["text"], add_special_tokens=True))
            self.assertEqual(list(tokens.token_ids), golden["input_ids"])
            calls = {bits: stub.Generate(generate(token_ids=golden["input_ids"], weight_bits=bits,
                                                  **greedy(16, ignore_eos=True))) for bits in (2, 3, 4)}
            for bits, call in calls.items():
                self.assertEqual([i for m in call for i in m.delta.token_ids], golden["greedy_ids"][str(bits)], bits)


class StandardServices(unittest.TestCase):
    def test_health(self):
        stub = health_pb2_grpc.HealthStub(CHANNEL)
        for name in ("", SERVICE):
            status = stub.Check(health_pb2.HealthCheckRequest(service=name)).status
            self.assertEqual(status, health_pb2.HealthCheckResponse.SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
        watch.cancel()

    def test_reflection(self):
        database = ProtoReflectionDescriptorDatabase(CHANNEL)
        self.assertLessEqual({SERVICE, "grpc.health.v1.Health"}, set(database.get_services()))
        pool = descriptor_pool.DescriptorPool(database)
        methods = {method.name for method in pool.FindServiceByName(SERVICE).methods}
        self.assertEqual(methods, {"Generate", "Chat", "Cancel", "Tokenize", "Detokenize", "ListModels", "GetModel"})
        self.assertIn("weight_bits", pool.FindMessageTypeByName("bitdial.v1.RequestParams").fields_by_name)

    def test_models(self):
        self.assertEqual(list(STUB.ListModels(pb.ListModelsRequest()).models), ["tiny-bits"])
        model = STUB.GetModel(pb.GetModelRequest(model="tiny-bits"))
        self.assertEqual(list(model.weight_bits), [2, 3, 4])
        self.assertEqual((model.default_weight_bits, model.max_context), (4, served.CONTEXT))
        for field in ("weight_bytes", "kv_cache_bytes", "kv_bytes_per_token", "resident_bytes", "num_parameters"):
            self.assertGreater(getattr(model, field), 0, field)
        self.assertTrue(model.kernels)


if __name__ == "__main__":
    unittest.main(verbosity=2)
