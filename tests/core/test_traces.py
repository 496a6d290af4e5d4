"""Traces: every form that is documented, and one sentence for each mistake of a file."""

import gzip
import json

import pytest

from workbench.core.errors import InvalidSpec
from workbench.core.traces import read_trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


@pytest.fixture
def read(tmp_path):
    def reading(text, **options):
        path = tmp_path / "trace"
        path.write_text(text if isinstance(text, str) else "".join(json.dumps(row) + "\n" for row in text))
        return read_trace(path, **options)

    return reading


def requests(trace):
    return [(a.at_s, a.input_tokens, a.output_tokens) for a in trace.arrivals]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            AZURE + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.6805900,396,109\n",
            [(0.0, 374, 44), (4.0, 396, 109)],
        ),
        (
            AZURE + "2024-05-10 01:00:00.5+01:00,374,44\n2024-05-10 00:00:02.5Z,9.0,8\n",
            [(0.0, 374, 44), (2.0, 9, 8)],
        ),
        (AZURE + "1700158625.5,374,44\n1700158626.5,1,2\n", [(0.0, 374, 44), (1.0, 1, 2)]),
        (BURST + "5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,7,3,10,API log\n", [(0.0, 472, 18), (40.0, 7, 3)]),
        ("timestamp,input_length,output_length\n0,6758,500\n3000,7322,490\n", [(0.0, 6758, 500), (3.0, 7322, 490)]),
        ([{"timestamp": 27482, "input_length": 6, "output_length": 5}] * 2, [(0.0, 6, 5), (0.0, 6, 5)]),
        (
            [{"timestamp": t, "input_length": 256, "output_length": 128} for t in (1234500.0, 1234500.5)],  # guidellm
            [(0.0, 256, 128), (0.5, 256, 128)],
        ),
        (
            [{"timestamp_s": t, "input_tokens": 2, "output_tokens": 1, "more": 0} for t in (0, 7)],
            [(0.0, 2, 1), (7.0, 2, 1)],
        ),
        ('[{"timestamp_s": 1, "input_tokens": 2, "output_tokens": 1}]', [(0.0, 2, 1)]),
        (
            [
                {"timestamp": str(t), "input_length": 2, "output_length": 1}
                for t in (1753780607550317897, 1753780608550317897)
            ],
            [(0.0, 2, 1), (1.0, 2, 1)],
        ),
        (
            [
                {"session_id": "a", "timestamp": 1000, "input_length": 3, "output_length": 4, "hash_ids": [1]},
                {"session_id": "a", "delay": 500, "input_length": 5, "output_length": 4, "hash_ids": [1]},
            ],  # AIPerf
            [(0.0, 3, 4), (0.5, 3 + 4 + 5, 4)],
        ),
    ],
)
def test_each_documented_form_is_read(read, text, expected):
    assert requests(read(text)) == expected
    assert requests(read(text, speed=2.0))[-1][0] == expected[-1][0] / 2


def test_separators_line_ends_and_compression_change_nothing(tmp_path):
    plain = AZURE + "2023-11-16 18:15:46.5,374,44\n2023-11-16 18:15:50.5,396,109\n"
    expected = [(0.0, 374, 44), (4.0, 396, 109)]
    quoted = plain.replace("TIMESTAMP", '"Note, long\nnote",TIMESTAMP').replace("\n2023", '\n"a, b\nc",2023')
    texts = [plain.replace("\n", end) for end in ("\r\n", "\r")]
    texts += [plain.replace(",", mark) for mark in "\t;"] + [
        "\ufeff" + plain,
        "\n\n" + plain,
        plain.rstrip("\n"),
        quoted,
    ]
    week = plain.replace("2023-11-16 ", "2023-W46-4T")
    for i, data in enumerate([*(t.encode() for t in (*texts, week)), gzip.compress(plain.encode())]):
        path = tmp_path / f"trace{i}"
        path.write_bytes(data)
        assert requests(read_trace(path)) == expected


def test_lines_of_json_end_with_line_feeds_only(read):
    row = {"timestamp_s": 0, "input_tokens": 1, "output_tokens": 2, "note": "a\u2028b\x85c"}
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in (row, row | {"timestamp_s": 3}))
    assert requests(read(text)) == [(0.0, 1, 2), (3.0, 1, 2)]


