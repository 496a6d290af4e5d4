"""The look that live panels and reports share."""

from markupsafe import Markup

from workbench.core.language import gettext, language

FONTS = {
    "zh": (
        "'Noto Sans CJK SC','Noto Sans SC','Source Han Sans SC','PingFang SC','Microsoft YaHei',"
        "'WenQuanYi Micro Hei','WenQuanYi Zen Hei'"
    )
}
"""Fonts of a language whose signs the usual fonts lack."""


def font_rule(selector: str, family: str) -> str:
    """Return the rules that add the fonts of the reader's language to a family, which have no slanted signs; "" where the family has all signs."""
    if not own_fonts():
        return ""
    slanted = ",".join(f"{part} :is(i,em)" for part in selector.split(","))
    return f"{selector}{{font-family:{family},{own_fonts()},sans-serif}}{slanted}{{font-style:normal}}"


def own_fonts() -> str:
    """Return the fonts of the reader's language, the usual one first; "" where any font will do."""
    return FONTS.get(language().partition("_")[0], "")


STYLE = """
.wb{--wb-ink:var(--jp-ui-font-color1,#1f2328);--wb-soft:var(--jp-ui-font-color2,#5c636a);--wb-line:var(--jp-border-color2,#d0d7de);
--wb-card:var(--jp-layout-color2,#f6f8fa);--wb-paper:var(--jp-layout-color0,#fff);--wb-blue:#0072B2;--wb-green:#009E73;color:var(--wb-ink);line-height:1.45}
.wb h2{margin:0;font-size:1.35em}.wb .sub{margin:.1em 0 .6em;color:var(--wb-soft)}.wb p{margin:.25em 0}.wb small{opacity:.75}.wb thead small{opacity:1}
.wb-verdict{border-left:4px solid var(--wb-green);background:var(--wb-card);padding:.6em .9em;border-radius:4px}
.wb-verdict.no{border-color:#D55E00}.wb-verdict.open{border-color:#E69F00}
.wb-verdict .headline{font-size:1.12em;font-weight:600}.wb-verdict.stale,.wb .stale{opacity:.55}
.wb-message{border-left:4px solid #0072B2;background:var(--wb-card);padding:.5em .9em;border-radius:4px;margin:.4em 0}
.wb-message.caution{border-color:#E69F00}.wb-message.failure{border-color:#D55E00}.wb-message pre{white-space:pre-wrap;font-size:.8em}
.wb-scroll{overflow-x:auto;max-width:100%}.wb-scroll::-webkit-scrollbar{height:10px;width:10px}
.wb-scroll::-webkit-scrollbar-thumb{background:var(--wb-soft);border-radius:5px}.wb-scroll::-webkit-scrollbar-track{background:var(--wb-card)}
.wb-scroll th:first-child{position:sticky;left:0;z-index:1;background:var(--wb-paper)}.wb-table th.long:first-child{white-space:normal;min-width:min(24em,34vw)}
@media (max-width:700px){.wb-table th:first-child{white-space:normal;min-width:min(9em,34vw)}}
.wb-table{border-collapse:collapse;font-size:.92em;min-width:100%}
.wb-table th,.wb-table td{padding:.35em .6em;border-bottom:1px solid var(--wb-line);white-space:nowrap;font-variant-numeric:tabular-nums}
.wb-table th[scope=row],.wb-table th:first-child{text-align:left;font-weight:500}.wb-table thead th{white-space:normal;color:var(--wb-soft);font-weight:600}
.wb-table tr.best{background:rgba(0,158,115,.14)}.wb-table tr.best th{background:linear-gradient(rgba(0,158,115,.14),rgba(0,158,115,.14)),var(--wb-paper)}
.wb-table .r{text-align:right}.wb-table td.l{text-align:left;white-space:normal;min-width:9em}.wb-table th.l{text-align:left}.wb-table td[colspan]{color:var(--wb-soft)}
.wb-table .wide{display:block;min-width:min(22em,70vw)}
.wb-code{background:var(--wb-card);padding:.6em .9em;border-radius:4px;overflow-x:auto;font-size:.88em;white-space:pre-wrap;overflow-wrap:anywhere}
.wb-legend{color:var(--wb-soft);font-size:.88em}.wb a{color:var(--jp-content-link-color,var(--wb-blue))}
.wb-heat{padding:.4em .2em;min-width:0}.wb-heat .wb-scroll{max-height:330px;overflow:auto}.wb-heat table{border-collapse:collapse;font-size:.92em;width:100%}
.wb-heat th{color:var(--wb-soft);font-weight:600;padding:.2em .5em;text-align:center}.wb-heat td{padding:.3em .5em;text-align:center;border:1px solid var(--wb-line);cursor:help;font-variant-numeric:tabular-nums}
.wb-map{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(260px,100%),1fr));gap:.6em}
.wb-map a,.wb-map span.card{display:block;border:1px solid var(--wb-line);border-radius:6px;padding:.6em .8em;text-decoration:none;color:var(--wb-ink)}
.wb-map span.card{border-style:dashed;color:var(--wb-soft)}.wb-map b{display:block}.wb-map a>span,.wb-map .card>span{display:block}
.wb-map .note{color:var(--wb-soft);font-size:.88em;margin-top:.25em}.wb-map .mark{display:inline-block;font-weight:500;font-size:.85em;color:var(--wb-paper);background:var(--wb-ink);border-radius:4px;padding:0 .4em}
.wb-map a:hover,.wb-map a:focus-visible{border-color:var(--wb-blue);outline:none;box-shadow:0 0 0 1px var(--wb-blue)}
"""

