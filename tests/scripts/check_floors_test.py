"""check_floors.py catches each kind of bad include, and passes a clean tree."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import check_floors  # noqa: E402

CLEAN = {
    "kernels/core/view.h": "#include <vector>\n",
    "kernels/ops/linear/linear.h": '#include "kernels/core/view.h"\n',
    "kernels/backends/cpu/pod.h": "#include <cstdint>\n",
    "kernels/backends/cpu/dot_avx512.cc": '#include <immintrin.h>\n#include "kernels/backends/cpu/pod.h"\n',
    "kernels/backends/cuda/launch.cc": "#include <cuda_runtime.h>\n",
    "kernels/formats/bcq/linear.cu": "#include <cublas_v2.h>\n",
    "kvcache/block_pool.h": '#include "kernels/core/view.h"\n',
    "quant/container/checkpoint.h": '#include "kernels/core/view.h"\n',
    "quant/methods/rtn/rtn.cc": '#include "quant/container/checkpoint.h"\n#include "engine/calibration/observer.h"\n',
    "engine/engine.h": '#include <chrono>\n#include "kvcache/block_pool.h"\n#include "quant/container/checkpoint.h"\n',
    "engine/scheduler/scheduler.h": '#include "engine/request.h"\n#include "kernels/core/status.h"\n',
    "server/rpc/service.cc": '#include <grpcpp/grpcpp.h>\n#include "bitdial/v1/inference.pb.h"\n#include "engine/engine.h"\n',
    "server/tokenizer/sentencepiece.cc": "#include <sentencepiece_processor.h>\n",
    "tests/kernels/linear_test.cc": '#include "kernels/ops/linear/linear.h"\n#include "tests/testing/shared_data.h"\n',
    "tests/e2e/serve_test.cc": '#include "server/rpc/service.h"\n#include "bitdial/v1/inference.grpc.pb.h"\n',
    "deps/any/upward.h": '#include "server/rpc/service.h"\n',
}

# What is put into the clean tree -> what the message has to say. Each must be the only violation.
BAD = {
    ("kernels/core/view.h", "kernels/kernel_table.h"): "kernels/core may include only kernels/core",
    ("kernels/ops/linear/linear.h", "kvcache/block_pool.h"): "kernels may include only",
    ("kvcache/block_pool.h", "engine/engine.h"): "kvcache may include only",
    ("kvcache/block_pool.h", "quant/container/checkpoint.h"): "kvcache may include only",
    ("quant/container/checkpoint.h", "kvcache/block_pool.h"): "quant/container may include only",
    ("quant/container/checkpoint.h", "quant/methods/rtn/rtn.h"): "quant/container may include only",
    ("quant/methods/rtn/rtn.cc", "engine/engine.h"): "quant/methods may include only",
    ("engine/engine.h", "quant/methods/rtn/rtn.h"): "engine may include only",
    ("engine/engine.h", "server/rpc/service.h"): "engine may include only",
    ("engine/engine.h", "../server/rpc/service.h"): "from the repository root",
    ("engine/engine.h", "bitdial/v1/inference.pb.h"): "invariant 1",
    ("quant/container/checkpoint.h", "<google/protobuf/message.h>"): "invariant 1",
    ("tests/kernels/linear_test.cc", "<grpcpp/grpcpp.h>"): "invariant 1",
    ("tests/kernels/linear_test.cc", "engine/engine.h"): "tests/kernels may include only",
    ("engine/engine.h", "<cuda_runtime.h>"): "invariant 4",
    ("kernels/ops/linear/linear.h", "cuda_fp16.h"): "invariant 4",
    ("engine/scheduler/scheduler.h", "<chrono>"): "invariant 3",
    ("engine/scheduler/scheduler.h", "kernels/ops/linear/linear.h"): "invariant 3",
    ("engine/scheduler/scheduler.h", "kernels/core/view.h"): "invariant 3",
    ("kernels/backends/cpu/dot_avx512.cc", "<vector>"): "invariant 6",
    ("kernels/backends/cpu/pod.h", "<vector>"): "through kernels/backends/cpu/pod.h",
    ("server/tokenizer/other.cc", "<sentencepiece_processor.h>"): "namespace absl",
    ("newfloor/a.cc", "<vector>"): "lies on no floor",
}


class CheckFloorsTest(unittest.TestCase):
    def check(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_floors.check_tree(Path(folder))

    def test_clean_tree_passes(self):
        violations, num_files, num_includes = self.check(CLEAN)
        self.assertEqual([str(v) for v in violations], [])
        self.assertEqual(num_files, len(CLEAN) - 1)  # deps/ is not ours
        self.assertGreater(num_includes, 20)

    def test_each_bad_include_is_caught(self):
        for (path, include), message in BAD.items():
            with self.subTest(path=path, include=include):
                line = f"  #  include {include}\n" if include.startswith("<") else f'#include "{include}"\n'
                violations, _, _ = self.check({**CLEAN, path: CLEAN.get(path, "") + line})
                where = {v.path for v in violations}
                self.assertTrue(any(message in str(v) for v in violations), [str(v) for v in violations])
                self.assertLessEqual(len(where), 2, where)

    def test_an_include_behind_if_counts(self):
        violations, _, _ = self.check({"engine/a.h": '#if 0\n#include "server/b.h"\n#endif\n'})
        self.assertEqual([v.line for v in violations], [2])


if __name__ == "__main__":
    unittest.main()
