"""The published formats of secrets by issuer, and of tokens in JSON (JWT)."""

import re

LONGEST_SECRET = 16_000


_HAS_DIGIT = r"(?=[A-Za-z_\-]*+[0-9])"
"""What follows holds digits, as all but examples do."""
_NO_EXAMPLE = r"(?!.{2,12}?([xX*0])\1{9})"
"""What follows is not one sign again and again, as in examples."""
_RANDOM_PART = r"[A-Za-z0-9_\-]*?(?:[A-Za-z0-9]{16}|[-_](?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[0-9A-Za-z]{6})"


def _format(begins: str, rest: str) -> tuple[str, str]:
    return begins, re.escape(begins) + rest


def _random(begins: str, rest: str) -> tuple[str, str]:
    """Return a format of keys that look made at random, rather than made of words that hyphens join."""
    point = begins.rfind(".") + 1
    after = f"[A-Za-z0-9]{{{16 - point}}}|" if point else ""
    return begins, f"(?={re.escape(begins[:point])}(?:{after}{_RANDOM_PART})){re.escape(begins)}{rest}"


_WORD = r"[A-Za-z0-9_\-]"
_JWT = rf"{_WORD}{{8,6000}}+\.{_WORD}{{4,6000}}+(?:\.{_WORD}{{0,2000}}+){{1,3}}"
_FORMATS = (
    _format("pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    _format("EAA", r"[A-Za-z0-9]{60,400}+"),
    _random("sk-", rf"{_WORD}{{20,400}}+"),
    *(
        _format(begins, r"[A-Za-z0-9]{30,255}+")
        for begins in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "hf_", "hf_oauth_", "api_org_")
    ),
    _format("github_pat_", r"[A-Za-z0-9_]{30,120}+"),
    *(_format(begins, r"[A-Z0-9]{16}") for begins in ("AKIA", "ASIA", "ABIA", "ACCA")),
    _format("AIza", rf"{_WORD}{{35}}"),
    _format("GOCSPX-", rf"{_WORD}{{28}}"),
    _format("ya29.", rf"{_WORD}{{20,1000}}+"),
    *(
        _format("xox" + kind, _HAS_DIGIT + r"[A-Za-z0-9\-]{10,255}+")
        for kind in ("a-", "b-", "c-", "d-", "p-", "r-", "s-", "o-", "e-", "e.xoxp-", "e.xoxb-")
    ),
    _format("xapp-", r"[A-Za-z0-9\-]{20,255}+"),
    _format("https://hooks.slack.com/", r"(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,120}+"),
    *(
        _format(begins, rf"{_WORD}{{20,100}}+(?:\.{_WORD}+)*")
        for begins in (
            "glpat-",
            "gldt-",
            "glrt-",
            "glptt-",
            "glcbt-",
            "glsoat-",
            "glft-",
            "glagent-",
            "gloas-",
            "glimt-",
            "GR1348941",
        )
    ),
    *(
        _format(kind + mode, r"[A-Za-z0-9]{16,255}+")
        for kind in ("sk_", "rk_", "pk_")
        for mode in ("live_", "test_", "prod_")
    ),
    _format("whsec_", r"[A-Za-z0-9+/=]{24,100}+"),
    *(
        _format(begins, r"[0-9a-f]{32}")
        for begins in ("SK", "AC", "key-", "dapi", "shpat_", "shpss_", "shpca_", "shppa_", "EZAK", "EZTK")
    ),
    _format("SG.", rf"{_WORD}{{16,32}}\.{_WORD}{{16,64}}+"),
    *(_format(begins, r"[A-Za-z0-9]{36}") for begins in ("npm_", "dckr_oat_")),
    *(
        _format(begins, rf"{_WORD}{{40,300}}+")
        for begins in ("pypi-AgE", "ATATT3", "ATCTT3", "ATBB", "sntrys_", "sntryu_", "glc_", "sk_ant_", "v1.0-")
    ),
    *(_format(begins, r"[0-9a-f]{64}") for begins in ("dop_v1_", "doo_v1_", "dor_v1_", "sha1-api-")),
    *(
        _random(begins, rf"{_WORD}{{16,300}}+")
        for begins in (
            *(
                "sq0atp-",
                "sq0csp-",
                "EAAA",
                "lin_api_",
                "ntn_",
                "secret_",
                "PMAK-",
                "dp.pt.",
                "dp.st.",
                "hvs.",
                "hvb.",
                "hvr.",
                "HRKU-",
                "glsa_",
                "gsk_",
                "xai-",
                "r8_",
            ),
            *(
                "pplx-",
                "AGE-SECRET-KEY-1",
                "pscale_tkn_",
                "pscale_pw_",
                "pscale_oauth_",
                "NRAK-",
                "NRAA-",
                "dckr_pat_",
                "tskey-",
                "nvapi-",
                "sbp_",
                "fw_",
                "tgp_v1_",
            ),
            *(
                "cohere_",
                "figd_",
                "rnd_",
                "fio-u-",
                "fo1_",
                "FlyV1",
                "PAT-",
                "pat-na1-",
                "CLOJARS_",
                "phc_",
                "phx_",
                "p8e-",
                "AKCp",
                "bkua_",
                "ops_",
                "re_",
                "waka_",
                "csk-",
            ),
            *(
                "nfp_",
                "sgp_",
                "pul-",
                "CFPAT-",
                "FLWSECK_TEST-",
                "FLWSECK-",
                "rdme_",
                "vercel_",
                "lsv2_",
                "jina_",
                "tvly-",
                "pcsk_",
                "sb_secret_",
                "wandb_v1_",
                "1//0",
                "key_live_",
                "xkeysib-",
                "xsmtpsib-",
                "patch_",
                "shippo_live_",
                "shippo_test_",
                "duffel_live_",
                "duffel_test_",
                "EAACEdEose0cBA",
                "LTAI",
                "AKID",
                "pat_",
                "A3-",
            ),
        )
    ),
    _format("rubygems_", r"[0-9a-f]{48}"),
    *(_format(begins, _HAS_DIGIT + rf"{_WORD}{{22,60}}+") for begins in ("sq0atp-", "sq0csp-", "nvapi-", "sntrys_")),
    _format("eyJ", _JWT),
)


def _by_beginning() -> dict[str, re.Pattern[str]]:
    """Return the formats that begin with each two characters as one pattern."""
    patterns: dict[str, list[str]] = {}
    for begins, pattern in _FORMATS:
        patterns.setdefault(begins[:2], []).append(pattern)
    return {two: re.compile(rf"{_NO_EXAMPLE}(?:{'|'.join(found)})(?![0-9A-Za-z_])") for two, found in patterns.items()}


BY_BEGINNING = _by_beginning()
BEGINNINGS = [begins for begins, _ in _FORMATS]
