// The explorer: state in the URL, and tasks that redraw what the state changes, a few milliseconds in each frame.
const byId = (id) => document.getElementById(id);
const DATA = JSON.parse(await unpacked(byId("data").textContent));
const FRAME = 6; // milliseconds of a frame for drawing; the rest is the browser's
const LONG = 12, REST = 300; // a value that took as many milliseconds waits until the sliders rest for as many

const state = { ...DATA.start, values: { ...DATA.start.values } };

/** The text in a base64 string of gzip. */
function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/** An element with a text, a class and children. */
function make(tag, kind, ...children) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

const parsed = kept((line) => new DOMParser().parseFromString(DATA.shown[line], "text/html").body.firstChild, 1000);
const typeset = (lines) => make("div", "formula", ...lines.map((line) => document.importNode(parsed(line), true)));
const statements = () => DATA.statements[`${state.net}|${state.phi}`] ?? [];
const applies = (s) => !s.pair || (s.pair[0] === state.p && s.pair[1] === state.q);
const having = (role) => statements().find((s) => s.role === role && applies(s));
const pairRoutes = () => DATA.routes[`${state.p}|${state.q}`] ?? [];
const route = () => pairRoutes().find((r) => r.name === state.route) ?? pairRoutes().find((r) => r.f !== undefined);
const shown = (exponent) => exponent.replace("inf", "∞");

/** A number for an exponent, which may be a fraction or inf. */
const exponentOf = (text) => (text === "inf" ? Infinity : text.split("/").reduce((over, under) => over / under));

/** The values of the sliders, and the exponents. */
const values = (more = {}) => ({ ...state.values, p: Number(exponentOf(state.p)), q: Number(exponentOf(state.q)), ...more });

/** These, and β by the route chosen. */
function point(more = {}) {
  const at = values(more);
  const chosen = route();
  if (chosen?.f !== undefined) at.beta = FORMULAS[chosen.f](at);
  return at;
}

/** The number of a statement in words, also beyond the range of floats. */
function number(entry, at) {
  if (entry.f === undefined) return entry.missing ? `not available in the browser: ${entry.missing}` : "";
  if (at.L < entry.depth) return `stated from L = ${entry.depth} on`;
  const f = FORMULAS[entry.f];
  if (f.names.includes("beta") && at.beta === undefined) return "not available in the browser by this route to β";
  const [m, k] = f.scaled(...f.names.map((name) => at[name]));
  const value = linear(m, k);
  return Number.isFinite(value) && (value !== 0 || m === 0) ? told(value, 6) : m !== m || Math.abs(m) === Infinity ? told(m) : toldLog(logarithm(m, k, NaN) / Math.LN10, m < 0, 6);
}

// --- what is drawn -------------------------------------------------------------------------------------------------

/** The statements of the network, made anew when network, activation or pair change. */
let rows = [];

function list() {
  const bound = having("bound") ?? statements().find(applies);
  byId("step").textContent = DATA.nets[state.net];
  rows = [];
  byId("headline").replaceChildren(...(bound ? [card(bound)] : []));
  const others = statements().filter((s) => applies(s) && s !== bound);
  byId("statements").replaceChildren(...others.map(card));
  byId("none").hidden = statements().some(applies);
  const own = pairRoutes().map((r) => {
    const value = make("span", "number"), radio = make("input");
    Object.assign(radio, { type: "radio", name: "route", value: r.name, id: `route-${r.name}`, checked: r === route(), disabled: r.f === undefined });
    const label = make("label", "", radio, ` ${r.name}`);
    label.htmlFor = radio.id;
    rows.push({ entry: r, value });
    return make("tr", "", make("th", "", label), make("td", "", r.rigour), make("td", "", value), make("td", "", typeset(r.shown)));
  });
  byId("routes").replaceChildren(...own);
  own.forEach((tr) => (tr.firstChild.scope = "row"));
  verdicts();
}

/** How the norm factor of a statement is computed, and what that means for a bound. */
function byRoute(s) {
  const { name, rigour, processes } = route(), weak = rigour === "lower bound" || rigour === "estimate";
  const loose = s.relation === "<=" && weak ? " So the right-hand side is no upper bound." : "";
  const matrix = s.role === "bound" && !weak && !processes ? " It is about one Gaussian matrix, and heuristic for a finite ball." : "";
  return `The norm factor is by the route ${name}: ${rigour}.${loose}${matrix}`;
}

