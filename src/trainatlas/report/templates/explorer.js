// The trial explorer: reads what trainatlas.report.explorer packed, and shows it. What data hold is only ever set as text.
(async () => {
"use strict";
const root = document.querySelector(".explorer"), store = document.getElementById("explorer-data");
if (!root || !store || typeof DecompressionStream === "undefined") return;
const section = root.closest("section");
const $ = selector => root.querySelector(selector);
const texts = JSON.parse(document.getElementById("explorer-texts").textContent);
// A text in the report's language, English where the catalogue lacks it, with values for its names in braces.
const tr = (text, values = {}) =>
  (texts[text] ?? text).replace(/\{(\w+)\}/g, (field, name) => Object.hasOwn(values, name) ? values[name] : field);

const ROWS = 50;          // of a page of the table
const SINGLE = 40;        // trials whose curves are drawn one by one, at most
const DRAWN = 600;        // lines of parallel coordinates, at most
const POINTS = 12;        // pixels within which a line counts as pointed at
const DASHES = [[], [7, 3], [2, 2], [9, 3, 2, 3], [13, 4], [4, 4]];
const METRICS = {loss: tr("training loss of a minibatch (nats, log scale)"), accuracy: tr("validation accuracy")};

// --- What was packed.

const unpacked = async text => {
  const packed = atob(text.trim()), bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};
const bytes = await unpacked(store.textContent);
const begin = 4 + new DataView(bytes.buffer).getUint32(0, true);
const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, begin)));
const {step: LOG_STEP, zero: LOG_ZERO, shares: SHARES, not_finite: NOT_FINITE, missing: MISSING} = head.codes;

const array = name => {
  const [offset, length] = head.arrays[name], codes = new Uint16Array(length), at = begin + offset;
  for (let i = 0, last = 0; i < length; i++) codes[i] = last = last + (bytes[at + i] | bytes[at + length + i] << 8) & 0xffff;
  return codes;
};
const logValue = code => code === 0 ? 0 : code === NOT_FINITE ? Infinity : Math.exp(LOG_ZERO + code * LOG_STEP);
const logCode = value => (Math.log(value) - LOG_ZERO) / LOG_STEP;

const whole = value => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
const digits = (value, count) => Math.abs(value) < 1e7 ? String(Number(value.toPrecision(count)))
  : value.toExponential(count - 1).replace(/\.?0+e/, "e");
const percent = value => (value * 100).toFixed(1) + "%";
const STYLES = {
  text: String,
  whole,
  share: percent,
  number: value => value === "inf" ? tr("infinite") : Number.isInteger(value) && value >= 1000 && value < 1e7 ? whole(value) : digits(value, 4),
};

const columns = new Map(head.columns.map(told => {
  const codes = told.values ? array("column/" + told.name) : null;
  const value = codes ? trial => told.values[codes[trial]] : trial => told.cells[trial];
  const plain = ["seed", "round"].includes(told.name);
  const style = plain ? String : told.name.startsWith("steps_to_") ? v => v === "inf" ? tr("never") : STYLES.number(v) : STYLES[told.style];
  const shown = trial => {
    const one = value(trial);
    return one === null || one === "" ? "–" : told.names ? told.names[codes[trial]] : style(one);
  };
  const number = trial => { const one = value(trial); return one === null ? NaN : one === "inf" ? Infinity : one; };
  return [told.name, {...told, codes, value, shown, number}];
}));

// Where each column's cells stand when they are sorted: numbers by size, texts by the order of their values.
const keys = new Map();
const keysOf = name => {
  if (keys.has(name)) return keys.get(name);
  const column = columns.get(name), found = new Float64Array(head.trials);
  if (column.kind === "text") {
    const texts = column.names ? null : [...new Set(Array.from(found, (_, trial) => column.value(trial) ?? ""))].sort();
    const places = texts && new Map(texts.map((text, place) => [text, place]));
    for (let trial = 0; trial < found.length; trial++) {
      found[trial] = column.names ? column.codes[trial] : places.get(column.value(trial) ?? "");
    }
  } else {
    for (let trial = 0; trial < found.length; trial++) found[trial] = column.number(trial);
  }
  keys.set(name, found);
  return found;
};

// Curves, as packed and at the epochs at which trials are compared.
const starts = (places, lists) => {
  const found = new Uint32Array(places.length + 1);
  for (let i = 0; i < places.length; i++) found[i + 1] = found[i] + lists[places[i]].length;
  return found;
};
const diverged = (() => {
  const status = columns.get("status"), place = status.values.indexOf("diverged");
  return trial => status.codes[trial] === place;
})();
const curves = {};
for (const name of Object.keys(METRICS)) {
  const lists = head.curves[name].epochs, places = array(name + "/epochs"), codes = array(name + "/codes");
  curves[name] = {lists, places, codes, starts: starts(places, lists), common: lists[head.curves[name].common] ?? []};
}
const curveOf = (name, trial) => {
  const {lists, places, codes, starts} = curves[name];
  return {epochs: lists[places[trial]], codes: codes.subarray(starts[trial], starts[trial + 1])};
};
// A run that diverged goes on at infinite loss and the accuracy it had then; one that ended leaves the comparison.
const resampled = name => {
  const common = curves[name].common, found = new Uint16Array(head.trials * common.length).fill(MISSING);
  for (let trial = 0; trial < head.trials; trial++) {
    const {epochs, codes} = curveOf(name, trial), last = epochs.length - 1;
    if (last < 0) continue;
    const after = !diverged(trial) ? MISSING : name === "loss" ? NOT_FINITE : codes[last];
    for (let p = 0, left = 0; p < common.length; p++) {
      const epoch = common[p];
      let code = MISSING;
      if (epoch > epochs[last] + 1e-4) code = after;
      else if (epoch >= epochs[0] - 1e-4) {
        while (left < last && epochs[left + 1] <= epoch + 1e-4) left++;
        code = codes[left];
        if (left < last && epoch > epochs[left] + 1e-4 && code < NOT_FINITE) {
          const next = codes[left + 1], share = (epoch - epochs[left]) / (epochs[left + 1] - epochs[left]);
          code = next < NOT_FINITE ? Math.round(code + share * (next - code)) : next;
        }
      }
      found[trial * common.length + p] = code;
    }
  }
  return found;
};
for (const name of Object.keys(METRICS)) curves[name].matrix = resampled(name);

