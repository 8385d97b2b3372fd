// A new film: choose a video, look at a moment in every style, adjust, and start. What is typed at last is what the line says.
import { bitmap, get, post, say } from "./page.js";
import { mix as blend } from "./blend.js";
import { curveAt } from "./curve.js";
import { upload } from "./upload.js";

const $ = (id) => document.getElementById(id);
const form = $("form");
const canvas = $("canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });
const filled = JSON.parse(form.dataset.filled);
const MOST_WIDE = 1280; // pixels of the stage
const state = { video: null, facts: null, style: null, source: null, painted: new Map(), seconds: null, mask: null, estimate: null };
let trials = new AbortController(), moments = new AbortController(), redraw = 0, asking = 0;

// ---- small things
const element = (name, fields = {}, ...children) => {
  const made = Object.assign(document.createElement(name), fields);
  made.append(...children);
  return made;
};
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;
const later = (call, ms) => { let timer; return (...args) => { clearTimeout(timer); timer = setTimeout(() => call(...args), ms); }; };
const duration = (s) => s < 60 ? `${Math.ceil(s)} s` : s < 3600 ? `${Math.round(s / 60)} min` : `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
const scale = () => 2 ** Number($("scale").value);
/** What a slider says, or the curve beside it, at the chosen moment. */
const now = (id) => curveAt($(`${id}-curve`).value, Number($("at").value), state.facts?.rate) ?? Number($(id).value);
const wait = (words) => { $("wait").textContent = words; $("wait").hidden = !words; };

/** One choice of several, with a picture: a radio button and its label. */
function choice(name, value, words, note) {
  const input = element("input", { type: "radio", name, value });
  input.setAttribute("aria-label", note ? `${words}, ${note}` : words);
  const label = element("span", { className: "label", textContent: words });
  label.append(element("small", { textContent: note || "" }));
  return element("label", { className: "choice" }, input, element("span", { className: "shot waiting" }), label);
}

function show(card, address) {
  const picture = element("img", { alt: "", src: address });
  const shot = card.querySelector(".shot");
  picture.onload = () => { shot.replaceChildren(picture); shot.classList.remove("waiting"); };
  picture.onerror = () => shot.classList.remove("waiting");
}

// ---- videos
async function loadVideos(chosen = null) {
  const found = await get("/api/videos");
  state.styles = found.styles;
  if (filled.video && !found.videos.includes(filled.video)) found.videos.unshift(filled.video);
  if (filled.style && !found.styles.includes(filled.style)) state.styles.unshift(filled.style);
  $("no-videos").hidden = found.videos.length > 0;
  $("video-finder").hidden = found.videos.length < 9;
  $("files").replaceChildren(...[...found.pictures, ...found.videos].map((key) => element("option", { value: key })));
  $("mask-file").replaceChildren(...found.pictures.map((key) => element("option", { value: key, textContent: key })));
  const lazy = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      lazy.unobserve(entry.target);
      show(entry.target, `/api/moment.jpg?${new URLSearchParams({ video: entry.target.querySelector("input").value, at: 1, w: 320 })}`);
    }
  });
  $("videos").replaceChildren(...found.videos.map((key) => {
    const parts = key.split("/");
    const job = key.startsWith("jobs/");
    const card = choice("video", key, job ? "the same video" : parts.pop(), job ? "" : parts.join("/"));
    lazy.observe(card);
    return card;
  }));
  $("mix").replaceChildren(element("option", { value: "", textContent: "none" }), ...state.styles.map((key) => element("option", { value: key, textContent: key })));
  if (chosen) choose(chosen);
}

async function choose(key) {
  const input = [...$("videos").querySelectorAll("input")].find((one) => one.value === key);
  if (input) input.checked = true;
  state.video = key;
  state.facts = null;
  state.estimate = null;
  state.painted.clear();
  try {
    const facts = await get(`/api/video?${new URLSearchParams({ video: key })}`);
    if (state.video !== key) return;
    state.facts = facts;
  } catch (error) {
    say(error.message, true);
    return;
  }
  const { width, height, seconds, frames, rate, sound } = state.facts;
  $("video-words").textContent = [`${width}×${height}`, seconds && clock(seconds).replace(/\.\d+$/, ""), frames && `${frames} frames`, rate && `${Math.round(rate * 100) / 100} a second`, sound ? "with sound" : "no sound"].filter(Boolean).join(", ");
  const at = $("at");
  at.max = Math.max((seconds || 0.04) - 0.04, 0.04);
  at.step = rate ? 1 / rate : 0.04;
  at.value = (seconds || 0) * 0.3;
  document.querySelector("[data-option=width]").placeholder = width;
  document.querySelector("[data-option=frames]").placeholder = frames ? `all ${frames}` : "all";
  for (const id of ["look", "settings", "make"]) $(id).hidden = false;
  state.mask = null;
  await scrub();
}

// ---- the moment
function filmWidth() {
  const typed = Number(document.querySelector("[data-option=width]").value);
  const share = Number(document.querySelector("[data-option=scale]").value);
  return typed || Math.round((state.facts?.width || 640) * (share || 1));
}

const scrub = async () => {
  moments.abort();
  moments = new AbortController();
  const at = Number($("at").value);
  $("at-words").textContent = clock(at);
  $("at").setAttribute("aria-valuetext", clock(at));
  const width = Math.min(filmWidth(), MOST_WIDE);
  try {
    const got = await bitmap(`/api/moment.jpg?${new URLSearchParams({ video: state.video, at: at.toFixed(3), w: width })}`, { signal: moments.signal });
    const wide = Math.min(width, got.image.width), high = Math.round((got.image.height * wide) / got.image.width);
    canvas.width = wide;
    canvas.height = high;
    state.source = data(got.image);
    state.painted.clear();
    draw();
    paintAll();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  }
};

/** A picture as ImageData at the size of the stage. */
function data(image) {
  const room = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  room.imageSmoothingQuality = "high";
  room.drawImage(image, 0, 0, canvas.width, canvas.height);
  return room.getImageData(0, 0, canvas.width, canvas.height);
}

// ---- styles
function trialAddress(style) {
  const query = new URLSearchParams({ video: state.video, at: Number($("at").value).toFixed(3), style, style_scale: scale().toFixed(4), width: filmWidth() });
  const projection = document.querySelector("[data-option=projection]").value;
  if (projection) query.set("projection", projection);
  if ($("mix").value && $("mix").value !== style) {
    query.set("mix", $("mix").value);
    query.set("weight", Math.min(Math.max(now("weight"), 0.01), 0.99));
  }
  return `/api/trial.jpg?${query}`;
}

/** Paint the moment in every style, the chosen one first. */
async function paintAll() {
  trials.abort();
  trials = new AbortController();
  const { signal } = trials;
  const box = $("styles");
  if (box.children.length !== state.styles.length)
    box.replaceChildren(...state.styles.map((key) => choice("style", key, key.split("/").pop().replace(/\.[a-z0-9]+$/i, ""), "")));
  const cards = [...box.children];
  for (const card of cards) card.querySelector(".shot").classList.add("waiting");
  if (!state.style) pickStyle(filled.style || state.styles[0], false);
  const order = [...cards].sort((a, b) => (b.querySelector("input").checked ? 1 : 0) - (a.querySelector("input").checked ? 1 : 0));
  wait("painting …");
  for (const card of order) {
    const key = card.querySelector("input").value;
    try {
      const got = await bitmap(trialAddress(key), { signal });
      if (signal.aborted) return;
      state.painted.set(key, { data: data(got.image), seconds: Number(got.headers.get("X-Seconds")) });
      const note = `${Number(got.headers.get("X-Seconds")).toFixed(2)} s a frame`;
      card.querySelector("small").textContent = note;
      const address = URL.createObjectURL(got.blob);
      const picture = element("img", { alt: "", src: address });
      picture.onload = () => URL.revokeObjectURL(address);
      card.querySelector(".shot").replaceChildren(picture);
      card.querySelector(".shot").classList.remove("waiting");
      if (key === state.style) { wait(""); draw(); estimate(); }
    } catch (error) {
      if (error.name === "AbortError") return;
      card.querySelector(".shot").classList.remove("waiting");
      card.querySelector("small").textContent = error.message;
      if (key === state.style) wait("");
    }
  }
}

function pickStyle(key, told = true) {
  state.style = key;
  const input = [...$("styles").querySelectorAll("input")].find((one) => one.value === key);
  if (input) input.checked = true;
  if (!told) return;
  wait(state.painted.has(key) ? "" : "painting …");
  draw();
  estimate();
}

// ---- the stage
function draw() {
  if (redraw) return;
  redraw = requestAnimationFrame(() => {
    redraw = 0;
    if (!state.source || state.source.width !== canvas.width) return;
    const painted = state.painted.get(state.style)?.data;
    if (!painted || painted.width !== canvas.width) return pen.putImageData(state.source, 0, 0);
    const out = pen.createImageData(canvas.width, canvas.height);
    const split = Math.round((canvas.width * Number($("split").value)) / 100);
    blend(state.source, painted, out, { strength: now("strength"), colors: $("colors").checked, mask: maskData(), split });
    pen.putImageData(out, 0, 0);
    if (split > 0 && split < canvas.width) { pen.fillStyle = "#fffc"; pen.fillRect(split - 1, 0, 2, canvas.height); }
    canvas.setAttribute("aria-label", `The moment ${$("at-words").textContent} in the style ${state.style}`);
  });
}

function words() {
  $("strength-words").textContent = now("strength").toFixed(2);
  $("scale-words").textContent = `× ${Math.round(scale() * 100) / 100}`;
  $("weight-words").textContent = now("weight").toFixed(2);
  $("scale").setAttribute("aria-valuetext", $("scale-words").textContent);
  $("weight-control").hidden = !$("mix").value;
}

// ---- the mask
function maskData() {
  const kind = $("mask-kind").value;
  if (!kind || !state.mask) return null;
  const room = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  room.drawImage(state.mask, 0, 0, canvas.width, canvas.height);
  return room.getImageData(0, 0, canvas.width, canvas.height);
}

function emptyMask() {
  const made = element("canvas", { width: canvas.width, height: canvas.height });
  const room = made.getContext("2d");
  room.fillStyle = "#000";
  room.fillRect(0, 0, made.width, made.height);
  state.mask = made;
}

async function maskChanged() {
  const kind = $("mask-kind").value;
  $("draw-tools").hidden = kind !== "draw";
  $("mask-file-control").hidden = kind !== "file";
  $("stage").classList.toggle("drawing", kind === "draw");
  if (kind === "draw" && !(state.mask instanceof HTMLCanvasElement)) emptyMask();
  if (kind === "file" && $("mask-file").value) {
    try {
      state.mask = (await bitmap(`/api/picture.jpg?${new URLSearchParams({ picture: $("mask-file").value, w: MOST_WIDE })}`)).image;
    } catch (error) {
      state.mask = null;
      say(error.message, true);
    }
  }
  draw();
  estimate();
}

let last = null;
canvas.addEventListener("pointerdown", (event) => {
  if ($("mask-kind").value !== "draw") return;
  canvas.setPointerCapture(event.pointerId);
  last = null;
  stroke(event);
});
canvas.addEventListener("pointermove", (event) => { if ($("mask-kind").value === "draw" && event.buttons) stroke(event); });
canvas.addEventListener("pointerup", () => { last = null; });

function stroke(event) {
  const box = canvas.getBoundingClientRect(), room = state.mask.getContext("2d");
  const x = ((event.clientX - box.left) / box.width) * state.mask.width, y = ((event.clientY - box.top) / box.height) * state.mask.height;
  room.strokeStyle = document.querySelector("[name=pen]:checked").value === "1" ? "#fff" : "#000";
  room.lineWidth = (Number($("pen-size").value) / 100) * state.mask.width;
  room.lineCap = room.lineJoin = "round";
  room.beginPath();
  room.moveTo(...(last || [x, y]));
  room.lineTo(x, y + (last ? 0 : 0.01));
  room.stroke();
  last = [x, y];
  draw();
}

$("clear").onclick = () => { emptyMask(); draw(); };
$("invert").onclick = () => {
  const room = state.mask.getContext("2d");
  room.globalCompositeOperation = "difference";
  room.fillStyle = "#fff";
  room.fillRect(0, 0, state.mask.width, state.mask.height);
  room.globalCompositeOperation = "source-over";
  draw();
};

// ---- what is asked for
function wanted() {
  const options = {};
  for (const input of document.querySelectorAll("[data-option]")) {
    const value = input.type === "checkbox" ? input.checked : input.value.trim();
    if (value !== "" && value !== false) options[input.dataset.option] = value;
  }
  const over = (id) => $(`${id}-curve`).value.trim() || Number($(id).value);
  if (over("strength") !== 1) options.strength = over("strength");
  if ($("colors").checked) options.preserve_colors = true;
  if (Number($("scale").value)) options.style_scale = Math.round(scale() * 10000) / 10000;
  if ($("mix").value && $("mix").value !== state.style) options.mix = [[$("mix").value, over("weight")]];
  if ($("mask-kind").value === "file") options.mask = $("mask-file").value;
  return { video: state.video, style: state.style, options };
}

const estimate = later(async () => {
  if (!state.video || !state.style) return;
  const mine = ++asking, asked = wanted();
  try {
    const found = await post("/api/estimate", asked);
    if (mine !== asking) return;
    $("problem").textContent = found.fits ? "" : `The disk has ${found.free} free, and the film needs ${found.room}.`;
    $("sum-name").textContent = found.name;
    $("sum-frames").textContent = found.frames ? `${found.frames} of ${found.size}` : found.size;
    $("sum-room").textContent = `${found.room}; ${found.free} free`;
    $("line").textContent = found.line;
    const each = state.painted.get(state.style)?.seconds, machines = Math.max(found.machines, 1);
    $("sum-time").textContent = each && found.frames ? duration((each * found.frames) / machines) : "…";
    $("sum-note").textContent = found.machines ? `on ${found.machines} machine${found.machines > 1 ? "s" : ""} like this one` : "No machine works here yet; the film begins when one comes.";
    $("start").disabled = false;
  } catch (error) {
    if (mine !== asking) return;
    $("problem").textContent = error.message;
    $("start").disabled = true;
  }
}, 350);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("start");
  if (button.disabled) return;
  button.disabled = true;
  button.textContent = "Starting …";
  try {
    const asked = wanted();
    if ($("mask-kind").value === "draw") {
      const blob = await new Promise((done) => state.mask.toBlob(done, "image/png"));
      asked.options.mask = await upload(new File([blob], "mask.png", { lastModified: Date.now() }));
    }
    const made = await post("/jobs", asked);
    location.href = `/films/${encodeURIComponent(made.name)}`;
  } catch (error) {
    $("problem").textContent = error.message;
    button.disabled = false;
    button.textContent = "Make the film";
    $("problem").scrollIntoView({ block: "nearest" });
  }
});

$("copy").onclick = async () => {
  try { await navigator.clipboard.writeText($("line").textContent); say("Copied"); } catch { getSelection().selectAllChildren($("line")); say("Selected; copy it with Ctrl+C"); }
};

// ---- uploads
let sending = null;
async function sendVideo(file) {
  if (!file || sending) return;
  sending = new AbortController();
  const bar = $("upload-bar"), told = $("upload-words");
  bar.hidden = $("upload-stop").hidden = false;
  try {
    const key = await upload(file, (share) => { bar.value = share; told.textContent = `${file.name}: ${Math.floor(share * 100)} %`; }, sending.signal);
    told.textContent = `${file.name} is here.`;
    say(`${file.name} is here`);
    await loadVideos(key);
  } catch (error) {
    const stopped = error.name === "AbortError";
    told.textContent = stopped ? `${file.name} is not complete yet. Choose it again to continue.` : `${file.name}: ${error.message}`;
    if (!stopped) say(error.message, true);
  } finally {
    bar.hidden = $("upload-stop").hidden = true;
    sending = null;
    $("upload").value = "";
  }
}
$("upload-stop").onclick = () => sending?.abort();
$("upload").addEventListener("change", (event) => sendVideo(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) $("drop").addEventListener(kind, (event) => {
  event.preventDefault();
  $("drop").classList.toggle("over", kind === "dragover");
  if (kind === "drop") sendVideo(event.dataTransfer.files[0]);
});
addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });

// ---- wires
$("videos").addEventListener("change", (event) => choose(event.target.value));
$("styles").addEventListener("change", (event) => pickStyle(event.target.value));
$("video-find").addEventListener("input", (event) => {
  for (const card of $("videos").children) card.hidden = !card.textContent.toLowerCase().includes(event.target.value.toLowerCase());
});
$("at").addEventListener("input", () => { $("at-words").textContent = clock(Number($("at").value)); words(); });
$("at").addEventListener("input", later(scrub, 180));
for (const id of ["strength", "strength-curve", "colors", "split"]) $(id).addEventListener("input", () => { words(); draw(); if (id !== "split") estimate(); });
const repaint = later(() => { state.painted.clear(); draw(); paintAll(); estimate(); }, 400);
for (const id of ["scale", "mix", "weight", "weight-curve"]) $(id).addEventListener("input", () => { words(); repaint(); });
for (const id of ["mask-kind", "mask-file"]) $(id).addEventListener("change", maskChanged);
const resized = later(scrub, 500);
$("settings").addEventListener("input", (event) => { estimate(); if (["width", "scale"].includes(event.target.dataset.option)) resized(); if (event.target.dataset.option === "projection") repaint(); });

/** Begin with the settings of another job. */
function prefill() {
  for (const [name, value] of Object.entries(filled.options || {})) {
    const input = document.querySelector(`[data-option="${CSS.escape(name)}"]`);
    if (name === "strength") $(typeof value === "string" ? "strength-curve" : "strength").value = value;
    else if (name === "preserve_colors") $("colors").checked = value;
    else if (name === "style_scale") $("scale").value = Math.log2(value);
    else if (name === "mix") {
      const [key, weight] = value[0];
      if (![...$("mix").options].some((one) => one.value === key)) $("mix").append(element("option", { value: key, textContent: "that of the film before" }));
      $("mix").value = key;
      $(typeof weight === "string" ? "weight-curve" : "weight").value = weight;
    }
    else if (name === "mask") {
      $("mask-file").append(element("option", { value, textContent: "the mask of the film before" }));
      $("mask-kind").value = "file";
      $("mask-file").value = value;
    } else if (input?.type === "checkbox") input.checked = true;
    else if (input) {
      input.value = value;
      if (input.closest("details")) input.closest("details").open = true;
    }
  }
  if (form.dataset.again) document.querySelector("[data-option=name]").value = `${form.dataset.again}-again`;
}

words();
loadVideos(filled.video || null).then(async () => {
  prefill();
  words();
  if ($("mask-kind").value) await maskChanged();
}).catch((error) => say(error.message, true));
