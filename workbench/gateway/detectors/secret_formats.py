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
_JWT = rf"{_WORD}{{8,6000}}+\.(?:{_WORD}{{4,6000}}+(?:\.{_WORD}{{0,2000}}+){{1,3}}|eyJ{_WORD}{{8,6000}}+)"
_FORMATS = (
    _format("pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    *(_format(begins, rf"{_WORD}{{22}}\.[0-9A-Za-z]{{24}}\.[0-9A-Za-z]{{20}}") for begins in ("pat.", "sat.")),
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
    *(
        _format(f"http{s}://hooks.slack.com/", r"(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,120}+")
        for s in ("", "s")
    ),
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
            "glffct-",
            "GR1348941",
        )
    ),
    *(
        _format(kind + mode, r"[A-Za-z0-9]{10,255}+")
        for kind in ("sk_", "rk_", "pk_")
        for mode in ("live_", "test_", "prod_")
    ),
    _format("whsec_", r"[A-Za-z0-9+/=]{24,100}+"),
    *(
        _format(begins, r"[0-9a-fA-F]{32}")
        for begins in ("SK", "AC", "key-", "shpat_", "shpss_", "shpca_", "shppa_", "pubkey-")
    ),
    _format("dapi", r"[0-9a-f]{32}(?:-[0-9])?"),
    *(_format(begins, r"[A-Za-z0-9]{54}") for begins in ("EZAK", "EZTK")),
    *(_format(begins, r"[A-Za-z0-9+/=_\-]{40,500}+") for begins in ("ATATT", "ATCTT", "eyJrIjoi", "ABSK", "fm1r_")),
    _format("glc_", r"[A-Za-z0-9+/=]{32,500}+"),
    *(_format(begins, r"[A-Za-z0-9+/=_\-]{40,4000}+") for begins in ("fm1a_", "fm2_", "ops_eyJ", "ZXlKaGJHY2lPaU")),
    *(
        _format(begins, r"[A-Za-z0-9_=.\-]{32,200}+")
        for begins in ("pscale_tkn_", "pscale_pw_", "pscale_oauth_", "fio-u-", "dnkey-", "sl.", "tfp_")
    ),
    _format("A3T", r"[A-Z0-9]{17}"),
    _format("rootly_", r"[0-9a-f]{64}"),
    *(
        _format(f"https://{host}.com/api/webhooks/", rf"[0-9]{{17,20}}/{_WORD}{{60,80}}")
        for host in ("discord", "discordapp")
    ),
    _format("cmVmd", r"[A-Za-z0-9]{59}"),
    _format("4b1d", _HAS_DIGIT + r"[A-Za-z0-9]{38}"),
    _format("bedrock-api-key-", r"[A-Za-z0-9+/=]{20,2000}+"),
    _format("dt0c01.", r"[A-Za-z0-9]{24}\.[A-Za-z0-9]{64}"),
    *(_format(begins, r"[0-9a-h]{12}") for begins in ("FLWSECK_TEST-", "FLWPUBK_TEST-")),
    *(_format(begins, r"[0-9a-h]{32}-X") for begins in ("FLWSECK_TEST-", "FLWPUBK_TEST-", "FLWSECK-", "FLWPUBK-")),
    *(_format(begins, r"[0-9a-f]{64}") for begins in ("s-s4t2ud-", "s-s4t2af-")),
    *(_format(begins, r"[0-9a-f]{40}") for begins in ("sqp_", "squ_", "sqa_")),
    _format("ico-", r"[A-Za-z0-9]{32}"),
    _format("pnu_", r"[A-Za-z0-9]{36}"),
    _format("API-", _HAS_DIGIT + r"[A-Z0-9]{26}"),
    _format("sha256~", rf"{_WORD}{{43}}"),
    _format("CCIPAT_", r"[A-Za-z0-9]{22}_[0-9a-f]{40}"),
    _format("tk-us-", rf"{_WORD}{{48}}"),
    *(_format(begins, r"[A-Za-z0-9]{16}") for begins in ("sm_aat_", "sm_pat_", "sm_sat_")),
    _format("s.", r"(?=[a-z]*[0-9])[A-Za-z0-9]{24}"),
    _format("t1.", r"[A-Za-z0-9_\-]+={0,2}\.[A-Za-z0-9_\-]{86}={0,2}"),
    *(
        _format(begins, r"[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}\.acc[_-][A-Za-z0-9-]{10,32}\.[A-Za-z0-9+/_=-]{30,120}+")
        for begins in ("sc_", "ext_", "scauth_", "authress_")
    ),
    _format("SG.", rf"{_WORD}{{16,32}}\.{_WORD}{{16,64}}+"),
    *(_format(begins, r"[A-Za-z0-9]{36}") for begins in ("npm_", "dckr_oat_")),
    *(
        _format(begins, rf"{_WORD}{{40,300}}+")
        for begins in ("pypi-AgE", "ATBB", "sntrys_", "sntryu_", "sk_ant_", "v1.0-")
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
                "re_",
                "waka_",
                "csk-",
            ),
            *(
                "nfp_",
                "sgp_",
                "pul-",
                "CFPAT-",
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
