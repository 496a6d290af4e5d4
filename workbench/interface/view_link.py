"""The button that copies a link to what a panel shows, and the state that the page's own link carries."""

import anywidget
import traitlets

from workbench.core.language import gettext

LINK = """
export default {
  render({ model, el }) {
    const asked = (address) => { try { return new URL(address).searchParams.get("state"); } catch { return null; } };
    const entry = performance.getEntriesByType("navigation")[0];
    const given = asked(location.href) ?? asked(entry?.name);  // JupyterLab rewrites the address when it has started
    const texts = model.get("texts");
    const button = document.createElement("button");
    const status = document.createElement("span");
    button.className = "jupyter-button wb-copy-link";
    button.title = texts.about;
    button.textContent = texts.link;
    status.setAttribute("role", "status");
    const address = () => {
      const url = new URL(location.href);
      url.search = url.hash = "";
      url.searchParams.set("state", model.get("state"));
      return url.href;
    };
    const copy = async (text, said) => {
      try { await navigator.clipboard.writeText(text); said(texts.copied); }
      catch { said(texts.refused.replace("{text}", () => text)); }
    };
    button.addEventListener("click", () => copy(address(), (text) => { status.textContent = " " + text; }));
    el.append(button, status);
    const addCopyButtons = () => {
      for (const code of document.querySelectorAll(".wb-panel .wb-code")) {
        if (code.previousElementSibling?.classList.contains("wb-copy")) continue;
        const own = document.createElement("button");
        own.className = "jupyter-button wb-copy";
        own.textContent = texts.copy;
        own.addEventListener("click", () => copy(code.textContent, (text) => {
          own.textContent = text;
          setTimeout(() => { own.textContent = texts.copy; }, 1500);
        }));
        code.before(own);
      }
    };
    const timer = setInterval(addCopyButtons, 500);
    if (given && !model.get("opened")) {
      model.set("opened", given);
      model.save_changes();
    }
    return () => clearInterval(timer);
  },
};
"""


TEXTS = {
    "about": gettext("Copy an address that opens this notebook with these choices."),
    "link": gettext("Copy link"),
    "copy": gettext("Copy"),
    "copied": gettext("Copied."),
    "refused": gettext("The browser does not allow copying: {text}"),
}


class ViewLink(anywidget.AnyWidget):
    """``state`` is what the link carries; ``opened`` becomes what the address of the page carried."""

    _esm = LINK
    texts = traitlets.Dict(TEXTS).tag(sync=True)
    state = traitlets.Unicode().tag(sync=True)
    opened = traitlets.Unicode().tag(sync=True)