const layers = {
  names: array("layers/names"), step: array("layers/step"),
  dead: array("layers/dead_fraction"), saturated: array("layers/saturated_fraction"),
  gradient: array("layers/gradient_norm"), update: array("layers/update_to_weight_ratio"),
};
layers.starts = starts(layers.names, head.layers.names);

// --- What is looked at.

const ids = columns.get("trial_id");
const byId = new Map(Array.from({length: head.trials}, (_, trial) => [ids.value(trial), trial]));
const filters = head.filters.map(name => columns.get(name)).filter(column => column.codes);
const groupings = filters.filter(column => column.values.length > 1);
const first = () => ({
  on: new Map(filters.map(column => [column.name, column.values.map(value =>
    column.name !== "stage" || !head.first_stages.length || head.first_stages.includes(value))])),
  group: (groupings.find(column => column.name !== "stage") ?? {name: ""}).name,
  sort: "final_validation_accuracy",
  down: true,
  page: 0,
  trial: -1,
});
let state = first();
let selected = [], sorted = [], lit = -1;

const written = () => {
  const usual = first(), words = new URLSearchParams();
  for (const column of filters) {
    const on = state.on.get(column.name);
    if (on.every((value, place) => value === usual.on.get(column.name)[place])) continue;
    const chosen = column.values.filter((_, place) => on[place]);
    for (const value of chosen) words.append(column.name, value);
    if (!chosen.length) words.append(column.name, "");
  }
  if (state.group !== usual.group) words.set("group", state.group);
  if (state.sort !== usual.sort || state.down !== usual.down) words.set("sort", (state.down ? "-" : "") + state.sort);
  if (state.page) words.set("page", state.page + 1);
  if (state.trial >= 0) words.set("trial", ids.value(state.trial));
  const text = words.toString();
  return "#explorer" + (text ? "?" + text : "");
};
const keepInAddress = () => {
  const text = written();
  if (text !== location.hash && (text !== "#explorer" || location.hash.startsWith("#explorer?"))) history.replaceState(null, "", text);
};
const read = () => {
  const next = first(), words = new URLSearchParams(location.hash.replace(/^#explorer\??/, ""));
  for (const column of filters) {
    if (words.has(column.name)) {
      const chosen = new Set(words.getAll(column.name));
      next.on.set(column.name, column.values.map(value => chosen.has(value)));
    }
  }
  if (words.has("group") && (words.get("group") === "" || groupings.some(column => column.name === words.get("group")))) {
    next.group = words.get("group");
  }
  const sort = words.get("sort") ?? "";
  if (head.shown.includes(sort.replace(/^-/, ""))) [next.sort, next.down] = [sort.replace(/^-/, ""), sort.startsWith("-")];
  next.page = Math.max(0, (parseInt(words.get("page"), 10) || 1) - 1);
  next.trial = byId.get(words.get("trial")) ?? -1;
  return next;
};

const select = () => {
  const asked = filters.map(column => [column.codes, state.on.get(column.name)]).filter(([, on]) => on.includes(false));
  selected = [];
  trials: for (let trial = 0; trial < head.trials; trial++) {
    for (const [codes, on] of asked) if (!on[codes[trial]]) continue trials;
    selected.push(trial);
  }
};
const sort = () => {
  const own = keysOf(state.sort), sign = state.down ? -1 : 1;
  sorted = selected.slice().sort((a, b) => {
    const x = own[a], y = own[b];
    if (x === y) return a - b;
    if (x !== x || y !== y) return x === x ? -1 : y === y ? 1 : a - b;  // what is missing comes last either way
    return x < y ? -sign : sign;
  });
};
const groups = () => {
  const column = columns.get(state.group);
  if (!column) return [{label: tr("all"), place: 0, trials: selected}];
  const found = column.values.map((_, place) => ({label: column.names[place], place, trials: []}));
  for (const trial of selected) found[column.codes[trial]].trials.push(trial);
  return found.filter(group => group.trials.length);
};
const placeOf = trial => columns.get(state.group)?.codes[trial] ?? 0;

// --- Elements.

const make = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};
const manyTrials = count => count === 1 ? tr("{number} trial", {number: 1}) : tr("{number} trials", {number: whole(count)});

// --- Drawing.

let ink = {};
const readColours = () => {
  const style = getComputedStyle(document.documentElement), of = name => style.getPropertyValue(name).trim();
  ink = {text: of("--ink"), soft: of("--soft"), line: of("--line"), paper: of("--paper"), accent: of("--accent")};
  ink.hues = [1, 2, 3, 4, 5].map(number => of(`--hue-${number}`));
  ink.font = getComputedStyle(root).fontFamily;
};
const pen = (context, place) => {
  context.strokeStyle = context.fillStyle = ink.hues[place % 5];
  context.setLineDash(DASHES[place % 6]);
};
const fitted = (context, text, width) => {
  if (context.measureText(text).width <= width) return text;
  let kept = text;
  while (kept && context.measureText(kept + "…").width > width) kept = kept.slice(0, -1);
  return kept + "…";
};
const haloed = (context, text, x, y) => {
  context.save();
  context.setLineDash([]);
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeStyle = ink.paper;
  context.strokeText(text, x, y);
  context.fillStyle = ink.text;
  context.fillText(text, x, y);
  context.restore();
};

// A picture is drawn once for each state; what is pointed at is drawn over a copy of it.
class Picture {
  constructor(canvas, height, draw, over, near) {
    Object.assign(this, {canvas, height, draw, over, near, copy: document.createElement("canvas")});
    if (near) {
      canvas.addEventListener("pointermove", event => light(near(event.offsetX, event.offsetY)));
      canvas.addEventListener("pointerleave", () => light(-1));
      canvas.addEventListener("click", event => { const trial = near(event.offsetX, event.offsetY); if (trial >= 0) open(trial); });
    }
  }
  render() {
    const width = this.canvas.clientWidth, ratio = window.devicePixelRatio || 1;
    if (!width) return;
    const height = this.height(width);
    this.width = width;
    for (const canvas of [this.canvas, this.copy]) [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    this.canvas.style.height = height + "px";
    const context = this.copy.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "13px " + ink.font;
    this.draw(context, width, height);
    this.paint();
  }
  paint() {
    if (!this.width) return;
    const context = this.canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.copy, 0, 0);
    if (lit < 0 || !this.over) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "13px " + ink.font;
    this.over(context, lit);
  }
}

// --- Curves.

const quantile = (codes, count, share) => {
  if (!count) return MISSING;
  const place = share * (count - 1), low = Math.floor(place), rest = place - low;
  if (!rest || codes[low] >= NOT_FINITE) return codes[low];
  return codes[low + 1] >= NOT_FINITE ? NOT_FINITE : codes[low] + rest * (codes[low + 1] - codes[low]);
};
const bands = (name, trials) => {
  const {common, matrix} = curves[name], size = common.length, scratch = new Uint16Array(trials.length);
  const found = {low: [], middle: [], high: []};
  for (let p = 0; p < size; p++) {
    let count = 0;
    for (const trial of trials) { const code = matrix[trial * size + p]; if (code !== MISSING) scratch[count++] = code; }
    const codes = scratch.subarray(0, count).sort();
    found.low.push(quantile(codes, count, 0.1));
    found.middle.push(quantile(codes, count, 0.5));
    found.high.push(quantile(codes, count, 0.9));
  }
  return found;
};
const finite = code => code > 0 && code < NOT_FINITE;
const extent = (name, middles, lows, highs) => {
  if (name === "accuracy") {
    const known = [...lows, ...highs].filter(code => code < NOT_FINITE), tenth = SHARES / 10;
    if (!known.length) return [0, SHARES];
    const low = Math.floor(Math.min(...known) / tenth) * tenth, high = Math.ceil(Math.max(...known) / tenth) * tenth;
    return high > low ? [low, high] : [Math.max(low - tenth, 0), Math.min(high + tenth, SHARES)];
  }
  const known = middles.filter(finite).sort((a, b) => a - b), below = lows.filter(finite), above = highs.filter(finite);
  if (!known.length) return [logCode(0.1), logCode(10)];
  const most = known[Math.floor(0.95 * (known.length - 1))] + Math.log(3) / LOG_STEP;  // no run that soars flattens the others
  const low = Math.min(...below, known[0]), high = Math.min(Math.max(...above, known[known.length - 1]), most);
  const margin = Math.max((high - low) * 0.04, 5);
  return [low - margin, high + margin];
};
const logTicks = (low, high) => {
  const from = LOG_ZERO + low * LOG_STEP, to = LOG_ZERO + high * LOG_STEP, span = (to - from) / Math.LN10, found = [];
  const marks = span < 1.5 ? [1, 2, 3, 5] : span < 3 ? [1, 3] : [1], every = Math.ceil(span / 7);
  for (let power = Math.floor(from / Math.LN10); power <= Math.ceil(to / Math.LN10); power++) {
    if (power % every === 0 || every === 1) for (const mark of marks) {
      const value = mark * 10 ** power;
      if (Math.log(value) >= from && Math.log(value) <= to) found.push([logCode(value), digits(value, 2)]);
    }
  }
  return found;
};
const evenTicks = (low, high, count) => {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw || 1)), found = [];
  const size = [1, 2, 5, 10].map(mark => mark * power).find(mark => mark >= raw) ?? power;
  for (let value = Math.ceil(low / size - 1e-9) * size; value <= high + size * 1e-9; value += size) found.push(Number(value.toPrecision(10)));
  return found;
};