/** A statement with its formula, its value and buttons that copy it. */
function card(s) {
  const value = make("output", "number");
  rows.push({ entry: s, value });
  const copies = make("div", "copies", copy("LaTeX", s, () => texOf(s)), copy("Python", s, () => pythonOf(s)));
  const head = make("h3", "", s.name, s.title ? make("small", "", ` ${s.title}`) : "");
  const way = usesBeta(s) && route() ? ` ${byRoute(s)}` : "";
  const note = make("p", "note", `Regime: ${s.regime}.${s.heuristic ? ` Heuristic: ${s.heuristic}.` : ""}${way}`);
  return make("article", "card", head, typeset(s.shown), make("p", "", "Right-hand side", value), note, copies);
}

function copy(form, s, text) {
  const button = make("button", "", `Copy ${form}`);
  button.type = "button";
  button.setAttribute("aria-label", `Copy ${form} of ${s.name}`);
  button.addEventListener("click", async () => {
    const written = text();
    byId("copied").value = written;
    let done = true;
    try {
      await navigator.clipboard.writeText(written);
    } catch {
      byId("copied").select();
      done = document.execCommand("copy");
      button.focus();
    }
    say(done ? `${form} of ${s.name} copied` : `Copy the ${form} of ${s.name} from the box below`);
  });
  return button;
}

const usesBeta = (s) => s.f !== undefined && FORMULAS[s.f].names.includes("beta");
const texOf = (s) => (usesBeta(s) && route() ? `${s.latex}, \\quad ${route().latex}` : s.latex);

/** A script that states the same with advmf and prints the same number. */
function pythonOf(s) {
  const names = s.f === undefined ? [] : FORMULAS[s.f].names;
  const used = [...new Set([...names, ...(names.includes("beta") ? ["d", "K"] : [])])].filter((n) => !["beta", "p", "q"].includes(n));
  const given = used.map((n) => `${n}=${state.values[n]}`).join(", ");
  if (s.python) return `${s.python}\n\n# at ${given}\n`;
  const pair = `"${state.p}", "${state.q}"`, chosen = route()?.name ?? DATA.start.route;
  const way = names.includes("beta") ? chosen : DATA.start.route;
  const lines = ["import advmf as mf", "from advmf.theorems import THEOREMS", "", `net = mf.${state.net}(phi="${state.phi}")`];
  lines.push(`claim = THEOREMS["${s.theorem}"].stated(net, ${pair}, "${way}")[${s.index}]`, "print(claim)");
  if (names.length) lines.push(`print(mf.kernel(claim)(${given}))`);
  return `${lines.join("\n")}\n`;
}

function verdicts() {
  // Those of a suite have names such as vanilla_growing for a network at another point; those of matrices have none.
  const about = (v) => v.net === state.net || (v.net.startsWith(`${state.net}_`) && !DATA.nets[v.net]) || ["", "matrix"].includes(v.net);
  const own = DATA.verdicts.filter((v) => about(v) && (!v.phi || v.phi === state.phi));
  byId("verdicts").closest("section").hidden = !DATA.verdicts.length;
  byId("unchecked").hidden = own.length > 0;
  byId("verdicts").replaceChildren(
    ...own.map((v) => {
      const set = make("button", "", "Go there");
      set.type = "button";
      set.setAttribute("aria-label", `Go there: set the sliders to the point of ${v.name} ${v.p && `p = ${v.p}, q = ${v.q}`}`);
      set.addEventListener("click", () => {
        if (v.p) Object.assign(state, { p: v.p, q: v.q });
        for (const [name, value] of Object.entries(v.at)) if (name in state.values && Number.isFinite(value)) state.values[name] = value;
        changed(true);
      });
      const here = v.p === state.p && v.q === state.q;
      const badge = make("span", `badge ${v.verdict.toLowerCase()}`, `${{ REFUTED: "✗", UNDERPOWERED: "?" }[v.verdict] ?? "✓"} ${v.verdict.toLowerCase().replace("_", " ")}`);
      const cells = [v.p ? `${shown(v.p)}, ${shown(v.q)}` : "", badge, v.ratio, v.margin, v.given].map((c) => make("td", "", c));
      const row = make("tr", here ? "here" : "", make("th", "", v.name.replace(/^beta$/, "β"), v.net === state.net ? "" : ` ${v.net}`), ...cells, make("td", "", set));
      row.firstChild.scope = "row";
      return row;
    }),
  );
}

