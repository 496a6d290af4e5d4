"""What has a shape is found and nothing else; streams give the same however they are cut; time is linear."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.gateway.detectors.accounts import is_iban
from workbench.gateway.detectors.cards import luhn_holds
from workbench.gateway.detectors.identities import is_chinese_id
from workbench.gateway.redaction import LONGEST, StreamRedactor, findings, redact_text

PUTTY = (
    "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: ann\nPublic-Lines: 1\nAAAAC3NzaC1lZDI1NTE5AAAAIHJ\n"
    "Private-Lines: 1\nAAAAIEfZK2bX0m9vT1c5qP8s7d6f\nPrivate-MAC: " + "0c1d2e3f" * 8
)
POSITIVE = {
    "CARD": [
        "4 6040 7001 1536",
        "6759 39053132897806",
        "4111 1111 1111 1111",
        "4111111111111111",
        "4111-1111-1111-1111",
        "378282246310005",
        "3782 822463 10005",
        "5555 5555 5555 4444",
        "２２２３００３１２２００３２２２",  # full width
        "我的卡号是4111111111111111谢谢",
        "4111111111111111/09/28",
    ],
    "EMAIL": [
        "anna@例子.公司",
        "x@[192.168.2.1]",
        "jane.doe+x@mail.example.co.uk",
        "写信给zhang@example.com吧",
        "<a@b.io>",
        "sales/berlin@example.com",
        "o.brien+tag/1@example.com",
        "ANN@EXAMPLE.XN--P1AI",
        "hr AT qq DOT com",
    ],
    "PHONE": [
        "+1 415-555-2671",
        "(415) 555-2671",
        "415-555-2671",
        "13800138000",
        "138 0013 8000",
        "010-62781234",
        "+86 138 0013 8000",
        "+49 30 901820",
        "(86-13915200947)",
        "(11) 99189-7840",
        "8 (912) 335-24-95",
        "057126289394",
        "tel. 030 901820",
    ],
    "ID": [
        "AB 37 81 79 C",
        "123.45.6789",
        "12345678Z",
        "123-45-6789",
        "11010519491231002X",
        "身份证11010519491231002X。",
        "ITIN 911-70-1234",
        "RRN 960121-1234567",  # as given since October 2020, without a check digit
    ],
    "IBAN": [
        "DE 89 3704 0044 0532 0130 00",
        "de89-3704-0044-0532-0130-00",
        "DE89 3704 0044 0532 0130 00",
        "GB82WEST12345698765432",
    ],
    "SECRET": [
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "26795627:AAOMobeZE4frk6Zm4Hj3Gi-cpee4ZexFBfB",
        "sq0atp-qTIMi-6S_bw-uCgnBHhnqN",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0",  # claims without a signature
    ],
    "PRIVATE KEY": ["-----BEGIN RSA PRIVATE KEY-----", PUTTY, PUTTY[:-80]],
}
NEGATIVE = [
    "order 1234 5678 9012 3456",  # no check digit
    "1700000000000",  # milliseconds
    "4111111111111112",
    "version 10.2.33.4555",
    "2024-11-25 10:15:30",
    "a.b@c|d",
    "3.14159265358979",
    "ISBN 978-3-16-148410-0",
    "110105194912310021",  # wrong check digit
    "000-12-3456",
    "skeleton-key-of-the-house-of-cards",
    "0000 0000 0000 0000",
    "GB82 WEST 1234 5698 7654 33",
    "192.168.100.200",
    "xoxb-your-token-here",
    "09106-8738",  # a ZIP code
    "id 835052386",
    "DE00994410183878958231",
]


@pytest.mark.parametrize(("kind", "text"), [(k, t) for k, texts in POSITIVE.items() for t in texts])
def test_what_has_the_shape_is_found(kind, text):
    assert [f.kind for f in findings(text)] == [kind]
    assert f"[{kind}]" in redact_text(f"Here it is: {text}, thanks")[0]


@pytest.mark.parametrize("text", NEGATIVE)
def test_what_only_looks_like_it_is_left(text):
    assert findings(text) == []
    assert redact_text(text)[0] == text


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        *((name, "_0gpIbKCZXRq-Q2#1", "") for name in ("Passwort: ", "Mein Kennwort lautet ", "export DB_PASS=", "密码：", "пароль: ")),
        *((name, "pOO48Fv5R5$9", "") for name in ("api_key: ", "auth_token => ", "client_secret=")),
        ("the password for staging is ", "3DIinC6XMIyFLEq", ""),
        ('set_password("', "_FlxYEakknAx7", '")'),
        ('headers.Set("X-Api-Key", "', "3fea6af1349166ea", '")'),
        ('<add key="DbPassword" value="', "VtHOduXs0xI", '"/>'),
        ("- name: API_TOKEN\n  value: ", "f3b1a9d2c4e5061728394a5b", ""),
        ("SNYK_TOKEN ?= ", "12345678-ABCD-ABCD-ABCD-1234567890AB", ""),
        ('contentful_token = "', "0-100akap12bg7wx=xkva7x5h9vqs0vr3-qhxjjn86", '"'),
        ("curl --user kevin:'", "pRf7vG2h1L8nQkW9", "' https://example.com"),
    ],
)  # fmt: skip
def test_a_secret_is_found_by_what_names_it(before, value, after):
    assert redact_text(f"{before}{value}{after}")[0] == f"{before}[SECRET]{after}"


@pytest.mark.parametrize(
    "key",
    [
        *("EZAK" + "a7" * 27, "fm1r_" + "a7B/" * 12, "ABSK" + "a7B+" * 28, "glc_" + "a7B/" * 9, "eyJrIjoi" + "a7Bc" * 19),
        *("cmVmd" + "a7" * 29 + "b", "dt0c01." + "A7" * 12 + "." + "B8" * 32, "API-" + "A7" * 13, "sha256~" + "a7B" * 14 + "c"),
        *("ops_eyJ" + "a7B/" * 62, "dapi" + "a7" * 16 + "-2", "shpat_" + "aB7c" * 8, "CCIPAT_" + "a7" * 11 + "_" + "0f" * 20),
        *("https://discord.com/api/webhooks/136924817695493740/" + "a7B-" * 17, "s.thr4j53d5lg27ddqepesks0y", "A3T" + "Z7" * 8 + "A"),
    ],
)  # fmt: skip
def test_a_key_is_found_by_the_format_of_its_issuer(key):
    assert redact_text(f"see {key} now")[0] == "see [SECRET] now"


@pytest.mark.parametrize(
    "text",
    ["key: Section2Title", "token=version2beta", "password: see below", "api_key: YOUR_API_KEY", "set_password(user2name)"],
)  # fmt: skip
def test_a_name_and_a_word_are_no_secret(text):
    assert redact_text(text)[0] == text


def test_check_digits_by_their_standards():
    assert luhn_holds("79927398713")  # the example of ISO/IEC 7812-1's article
    assert not luhn_holds("79927398710")
    assert is_chinese_id("11010519491231002X")  # GB 11643's example
    assert is_iban("GB82 WEST 1234 5698 7654 32")  # ISO 13616's example


def test_only_the_finding_is_replaced_and_the_rest_stays_as_it_came():
    text = "Ｆｕｌｌ　ｗｉｄｔｈ ①: 4111 1111 1111 1111!"
    assert redact_text(text)[0] == "Ｆｕｌｌ　ｗｉｄｔｈ ①: [CARD]!"


def test_a_replacement_of_the_same_length_is_counted_too():
    text, found = redact_text("mail a@bc.de")  # S8: seven characters become seven
    assert text == "mail [EMAIL]"
    assert len(found) == 1


def in_pieces(text, cuts):
    stream, out = StreamRedactor(), []
    edges = [0, *sorted({c for c in cuts if c <= len(text)}), len(text)]
    for a, b in pairwise(edges):
        out.append(stream.feed(text[a:b]))
    return "".join([*out, stream.end()]), stream


words = st.sampled_from(
    [t for texts in POSITIVE.values() for t in texts]
    + NEGATIVE
    + ["the", "卡号", "：", "and 1", "4111", "1111", "+", "@", "-----BEGIN", "é", "½", "𝟙", "a.", "(", "2", "DE89"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(words, st.sampled_from([" ", "", "  ", "\n", ", ", "。", "-"])), max_size=12),
    st.lists(st.integers(0, 400), max_size=30),
)
def test_a_stream_gives_the_same_however_it_is_cut(parts, cuts):
    text = "".join(word + gap for word, gap in parts)
    whole, found = redact_text(text)
    got, stream = in_pieces(text, cuts)
    assert got == whole
    assert sum(stream.counts.values()) == len(found)


@settings(deadline=None)
@given(st.text(max_size=300), st.lists(st.integers(0, 300), max_size=20))
def test_any_text_in_any_pieces(text, cuts):
    assert in_pieces(text, cuts)[0] == redact_text(text)[0]


def test_a_stream_holds_back_a_word_and_never_more_than_its_bound():
    stream = StreamRedactor()
    out = "".join(stream.feed(f"{'abcdefghij'[i % 10]}word ") for i in range(100))
    assert len(out) >= 98 * len("aword ")
    stream = StreamRedactor()
    given_out = len(stream.feed("x" * 100_000))
    assert given_out >= 100_000 - LONGEST


@pytest.mark.parametrize(
    "text",
    [
        "a.a." * 250_000,
        "4" * 1_000_000,
        "1 " * 500_000,
        "a@" * 500_000,
        "+1 " * 330_000,
        "A1" * 500_000,
        "-----BEGIN " * 90_000,
        "a" * 63 + "." * 10 + "@" * 100 + "a." * 400_000,
        "eyJaaaaaaaa." * 80_000,
        "١" * 500_000,
    ],
    ids=lambda t: t[:6],
)
def test_a_megabyte_that_means_ill_takes_linear_time(text):
    """Four times the text takes four times as long and not sixteen; the least of a few runs, since machines are shared."""
    took = []
    for part in (text[: len(text) // 4], text):
        runs = []
        for _ in range(3):
            began = time.process_time()
            redact_text(part)
            runs.append(time.process_time() - began)
        took.append(min(runs))
    assert took[1] < 10 * max(took[0], 0.02)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "ann dot bee at example dot org",
            "ann.bee [at] example [dot] org",
            "ann(at)example.org",
            "ann_at_example_dot_org",
        ),
        *("ann&#64;example&#46;org", "ann&commat;example.org", "ann%40example%2Eorg", "ann\\u0040example.org"),
        *(
            "ann.bee @ example.org",
            "ann.bee@\nexample.org",
            "ann@exam=\nple.org",
            "ann(home)@example.org",
            '"ann bee"@example.org',
        ),
    ],
)
def test_an_address_that_is_spelled_out_or_encoded_is_found_in_streams_too(text):
    whole = f"Write to {text}, or call."
    assert redact_text(whole)[0] == "Write to [EMAIL], or call."
    for cut in range(len(whole)):
        stream = StreamRedactor()
        assert stream.feed(whole[:cut]) + stream.feed(whole[cut:]) + stream.end() == "Write to [EMAIL], or call."


@pytest.mark.parametrize(
    "text",
    ["He looked at the dot on it", "We are at example dot com", "x = queue@self.weight", "start getty@tty1.service"],
)
def test_words_and_products_are_no_addresses(text):
    assert redact_text(text)[0] == text
