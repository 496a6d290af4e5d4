"""Secrets of digits alone are found where their name stands right before them, and numbers of other things stay."""

import pytest

from workbench.gateway.redaction import StreamRedactor, redact_text

FORMS = [
    *("{} 84736251", "{}: 84736251", "my {} is 84736251.", '{{"{}": "84736251"}}', '{{"{}":84736251,"a":1}}'),
    *("{}=84736251\n", "DB_{}=84736251", "{}: '84736251'", "--{} 84736251", "--{}=84736251 -v"),
    *("https://a.b/c?u=1&{}=84736251&d=2", "| {} | 84736251 |", "{}：８４７３６２５１"),
]
NAMES = ["password", "PIN", "otp", "token", "secret"]
WITHOUT_A_SIGN = FORMS[0]
OTHERS = [
    *("passwords: 3 of 100000", "max_tokens=128000", "total token: 1234567", "token count: 12345678", "eos_token=151643"),
    *("token_id: 50256", "token 50256 ends a text", "password_min_length: 12000", "password reset at 20231107", "pin: 13"),
    *("password: 10.20.30.4000", "token: 3.123456", "secret: 1,234,567", "password: see page 1234", "code: 482913"),
    *("tokens/s: 123456", "pinned: 20231107", "spin: 4821", "secretary: 5551234", "secret santa 2024", "key=84736251"),
    *("password: 2023-11-07 12:00", "PIN 4821 of the connector", "input token: 128000", "first secret: 123456"),
]  # fmt: skip


def in_stream(text, *cuts):
    stream, at, out = StreamRedactor(), 0, ""
    for cut in (*cuts, len(text)):
        out, at = out + stream.feed(text[at:cut]), cut
    return out + stream.end()


@pytest.mark.parametrize("name", NAMES)
def test_numbers_behind_the_name_of_a_secret_are_redacted_in_every_form_and_cut(name):
    for form in FORMS:
        text = form.format(name)
        redacted = redact_text(text)[0]
        if form is WITHOUT_A_SIGN and name != "otp":
            assert redacted == text
            continue
        number = "８４７３６２５１" if "：" in form else "84736251"
        assert redacted == text.replace(number, "[SECRET]")
        for cut in range(len(text)):
            assert in_stream(text, cut) == redacted
        assert in_stream(text, *range(len(text))) == redacted


@pytest.mark.parametrize(
    "text", ["密码：482913", "密码是482913", "验证码482913", "验证码 482913，请勿告知", "인증번호: 482913", "Mot de passe : 482913", "пароль: 482913"]
)  # fmt: skip
def test_other_languages_name_them_too(text):
    assert redact_text(text)[0] == text.replace("482913", "[SECRET]")
    assert in_stream(text, *range(len(text))) == redact_text(text)[0]


@pytest.mark.parametrize("text", OTHERS)
def test_numbers_of_other_things_stay(text):
    assert redact_text(text)[0] == text


def test_a_closing_brace_inside_of_the_name_of_an_address_belongs_to_it():
    for text in ("mail a}b@example.com now", '{"mail":"x}y@example.com"}', "x}y@ example.com"):
        redacted = redact_text(text)[0]
        assert "[EMAIL]" in redacted
        assert "}b" not in redacted
        assert "}y" not in redacted
        for cut in range(len(text)):
            assert in_stream(text, cut) == redacted
    assert redact_text("${user}@host.com and \\email{ann@b.co}")[0] == "${user}@host.com and \\email{[EMAIL]}"
