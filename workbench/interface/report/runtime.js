"use strict";
/* Draws the figures of a report and keeps its what-if controls alive; the formulas are those of
   workbench/estimate/cost.py and, for plans, of workbench/estimate/search.py. */
const Workbench = {
  /** Step time in seconds at a batch size: linear between measured batches, constant outside. */
  decodeSecondsAt(batch, measured) {
    const known = Object.keys(measured).map(Number).sort((a, b) => a - b);
    if (batch <= known[0]) return measured[known[0]];
    for (let i = 1; i < known.length; i++) {
      const low = known[i - 1], high = known[i];
      if (batch <= high) return measured[low] + (batch - low) / (high - low) * (measured[high] - measured[low]);
    }
    return measured[known[known.length - 1]];
  },
  /** USD per million output tokens. */
  usdPerMillion(usdPerHour, decodeSeconds, batch, utilization) {
    return usdPerHour / 3600 * decodeSeconds / (batch * utilization) * 1e6;
  },
  /** Ways to serve a rate within an SLO (seconds) by their means, cheapest first: as many sequences as it allows, as many replicas as needed. */
  plansFor({rows, batches, output_tokens}, rate, ttft, tpot) {
    const plans = rows.flatMap((row) => {
      const first = (i) => row.prefill_s + 0.5 * row.tpot_s[i];
      let at = row.tpot_s.length - 1;
      while (at >= 0 && !(row.tpot_s[at] <= tpot && first(at) <= ttft)) at--;
      if (at < 0) return [];
      const capacity = batches[at] / (first(at) + (output_tokens - 1) * row.tpot_s[at]);
      const replicas = Math.max(1, Math.ceil(rate / capacity * (1 - 1e-9)));
      return [{label: row.label, replicas, batch: batches[at], ttft: first(at), tpot: row.tpot_s[at], usd: replicas * row.usd}];
    });
    return plans.sort((a, b) => a.usd - b.usd || a.tpot - b.tpot);
  },
  /** Settings by their goodput within an SLO (milliseconds), the best measured one first, and which to use: the default unless another is worth it. */
  settingsFor({rows, worth}, ttft, tpot) {
    const isGood = ([first, next]) => first !== null && first <= ttft && (next === null || next <= tpot);
    const goodput = (row) => row.pairs.length ? row.per_s * row.pairs.filter(isGood).length / row.pairs.length : 0;
    const all = rows.map((row) => ({...row, goodput: goodput(row)}));
    const own = all.find((row) => row.default);
    all.sort((a, b) => b.measured - a.measured || b.goodput - a.goodput || b.default - a.default);
    const chosen = all[0].goodput > own.goodput * (1 + worth) ? all[0] : own;
    return {all, own, chosen};
  },
  shown(usd) {
    return usd >= 1 ? usd.toLocaleString("en", {minimumFractionDigits: 2, maximumFractionDigits: 2}) : Number(usd.toPrecision(3)).toString();
  },
};
if (typeof module !== "undefined") module.exports = Workbench;

