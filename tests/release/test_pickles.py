"""Pickles are told by their opcodes and never loaded."""

import collections
import io
import pickle
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.release.manifest import Tampered, require_harmless
from workbench.release.pickles import pickle_calls


class Evil:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def calls(data):
    return pickle_calls(io.BytesIO(data))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", [print, collections.OrderedDict, io.open])
def test_what_it_would_call_is_named_in_every_protocol(protocol, call):
    found = calls(pickle.dumps(Evil(call, "x"), protocol=protocol))
    assert found
    assert any(call.__name__ in name for name in found)


def test_plain_data_is_a_pickle_without_calls():
    assert calls(pickle.dumps([1, "a", {"b": 2.5}])) == []


def test_weights_as_torch_saves_them_are_looked_into():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Evil(print, "x")))
        archive.writestr("model/data/0", b"\x00" * 16)
    assert any("print" in name for name in calls(out.getvalue()))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"a": 1}', b"# Title\n\nText.", b"PK\x03\x04 not a zip", "文字".encode()]
)
def test_texts_are_none(data):
    assert calls(data) is None


@given(st.binary(max_size=400))
def test_any_bytes_can_be_looked_at(data):
    calls(data)


@pytest.mark.parametrize("name", ["weights.bin", "config.json", "README.md"])
def test_a_release_with_one_is_refused_whatever_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Evil(print, "x")))
    with pytest.raises(Tampered) as told:
        require_harmless(tmp_path, name)
    assert told.value.reason == "pickle"
    assert "print" in told.value.cause
