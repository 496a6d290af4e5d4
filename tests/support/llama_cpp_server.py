"""llama.cpp's own server in a process, with the package that carries it: ``python llama_cpp_server.py MODEL.gguf``; prints its address."""

import sys
import threading

import xllamacpp


def main() -> None:
    """Serve until the process is ended."""
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_parallel, params.n_ctx, params.cpuparams.n_threads = 4, 4096, 1
    params.endpoint_metrics, params.port = True, 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