if (typeof document !== "undefined") {
  const PAPER_WIDTH_PX = 690, PAPER_ROWS = 24, PAPER_LINES = 30;
  const texts = JSON.parse(document.getElementById("wb-texts")?.textContent ?? "{}");
  /** A text in the reader's language, with its named values. */
  const say = (text, values = {}) => (texts[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const isNamed = (name) => (trace) => trace.name === name || trace.name === say(name);
  const read = (element) => JSON.parse(element.querySelector('script[type="application/json"]').textContent);

  /** Rows of a table; the best one is marked. */
  const fill = (body, rows, best) => body.replaceChildren(...rows.map((texts, i) => {
    const line = document.createElement("tr");
    if (i === best) line.className = "best";
    texts.forEach((text, j) => {
      const cell = document.createElement(j ? "td" : "th");
      cell.textContent = text;
      cell.className = j ? "r" : "l";
      line.append(cell);
    });
    return line;
  }));

  /** The values of sliders, beside them. */
  const showValues = (section) => section.querySelectorAll("output[data-shows]").forEach((output) => {
    output.textContent = section.querySelector(`[name="${output.dataset.shows}"]`).value;
  });

  const startWhatIf = (section) => {
    const data = read(section);
    const field = (name) => section.querySelector(`[name="${name}"]`);
    const body = section.querySelector("tbody");
    const update = () => {
      const price = Number(field("price").value), utilization = Number(field("utilization").value) / 100, batch = Number(field("batch").value);
      showValues(section);
      const valid = price > 0 && utilization > 0 && batch > 0;
      const rows = data.rows.map((row) => {
        const step = Workbench.decodeSecondsAt(batch, row.decode_s);
        return {label: row.label, step, usd: Workbench.usdPerMillion(price, step, batch, utilization)};
      });
      const least = Math.min(...rows.map((row) => row.usd));
      fill(body, rows.map((row) => [row.label, (row.step * 1e3).toPrecision(3) + " ms", valid ? Workbench.shown(row.usd) : "–"]),
        valid ? rows.findIndex((row) => row.usd === least) : -1);
    };
    section.addEventListener("input", update);
    section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    update();
  };

  /* A request rate and an SLO: the table holds the cheapest plans that meet it. */
  const startLoad = (section) => {
    const data = read(section);
    const field = (name) => Number(section.querySelector(`[name="${name}"]`).value);
    const milliseconds = (s) => (s * 1e3).toPrecision(3) + " ms";
    const update = () => {
      const valid = field("rate") > 0 && field("ttft") > 0 && field("tpot") > 0;
      const plans = valid ? Workbench.plansFor(data, field("rate"), field("ttft") / 1e3, field("tpot") / 1e3) : [];
      fill(section.querySelector("tbody"), plans.length ? plans.slice(0, data.shown).map((p) => [
        `${p.replicas} × ${p.label}`, String(p.batch), milliseconds(p.ttft), milliseconds(p.tpot), Workbench.shown(p.usd),
      ]) : [[say(valid ? "No plan meets the SLO: loosen a limit." : "Give numbers above zero."), "", "", "", ""]], plans.length ? 0 : -1);
    };
    section.addEventListener("input", update);
    section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    update();
  };

  /* The budget of a plan: the cells of the heat map, the marker in the plot and the plan file follow the slider. */
  const startPlans = (section) => {
    const data = read(section);
    const slider = section.querySelector('[name="step"]');
    const shows = (name) => section.querySelector(`[data-shows="${name}"]`);
    const before = section.previousElementSibling;
    const plot = () => before.querySelector(".plot");
    const trace = (name) => (plot()?.data ?? []).findIndex(isNamed(name));
    const update = () => {
      const step = data.steps[Number(slider.value)];
      before.querySelectorAll(".wb-verdict").forEach((card) => card.classList.toggle("stale", Number(slider.value) !== data.start));
      const cost = Number(step.cost.toPrecision(3)) + " " + data.unit;
      shows("cost").textContent = cost;
      shows("status").textContent = say("{cost}: predicted KL {damage} nat/token.", {cost, damage: Number(step.damage.toPrecision(3))});
      shows("plan").textContent = JSON.stringify({plan: Object.fromEntries(data.groups.map((g, i) => [g, step.plan[i]]))}, null, 1);
      data.groups.forEach((group, i) => {
        const cell = before.querySelector(`[data-group="${CSS.escape(group)}"]`);
        if (cell) cell.textContent = step.formats[i];
      });
      const chosen = trace("chosen plan");
      if (chosen >= 0) globalThis.Plotly.restyle(plot(), {x: [[step.cost]], y: [[Math.max(step.damage, 1e-6)]]}, [chosen]);
    };
    slider.addEventListener("input", update);
    section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("wb-figures-drawn", () => {
      plot()?.on?.("plotly_click", (event) => {
        const x = event.points[0].x;
        const distances = data.steps.map((s) => Math.abs(s.cost - x));
        slider.value = distances.indexOf(Math.min(...distances));
        update();
      });
      update();
    }, {once: true});
    update();
  };

  /* An SLO: goodput of each setting is counted anew; table, launch command and the star in the plot follow. */
  const startTune = (section) => {
    const data = read(section);
    const field = (name) => Number(section.querySelector(`[name="${name}"]`).value);
    const shows = (name) => section.querySelector(`[data-shows="${name}"]`);
    const before = section.previousElementSibling;
    const start = [field("ttft"), field("tpot")];
    const plot = () => before.querySelector(".plot");
    const number = (value) => Number(value.toPrecision(3)).toString();
    const update = () => {
      const {all, own, chosen} = Workbench.settingsFor(data, field("ttft"), field("tpot"));
      showValues(section);
      const isStart = start[0] === field("ttft") && start[1] === field("tpot");
      before.querySelectorAll(".wb-verdict").forEach((card) => card.classList.toggle("stale", !isStart));
      const said = chosen === own ? "Not worth tuning under this SLO: the default has {rate} requests/s within it."
        : own.goodput > 0 ? "{label}: {rate} requests/s within the SLO ({percent} % over the default)."
        : "{label}: {rate} requests/s within the SLO.";
      const percent = (100 * (chosen.goodput / own.goodput - 1)).toFixed(0);
      shows("status").textContent = say(said, {label: chosen.label, rate: number(chosen.goodput), percent});
      shows("launch").textContent = chosen.launch;
      const over = (row) => row === own || !own.goodput ? "–" : `${(100 * (row.goodput / own.goodput - 1)).toFixed(0)} %`;
      const simulated = all.filter((row) => !row.measured && row.goodput > chosen.goodput * (1 + data.worth)).slice(0, 3);
      const shown = [...new Set([chosen, own, ...all.filter((row) => row.measured).slice(0, 6), ...simulated])];
      fill(section.querySelector("tbody"), shown.map((row) => [row.default ? say("{label} (default)", {label: row.label}) : row.label, number(row.goodput), over(row)]), 0);
      const trace = (plot()?.data ?? []).findIndex(isNamed("chosen setting"));
      if (trace < 0) return;
      globalThis.Plotly.restyle(plot(), {x: [[chosen.x]], y: [[chosen.y]]}, [trace]);
      const shapes = plot().layout.shapes.map((shape, i) => i ? {...shape, y0: field("tpot"), y1: field("tpot")} : {...shape, x0: field("ttft"), x1: field("ttft")});
      globalThis.Plotly.relayout(plot(), {shapes});
    };
    section.addEventListener("input", update);
    section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("wb-figures-drawn", update, {once: true});
    update();
  };

  const drawFigures = async () => {
    const figures = [...document.querySelectorAll(".wb-figure")];
    if (!figures.length) return;
    const packed = document.getElementById("wb-plotly").textContent;
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const draw = () => figures.forEach((element) => {
      const {data, layout, config} = read(element);
      const ink = dark.matches ? "#c9d1d9" : "#3d444d";
      const target = element.querySelector(".plot");
      const shown = data.map((trace) => ({...trace, textfont: {...trace.textfont, color: ink}}));
      globalThis.Plotly.react(target, shown, {...layout, font: {...layout.font, color: ink}}, config);
    });
    /* On paper in the width of a page, lower than on a screen, so that a page holds two, and never in the colours of the dark. */
    const print = () => figures.forEach((element) => {
      const {layout} = read(element), height = 0.8 * layout.height;
      const margins = layout.margin.t + layout.margin.b, lower = (layout.height - margins) / (height - margins);
      globalThis.Plotly.relayout(element.querySelector(".plot"), {
        autosize: false, width: PAPER_WIDTH_PX, height, "font.color": "#3d444d",
        ...(layout.legend?.y < 0 && {"legend.y": lower * layout.legend.y}),
      });
    });
    dark.addEventListener("change", draw);
    addEventListener("beforeprint", print);
    addEventListener("afterprint", draw);
    draw();
    document.dispatchEvent(new Event("wb-figures-drawn"));
  };

  /* What the reader sets stands in the address, so that a copied link opens with it. */
  const keepInAddress = () => {
    const sections = [...document.querySelectorAll(".wb-whatif, .wb-plans, .wb-load, .wb-tune")];
    const inputs = sections.flatMap((section, i) => [...section.querySelectorAll("input[name], select[name]")].map((input) => [`${i}.${input.name}`, input]));
    const given = new URLSearchParams(new URLSearchParams(location.hash.slice(1)).get("state") ?? "");
    for (const [name, input] of inputs) if (given.has(name)) input.value = given.get(name);
    const opened = new Map(inputs.map(([name, input]) => [name, input.defaultValue ?? ""]));
    document.addEventListener("input", () => {
      const changed = inputs.filter(([name, input]) => input.value !== opened.get(name)).map(([name, input]) => [name, input.value]);
      const state = new URLSearchParams({state: new URLSearchParams(changed).toString()});
      history.replaceState(null, "", changed.length ? `#${state}` : location.pathname + location.search);
    });
  };

  const addCopyButtons = () => document.querySelectorAll(".wb-code").forEach((code) => {
    const button = document.createElement("button");
    button.className = "wb-copy";
    button.textContent = say("Copy");
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(code.textContent); button.textContent = say("Copied"); }
      catch { getSelection().selectAllChildren(code); button.textContent = say("Selected: copy it"); }
      setTimeout(() => { button.textContent = say("Copy"); }, 1500);
    });
    code.before(button);
  });

  /* Paper takes the first rows of a long table below the answer, and says how many the file has. */
  const shortenPaper = () => {
    const more = (after, text, n) => {
      const note = document.createElement("p");
      note.className = "wb-legend wb-more";
      note.textContent = say(text, {n});
      after.after(note);
    };
    document.querySelectorAll("details .wb-table").forEach((table) => {
      const beyond = [...table.tBodies[0].rows].slice(PAPER_ROWS);
      beyond.forEach((row) => row.classList.add("wb-beyond"));
      if (beyond.length) more(table, "{n} more rows are in the file, which opens in a browser.", beyond.length);
    });
    document.querySelectorAll(".wb-code").forEach((code) => {
      const n = code.textContent.split("\n").length - PAPER_LINES;
      if (n <= 0) return;
      code.classList.add("wb-cut");
      more(code, "{n} more lines are in the file, which opens in a browser.", n);
    });
  };

  const start = () => {
    keepInAddress();
    shortenPaper();
    addCopyButtons();
    document.querySelectorAll(".wb-whatif").forEach(startWhatIf);
    document.querySelectorAll(".wb-plans").forEach(startPlans);
    document.querySelectorAll(".wb-load").forEach(startLoad);
    document.querySelectorAll(".wb-tune").forEach(startTune);
    if (typeof DecompressionStream === "undefined") {
      document.querySelectorAll(".wb-figure .plot").forEach((p) => { p.textContent = say("This browser cannot unpack the charts; the tables hold the same numbers."); });
    } else drawFigures();
  };
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
}
