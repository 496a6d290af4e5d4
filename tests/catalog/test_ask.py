"""A model is asked in a process of its own, once; everywhere else in the tests it is asked in theirs."""

import json

from support.asked_here import asked_here, asked_in_a_process

from workbench.catalog import ask

FIELDS = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
FIELDS |= {"num_attention_heads": 4, "num_key_value_heads": 2}


def test_a_process_gives_the_answer_once_and_it_is_kept(tmp_path, monkeypatch):
    texts = []

    def asked(text):
        texts.append(text)
        return asked_in_a_process(text)

    monkeypatch.setattr(ask, "_ask", asked)
    monkeypatch.setattr(ask, "answers_folder", lambda: tmp_path / "answers")
    first, second = ask.asked_model(FIELDS), ask.asked_model(FIELDS)
    assert first == second
    (text,) = texts
    assert json.loads(text) == FIELDS
    assert ask._spec(asked_here(text)) == first  # the process leaves out what this one has imported
