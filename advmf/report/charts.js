// Charts of the explorer: lines as SVG, a phase diagram on a canvas. Colours come from the style sheet.
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A number for people: four digits, and a power of ten from m * 10**e on where it is large or small. */
function told(value, digits = 4) {
  if (Number.isNaN(value)) return "undefined";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e6) return String(Number(value.toPrecision(digits))).replace("-", "−");
  return toldLog(Math.log10(size), value < 0, digits);
}

/** The number ± 10**power. */
function toldLog(power, negative = false, digits = 4) {
  if (power === -Infinity) return "0";
  if (!Number.isFinite(power)) return power > 0 ? "∞" : "undefined";
  let e = Math.floor(power), m = Number((10 ** (power - e)).toPrecision(digits));
  if (m >= 10) [m, e] = [m / 10, e + 1];
  const raised = String(e).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
  return `${negative ? "−" : ""}${m === 1 ? "" : `${m}·`}10${raised}`;
}

/** Round values between two ends; on a logarithmic axis the ends are powers of ten. */
function ticks(low, high, count, logarithmic) {
  const span = high - low;
  if (!(span > 0)) return [low];
  let step = 10 ** Math.floor(Math.log10(span / count));
  for (const factor of [1, 2, 5, 10]) {
    if (span / (step * factor) <= count) {
      step *= factor;
      break;
    }
  }
  if (logarithmic) step = Math.max(1, Math.round(step));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * span; i++) found.push(i * step);
  return found;
}

/** Axes in a figure. Sizes follow the box on the page, so that text has the size of text. */
class Axes {
  constructor(box, label) {
    this.box = box;
    this.back = svg("g", {});
    this.front = svg("g", {});
    this.svg = svg("svg", { role: "img", "aria-label": label, class: "chart" }, this.back, this.front);
    box.append(this.svg);
  }

  /** Takes the ranges and draws the frame, unless they are as before; `x` and `y` are { low, high, log, label }, of logs to base 10 where `log`. */
  frame(x, y, left = 62) {
    const width = Math.max(260, this.box.clientWidth), height = Math.min(320, Math.max(220, width * 0.6));
    Object.assign(this, { x, y, width, height, left, right: width - 14, top: 14, bottom: height - 44 });
    this.front.replaceChildren();
    const key = JSON.stringify([x, y, width]);
    if (key === this.key) return;
    this.key = key;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    const parts = [];
    for (const value of ticks(x.low, x.high, Math.max(3, Math.floor(width / 90)), x.log)) {
      const at = this.across(value);
      parts.push(svg("path", { class: "grid", d: `M${at} ${this.top}V${this.bottom}` }));
      parts.push(this.text(at, this.bottom + 16, x.show ? x.show(value) : x.log ? toldLog(value) : told(value), "middle"));
    }
    for (const value of ticks(y.low, y.high, 5, y.log)) {
      const at = this.up(value);
      parts.push(svg("path", { class: "grid", d: `M${this.left} ${at}H${this.right}` }));
      parts.push(this.text(this.left - 6, at + 4, y.show ? y.show(value) : y.log ? toldLog(value) : told(value), "end"));
    }
    parts.push(this.text((this.left + this.right) / 2, height - 8, x.label, "middle", "label"));
    const turned = this.text(0, 0, y.label, "middle", "label");
    turned.setAttribute("transform", `translate(13 ${(this.top + this.bottom) / 2}) rotate(-90)`);
    parts.push(turned);
    this.back.replaceChildren(...parts);
  }

  across(x) {
    return this.left + ((x - this.x.low) / (this.x.high - this.x.low)) * (this.right - this.left);
  }

  up(y) {
    return this.bottom - ((y - this.y.low) / (this.y.high - this.y.low)) * (this.bottom - this.top);
  }

  text(x, y, text, anchor, kind = "tick") {
    return svg("text", { x, y, "text-anchor": anchor, class: kind }, text);
  }

  /** A line through points [x, y]; gaps where they are not finite. */
  line(points, kind, name = "") {
    let d = "", pen = "M", last = null;
    for (const [x, y] of points) {
      if (!Number.isFinite(x) || !Number.isFinite(y)) {
        pen = "M";
        continue;
      }
      last = [this.across(x), Math.min(this.bottom, Math.max(this.top, this.up(y)))];
      d += `${pen}${last[0].toFixed(1)} ${last[1].toFixed(1)}`;
      pen = "L";
    }
    this.front.append(svg("path", { d, class: kind }, svg("title", {}, name)));
    return last;
  }

  mark(x, y, told, falling = false) {
    if (!Number.isFinite(y) || !Number.isFinite(x)) return;
    const at = [this.across(x), this.up(y)], end = at[0] > (this.left + this.right) / 2;
    this.front.append(
      svg("path", { class: "drop", d: `M${at[0]} ${this.bottom}V${at[1]}H${this.left}` }),
      svg("circle", { class: "mark", cx: at[0], cy: at[1], r: 5 }),
      this.text(at[0] + (end ? -9 : 9), at[1] + (end || falling ? -9 : 16), told, end ? "end" : "start", "value"),
    );
  }
}

/** A colour between dark blue and yellow for 0 <= x <= 1, of even lightness steps; also for the colour-blind. */
function shade(x) {
  const stops = [[0, 32, 77], [60, 77, 110], [124, 123, 120], [188, 174, 108], [255, 234, 70]];
  const at = Math.min(0.999, Math.max(0, x)) * (stops.length - 1), i = Math.floor(at), part = at - i;
  return stops[i].map((low, j) => Math.round(low + part * (stops[i + 1][j] - low)));
}