const axes = {};

/** The bound against ε, by every route of the browser that bounds β. */
function* drawBound() {
  const s = having("bound"), box = byId("bound");
  if (!usable(box, s)) return;
  const f = FORMULAS[s.f], range = DATA.ranges.eps, count = 60, low = Math.log10(range.low), high = Math.log10(range.high);
  const ways = usesBeta(s) ? pairRoutes().filter((r) => r.f !== undefined && !waits(r)) : [null];
  const series = [];
  for (const way of ways) {
    const points = [];
    for (let i = 0; i <= count; i++) {
      if (waits(s)) return;
      const power = low + ((high - low) * i) / count, at = point({ eps: 10 ** power });
      if (way) at.beta = FORMULAS[way.f](at);
      points.push([power, f.log(at) / Math.LN10]);
      if (!f.names.includes("eps") && i) points[i][1] = points[0][1];
      yield;
    }
    series.push({ way, points });
  }
  const finite = series.flatMap((one) => one.points.map(([, y]) => y)).filter(Number.isFinite);
  const ends = [Math.floor(Math.min(...finite)), Math.ceil(Math.max(...finite))];
  const a = axes.bound;
  a.frame({ low, high, log: true, label: "ε, the radius of the ball" }, { low: ends[0], high: Math.max(ends[1], ends[0] + 1), log: true, label: "bound on the adversarial loss" });
  for (const { way, points } of series) if (way && way !== route()) a.line(points, `other ${way.rigour.replace(" ", "-")}`, way.name);
  const own = series.find((one) => one.way === route() || !one.way) ?? series[0];
  a.line(own.points, "curve", own.way?.name ?? "");
  const at = point(), y = f.log(at) / Math.LN10;
  a.mark(Math.log10(at.eps), y, number(s, at));
  a.svg.setAttribute("aria-label", `The bound against ε on logarithmic axes: ${number(s, at)} at ε = ${told(at.eps)}`);
}

/** σ_w² over training time, in units of its half-life. */
function* drawVariance() {
  const s = having("variance"), half = having("half_life"), box = byId("variance");
  if (!usable(box, s)) return;
  const at = point(), f = FORMULAS[s.f], a = axes.variance;
  const end = half?.f === undefined ? at.t : 4 * FORMULAS[half.f](at);
  yield;
  if (!(end > 0 && Number.isFinite(end))) return unusable(box, "The half-life is beyond the range of numbers here.");
  const start = f({ ...at, t: 0 }), points = [], count = 64;
  for (let i = 0; i <= count; i++) {
    if (waits(s)) return;
    points.push([(end * i) / count, f({ ...at, t: (end * i) / count }) / start]);
    yield;
  }
  a.frame({ low: 0, high: end, label: half ? "time t, up to four half-lives" : "time t" }, { low: 0, high: Math.max(1, ...points.map(([, y]) => y).filter(Number.isFinite)), label: "σ_w²(t) / σ_w²(0)" });
  a.line(points, "curve");
  if (half) a.mark(end / 4, 0.5, `half at t = ${told(end / 4)}`, true);
  a.svg.setAttribute("aria-label", `The weight variance falls to ${told(points[count][1])} of its start at t = ${told(end)}`);
}