LIVE_STYLE = """
.wb-panel{gap:18px;flex-flow:row wrap;align-items:flex-start}.wb-controls{flex:1 1 240px;max-width:330px;min-width:min(240px,100%)}
.wb-view{flex:4 1 420px;min-width:min(420px,100%);overflow:hidden}.wb-plots{flex-flow:row wrap;gap:8px}
.wb-tall .wb-plots .jp-RenderedPlotly{height:530px}.wb-plots>*{flex:1 1 320px;min-width:min(300px,100%)}.wb-plots .jp-RenderedPlotly{height:380px}
.wb-view .widget-html-content,.wb-root>.widget-html>.widget-html-content{min-width:0;max-width:100%}.wb-root>.widget-html{max-width:100%}
.wb-job{flex-flow:row wrap;align-items:center;gap:0 12px}.wb-job>*:first-child{flex:1 1 200px;max-width:300px}.wb-job>*:last-child{flex:3 1 240px}
.wb-share{flex-flow:row wrap;align-items:center;gap:4px}.wb-copy{float:right;width:auto;height:24px;line-height:22px;font-size:.8em;padding:0 8px}
.wb-view .lm-TabBar-content{flex-wrap:wrap}.wb-view .widget-tab>.lm-TabBar .lm-TabBar-tab{flex:0 0 auto;max-width:100%}
.wb-root{container-type:inline-size}
@container (max-width:820px){.wb-controls{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(150px,45%),1fr));gap:0 14px;align-items:end;flex-basis:100%;max-width:none}
.wb-controls>:is(.widget-vbox,.widget-html,.widget-accordion,.widget-textarea){grid-column:1/-1}.wb-view{flex-basis:100%}.wb-root .wb-table td:not(.r){white-space:normal}}
@container (max-width:480px){.wb-root .wb-table td.r{white-space:normal;min-width:4em}}
.wb-methods{flex-flow:row wrap;gap:2px}
.wb-methods .jupyter-button{width:auto;border-radius:14px;height:auto;min-height:26px;line-height:1.3;padding:3px 10px;white-space:normal;text-align:left}
.wb-methods .jupyter-button.mod-active{background:#0072B2;color:#fff}
.wb-methods .jupyter-button:disabled{border:1px dashed #808080;background:transparent;color:inherit;opacity:.8}
.wb-controls .widget-inline-hbox{flex-direction:column;align-items:stretch;height:auto;margin:3px 0}
.wb-controls .widget-inline-hbox>.widget-label{text-align:left;width:auto!important;max-width:none;height:auto;line-height:1.4;white-space:normal;font-size:.92em}
.wb-controls .widget-inline-hbox>select,.wb-controls .widget-inline-hbox>input{min-height:28px;flex:none}
.wb-controls .widget-hslider{display:grid;grid-template-columns:1fr 5.5em;align-items:center;column-gap:.8em}
.wb-controls .widget-hslider>.widget-label{grid-column:1/-1}.wb-controls .widget-hslider>.slider-container{min-height:22px}
"""

COMPUTING = gettext("computing …")
COMPUTING_STYLE = (
    ".wb-dimmed>*,.wb-dimmed~*{opacity:.55}.wb-plots,.wb-computing{position:relative}"
    f".wb-computing::before{{content:'{COMPUTING}';position:absolute;top:2px;right:8px;z-index:2;font-size:.88em}}"
)
"""Of an answer that is being computed, and of what stands below it."""

LIVE_FONTS = font_rule(".wb,.wb-root,.wb-root .jupyter-button,.wb-root .widget-label", "var(--jp-ui-font-family)")
STYLE_ELEMENT = Markup(f"<style>{STYLE}{LIVE_STYLE}{COMPUTING_STYLE}{LIVE_FONTS}</style>")
"""Style sheet of a live panel; the text is made by the workbench."""
