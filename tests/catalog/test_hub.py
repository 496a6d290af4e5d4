"""The hub is asked for names of its form only, for a short time, and never where the environment forbids it."""

import sys
import threading
from types import SimpleNamespace

import pytest

from workbench.catalog import hub
from workbench.catalog.models import encoder, language_model_from, model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import NotAModel, NotAvailable


def client(monkeypatch, *, download, cached=None):
    """Put a hub client in place of the real one."""
    fake = SimpleNamespace(hf_hub_download=download, try_to_load_from_cache=lambda *_: cached)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    for name in hub.OFFLINE:
        monkeypatch.delenv(name, raising=False)


def never(*_):
    raise AssertionError("the hub was asked")


@pytest.mark.parametrize(
    "name", ["llama3-8b", "/nowhere/at/all", "a/b/c", "../nowhere-at-all", "nowhere-at-all/..", "a b/c", "org/na<me"]
)
def test_only_names_of_its_form_are_asked(monkeypatch, name):
    client(monkeypatch, download=never)
    with pytest.raises(NotAModel, match="There is no model"):
        model_spec_from(name)


def test_an_answer_that_does_not_come_is_given_up_and_a_near_name_offered(monkeypatch):
    waits = threading.Event()
    client(monkeypatch, download=lambda *_: waits.wait(60))
    monkeypatch.setattr(hub.hub_config, "__kwdefaults__", {"limit_s": 0.05})
    with pytest.raises(NotAModel, match="did not answer within") as caught:
        model_spec_from("meta-llama/Llama-3.1-8B-Instruct")
    waits.set()
    assert caught.value.remedy == "Did you mean meta-llama/Meta-Llama-3.1-8B?"


@pytest.mark.parametrize("variable", hub.OFFLINE)
def test_the_environment_can_forbid_it(monkeypatch, variable):
    client(monkeypatch, download=never)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(NotAModel, match="environment forbids"):
        model_spec_from("some-org/some-model")


def test_the_cache_of_this_machine_comes_first(monkeypatch):
    client(monkeypatch, download=never, cached=str(REFERENCE_MODEL / "config.json"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert model_spec_from("some-org/some-model").n_params == model_spec_from(str(REFERENCE_MODEL)).n_params


def test_what_the_client_raises_is_one_line(monkeypatch):
    def fails(*_):
        raise RuntimeError("404 Client Error\nlong\ntrace")

    client(monkeypatch, download=fails)
    with pytest.raises(NotAvailable) as caught:
        hub.hub_config("some-org/some-model")
    assert caught.value.cause == "the hub does not give it: 404 Client Error"


def test_an_official_new_name_is_the_model_itself(monkeypatch):
    client(monkeypatch, download=never)
    assert model_spec_from("meta-llama/Llama-3.1-8B").name == "meta-llama/Meta-Llama-3.1-8B"


def test_encoders_lead_to_their_command_and_encoder_decoders_are_refused(monkeypatch):
    client(monkeypatch, download=never)
    with pytest.raises(NotAModel, match="BAAI/bge-m3 is an encoder") as caught:
        language_model_from("BAAI/bge-m3")
    assert "workbench encode BAAI/bge-m3" in caught.value.remedy
    with pytest.raises(NotAModel, match="encoder-decoder"):
        language_model_from("openai/whisper-small")
    with pytest.raises(NotAModel, match="generates text"):
        encoder("Qwen/Qwen3-8B")
    with pytest.raises(NotAModel) as caught:
        encoder("bge-m3")
    assert caught.value.remedy == "Did you mean BAAI/bge-m3?"
