"""The button that copies a link to what a panel shows, and the state that the page's own link carries."""

import anywidget
import traitlets

LINK = """
export default {
  render({ model, el }) {
    const asked = (address) => { try { return new URL(address).searchParams.get("state"); } catch { return null; } };
    const entry = performance.getEntriesByType("navigation")[0];
    const given = asked(location.href) ?? asked(entry?.name);  // JupyterLab rewrites the address when it has started
    const button = document.createElement("button");
    const status = document.createElement("span");
    button.className = "jupyter-button wb-copy-link";
    button.title = "Copy an address that opens this notebook with these choices.";
    button.textContent = "Copy link";
    status.setAttribute("role", "status");
    const address = () => {
      const url = new URL(location.href);
      url.search = url.hash = "";
      url.searchParams.set("state", model.get("state"));
      return url.href;
    };
    const copy = async (text, said) => {
      try { await navigator.clipboard.writeText(text); said("Copied."); }
      catch { said("The browser does not allow copying: " + text); }
    };
    button.addEventListener("click", () => copy(address(), (text) => { status.textContent = " " + text; }));
    el.append(button, status);
    const addCopyButtons = () => {
      for (const code of document.querySelectorAll(".wb-panel .wb-code")) {
        if (code.previousElementSibling?.classList.contains("wb-copy")) continue;
        const own = document.createElement("button");
        own.className = "jupyter-button wb-copy";
        own.textContent = "Copy";
        own.addEventListener("click", () => copy(code.textContent, (text) => {
          own.textContent = text;
          setTimeout(() => { own.textContent = "Copy"; }, 1500);
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


class ViewLink(anywidget.AnyWidget):
    """``state`` is what the link carries; ``opened`` becomes what the address of the page carried."""

    _esm = LINK
    state = traitlets.Unicode().tag(sync=True)
    opened = traitlets.Unicode().tag(sync=True)
