"""Real engines on the reference model, each opened once."""

import subprocess
import sys

import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.engines.environments import install
from workbench.engines.http import HttpEngine
from workbench.engines.onnx_engine import OnnxEngine
from workbench.engines.server import ServerRoom, free_port
from workbench.engines.torch_engine import TorchEngine
from workbench.engines.vllm import vllm_command, vllm_variables
from workbench.telemetry.devices import chosen_device

NAME = "stdlib-9m"


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    return ServerRoom(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def vllm_server(room):
    """A real vLLM in its own environment, installed by our own recipe if it is not there yet."""
    device = chosen_device("auto").kind
    environment = install("vllm", device=device, tell=print)
    port = free_port()
    command = vllm_command(environment, str(REFERENCE_MODEL), name=NAME, port=port, device=device)
    variables = vllm_variables(device=device, offline=True)
    card = room.start(command, engine="vllm", model=NAME, port=port, environment=variables, timeout_s=400, tell=print)
    yield card
    room.stop(card)


@pytest.fixture(scope="session")
def torch_server(room):
    port = free_port()
    command = [sys.executable, "-m", "workbench.engines.openai_server", "--engine", "torch"]
    command += ["--model", str(REFERENCE_MODEL), "--name", NAME, "--port", str(port)]
    card = room.start(command, engine="torch", model=NAME, port=port, environment={}, timeout_s=120, tell=print)
    yield card
    room.stop(card)


@pytest.fixture(scope="module", params=["torch", "onnx", "http", "vllm"])
def engine(request):
    if request.param == "torch":
        opened = TorchEngine(REFERENCE_MODEL)
    elif request.param == "onnx":
        opened = OnnxEngine(request.getfixturevalue("exported_graph"))
    else:
        card = request.getfixturevalue("torch_server" if request.param == "http" else "vllm_server")
        opened = HttpEngine(card.url, NAME)
    yield opened
    opened.close()


@pytest.fixture
def listening():
    """Ports of this machine that somebody listens on."""

    def ports():
        text = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in text.splitlines()[1:]]
        return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A"}

    return ports
