// Learning a style: choose a painting and a part of it, start, and watch its sheet and losses come.
import { get, post, say } from "./page.js";
import { upload } from "./upload.js";

const $ = (id) => document.getElementById(id);
const EVERY_MS = 3000;
const canvas = $("crop-canvas"), pen = canvas.getContext("2d");
const fields = ["x", "y", "w", "h"].map((id) => $(`crop-${id}`));
let painting = null, from = null, timer;

// ---- the painting and its part
async function list(chosen = "") {
  const { pictures } = await get("/api/videos");
  const options = pictures.map((key) => Object.assign(document.createElement("option"), { value: key, textContent: key }));
  $("painting").replaceChildren($("painting").options[0], ...options);
  if (chosen) { $("painting").value = chosen; await choose(); }
}

async function choose() {
  const key = $("painting").value;
  painting = null;
  $("crop-box").hidden = true;
  for (const field of fields) field.value = 0;
  if (!key) return;
  if (!$("learn-name").value) {
    $("learn-name").value = key.split("/").pop().replace(/\.[^.]*$/, "").toLowerCase().replace(/[^a-z0-9_-]+/g, "-").replace(/^[-_]+/, "").slice(0, 60);
  }
  try {
    const answer = await fetch(`/api/picture.jpg?${new URLSearchParams({ picture: key, w: 1280 })}`);
    if (!answer.ok) throw new Error((await answer.json()).error);
    const facts = await get(`/api/picture.json?${new URLSearchParams({ picture: key })}`);
    const image = await createImageBitmap(await answer.blob());
    if ($("painting").value !== key) return;
    painting = { image, ...facts };
    canvas.width = image.width;
    canvas.height = image.height;
    for (const [field, most] of [[fields[0], facts.width], [fields[1], facts.height], [fields[2], facts.width], [fields[3], facts.height]]) field.max = most;
    $("crop-box").hidden = false;
    draw();
  } catch (error) {
    say(error.message, true);
  }
}

const crop = () => fields.map((field) => Math.max(Math.round(Number(field.value)) || 0, 0));

function draw() {
  if (!painting) return;
  pen.drawImage(painting.image, 0, 0);
  const scale = canvas.width / painting.width, [x, y, w, h] = crop().map((side) => side * scale);
  if (!w || !h) return;
  pen.fillStyle = "rgba(0, 0, 0, 0.6)";
  pen.beginPath();
  pen.rect(0, 0, canvas.width, canvas.height);
  pen.rect(x, y, w, h);
  pen.fill("evenodd");
}

/** Where the pointer is, in pixels of the painting. */
function place(event) {
  const box = canvas.getBoundingClientRect();
  const clamp = (value, most) => Math.round(Math.min(Math.max(value, 0), 1) * most);
  return [clamp((event.clientX - box.left) / box.width, painting.width), clamp((event.clientY - box.top) / box.height, painting.height)];
}

canvas.addEventListener("pointerdown", (event) => {
  if (!painting) return;
  from = place(event);
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!from) return;
  const to = place(event);
  [0, 1].forEach((side) => {
    fields[side].value = Math.min(from[side], to[side]);
    fields[side + 2].value = Math.abs(from[side] - to[side]);
  });
  draw();
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
for (const field of fields) field.addEventListener("input", draw);
$("painting").addEventListener("change", choose);
$("painting-file").addEventListener("change", async () => {
  const [file] = $("painting-file").files;
  if (!file) return;
  try {
    await list(await upload(file));
  } catch (error) {
    say(error.message, true);
  }
});

$("learn").addEventListener("submit", async (event) => {
  event.preventDefault();
  const part = crop(), problem = $("learn-problem");
  problem.textContent = $("painting").value ? "" : "Choose a painting first.";
  if (problem.textContent) return $("painting").focus();
  $("learn-start").disabled = true;
  try {
    const order = { name: $("learn-name").value.trim(), painting: $("painting").value, minutes: Number($("learn-minutes").value) };
    await post("/styles/learn", { ...order, crop: part[2] && part[3] ? part : null });
    say(`${order.name} is being learned`);
    await look();
    $("trainings").scrollIntoView({ block: "start" });
  } catch (error) {
    problem.textContent = error.message;
  }
  $("learn-start").disabled = false;
});

// ---- what comes
function show(training) {
  let card = document.querySelector(`[data-training="${training.name}"]`);
  if (!card) {
    card = $("training").content.firstElementChild.cloneNode(true);
    card.dataset.training = training.name;
    card.querySelector("h3").textContent = training.name;
    const act = (what, body) => async () => {
      try {
        const told = await post(`/styles/learn/${training.name}/${what}`, body ? body() : {});
        if (what === "stop") say(told.said.join("; "));
      } catch (error) {
        say(error.message, true);
      }
      await look();
    };
    card.querySelector("[data-stop]").onclick = act("stop");
    card.querySelector("[data-continue]").onclick = act("continue", () => ({ minutes: Number(card.dataset.minutes) + 30 }));
    $("training-list").append(card);
  }
  card.dataset.minutes = training.minutes;
  const put = (what, words) => { const e = card.querySelector(what); if (e.textContent !== words) e.textContent = words; };
  put("[data-words]", training.words);
  const { losses } = training, last = losses.length ? `, loss ${losses[losses.length - 1].toPrecision(3)} (first ${losses[0].toPrecision(3)})` : "";
  put("[data-facts]", `${training.running ? "running" : "not running"}, of ${training.painting}, ${training.minutes} min, iteration ${training.iteration}${last}`);
  for (const [what, stamp, words] of [["sheet", training.sheet, `Sheet of ${training.name}`], ["plot", training.plot, `Losses of ${training.name}`]]) {
    const link = card.querySelector(`[data-${what}]`), address = `/styles/learn/${training.name}/${what === "plot" ? "losses" : what}.png?${stamp}`;
    link.hidden = !stamp;
    if (stamp && link.getAttribute("href") !== address) {
      link.href = address;
      Object.assign(link.firstElementChild, { src: address, alt: words });
    }
  }
  card.querySelector("[data-stop]").hidden = !training.here;
  card.querySelector("[data-continue]").hidden = training.running;
  const use = card.querySelector("[data-use]");
  use.hidden = !training.style;
  if (training.style) use.href = "/new";
}

async function look() {
  clearTimeout(timer);
  try {
    if (!document.hidden) {
      const { trainings } = await get("/api/learning");
      $("trainings").hidden = !trainings.length;
      trainings.forEach(show);
    }
  } catch {
    // the page goes on by itself when the server answers again
  }
  timer = setTimeout(look, EVERY_MS);
}

list().catch((error) => say(error.message, true));
look();