/** Escape times over depth and width, or over variance and depth. */
function* drawPhase() {
  const s = having("escape"), box = byId("phase");
  if (!usable(box, s)) return;
  const f = FORMULAS[s.f], base = point(), names = byId("phase-axes").value.split(",");
  const grid = names.map((name) => DATA.grids[name]), [across, up] = grid, cells = [];
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < up.values.length; i++) {
    for (let j = 0; j < across.values.length; j++) {
      if (waits(s)) return;
      const power = f.log({ ...base, [names[0]]: across.values[j], [names[1]]: up.values[i] }) / Math.LN10;
      cells.push(power);
      if (Number.isFinite(power)) [low, high] = [Math.min(low, power), Math.max(high, power)];
      yield;
    }
  }
  const a = axes.phase, style = getComputedStyle(box), canvas = axes.canvas, pen = canvas.getContext("2d");
  const ends = grid.map((g) => ({ low: Math.log10(g.values[0]), high: Math.log10(g.values.at(-1)), label: g.label, show: (x) => told(10 ** x, 3) }));
  a.frame(ends[0], ends[1]);
  [canvas.width, canvas.height] = [across.values.length, up.values.length];
  const image = pen.createImageData(canvas.width, canvas.height);
  const outside = style.getPropertyValue("--outside").trim().split(" ").map(Number), never = style.getPropertyValue("--never").trim().split(" ").map(Number);
  for (const [n, power] of cells.entries()) {
    const i = canvas.height - 1 - Math.floor(n / canvas.width), j = n % canvas.width;
    const colour = power === -Infinity ? outside : power === Infinity ? never : shade(high > low ? (power - low) / (high - low) : 0.5);
    image.data.set([...colour, 255], 4 * (i * canvas.width + j));
  }
  pen.putImageData(image, 0, 0);
  const picture = svg("image", { x: a.left, y: a.top, width: a.right - a.left, height: a.bottom - a.top, preserveAspectRatio: "none", href: canvas.toDataURL(), class: "cells" });
  a.front.append(picture);
  const here = names.map((name) => Math.log10(base[name])), inside = here.every((x, i) => x >= ends[i].low && x <= ends[i].high);
  if (inside) for (const kind of ["here", "here inner"]) a.front.append(svg("circle", { class: kind, cx: a.across(here[0]), cy: a.up(here[1]), r: 6 }));
  const finite = high >= low, ends10 = [low, high].map((x) => (Math.abs(x) < 300 ? told(10 ** x) : toldLog(x))).join(" to ");
  byId("phase-key").textContent = finite ? `Blue to yellow: t = ${ends10}. ` : "";
  a.svg.setAttribute("aria-label", `Times at which ω(t)^L leaves the band from m to M: ${number(s, base)} at this point${finite ? `; ${ends10} over the diagram` : ""}`);
}

/** Whether a chart has a formula; says so in its place if not. */
function usable(box, s) {
  if (waits(s) || (s && usesBeta(s) && waits(route()))) return false;
  if (s && s.f !== undefined && (!usesBeta(s) || route()?.f !== undefined)) {
    box.classList.remove("empty");
    return true;
  }
  return unusable(box, s ? `Not available in the browser: ${s.missing || "this route to β"}.` : "The theorem says nothing about this network.");
}

function unusable(box, why) {
  box.classList.add("empty");
  box.querySelector(".why").textContent = why;
  return false;
}

/** Whether a value waits, because it takes long and a slider moves. */
function waits(entry) {
  if (!((entry?.cost ?? 0) > LONG) || performance.now() - moved > REST) return false;
  clearTimeout(resting);
  resting = setTimeout(() => {
    resting = 0;
    redraw();
  }, REST + 20);
  return true;
}

function* drawNumbers() {
  for (const { entry, value } of [...rows]) {
    if (waits(entry) || (usesBeta(entry) && waits(route()))) {
      value.textContent = "…";
      continue;
    }
    const before = performance.now(), text = number(entry, usesBeta(entry) ? point() : values());
    entry.cost = Math.max(entry.cost ?? 0, performance.now() - before);
    value.textContent = text;
    value.classList.toggle("absent", entry.f === undefined);
    yield;
  }
}

// --- tasks, a few milliseconds in each frame -----------------------------------------------------------------------

const tasks = [drawNumbers, drawBound, drawVariance, drawPhase];
let waiting = [], running = null, asked = false, moved = -REST, resting = 0;

/** Everything is to be drawn again; what was being drawn goes on, so that moving a slider starves nothing. */
function redraw() {
  waiting.push(...tasks.filter((task) => !waiting.includes(task)));
  if (!asked) requestAnimationFrame(work);
  asked = true;
  document.body.dataset.busy = true;
}

function work() {
  const until = performance.now() + FRAME;
  while (performance.now() < until) {
    running ??= waiting.length ? waiting.shift()() : null;
    if (!running) break;
    if (running.next().done) running = null;
  }
  asked = Boolean(running || waiting.length);
  document.body.dataset.busy = asked || resting > 0;
  if (asked) requestAnimationFrame(work);
}

// --- state ---------------------------------------------------------------------------------------------------------

let saving = 0, saying = 0;

/** The state changed: controls, drawings, URL and, once it rests, what a screen reader says. */
function changed(structure) {
  moved = performance.now();
  if (structure) list();
  controls();
  redraw();
  clearTimeout(saving);
  saving = setTimeout(save, 200);
  clearTimeout(saying);
  saying = setTimeout(() => rows[0] && say(`${rows[0].entry.name}: ${number(rows[0].entry, point())}`), 700);
}