// Draws a panel in a box; returns where epochs and codes are in it.
const frame = (context, box, name, range, epochs) => {
  const {left, top, width, height} = box, bottom = top + height;
  const x = epoch => left + width * epoch / (epochs || 1);
  const y = code => bottom - height * (Math.min(Math.max(code, range[0]), range[1]) - range[0]) / (range[1] - range[0]);
  context.setLineDash([]);
  context.lineWidth = 1;
  context.strokeStyle = ink.line;
  context.fillStyle = ink.soft;
  context.textBaseline = "middle";
  context.textAlign = "right";
  const ticks = name === "loss" ? logTicks(...range) : evenTicks(range[0] / SHARES * 100, range[1] / SHARES * 100, 5).map(v => [v * SHARES / 100, v + "%"]);
  for (const [code, text] of ticks) {
    const at = Math.round(y(code)) + 0.5;
    context.beginPath();
    context.moveTo(left, at);
    context.lineTo(left + width, at);
    context.stroke();
    context.fillText(text, left - 6, at);
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const epoch of evenTicks(0, epochs, width < 260 ? 4 : 6)) context.fillText(String(epoch), x(epoch), bottom + 5);
  context.fillText(tr("epochs"), left + width / 2, bottom + 21);
  context.strokeStyle = ink.soft;
  context.beginPath();
  context.moveTo(left, top);
  context.lineTo(left, bottom);
  context.lineTo(left + width, bottom);
  context.stroke();
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  context.fillStyle = ink.text;
  context.fillText(fitted(context, METRICS[name], width + box.margin), left - 44, top - 12);
  return {x, y};
};
const trace = (context, {x, y}, epochs, codes) => {
  context.beginPath();
  let drawn = false, left = 0;
  for (let p = 0; p < epochs.length; p++) {
    if (codes[p] >= NOT_FINITE) {
      if (codes[p] === NOT_FINITE) left ||= epochs[p];
      drawn = false;
      continue;
    }
    const at = [x(epochs[p]), y(codes[p])];
    if (drawn) context.lineTo(...at); else context.moveTo(...at);
    drawn = true;
  }
  context.stroke();
  return left;
};
const cross = (context, x, y) => {  // where a loss stopped being finite
  context.save();
  context.setLineDash([]);
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x - 4, y - 4);
  context.lineTo(x + 4, y + 4);
  context.moveTo(x - 4, y + 4);
  context.lineTo(x + 4, y - 4);
  context.stroke();
  context.restore();
};
const traceTrial = (context, scales, box, name, trial) => {
  const {epochs, codes} = curveOf(name, trial), ended = trace(context, scales, epochs, codes);
  if (name === "loss" && ended) cross(context, scales.x(ended), box.top + 6);
};
// Labels stand beside the ends of their lines, apart from each other, in the order of these ends.
const labelEnds = (context, box, ends) => {
  const apart = 16, bottom = box.top + box.height, room = Math.floor(box.height / apart);
  ends.sort((a, b) => a.y - b.y);
  const hidden = ends.length > room ? ends.length - room + 1 : 0, shown = hidden ? ends.slice(0, room - 1) : ends;
  const places = shown.map(end => end.y);
  for (let i = 0; i < places.length; i++) places[i] = Math.max(places[i], i ? places[i - 1] + apart : box.top + 4);
  for (let i = places.length - 1, most = bottom - (hidden ? apart : 2); i >= 0; i--, most -= apart) places[i] = Math.min(places[i], most);
  context.textBaseline = "middle";
  context.textAlign = "left";
  const left = box.left + box.width + 8;
  shown.forEach((end, i) => {
    pen(context, end.place);
    context.lineWidth = 2.2;
    context.beginPath();
    context.moveTo(left, places[i]);
    context.lineTo(left + 20, places[i]);
    context.stroke();
    context.fillStyle = ink.text;
    context.fillText(fitted(context, end.label, box.margin - 36), left + 25, places[i]);
  });
  if (hidden) { context.fillStyle = ink.soft; context.fillText(tr("and {number} more", {number: hidden}), left + 25, bottom - 2); }
};
const NARROW = 640;       // pixels below which panels stand under each other
const boxes = (width, margin, height) => {
  const stacked = width < NARROW, each = stacked ? width : width / 2, high = stacked ? height / 2 : height;
  return Object.fromEntries(Object.keys(METRICS).map((name, i) => [name, {
    left: 48 + (stacked ? 0 : each * i), top: 34 + (stacked ? high * i : 0), width: each - 48 - margin - 10, height: high - 84, margin,
  }]));
};
const high = one => width => width < NARROW ? 2 * one : one;
const lastEpoch = trials => {
  let most = 0;
  for (const name of Object.keys(METRICS)) {
    const {lists, places} = curves[name], ends = lists.map(list => list[list.length - 1] ?? 0);
    for (const trial of trials) most = Math.max(most, ends[places[trial]]);
  }
  return most;
};
const drawSingles = (context, box, name, trials, epochs, labelled) => {
  const own = trials.map(trial => [...curveOf(name, trial).codes]), all = own.flat();
  const scales = frame(context, box, name, extent(name, all, all, all), epochs), ends = new Map();
  trials.forEach((trial, i) => {
    pen(context, labelled ? placeOf(trial) : 0);
    context.lineWidth = trials.length > 15 ? 1.1 : 1.8;
    traceTrial(context, scales, box, name, trial);
    const codes = own[i].filter(code => code < NOT_FINITE), at = codes.length ? scales.y(codes[codes.length - 1]) : box.top;
    if (!ends.has(placeOf(trial))) ends.set(placeOf(trial), []);
    ends.get(placeOf(trial)).push(at);
  });
  if (labelled) {
    const label = place => columns.get(state.group)?.names[place] ?? tr("all");
    labelEnds(context, box, [...ends].map(([place, at]) => ({place, label: label(place), y: at.sort((a, b) => a - b)[at.length >> 1]})));
  }
  return scales;
};
const drawBands = (context, box, name, parts, epochs) => {
  const common = curves[name].common, each = parts.map(part => part[name]);
  const all = which => each.flatMap(band => band[which]).filter(code => code !== MISSING);
  const scales = frame(context, box, name, extent(name, all("middle"), all("low"), all("high")), epochs), {x, y} = scales;
  parts.forEach(({place}, i) => {
    const known = common.map((_, p) => p).filter(p => each[i].low[p] < NOT_FINITE);
    pen(context, place);
    context.globalAlpha = 0.13;
    context.beginPath();
    known.forEach((p, n) => n ? context.lineTo(x(common[p]), y(each[i].high[p])) : context.moveTo(x(common[p]), y(each[i].high[p])));
    known.reverse().forEach(p => context.lineTo(x(common[p]), y(each[i].low[p])));
    context.closePath();
    context.fill();
    context.globalAlpha = 1;
  });
  const ends = parts.map(({place, label}, i) => {
    pen(context, place);
    context.lineWidth = 2.2;
    trace(context, scales, common, each[i].middle);
    const codes = each[i].middle.filter(code => code !== MISSING), end = codes[codes.length - 1] ?? 0;
    return {place, label, y: y(end)};
  });
  labelEnds(context, box, ends);
  return scales;
};
const ending = (name, code) => code === undefined || code === MISSING ? tr("not measured")
  : name === "accuracy" ? percent(code / SHARES) : code >= NOT_FINITE ? tr("not finite") : digits(logValue(code), 2);

