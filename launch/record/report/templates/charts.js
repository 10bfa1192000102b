// Curves as SVG: baselines dashed, what was smoothed faintly behind, the values under the pointer or the arrow keys.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = tag.includes(":") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const short = (value) => (Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(+value.toPrecision(4)));
const exactly = (value) => String(+value.toPrecision(5));

function smoothed(values, weight) {
  let sum = 0;
  return values.map((value, place) => (sum = weight * sum + (1 - weight) * value) / (1 - weight ** (place + 1)));
}

function ticks(low, high, logarithmic) {
  if (logarithmic) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const decades = Array.from({ length: Math.max(0, last - first + 1) }, (_, place) => 10 ** (first + place));
    if (decades.length > 1) return decades.filter((_, place) => place % Math.ceil(decades.length / 6) === 0);
  }
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((times) => times * power >= rough);
  const found = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + 1e-9 * step; place++) found.push(place * step + 0); // + 0: no -0
  return found;
}

// Ticks with as many digits as tell them apart.
function labels(values) {
  const gap = Math.abs(values[1] - values[0]) || Math.abs(values[0]) || 1, largest = Math.max(...values.map(Math.abs));
  if (largest >= 1e6 || gap < 1e-5 || values.at(-1) / values[0] >= 99) return values.map(short);
  const digits = Math.max(0, -Math.floor(Math.log10(gap) + 1e-9));
  return values.map((value) => value.toFixed(digits));
}

function nearest(steps, step) {
  let low = 0, high = steps.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1;
    else high = middle;
  }
  return low && step - steps[low - 1] < steps[low] - step ? low - 1 : low;
}

class Chart {
  constructor(figure, data, runs) {
    Object.assign(this, { figure, data, runs, at: null });
    figure.tabIndex = 0;
    figure.addEventListener("keydown", (event) => this.move(event));
    figure.addEventListener("blur", () => this.show(null));
  }

