// The page of one film: while it is made, its latest frame; then the film, beside the video that it was made of.
import { get, listen, say } from "./page.js";
import { answer, fill } from "./jobs.js";

const $ = (id) => document.getElementById(id);
const page = $("film"), name = page.dataset.name, at = `/jobs/${encodeURIComponent(name)}`;
const film = $("video"), before = $("over"), split = $("split"), seek = $("seek");
let offset = 0, ready = false, pictured = null, held = false;

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// ---- the player
function open() {
  if (film.src) return;
  $("watch").hidden = false;
  $("waiting").hidden = true;
  $("download").hidden = false;
  film.src = `${at}/film`;
  film.onerror = () => { $("no-film").hidden = false; };
  film.onloadedmetadata = () => { seek.max = film.duration; time(); };
  film.ontimeupdate = time;
  film.onplay = film.onpause = () => { $("play").textContent = film.paused ? "Play" : "Pause"; follow(); };
  film.onseeked = film.onended = follow;
  before.src = `${at}/source`;
  before.onloadeddata = () => { ready = true; cut(); follow(); };
  before.onerror = () => { ready = false; $("no-before").hidden = false; split.disabled = true; cut(); };
  if (Number(page.dataset.start)) get(`/api/video?${new URLSearchParams({ video: page.dataset.source })}`).then((facts) => {
    offset = facts.rate ? Number(page.dataset.start) / facts.rate : 0;
    follow();
  }).catch(() => {});
  setInterval(follow, 250);
}

function time() {
  if (!held) seek.value = film.currentTime;
  const words = `${clock(film.currentTime)} of ${clock(film.duration || 0)}`;
  $("time").textContent = words;
  seek.setAttribute("aria-valuetext", words);
}

/** Keep the video at the same moment as the film. */
function follow() {
  if (!ready || before.hidden) return;
  const there = film.currentTime + offset, apart = Math.abs(before.currentTime - there);
  if (apart > (film.paused ? 0.005 : 0.12)) before.currentTime = there;
  if (film.paused) before.pause();
  else if (before.paused) before.play().catch(() => {});
}

function cut() {
  const share = ready ? Number(split.value) : 0;
  before.hidden = !share;
  $("edge").hidden = !share || share === 100;
  before.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
  $("edge").style.left = `${share}%`;
  follow();
}

$("play").onclick = () => (film.paused ? film.play().catch((error) => say(error.message, true)) : film.pause());
film.onclick = () => $("play").click();
seek.oninput = () => { held = true; film.currentTime = Number(seek.value); time(); };
seek.onchange = () => { held = false; };
split.oninput = cut;

// ---- while it is made
function picture(latest) {
  if (latest === "" || latest === null || latest === pictured) return;
  pictured = latest;
  for (const side of ["before", "after"]) {
    const shown = $("pair").querySelector(`.${side}`), next = new Image();
    next.onload = () => { shown.src = next.src; shown.hidden = false; };
    next.src = `${at}/frame.jpg?n=${latest}&side=${side}&w=1280`;
  }
}

listen((told) => {
  const job = told.cards[page.dataset.key];
  if (told.gone.includes(page.dataset.key) || (told.whole && told.read && !job)) {
    say(`${name} was cleaned up: its frames are gone, the film stays`);
    return;
  }
  if (!job) return;
  if (job.state === "finished" && page.dataset.state !== "finished" && !told.whole) say(`${name} is finished`);
  fill(page, job);
  if (job.finished) open();
  else picture(job.latest);
});
answer(page);
picture(page.dataset.latest);
if (page.dataset.finished) open();
