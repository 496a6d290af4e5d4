"""A configuration that cannot be counted gives one readable error and no traceback."""

import json
import subprocess
import sys

import pytest

from workbench.catalog.config_file import parsed_config, read_config
from workbench.catalog.models import model_spec_from
from workbench.core.errors import NotAModel

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
}


def changed(**fields):
    return json.dumps({**LLAMA, **fields}).encode()


FILES = {
    "no JSON": b"not json",
    "empty": b"",
    "a list": b"[1, 2]",
    "null": b"null",
    "a byte order mark": b"\xef\xbb\xbf" + changed(),
    "UTF-16": changed().decode().encode("utf-16"),
    "binary": bytes(range(256)) * 4,
    "zeros": b"\0" * 100,
    "brackets": b'{"model_type": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no type": json.dumps({k: v for k, v in LLAMA.items() if k != "model_type"}).encode(),
    "a type that is a number": changed(model_type=3),
    "a list for a size": changed(hidden_size=[64, "x"]),
    "an empty list": changed(num_key_value_heads=[]),
    "text for a size": changed(hidden_size="64"),
    "a fraction": changed(num_hidden_layers=2.5),
    "a truth value": changed(num_attention_heads=True),
    "zero": changed(num_hidden_layers=0),
    "zero heads": changed(num_attention_heads=0),
    "negative": changed(vocab_size=-1),
    "huge": changed(hidden_size=10**15),
    "huge layers": changed(num_hidden_layers=10**6),
    "infinite": changed(hidden_size=float("inf")),
    "not a number": changed(hidden_size=float("nan")),
    "a null part": json.dumps({"model_type": "gemma3", "text_config": None}).encode(),
    "a part that is text": json.dumps({"model_type": "gemma3", "text_config": "x"}).encode(),
    "a bad size in a part": json.dumps({"model_type": "gemma3", "text_config": {"hidden_size": -4}}).encode(),
    "quantization that is text": changed(quantization_config="awq"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_one_readable_error(tmp_path, name):
    (tmp_path / "config.json").write_bytes(FILES[name])
    with pytest.raises(NotAModel) as caught:
        model_spec_from(str(tmp_path))
    assert caught.value.remedy
    assert len(str(caught.value)) < 600
    assert "Traceback" not in str(caught.value)


def test_a_good_file_is_read():
    assert parsed_config(changed(), name="x") == LLAMA


def test_floats_that_json_lacks_are_read_as_transformers_writes_them():
    written = (
        b'{"model_type": "falcon_h1", "time_step_limit": [0.0, {"__float__": "Infinity"}], "other": {"__float__": "7"}}'
    )
    fields = parsed_config(written, name="config.json")
    assert fields["time_step_limit"] == [0.0, float("inf")]
    assert fields["other"] == {"__float__": "7"}


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(NotAModel, match="16 MiB"):
        read_config(tmp_path / "config.json")


def test_the_command_says_it_in_one_sentence(tmp_path):
    (tmp_path / "config.json").write_bytes(FILES["negative"])
    command = [sys.executable, "-m", "workbench.app", "estimate", str(tmp_path), "h100-sxm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "`vocab_size` is -1" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