let inCurves = null, summary = [];
const summarise = () => {
  summary = groups().map(group => ({...group, ...Object.fromEntries(Object.keys(METRICS).map(name => [name, bands(name, group.trials)]))}));
};
const widest = context => Math.min(170, 44 + Math.max(20, ...summary.map(part => context.measureText(part.label).width)));
const curvesPicture = new Picture($("canvas.curves"), high(340), (context, width, height) => {
  context.clearRect(0, 0, width, height);
  const places = boxes(width, Math.min(widest(context), width / (width < NARROW ? 3 : 5)), height), epochs = lastEpoch(selected);
  inCurves = {places, scales: {}};
  for (const name of Object.keys(METRICS)) {
    inCurves.scales[name] = selected.length <= SINGLE
      ? drawSingles(context, places[name], name, selected, epochs, true) : drawBands(context, places[name], name, summary, epochs);
  }
}, (context, trial) => {
  for (const name of Object.keys(METRICS)) {
    const box = inCurves.places[name];
    context.save();
    context.beginPath();
    context.rect(box.left, box.top - 2, box.width + 2, box.height + 4);
    context.clip();
    context.setLineDash([]);
    for (const [colour, wide] of [[ink.paper, 6], [ink.text, 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = wide;
      traceTrial(context, inCurves.scales[name], box, name, trial);
    }
    context.restore();
  }
}, (px, py) => {
  if (!inCurves || selected.length > SINGLE) return -1;
  let best = -1, least = POINTS;
  for (const name of Object.keys(METRICS)) {
    const box = inCurves.places[name], {x, y} = inCurves.scales[name];
    if (px < box.left || px > box.left + box.width || py < box.top || py > box.top + box.height) continue;
    for (const trial of selected) {
      const {epochs, codes} = curveOf(name, trial);
      for (let p = 1; p < epochs.length; p++) {
        const [from, to] = [x(epochs[p - 1]), x(epochs[p])];
        if (px < from || px > to || codes[p] >= NOT_FINITE || codes[p - 1] >= NOT_FINITE) continue;
        const at = y(codes[p - 1]) + (y(codes[p]) - y(codes[p - 1])) * (px - from) / (to - from || 1);
        if (Math.abs(at - py) < least) [best, least] = [trial, Math.abs(at - py)];
      }
    }
  }
  return best;
});
const tellCurves = () => {
  const single = selected.length <= SINGLE, by = columns.get(state.group)?.title;
  const what = single
    ? tr("Each line is one trial; a cross marks where a loss stopped being finite.")
    : tr("Lines: medians; bands: from the 10th to the 90th percentile. A run that diverged counts as an infinite loss from then on, at the accuracy it had.");
  const apart = by ? [tr("Hues and dashes tell {factor} apart.", {factor: by})] : [];
  $(".curves-caption").textContent = [what, ...apart, tr("Curves are rounded to 0.2%, and have at most 50 points.")].join(" ");
  const ends = summary.slice(0, 12).map(part => {
    const last = name => ending(name, part[name].middle.filter(code => code !== MISSING).pop());
    return tr("{label}: loss {loss}, accuracy {accuracy}", {label: part.label, loss: last("loss"), accuracy: last("accuracy")});
  });
  const seen = {trials: manyTrials(selected.length), factor: by};
  const lines = single
    ? by ? tr("Training loss and validation accuracy against epochs, a line for each of {trials} by {factor}.", seen)
      : tr("Training loss and validation accuracy against epochs, a line for each of {trials}.", seen)
    : by ? tr("Training loss and validation accuracy against epochs, medians and bands of {trials} by {factor}.", seen)
      : tr("Training loss and validation accuracy against epochs, medians and bands of {trials}.", seen);
  const list = ends.join("; ") || tr("none"), more = summary.length - ends.length;
  const medians = more ? tr("Medians at the end: {list}; and {number} more.", {list, number: more}) : tr("Medians at the end: {list}.", {list});
  $("canvas.curves").setAttribute("aria-label", `${lines} ${medians}`);
};

// --- Parallel coordinates.

const jitter = trial => (Math.imul(trial + 1, 2654435761) >>> 0) / 4294967296 - 0.5;
const axes = head.axes.map(({column: name, scale}) => {
  const column = columns.get(name);
  if (scale === "levels") {
    const size = column.values.length;
    return {column, scale, share: trial => (column.codes[trial] + 0.5 + 0.5 * jitter(trial)) / size,
      ticks: column.names.map((text, place) => [(place + 0.5) / size, text])};
  }
  const own = keysOf(name), known = own.filter(value => Number.isFinite(value) && (scale !== "log" || value > 0));
  const f = scale === "log" ? Math.log10 : value => value;
  let low = Infinity, high = -Infinity;
  for (const value of known) { low = Math.min(low, f(value)); high = Math.max(high, f(value)); }
  if (scale === "share") { low = Math.min(Math.floor(low * 10) / 10, 0.9); high = Math.ceil(high * 10) / 10; }
  if (!(high > low)) { low = (Number.isFinite(low) ? low : 0) - 0.5; high = low + 1; }
  const share = trial => { const value = own[trial]; return Number.isFinite(value) ? (f(value) - low) / (high - low) : NaN; };
  const marks = scale !== "log" ? evenTicks(low, high, 5)
    : high - low > 1.2 ? evenTicks(Math.ceil(low), Math.floor(high), 6).filter(Number.isInteger) : [low, (low + high) / 2, high];
  const text = value => scale === "share" ? Math.round(value * 100) + "%" : scale === "log" ? digits(10 ** value, 2) : digits(value, 3);
  return {column, scale, share, ticks: marks.map(value => [(value - low) / (high - low), text(value)])};
});
$("canvas.parallel").style.minWidth = `${96 * axes.length}px`;
let inParallel = null, drawnTrials = [];
const parallelLine = trial => axes.map((axis, i) => {
  const share = axis.share(trial);
  return [inParallel.x(i), share === share ? inParallel.y(share) : NaN];
});
const strokeLine = (context, points) => {
  context.beginPath();
  let drawn = false;
  for (const [x, y] of points) {
    if (y !== y) { drawn = false; continue; }
    if (drawn) context.lineTo(x, y); else context.moveTo(x, y);
    drawn = true;
  }
  context.stroke();
};
const parallelPicture = new Picture($("canvas.parallel"), () => 330, (context, width, height) => {
  context.clearRect(0, 0, width, height);
  const left = 12, right = 108, top = 40, bottom = height - 14, apart = (width - left - right) / Math.max(axes.length - 1, 1);
  inParallel = {x: i => left + apart * i, y: share => bottom - (bottom - top) * share, lines: []};
  const every = Math.ceil(selected.length / DRAWN);
  drawnTrials = every > 1 ? selected.filter((_, i) => i % every === 0) : selected;
  context.lineWidth = drawnTrials.length > 40 ? 1 : 1.5;
  context.globalAlpha = drawnTrials.length > 200 ? 0.28 : drawnTrials.length > 40 ? 0.5 : 0.95;
  for (const trial of drawnTrials) {
    const points = parallelLine(trial);
    inParallel.lines.push([trial, points]);
    pen(context, placeOf(trial));
    if (drawnTrials.length > 200) context.setLineDash([]);
    strokeLine(context, points);
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
  axes.forEach((axis, i) => {
    const x = inParallel.x(i), last = i === axes.length - 1;
    context.strokeStyle = ink.soft;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, top - 4);
    context.lineTo(x, bottom + 4);
    context.stroke();
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.fillStyle = ink.text;
    context.font = "600 13px " + ink.font;
    context.fillText(fitted(context, axis.column.title, last ? right : apart - 8), i ? x - 2 : x - 8, top - 16);
    context.font = "13px " + ink.font;
    context.textBaseline = "middle";
    for (const [share, text] of axis.ticks) haloed(context, fitted(context, text, (last ? right : apart) - 12), x + 6, inParallel.y(share));
  });
}, (context, trial) => {
  const points = parallelLine(trial);
  for (const [colour, wide] of [[ink.paper, 6], [ink.text, 3]]) {
    context.setLineDash([]);
    context.strokeStyle = colour;
    context.lineWidth = wide;
    strokeLine(context, points);
  }
}, (px, py) => {
  let best = -1, least = POINTS;
  for (const [trial, points] of inParallel?.lines ?? []) {
    for (let i = 1; i < points.length; i++) {
      const [[from, a], [to, b]] = [points[i - 1], points[i]];
      if (px < from || px > to || a !== a || b !== b) continue;
      const off = Math.abs(a + (b - a) * (px - from) / (to - from) - py) * Math.cos(Math.atan2(b - a, to - from));
      if (off < least) [best, least] = [trial, off];
    }
  }
  return best;
});
const tellParallel = () => {
  const fewer = drawnTrials.length < selected.length
    ? [tr("{drawn} lines of {selected} are drawn, evenly spaced.", {drawn: whole(drawnTrials.length), selected: whole(selected.length)})] : [];
  $(".parallel-caption").textContent = [
    tr("A line for each trial, from its choices to its test accuracy."), ...fewer,
    tr("Within a level lines are spread, so that they do not hide each other."),
  ].join(" ");
  const known = selected.map(trial => keysOf("test_accuracy")[trial]).filter(value => value === value).sort((a, b) => a - b);
  const [low, high, median] = [0, known.length - 1, known.length >> 1].map(place => percent(known[place]));
  const range = known.length ? tr("Test accuracy from {low} to {high}, median {median}.", {low, high, median}) : tr("No test accuracy.");
  const lines = tr("Parallel coordinates of {trials}: {list}.", {trials: manyTrials(selected.length), list: axes.map(axis => axis.column.title).join(", ")});
  $("canvas.parallel").setAttribute("aria-label", `${lines} ${range}`);
};

// --- What is pointed at is lit in both pictures and in the table.

const nameOf = trial => tr("{trial}: {choices}, rate {rate}; validation accuracy {accuracy}", {
  trial: ids.value(trial),
  choices: head.filters.map(name => columns.get(name).shown(trial)).join(", "),
  rate: columns.get("learning_rate").shown(trial),
  accuracy: columns.get("final_validation_accuracy").shown(trial),
});
let waiting = false;
const light = trial => {
  if (trial === lit) return;
  lit = trial;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const picture of [curvesPicture, parallelPicture]) {
      picture.paint();
      picture.canvas.style.cursor = lit >= 0 ? "pointer" : "";
    }
    for (const row of $("tbody").rows) row.classList.toggle("lit", Number(row.dataset.trial) === lit);
    $(".readout").textContent = lit >= 0 ? nameOf(lit) : "";
  });
};