def test_times_without_a_zone_have_no_daylight_saving(read, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    hours = read(AZURE + "".join(f"2024-11-03 0{h}:30:00.000001,100,10\n" for h in range(3)))
    assert [a.at_s for a in hours.arrivals] == [0.0, 3600.0, 7200.0]


def test_unsorted_files_are_sorted_and_say_so(read):
    trace = read(AZURE + "2023-11-16 18:17:05,1,1\n2023-11-16 18:17:03,2,2\n")
    assert requests(trace) == [(0.0, 2, 2), (2.0, 1, 1)]
    assert trace.lines == [3, 2]
    assert "sorted" in " ".join(trace.notes)


def test_failed_requests_of_burstgpt_are_left_out_and_counted(read):
    trace = read(BURST + "5,ChatGPT,472,0,472,API log\n6,ChatGPT,7,3,10,API log\n")
    assert requests(trace) == [(0.0, 7, 3)]
    assert "1 requests without an answer" in " ".join(trace.notes)


def test_hash_ids_are_for_as_many_tokens_as_the_prompts_have_blocks(read):
    mooncake = read([{"timestamp": 0, "input_length": 6955, "output_length": 52, "hash_ids": list(range(14))}])
    assert (mooncake.arrivals[0].block_tokens, mooncake.arrivals[0].hash_ids) == (512, tuple(range(14)))
    row = {"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 40, "output_length": 132}
    bailian = read([row | {"hash_ids": ["a", "b", "c"]}, row | {"timestamp": 62.614, "hash_ids": ["a", "b", "d"]}])
    first, second = bailian.arrivals
    assert (first.block_tokens, second.at_s) == (16, 1.5)
    assert first.hash_ids[:2] == second.hash_ids[:2]
    assert first.hash_ids[2] != second.hash_ids[2]


def test_the_busiest_minute_and_the_means_are_the_load(read):
    rows = [{"timestamp_s": t, "input_tokens": 10 + t % 2, "output_tokens": 4} for t in (0, 100, 101, 102, 300)]
    trace = read(rows)
    assert trace.busiest_per_s == 3 / 60
    assert trace.mean_tokens == (10.2, 4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (AZURE, "has no requests"),
        (AZURE + "2023-11-16 18:17:05,nan,44\n", "line 2, column ContextTokens: 'nan' is no whole number"),
        (AZURE + "2023-11-16 18:17:05,1e400,44\n", "line 2, column ContextTokens"),
        (AZURE + "2023-11-16 18:17:05,3,4\n2023-11-16 18:17:05,0,0\n", "line 3, column ContextTokens: '0'"),
        (AZURE + "2023-11-16 18:17:05,3,-5\n", "line 2, column GeneratedTokens: '-5'"),
        (AZURE + "2023-11-16 18:17:05,3.5,5\n", "'3.5' is no whole number of tokens"),
        (AZURE + "yesterday,3,5\n", "line 2, column TIMESTAMP: 'yesterday' is no time"),
        (AZURE + "2023-11-16 18:17:05,3,5\n17,3,5\n", "has dates and numbers"),
        (AZURE + "2023-11-16 18:17:05,374,44,9,9\n", "line 2 has 5 columns, and the first line 3"),
        (AZURE + "2023-11-16 18:17:06,374\n", "line 2 has 2 columns"),
        ("a,b\n1,2\n", "its columns are a, b"),
        (AZURE.replace("TIMESTAMP", "TIMESTAMP,ContextTokens") + "1,2,3,4\n", "column ContextTokens twice"),
        ("TIMESTAMP,ContextTokens\n1,2\n", "has no column GeneratedTokens"),
        ('{"timestamp": 0, "input_length": 1\n', "line 1 is no JSON"),
        ('{"timestamp_s": 0, "input_tokens": 1, "output_tokens": 2}\n7\n', "line 2 is no JSON object"),
        ([{"timestamp": 0, "input_length": 1, "output_length": None}], "column output_length: nothing stands there"),
        ([{"timestamp": True, "input_length": 1, "output_length": 1}], "column timestamp: 'True' is no time"),
        ([{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [[1]]}], "no list of ids"),
        ([{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [1, 2]}], "2 blocks for 1 tokens"),
        ([{"session_id": "a", "delay": 2, "input_length": 1, "output_length": 1}], "column timestamp: nothing"),
        (
            [{"prompt": "What is the capital of India?", "output_tokens": 10}],
            "neither times nor lengths",
        ),  # vLLM custom
    ],
)
def test_a_mistake_is_one_sentence_that_names_line_and_column(read, text, says):
    with pytest.raises(InvalidSpec) as caught:
        read(text)
    assert says in caught.value.cause
    assert caught.value.cause.count("\n") == 0


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "trace.gz").write_bytes(b"\x1f\x8b\x08\x00\xff")
    for path in (tmp_path, tmp_path / "nowhere.csv", tmp_path / "trace.gz"):
        with pytest.raises(InvalidSpec, match="cannot be read"):
            read_trace(path)