function say(text) {
  byId("said").textContent = text;
}

function save() {
  const { net, phi, p, q, route: way } = state;
  history.replaceState(null, "", `#${new URLSearchParams({ net, phi, p, q, route: way, axes: byId("phase-axes").value, ...state.values })}`);
}

/** Takes the state from the URL; what it does not know stays as it is. */
function load() {
  const given = new URLSearchParams(location.hash.slice(1));
  const choices = { net: DATA.nets, phi: DATA.activations };
  for (const [name, known] of Object.entries(choices)) if (Object.hasOwn(known, given.get(name))) state[name] = given.get(name);
  if (Object.hasOwn(DATA.routes, `${given.get("p")}|${given.get("q")}`)) [state.p, state.q] = [given.get("p"), given.get("q")];
  if (given.get("route")) state.route = given.get("route");
  if ([...byId("phase-axes").options].some((o) => o.value === given.get("axes"))) byId("phase-axes").value = given.get("axes");
  for (const name of Object.keys(state.values)) {
    const value = Number(given.get(name)), range = DATA.ranges[name];
    if (given.has(name) && value >= range.least && value <= range.most) state.values[name] = range.whole ? Math.round(value) : value;
  }
}

const place = (range, value) => (range.log ? (Math.log(value / range.low) / Math.log(range.high / range.low)) * 1000 : ((value - range.low) / (range.high - range.low)) * 1000);

function valueAt(range, at) {
  const value = range.log ? range.low * (range.high / range.low) ** (at / 1000) : range.low + ((range.high - range.low) * at) / 1000;
  return range.whole ? Math.round(value) : Number(value.toPrecision(4));
}

function controls() {
  for (const name of ["net", "phi"]) byId(name).value = state[name];
  for (const name of ["p", "q"]) byId(name).value = state[name];
  for (const option of byId("phi").options) option.disabled = !DATA.statements[`${state.net}|${option.value}`];
  const way = byId(`route-${route()?.name}`);
  if (way) way.checked = true;
  for (const [name, range] of Object.entries(DATA.ranges)) {
    const slider = byId(`slider-${name}`), field = byId(`field-${name}`);
    if (document.activeElement !== slider) slider.value = place(range, state.values[name]);
    slider.setAttribute("aria-valuetext", told(state.values[name]));
    if (document.activeElement !== field) field.value = state.values[name];
  }
}

function begin() {
  for (const name of ["bound", "variance", "phase"]) axes[name] = new Axes(byId(name), "");
  axes.canvas = document.createElement("canvas");
  load();
  for (const name of ["net", "phi", "p", "q"]) {
    byId(name).addEventListener("change", (event) => {
      state[name] = event.target.value;
      if (!DATA.statements[`${state.net}|${state.phi}`]) state.phi = Object.keys(DATA.activations).find((phi) => DATA.statements[`${state.net}|${phi}`]);
      if (!DATA.routes[`${state.p}|${state.q}`]) [state.p, state.q] = Object.keys(DATA.routes).find((pair) => pair.split("|")[name === "p" ? 0 : 1] === state[name]).split("|");
      changed(true);
    });
  }
  byId("routes").addEventListener("change", (event) => {
    state.route = event.target.value;
    list();
    byId(`route-${state.route}`).focus();
    changed(false);
  });
  byId("phase-axes").addEventListener("change", () => changed(false));
  for (const [name, range] of Object.entries(DATA.ranges)) {
    byId(`slider-${name}`).addEventListener("input", (event) => {
      state.values[name] = valueAt(range, Number(event.target.value));
      changed(false);
    });
    byId(`field-${name}`).addEventListener("input", (event) => {
      const value = event.target.valueAsNumber, good = value >= range.least && value <= range.most && (!range.whole || value === Math.round(value));
      event.target.setAttribute("aria-invalid", String(!good));
      if (!good) return;
      state.values[name] = value;
      changed(false);
    });
    byId(`field-${name}`).addEventListener("blur", (event) => {
      event.target.removeAttribute("aria-invalid");
      controls();
    });
  }
  byId("reset").addEventListener("click", () => {
    Object.assign(state, DATA.start, { values: { ...DATA.start.values } });
    changed(true);
  });
  addEventListener("hashchange", () => {
    load();
    changed(true);
  });
  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  changed(true);
}

begin();