// --- The table.

const shown = head.shown.map(name => columns.get(name));
const isText = column => column.kind === "text";
const fillHead = () => {
  $(".trials thead tr").replaceChildren(...shown.map(column => make("th", {scope: "col", class: isText(column) ? "" : "number", "data-column": column.name},
    make("button", {type: "button", text: column.title, onclick: () => {
      const again = state.sort === column.name;
      [state.sort, state.down, state.page] = [column.name, again ? !state.down : !isText(column), 0];
      sort();
      fillTable();
      keepInAddress();
    }}))));
};
const fillTable = () => {
  const pages = Math.max(1, Math.ceil(sorted.length / ROWS));
  state.page = Math.min(state.page, pages - 1);
  for (const cell of $(".trials thead tr").cells) {
    if (cell.dataset.column === state.sort) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
  const rows = document.createDocumentFragment();
  for (const trial of sorted.slice(state.page * ROWS, (state.page + 1) * ROWS)) {
    const row = make("tr", {"data-trial": trial});
    shown.forEach((column, i) => row.append(i
      ? make("td", {class: isText(column) ? "" : "number", text: column.shown(trial)})
      : make("th", {scope: "row"}, make("button", {type: "button", text: column.shown(trial), "aria-haspopup": "dialog"}))));
    rows.append(row);
  }
  $(".trials tbody").replaceChildren(rows);
  $(".page").textContent = tr("Page {page} of {pages}", {page: state.page + 1, pages});
  $(".previous").setAttribute("aria-disabled", String(state.page === 0));
  $(".next").setAttribute("aria-disabled", String(state.page >= pages - 1));
};
const turn = by => {
  const pages = Math.max(1, Math.ceil(sorted.length / ROWS)), next = Math.min(Math.max(state.page + by, 0), pages - 1);
  if (next === state.page) return;
  state.page = next;
  light(-1);
  fillTable();
  keepInAddress();
};
const rowOf = event => { const row = event.target.closest("tr[data-trial]"); return row ? Number(row.dataset.trial) : -1; };
$("tbody").addEventListener("pointerover", event => light(rowOf(event)));
$("tbody").addEventListener("pointerleave", () => light(-1));
$("tbody").addEventListener("focusin", event => light(rowOf(event)));
$("tbody").addEventListener("focusout", () => light(-1));
$("tbody").addEventListener("click", event => { const trial = rowOf(event); if (trial >= 0) open(trial); });
$(".previous").addEventListener("click", () => turn(-1));
$(".next").addEventListener("click", () => turn(1));

// --- A trial's card.

const card = $("dialog");
let cardPicture = null;
const facts = (trial, configures) => make("dl", {}, ...[...columns.values()]
  .filter(column => column.configures === configures && column.name !== "trial_id" && !["", null].includes(column.value(trial)))
  .filter(column => column.name !== "stop_epoch" || column.value(trial))
  .map(column => make("div", {}, make("dt", {text: column.title}), make("dd", {text: column.shown(trial)}))));
const layerTable = trial => {
  const names = head.layers.names[layers.names[trial]], from = layers.starts[trial];
  if (!names.length) return make("p", {text: tr("The study's probes measured no layer of this trial.")});
  const share = code => code === MISSING ? "–" : percent(code / SHARES);
  const size = code => code === MISSING ? "–" : code === NOT_FINITE ? tr("not finite") : digits(logValue(code), 2);
  const title = [tr("layer"), tr("dead units"), tr("saturated"), tr("gradient norm"), tr("update to weight")];
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...title.map((text, i) => make("th", {scope: "col", class: i ? "number" : "", text})))),
    make("tbody", {}, ...names.map((name, i) => make("tr", {}, make("th", {scope: "row", text: name}),
      ...[share(layers.dead[from + i]), share(layers.saturated[from + i]), size(layers.gradient[from + i]), size(layers.update[from + i])]
        .map(text => make("td", {class: "number", text}))))));
  const steps = head.layers.steps[layers.step[trial]];
  const after = steps === 1 ? tr("After {number} step.", {number: 1}) : tr("After {number} steps.", {number: whole(steps)});
  return make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": tr("Layers")}, table,
    make("p", {class: "note", text: after + " " + tr("Shares are rounded to 0.1 points, norms and ratios to two digits.")}));
};
const open = trial => {
  state.trial = trial;
  const row = $(`tr[data-trial="${trial}"] button`);
  if (row) row.focus({preventScroll: true});
  const status = columns.get("status").shown(trial), error = columns.get("error").value(trial);
  const last = {loss: columns.get("final_train_loss").shown(trial), accuracy: columns.get("final_validation_accuracy").shown(trial)};
  const canvas = make("canvas", {role: "img", "aria-label":
    tr("Training loss and validation accuracy of this trial against epochs; final training loss {loss}, validation accuracy {accuracy}.", last)});
  const ended = error ? tr("It ended: {status}: {error}.", {status, error}) : tr("It ended: {status}.", {status});
  card.replaceChildren(
    make("header", {}, make("h3", {id: "explorer-card", text: tr("Trial {trial}", {trial: ids.value(trial)})}),
      make("button", {type: "button", class: "close", text: tr("Close"), onclick: () => card.close()})),
    make("p", {class: "ended", text: ended}),
    make("h4", {text: tr("Configuration")}), facts(trial, true),
    make("h4", {text: tr("Curves")}), make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": tr("Curves of this trial")}, canvas),
    make("h4", {text: tr("Layers at the last look")}), layerTable(trial),
    make("h4", {text: tr("Outcome")}), facts(trial, false),
    make("h4", {text: tr("Train it again")}), make("pre", {tabindex: "0"}, make("code", {text: head.rerun.join(ids.value(trial))})),
    make("p", {class: "note", text: tr("This command trains the trial alone and says whether it comes to the same.")}),
  );
  cardPicture = new Picture(canvas, high(280), (context, width, height) => {
    const places = boxes(width, 4, height), epochs = lastEpoch([trial]);
    context.clearRect(0, 0, width, height);
    for (const name of Object.keys(METRICS)) drawSingles(context, places[name], name, [trial], epochs, false);
  });
  if (!card.open) card.showModal();
  card.scrollTop = 0;
  cardPicture.render();
  keepInAddress();
};
card.addEventListener("close", () => {
  cardPicture = null;
  state.trial = -1;
  keepInAddress();
});