  draw(weight, wantsLog, hidden) {
    const { data, figure } = this;
    const width = figure.clientWidth, height = 220, left = 52, right = 10, top = 10, bottom = 24;
    if (!width) return; // in a closed part of the page
    const curves = data.curves.filter((curve) => !hidden.has(curve.run));
    this.curves = curves.map((curve) => ({ ...curve, shown: data.smooth && weight ? smoothed(curve.value, weight) : curve.value }));
    const spread = (curve) => (data.smooth && weight && curve.run !== null ? [...curve.shown, ...middle(curve.value)] : [...curve.value, ...(curve.low ?? []), ...(curve.high ?? [])]);
    const all = this.curves.flatMap(spread), steps = this.curves.flatMap((curve) => [curve.step[0], curve.step.at(-1)]);
    let low = Math.min(...all), high = Math.max(...all);
    const logarithmic = wantsLog && low > 0;
    if (!all.length) low = high = 0;
    if (low === high) [low, high] = logarithmic ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
    else if (!logarithmic) [low, high] = [low - (high - low) / 20, high + (high - low) / 20];
    const first = Math.min(...steps, data.first), last = Math.max(...steps, first + 1), scale = logarithmic ? Math.log : (value) => value;
    this.x = (step) => left + ((step - first) / (last - first)) * (width - left - right);
    this.y = (value) => top + ((scale(high) - scale(Math.min(Math.max(value, low), high))) / (scale(high) - scale(low))) * (height - top - bottom);
    this.step = (x) => first + ((x - left) / (width - left - right)) * (last - first);
    const said = this.curves.filter((curve) => !curve.baseline).map((curve) => `${this.runs[curve.run]} ends at ${exactly(curve.value.at(-1))}`);
    const svg = make("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${data.title} by step: ${said.join(", ")}` });
    const marks = ticks(low, high, logarithmic), words = marks.length ? labels(marks) : [];
    for (const [place, value] of marks.entries()) {
      svg.append(make("svg:line", { class: "grid", x1: left, x2: width - right, y1: this.y(value), y2: this.y(value) }));
      svg.append(make("svg:text", { x: left - 6, y: this.y(value) + 4, "text-anchor": "end" }, words[place]));
    }
    for (const step of ticks(first, last).filter(Number.isInteger)) {
      const anchor = this.x(step) > width - 30 ? "end" : "middle";
      svg.append(make("svg:text", { x: this.x(step), y: height - 6, "text-anchor": anchor }, step.toLocaleString("en")));
    }
    for (const curve of this.curves) this.drawCurve(svg, curve, weight, width - right, left);
    this.cross = make("svg:line", { class: "cross", y1: top, y2: height - bottom, visibility: "hidden" });
    svg.append(this.cross);
    this.tip = make("div", { class: "tip", hidden: "" });
    const caption = make("figcaption", {}, data.title, make("small", {}, data.split === "val" ? "validation" : "training"));
    figure.replaceChildren(caption, svg, this.tip);
    svg.addEventListener("pointermove", (event) => this.show(this.step(event.clientX - svg.getBoundingClientRect().left)));
    svg.addEventListener("pointerleave", () => this.show(null));
  }

  drawCurve(svg, curve, weight, end, start) {
    const colour = curve.run === null ? "" : ` run-${curve.run}`;
    const path = (values) => values.map((value, place) => `${place ? "L" : "M"}${this.x(curve.step[place]).toFixed(1)} ${this.y(value).toFixed(1)}`).join("");
    if (curve.baseline) {
      const level = path(curve.value), constant = curve.value.every((value) => value === curve.value[0]);
      const y = this.y(curve.value[0]);
      svg.append(make("svg:path", { class: `baseline${colour}`, d: constant ? `M${start} ${y}L${end} ${y}` : level }));
      return;
    }
    if (curve.low) {
      const back = curve.low.map((value, place) => `L${this.x(curve.step[place]).toFixed(1)} ${this.y(value).toFixed(1)}`).reverse().join("");
      svg.append(make("svg:path", { class: `band${colour}`, d: `${path(curve.high)}${back}Z` }));
    }
    if (curve.shown !== curve.value) svg.append(make("svg:path", { class: `faint${colour}`, d: path(curve.value) }));
    svg.append(make("svg:path", { class: `curve${colour}`, d: path(curve.shown) }));
    if (curve.step.length > 40 || curve.shown !== curve.value) return;
    for (const [place, value] of curve.value.entries())
      svg.append(make("svg:circle", { class: `point${colour}`, cx: this.x(curve.step[place]), cy: this.y(value), r: 3 }));
  }

  show(step) {
    if (!this.tip) return;
    const none = step === null || !this.curves.length;
    this.tip.hidden = none;
    this.cross.setAttribute("visibility", none ? "hidden" : "visible");
    this.at = step;
    if (none) return;
    const steps = this.curves.reduce((longest, curve) => (curve.step.length > longest.length ? curve.step : longest), []);
    this.at = steps[nearest(steps, step)];
    const x = this.x(this.at);
    this.cross.setAttribute("x1", x);
    this.cross.setAttribute("x2", x);
    const rows = this.curves.map((curve) => {
      const place = nearest(curve.step, this.at), name = curve.baseline || this.runs[curve.run];
      const mark = make("i", { class: `${curve.baseline ? "dashed" : "dot"}${curve.run === null ? "" : ` run-${curve.run}`}` });
      const range = curve.low && curve.low[place] < curve.high[place] ? ` (${short(curve.low[place])} to ${short(curve.high[place])})` : "";
      return make("div", {}, mark, name, make("b", {}, exactly(curve.value[place]) + range));
    });
    this.tip.replaceChildren(make("small", {}, `step ${this.at.toLocaleString("en")}`), ...rows);
    const box = this.figure.clientWidth, wide = this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, x + 12 + wide > box ? x - 12 - wide : x + 12)}px`;
    this.tip.style.top = "2.2rem";
  }

  move(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.show(null);
    if (!by || !this.curves?.length) return;
    event.preventDefault();
    const steps = this.curves.reduce((longest, curve) => (curve.step.length > longest.length ? curve.step : longest), []);
    const place = this.at === null ? (by > 0 ? -1 : steps.length) : nearest(steps, this.at);
    this.show(steps[Math.min(Math.max(place + by, 0), steps.length - 1)]);
  }
}

// What is drawn of a noisy curve behind its smoothed one decides on no scale, but for what lies in its middle.
function middle(values) {
  const sorted = [...values].sort((one, other) => one - other), cut = Math.floor(sorted.length / 50);
  return [sorted[cut], sorted[sorted.length - 1 - cut]];
}

function drawCharts(data) {
  const figures = [...document.querySelectorAll(".chart")];
  const charts = figures.map((figure) => new Chart(figure, data.charts[figure.dataset.chart], data.runs));
  const smoothing = document.getElementById("smoothing"), logarithmic = document.getElementById("logarithmic");
  if (!smoothing) return;
  const boxes = [...document.querySelectorAll("[data-run]")];
  const draw = () => {
    const hidden = new Set(boxes.filter((box) => !box.checked).map((box) => Number(box.dataset.run)));
    for (const chart of charts) chart.draw(Number(smoothing.value), logarithmic.checked, hidden);
  };
  for (const control of [smoothing, logarithmic, ...boxes]) control.addEventListener("input", draw);
  for (const part of document.querySelectorAll("details")) part.addEventListener("toggle", draw);
  new ResizeObserver(draw).observe(document.body);
  draw();
}
