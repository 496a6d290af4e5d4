"""Secrets of digits alone, which only a name right before them tells: passwords, PINs, one-time codes and tokens."""

import numpy as np

from workbench.gateway.detectors.edges import begins, ends
from workbench.gateway.detectors.finding import Spans, joined, kept, spans
from workbench.gateway.detectors.gaps import are_gaps
from workbench.gateway.detectors.groups import WORD, Groups, table
from workbench.gateway.detectors.secrets import LONGEST_GAP
from workbench.gateway.detectors.words import Words

FEWEST, FEWEST_OF_TOKEN, FEWEST_OF_LONG_NAME, MOST = 4, 6, 8, 64
"""Digits of a password or code; of a token or secret, with that name alone or as the end of a longer one; and of any."""
PASSWORDS = Words(
    *("password|", "passwd|", "passwort|", "passphrase|", "pwd|", "|pass|", "_pass|", "|pin|", "_pin|", "|mdp|"),
    *("contraseña|", "contrasena|", "senha|", "mot de passe|", "kennwort|", "wachtwoord|", "lösenord|", "parola|"),
    *("şifre|", "hasło|", "пароль", "密码", "密碼", "口令", "비밀번호", "パスワード", "暗証番号"),
)
CODES = Words(
    *("|otp|", "_otp|", "|totp|", "passcode|", "verification code|", "security code|", "login code|", "access code|"),
    *("one-time code|", "authentication code|", "验证码", "驗證碼", "인증번호", "認証コード"),
)
"""Names that a blank alone parts from their number."""
TOKENS = Words("token|", "secret|")
COUNTED = Words(
    *("|max", "|min", "total", "|in|", "|out|", "input", "output", "prompt", "completion", "cached", "|new|", "|num"),
    *("|per|", "|bos", "|eos", "|pad", "|unk", "mask", "|sep", "|cls", "stop", "special", "first", "last", "next"),
)
REACH = 12
"""Characters before "token" in which a word tells that tokens of a text are counted or numbered."""
_OF_NAME = WORD | table("-")
_HYPHEN = ord("-")


def digit_secrets(groups: Groups) -> Spans:
    """Return the numbers that the name of a secret stands before, with a sign between, a word such as "is", or as the value of an option."""
    return joined(_behind(groups, names) for names in (PASSWORDS, CODES, TOKENS))


def _behind(groups: Groups, names: Words) -> Spans:
    text = groups.text
    first, tails = names.places(text)
    index = np.searchsorted(groups.starts, tails)
    near = np.flatnonzero(index < groups.starts.size)
    near = near[groups.starts[index[near]] - tails[near] <= LONGEST_GAP]
    if not near.size:
        return spans(())
    first, tails, index = first[near], tails[near], index[near]
    starts, stops = groups.starts[index], groups.ends[index]
    word = text.marks(~_OF_NAME).last(first) + 1
    is_option = (text.at(word) == _HYPHEN) & (text.at(word + 1) == _HYPHEN)
    is_apart = starts > tails
    is_named = is_apart & are_gaps(text, tails, np.maximum(starts, tails + 1), is_parted=True)
    if names is CODES:
        is_option[:] = True
    alone = np.flatnonzero(is_option & ~is_named & is_apart)
    is_named[alone] = are_gaps(text, tails[alone], starts[alone], is_parted=False)
    is_named |= ~is_apart & (text.at(tails - 1) > 0x7F)  # as after a word of Chinese
    fewest = np.full(starts.size, FEWEST)
    if names is TOKENS:
        fewest = np.where(word < first, FEWEST_OF_LONG_NAME, FEWEST_OF_TOKEN)
        is_named &= ~COUNTED.stands_before(text, first, REACH)
    good = is_named & (stops - starts >= fewest) & (stops - starts <= MOST)
    starts, stops = starts[good], stops[good]
    return kept((starts, stops), begins(text, starts) & ends(text, stops))