// --- The table as a file.

const quoted = text => /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
const cell = value => value === null ? "" : typeof value === "string" ? quoted(value) : String(value);
const csv = () => {
  const lines = [head.columns.map(column => quoted(column.name)).join(",")];
  for (const trial of selected) lines.push(head.columns.map(({name}) => cell(columns.get(name).value(trial))).join(","));
  return lines.join("\n") + "\n";
};
$(".download").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([csv()], {type: "text/csv"}));
  make("a", {href: address, download: `${head.study}-trials.csv`}).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
});

// --- Filters.

const boxesOf = new Map();
const fillFilters = () => {
  $(".filters").replaceChildren(...filters.filter(column => column.values.length > 1).map(column => {
    const inputs = column.values.map((_, place) => make("input", {type: "checkbox", onchange: event => {
      state.on.get(column.name)[place] = event.target.checked;
      state.page = 0;
      update();
    }}));
    boxesOf.set(column.name, inputs);
    return make("fieldset", {"data-column": column.name}, make("legend", {text: column.title}),
      ...column.values.map((_, place) => make("label", {}, inputs[place], make("span", {text: column.names[place]}))));
  }));
  $(".grouping").replaceChildren(make("option", {value: "", text: tr("nothing")}), ...groupings.map(column => make("option", {value: column.name, text: column.title})));
};
const showState = () => {
  for (const [name, inputs] of boxesOf) inputs.forEach((input, place) => { input.checked = state.on.get(name)[place]; });
  $(".grouping").value = state.group;
};
$(".grouping").addEventListener("change", event => { state.group = event.target.value; update(); });
$(".reset").addEventListener("click", () => { state = first(); showState(); update(); });

