"use strict";
const token = new URLSearchParams(location.search).get("token") || "";
const at = (id) => document.getElementById(id);
const state = {sample: undefined, values: {}, images: [], shown: "topography", row: null, answer: null, form: null};
const drawn = {count: 0, ms: 0, server_ms: 0, drawing_ms: 0, settled: false}; // for whoever measures
window.stmfab = drawn;

async function ask(question, more, signal) {
  const response = await fetch(question, {
    method: "POST",
    signal,
    headers: {"Content-Type": "application/json", "X-Stmfab-Token": token},
    body: JSON.stringify({sample: state.sample, values: state.values, ...more}),
  });
  const type = response.headers.get("Content-Type") || "";
  const answer = type.startsWith("application/json") ? await response.json() : {error: (await response.text()).trim()};
  if (!response.ok) throw new Error(answer.error);
  drawn.server_ms = Number((response.headers.get("Server-Timing") || "").split("dur=")[1]);
  return answer;
}

function make(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function short(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : value == null ? "" : String(value);
}

/* ---- the picture: one question under way at a time; what the hand does meanwhile is asked next ----
   Where all of a sample takes long, the hand sees a glance of it first: one junction, the ideal image and what is
   looked at. All of it is asked for once the hand rests, and given up when it moves again. */

const LONG_ms = 80, REST_ms = 250;
let busy = false, waiting = false, touched = 0, rest = 0, whole = null, long = false;

function draw() {
  clearTimeout(rest);
  if (whole) whole.abort();
  if (busy) { waiting = true; return; }
  const known = state.images.some((image) => image.name === state.shown);
  answered(long && known ? {glance: state.shown} : {});
}

async function answered(question) {
  const began = touched || performance.now(), glance = "glance" in question;
  busy = true;
  touched = 0;
  drawn.settled = false;
  whole = glance ? null : new AbortController();
  try {
    const answer = await ask("picture", question, whole?.signal), came = performance.now();
    show(answer);
    tell("");
    if (!glance) long = drawn.server_ms > LONG_ms;
    drawn.drawing_ms = performance.now() - came;
    drawn.ms = performance.now() - began;
    if (glance || !state.glanced) at("time").textContent = `${drawn.ms.toFixed(0)} ms`;
    state.glanced = glance;
    drawn.count += 1;
    drawn.settled = !glance;
  } catch (error) {
    if (error.name !== "AbortError") {
      tell(error.message);
      drawn.count += 1;
      drawn.settled = true;
    }
  }
  whole = null;
  busy = false;
  if (waiting) { waiting = false; draw(); } else if (!drawn.settled) rest = setTimeout(() => answered({}), REST_ms);
}

function tell(words) {
  at("error").textContent = words;
  at("error").hidden = !words;
  at("stage").classList.toggle("stale", Boolean(words));
  for (const key of document.querySelectorAll(".key")) {
    key.classList.toggle("bad", Boolean(words) && words.includes(`${key.dataset.path}:`));
  }
}

function show(answer) {
  state.answer = answer;
  state.sample = answer.sample;
  at("sample").value = answer.sample;
  at("caption").textContent = answer.caption.replace(/^#\d+ */, "");
  if (answer.kept) { // all of the sample is made: what the recipe's keep says of it
    at("kept").replaceChildren(...answer.kept.map((one) => make("li", {textContent: one.words, className: one.holds ? "" : "bad"})));
  }
  at("kept").classList.toggle("old", !answer.kept);
  for (const image of answer.images) {
    const text = atob(image.data), bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    image.values = new Float32Array(bytes.buffer);
  }
  const seen = new Map(answer.images.map((image) => [image.name, image]));
  state.images = answer.glance ? state.images.map((image) => seen.get(image.name) || {...image, old: true}) : answer.images;
  if (!state.images.some((image) => image.name === state.shown)) state.shown = state.images[0].name;
  tiles();
  main();
  at("loopname").textContent = answer.loop.title;
  plot(at("loop"), [{...answer.loop, name: ""}], {x: answer.loop.x_name, y: answer.loop.y_name});
  at("derived").replaceChildren(...answer.derived.map((one) => make("div", {},
    make("dt", {textContent: one.name}), make("dd", {textContent: `${one.value} ${one.unit}`.trim()}))));
  for (const [path, value] of Object.entries(answer.values)) {
    if (!(path in state.values)) put(path, value);
  }
}

function paint(canvas, image) {
  const {rows, cols, low, high, values, palette} = image;
  canvas.width = cols;
  canvas.height = rows;
  const picture = new ImageData(cols, rows), span = high > low ? high - low : 1, hot = image.colours === "hot";
  for (let row = 0, to = 0; row < rows; row++) {
    const from = (rows - 1 - row) * cols; // row 0 is the smallest y: at the bottom
    for (let col = 0; col < cols; col++, to += 4) {
      picture.data[to + 3] = 255;
      if (palette.length) { // a number is a name: one of a class, or of a defect
        const number = values[from + col];
        picture.data.set(palette[number > 0 ? 1 + (number - 1) % (palette.length - 1) : 0], to);
        continue;
      }
      const grey = high > low ? (values[from + col] - low) / span : 0.5;
      picture.data[to] = 255 * (hot ? 2 * grey : grey);
      picture.data[to + 1] = 255 * (hot ? 2 * grey - 0.5 : grey);
      picture.data[to + 2] = 255 * (hot ? 2 * grey - 1 : grey);
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function range(image) {
  if (image.unit === "pm") return `${short(Number((image.high - image.low).toPrecision(3)))} pm`;
  return image.unit ? `${image.low.toPrecision(3)} to ${image.high.toPrecision(3)} ${image.unit}` : "";
}

function tiles() {
  const box = at("tiles");
  while (box.children.length > state.images.length) box.lastChild.remove();
  state.images.forEach((image, place) => {
    let tile = box.children[place];
    if (!tile) {
      tile = make("button", {type: "button", className: "tile"}, make("canvas"), make("span"), make("span"));
      tile.addEventListener("click", () => { state.shown = tile.dataset.name; tiles(); main(); });
      box.append(tile);
    }
    tile.dataset.name = image.name;
    tile.classList.toggle("old", Boolean(image.old));
    tile.title = image.meaning;
    tile.setAttribute("aria-pressed", image.name === state.shown);
    tile.children[1].textContent = breakable(image.name);
    tile.children[2].textContent = range(image);
    if (!image.old) paint(tile.children[0], image);
  });
}

const breakable = (name) => name.replace(/[._]/g, "\u200b$&"); // at its dots

const current = () => state.images.find((image) => image.name === state.shown);

function main() {
  const image = current();
  at("mainname").textContent = image.name;
  at("mainname").title = image.meaning;
  paint(at("maincanvas"), image);
  const pm = image.unit === "pm", from = pm ? 0 : image.low, to = pm ? image.high - image.low : image.high;
  const named = image.palette.length > 0;
  at("low").textContent = named ? "" : short(Number(from.toPrecision(3)));
  at("high").textContent = named ? `numbers 0 to ${to}` : `${short(Number(to.toPrecision(3)))} ${image.unit}`;
  at("ramp").className = named ? "" : image.colours;
  if (state.row === null || state.row >= image.rows) state.row = image.rows >> 1;
  mark(image);
  profile(image);
  spectrum(image);
}

const junction = (name) => name.split(/(?=\.)/)[1] || ""; // ".filled" of "topography.filled"

function spectrum(image) {
  const own = state.answer.spectra.filter((curve) => junction(curve.name.split(",")[0]) === junction(image.name));
  plot(at("spectrum"), own.length ? own : state.answer.spectra.slice(0, 4), {log: true, x: "1/nm", y: "pm\u00b2 nm"});
}

function mark(image) {
  const canvas = at("mark"), size = 2 * (canvas.clientWidth || 300), pen = canvas.getContext("2d");
  canvas.width = canvas.height = size;
  const y = size * (1 - (state.row + 0.5) / image.rows), long = size * state.answer.bar_nm / state.answer.size_nm;
  pen.strokeStyle = "rgba(120,200,255,.9)";
  pen.lineWidth = 2;
  pen.setLineDash([10, 8]);
  pen.beginPath(); pen.moveTo(0, y); pen.lineTo(size, y); pen.stroke();
  pen.fillStyle = "rgba(0,0,0,.45)";
  pen.fillRect(16, size - 62, long + 16, 46);
  pen.fillStyle = "#fff";
  pen.fillRect(24, size - 30, long, 6);
  pen.font = "22px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.fillText(`${state.answer.bar_nm} nm`, 24 + long / 2, size - 38, Math.max(long + 8, 60));
}

function profile(image) {
  const step = state.answer.size_nm / image.cols, twin = {topography: "topography_backward", current: "current_backward"};
  const of = junction(image.name), what = image.name.slice(0, image.name.length - of.length);
  const names = [image.name, twin[what] + of, image.unit === "pm" && what !== "ideal" ? `ideal${of}` : ""];
  const lines = names.map((name) => state.images.find((one) => one.name === name && !one.old)).filter(Boolean).map((one) => ({
    name: one.name,
    x: Array.from({length: one.cols}, (_, col) => (col + 0.5) * step),
    y: Array.from(one.values.subarray(state.row * one.cols, (state.row + 1) * one.cols)),
    style: one.name === `ideal${of}` ? 2 : one.name === image.name ? 0 : 1,
  }));
  at("profilename").textContent = `Line profile, row ${state.row}`;
  plot(at("profile"), lines, {x: "nm", y: image.unit || (image.palette.length ? "number" : "share")});
}

at("mark").addEventListener("pointermove", (event) => {
  const image = current();
  if (!image) return;
  const box = at("mark").getBoundingClientRect();
  const col = Math.min(image.cols - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * image.cols)));
  const row = Math.min(image.rows - 1, Math.max(0, Math.floor((1 - (event.clientY - box.top) / box.height) * image.rows)));
  const value = image.values[row * image.cols + col];
  at("readout").textContent = `${short(Number(value.toPrecision(3)))} ${image.unit} at ${col}, ${row}`;
  if (event.buttons & 1 && row !== state.row) { state.row = row; mark(image); profile(image); }
});
at("mark").addEventListener("pointerdown", (event) => {
  const image = current(), box = at("mark").getBoundingClientRect();
  if (!image) return;
  state.row = Math.min(image.rows - 1, Math.max(0, Math.floor((1 - (event.clientY - box.top) / box.height) * image.rows)));
  mark(image);
  profile(image);
});
at("mark").addEventListener("pointerleave", () => { at("readout").textContent = ""; });

/* ---- plots ---- */

function plot(svg, curves, {log = false, x = "", y = ""}) {
  const width = 300, height = 176, left = 44, right = 8, top = 12, bottom = 30;
  const good = (value) => Number.isFinite(value) && (!log || value > 0), turn = log ? Math.log10 : (value) => value;
  const every = (name) => curves.flatMap((curve) => curve[name]).filter(good).map(turn);
  const ends = (values) => {
    let low = Math.min(...values), high = Math.max(...values);
    if (!(high > low)) { low -= 0.5; high += 0.5; }
    return [low - 0.03 * (high - low), high + 0.03 * (high - low)];
  };
  const [x0, x1] = ends(every("x")), [y0, y1] = ends(every("y"));
  const px = (value) => left + (turn(value) - x0) / (x1 - x0) * (width - left - right);
  const py = (value) => height - bottom - (turn(value) - y0) / (y1 - y0) * (height - top - bottom);
  let out = "";
  for (const value of ticks(x0, x1, log)) {
    out += `<path class="axis" d="M${px(value).toFixed(1)} ${top}V${height - bottom}"/>`;
    out += `<text x="${px(value).toFixed(1)}" y="${height - bottom + 12}" text-anchor="middle">${label(value)}</text>`;
  }
  for (const value of ticks(y0, y1, log)) {
    out += `<path class="axis" d="M${left} ${py(value).toFixed(1)}H${width - right}"/>`;
    out += `<text x="${left - 4}" y="${(py(value) + 3).toFixed(1)}" text-anchor="end">${label(value)}</text>`;
  }
  curves.forEach((curve, place) => {
    const style = curve.style ?? place;
    const points = curve.x.map((value, i) => good(value) && good(curve.y[i]) ? `${px(value).toFixed(1)},${py(curve.y[i]).toFixed(1)}` : "");
    out += `<polyline class="curve c${style}" points="${points.filter(Boolean).join(" ")}"/>`;
  });
  out += `<text x="${width - right}" y="${height - 4}" text-anchor="end">${x}</text><text x="2" y="9">${y}</text>`;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.innerHTML = out; // numbers and units of this program only
  const names = curves.filter((curve) => curve.name).map((curve, place) => make("span", {className: `c${curve.style ?? place}`, textContent: curve.name}));
  svg.parentNode.querySelector(".legend").replaceChildren(...names);
}

function ticks(low, high, log) {
  const out = [];
  if (log) {
    const steps = high - low > 3 ? [1] : [1, 2, 5], every = Math.max(1, Math.ceil((high - low) / 6));
    for (let decade = Math.floor(low); decade <= high; decade++) {
      for (const step of steps) {
        const value = step * 10 ** decade;
        if (Math.log10(value) >= low && Math.log10(value) <= high && decade % every === 0) out.push(value);
      }
    }
    return out;
  }
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= raw);
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) out.push(Math.abs(value) < step / 1e6 ? 0 : value);
  return out;
}

function label(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(0) : String(Number(value.toPrecision(3)));
}

/* ---- the form ---- */

async function build() {
  state.form = await ask("form");
  if (state.sample === undefined) state.sample = state.form.sample;
  document.title = `${state.form.name} - stmfab explore`;
  at("name").textContent = state.form.name;
  at("about").textContent = `seed ${state.form.seed}. ${state.form.description}`;
  if (!at("filename").value) at("filename").value = `${state.form.name}-mine`;
  const open = new Set([...document.querySelectorAll("details[open]")].map((one) => one.dataset.path));
  const first = at("groups").children.length === 0;
  at("groups").replaceChildren(...state.form.groups.map((group) => section(group, first ? ["scan", "junction", "instrument.feedback"] : open)));
  if (state.answer) for (const [path, value] of Object.entries(state.answer.values)) put(path, value);
  for (const [path, value] of Object.entries(state.values)) put(path, value);
  changed();
}

function section(group, open) {
  const box = make("details", {open: new Set(open).has(group.path)},
    make("summary", {}, make("b", {textContent: breakable(group.path)}), make("span", {textContent: group.meaning})));
  box.dataset.path = group.path;
  if (Object.keys(group.kinds).length) box.append(kinds(group));
  if (Object.keys(group.choices).length) box.append(choices(group));
  if (Object.keys(group.adds).length) box.append(adding(group));
  box.append(...group.keys.map(entry));
  if (group.removable) box.append(removing(group));
  return box;
}

function kinds(group) {
  const name = `kind of ${group.path}`;
  const menu = make("select", {ariaLabel: name}, ...Object.keys(group.kinds).map((kind) => make("option", {textContent: kind, selected: kind === group.kind})));
  menu.addEventListener("change", async () => {
    if (!await change(group.path, group.kinds[menu.value])) menu.value = group.kind;
  });
  return labelled(group.path, "kind", menu);
}

function labelled(path, words, ...nodes) {
  const line = make("div", {className: "key"}, make("label", {textContent: words}), ...nodes);
  line.dataset.path = path;
  return line;
}

/* What is recorded: a box a channel. */
function choices(group) {
  const boxes = Object.entries(group.choices).map(([name, on]) => make("input", {type: "checkbox", checked: on, ariaLabel: `record ${name}`, value: name}));
  const ticked = () => boxes.filter((box) => box.checked).map((box) => box.value);
  for (const box of boxes) {
    box.addEventListener("change", async () => {
      if (!await change(group.path, `[${ticked().join(", ")}]`)) box.checked = !box.checked;
    });
  }
  return make("div", {className: "choices"}, ...boxes.map((box) => make("label", {}, box, make("span", {textContent: box.value}))));
}

/* A new part of a place, by a name of the user's choice. */
function adding(group) {
  const menu = make("select", {ariaLabel: `kind to add to ${group.path}`}, ...Object.keys(group.adds).map((kind) => make("option", {textContent: kind})));
  const taken = (name) => state.form.groups.some((one) => one.path === `${group.path}.${name}`);
  const free = () => {
    const base = menu.value === "present" ? "new" : menu.value.replace(/[^A-Za-z0-9]+/g, "_");
    let name = base;
    for (let number = 2; taken(name); number++) name = `${base}_${number}`;
    return name;
  };
  const box = make("input", {ariaLabel: `name to add to ${group.path}`, spellcheck: false, placeholder: "name"});
  const button = make("button", {type: "button", textContent: "Add", ariaLabel: `add to ${group.path}`});
  button.addEventListener("click", () => {
    const name = box.value.trim() || free();
    if (taken(name)) tell(`${group.path}.${name}: is there already; give another name`);
    else change(`${group.path}.${name}`, group.adds[menu.value]);
  });
  const line = make("div", {className: "adding"}, box, button);
  if (Object.keys(group.adds).length > 1) line.prepend(menu);
  return line;
}

function removing(group) {
  const button = make("button", {type: "button", className: "remove", textContent: "Remove", ariaLabel: `remove ${group.path}`});
  button.addEventListener("click", () => change(group.path, null));
  return button;
}

/* Another part, another form: as it was if the recipe does not allow it. */
async function change(path, value) {
  const before = state.values;
  state.values = Object.fromEntries(Object.entries(before).filter(([key]) => !key.startsWith(`${path}.`)));
  state.values[path] = value;
  try { await build(); } catch (error) { state.values = before; tell(error.message); return false; }
  const opened = document.querySelector(`details[data-path="${CSS.escape(path)}"]`);
  if (opened) opened.open = true;
  touched = performance.now();
  draw();
  return true;
}

async function rebuild() {
  try { await build(); } catch (error) { tell(error.message); return; }
  touched = performance.now();
  draw();
}

function entry(key) {
  const name = make("label", {textContent: key.name, title: `${key.path}: ${key.meaning} (${key.legal})`});
  name.htmlFor = `k-${key.path}`;
  const undo = make("button", {type: "button", className: "undo", textContent: "\u21ba", title: "as in the recipe"});
  undo.addEventListener("click", () => {
    for (const one of [key, find(key.instead)].filter(Boolean)) { delete state.values[one.path]; put(one.path, own(one)); }
    changed();
    go();
  });
  const line = make("div", {className: "key"}, name);
  line.dataset.path = key.path;
  if (key.words.length) {
    const menu = make("select", {id: `k-${key.path}`}, ...key.words.map((word) => make("option", {textContent: word, value: word})));
    menu.addEventListener("change", () => set(key, key.words.find((word) => String(word) === menu.value)));
    line.append(make("div", {className: "value"}, undo, menu));
  } else {
    const box = make("input", {id: `k-${key.path}`, className: key.low === null ? "words" : "", inputMode: key.low === null ? "text" : "decimal", placeholder: key.drawn ? "drawn" : key.optional ? "none" : "", spellcheck: false});
    box.addEventListener("change", () => set(key, box.value.trim() === "" ? null : isNaN(box.value) ? box.value.trim() : Number(box.value)));
    const slider = key.low === null ? "" : make("input", {type: "range", min: 0, max: 1000, ariaLabel: `${key.path} slider`});
    if (slider) slider.addEventListener("input", () => {
      const value = from(key, slider.value / 1000);
      box.value = short(value);
      set(key, value, slider);
    });
    line.append(make("div", {className: "value"}, undo, box, make("span", {className: "unit", textContent: key.unit})), slider);
  }
  if (key.drawn) line.append(make("small", {textContent: `drawn: ${key.drawn}`}));
  queueMicrotask(() => { if (!(key.path in state.values)) put(key.path, own(key)); });
  return line;
}

const own = (key) => (state.answer && key.path in state.answer.values && key.drawn ? state.answer.values[key.path] : key.value);

function from(key, share) {
  const value = key.log ? key.low * (key.high / key.low) ** share : key.low + (key.high - key.low) * share;
  const rounded = Math.min(key.high, Math.max(key.low, Number(value.toPrecision(4))));
  return key.whole ? Math.round(rounded) : rounded;
}

function share(key, value) {
  const part = key.log ? Math.log(Math.max(value, key.low) / key.low) / Math.log(key.high / key.low) : (value - key.low) / (key.high - key.low);
  return Math.round(1000 * Math.min(1, Math.max(0, part)));
}

function find(path) {
  for (const group of state.form.groups) for (const key of group.keys) if (key.path === path) return key;
  return null;
}

function put(path, value) {
  const line = document.querySelector(`.key[data-path="${CSS.escape(path)}"]`), key = state.form && find(path);
  if (!line || !key) return;
  const menu = line.querySelector("select"), box = line.querySelector("input:not([type=range])"), slider = line.querySelector("[type=range]");
  if (menu) menu.value = String(value);
  if (box && box !== document.activeElement) box.value = short(value);
  if (slider && slider !== document.activeElement && typeof value === "number") slider.value = share(key, value);
}

function set(key, value, slider) {
  state.values[key.path] = value;
  if (!slider) put(key.path, value);
  const instead = value === null ? null : find(key.instead); // exactly one of two keys is given
  if (instead) {
    state.values[instead.path] = null;
    put(instead.path, null);
  }
  changed();
  go();
}

function go() {
  touched = touched || performance.now();
  draw();
}

function changed() {
  for (const line of document.querySelectorAll(".key")) line.classList.toggle("changed", line.dataset.path in state.values);
  const count = Object.keys(state.values).length;
  at("reset").disabled = count === 0;
  at("changed").textContent = count === 0 ? "Nothing changed" : count === 1 ? "1 key changed" : `${count} keys changed`;
}

function step(to) {
  state.sample = to;
  state.values = {...state.values};
  go();
}

at("before").addEventListener("click", () => { if (state.sample > 0) step(state.sample - 1); });
at("after").addEventListener("click", () => step(state.sample + 1));
at("sample").addEventListener("change", () => {
  const asked = Number(at("sample").value);
  if (Number.isInteger(asked) && asked >= 0) step(asked);
  else tell(`sample: found '${at("sample").value}'; legal: a whole number from 0`);
});
at("reset").addEventListener("click", () => { state.values = {}; rebuild(); });
at("form").addEventListener("submit", (event) => event.preventDefault());
at("save").addEventListener("click", async () => {
  at("saved").textContent = "";
  try {
    const answer = await ask("save", {name: at("filename").value.trim()});
    at("saved").className = "";
    at("saved").textContent = `Written: ${answer.file}\nnext: ${answer.next.join("\nnext: ")}`;
  } catch (error) {
    at("saved").className = "bad";
    at("saved").textContent = error.message;
  }
});
at("filename").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); at("save").click(); } });
window.addEventListener("resize", () => { if (state.answer) mark(current()); });

(async () => {
  try { await build(); } catch (error) { tell(error.message); return; }
  await draw();
})();
