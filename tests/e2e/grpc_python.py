"""For tests that speak to the server as a stranger would. Importing it goes over to the interpreter that has grpcio, or ends
the test as skipped; make_stubs() is the only way to our messages.
"""
import other_python  # first: it may change the interpreter

import importlib
import sys

SKIPPED = 77


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(SKIPPED)


try:
    from grpc_tools import protoc
    import grpc_health.v1
    import grpc_reflection.v1alpha
    import grpc_status
except ImportError as error:
    skip(f"the Python gRPC client needs tests/e2e/requirements.txt ({error}); set BITDIAL_PYTHON")

import served


def make_stubs(folder, name="inference"):
    """Python code from bitdial/v1/NAME.proto as it is published: no file of ours but the .proto."""
    arguments = ["protoc", f"-I{served.SOURCE / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}",
                 f"bitdial/v1/{name}.proto"]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc failed on bitdial/v1/{name}.proto")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(f"bitdial.v1.{name}_pb2"), importlib.import_module(f"bitdial.v1.{name}_pb2_grpc")