const draw = () => {
  readColours();
  curvesPicture.render();
  parallelPicture.render();
  cardPicture?.render();
  tellParallel();
};
const update = () => {
  performance.mark("explorer-asked");
  lit = -1;
  $(".readout").textContent = "";
  select();
  sort();
  summarise();
  const number = whole(selected.length), held = {number, trials: whole(head.trials)};
  $(".count").textContent = head.trials === 1 ? tr("{number} of {trials} trial", held) : tr("{number} of {trials} trials", held);
  $(".download").textContent = selected.length === 1 ? tr("Download this {number} trial (CSV)", {number}) : tr("Download these {number} trials (CSV)", {number});
  draw();
  tellCurves();
  fillTable();
  keepInAddress();
  performance.measure("explorer-update", "explorer-asked");
};
const follow = () => {
  if (!/^#explorer\?/.test(location.hash)) return;
  const next = read(), {trial} = next;
  state = next;
  state.trial = -1;
  showState();
  update();
  section.scrollIntoView();
  if (trial >= 0) open(trial);
  else if (card.open) card.close();
};

root.hidden = false;
section.classList.add("explored");
if (head.of > head.trials) {
  $(".held").textContent = tr("This page holds {held} of {trials} trials; all of them are in tables/trials.csv.", {held: whole(head.trials), trials: whole(head.of)});
}
fillFilters();
fillHead();
showState();
const asked = location.hash;
if (/^#explorer\?/.test(asked)) {
  follow();
} else {
  update();
  if (asked.length > 1) document.getElementById(asked.slice(1))?.scrollIntoView();  // what stands above has grown
}
window.addEventListener("hashchange", follow);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
let drawnAt = root.clientWidth;
new ResizeObserver(() => {
  if (root.clientWidth === drawnAt) return;
  drawnAt = root.clientWidth;
  draw();
}).observe(root);
root.dataset.ready = "";
performance.mark("explorer-ready");
})();
