// The page of all jobs: cards come, change and go as the stream of changes tells.
import { listen, say } from "./page.js";
import { answer, fill, text } from "./jobs.js";

const EVERY_MS = 4000; // between two pictures of one job
const places = { active: document.getElementById("active"), over: document.getElementById("over") };
const template = document.getElementById("job-template");
const find = document.getElementById("find");
const cards = new Map([...document.querySelectorAll("article.job")].map((card) => [card.dataset.key, card]));
let known = cards.size > 0; // whether the share was looked at
const pictured = new Map(); // key: number and time of the pictures that are shown
const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
  entry.target.dataset.seen = entry.isIntersecting ? "1" : "";
  if (entry.isIntersecting) picture(entry.target);
}), { rootMargin: "200px" });

/** Show the latest frame, of a card that is seen, and not too often. */
function picture(card) {
  const { key, name, latest, seen } = card.dataset;
  if (!seen || latest === "") return;
  const before = pictured.get(key);
  if (before && (before.latest === latest || Date.now() - before.time < EVERY_MS)) return;
  pictured.set(key, { latest, time: Date.now() });
  for (const side of ["before", "after"]) {
    const shown = card.querySelector(`.pair .${side}`);
    const next = new Image();
    next.onload = () => { shown.src = next.src; shown.hidden = false; };
    next.src = `/jobs/${encodeURIComponent(name)}/frame.jpg?n=${latest}&side=${side}&w=480`;
  }
}

function place(card) {
  const home = Number(card.dataset.order) < 5 ? places.active : places.over;
  const rank = (one) => [Number(one.dataset.order), -Number(one.dataset.priority), one.dataset.name];
  const after = [...home.children].find((other) => other !== card && compare(rank(other), rank(card)) > 0) || null;
  if (card.parentElement === home && card.nextElementSibling === after) return;
  if (card.contains(document.activeElement) && card.parentElement === home) return; // it would lose the focus
  const focused = card.contains(document.activeElement) ? document.activeElement : null;
  home.insertBefore(card, after);
  focused?.focus();
}

function compare(ones, others) {
  for (let at = 0; at < ones.length; at++) if (ones[at] !== others[at]) return ones[at] < others[at] ? -1 : 1;
  return 0;
}

function tell(told) {
  known ||= told.read;
  if (told.whole && told.read) told.gone = [...cards.keys()].filter((key) => !(key in told.cards));
  for (const key of told.gone) {
    cards.get(key)?.remove();
    cards.delete(key);
    pictured.delete(key);
  }
  for (const [key, job] of Object.entries(told.cards)) {
    if (job.kind === "now") summary(job);
    if (job.kind !== "job") continue;
    let card = cards.get(key);
    const before = card?.dataset.state;
    if (!card) {
      card = template.content.firstElementChild.cloneNode(true);
      cards.set(key, card);
      seen.observe(card);
    }
    fill(card, job);
    place(card);
    if (!told.whole && before && before !== job.state && ["finished", "failed"].includes(job.state)) say(`${job.name}: ${job.words}`);
    picture(card);
  }
  filter();
}

function summary(now) {
  text(document.getElementById("sum-jobs"), now.jobs);
  text(document.getElementById("sum-nodes"), now.nodes);
  document.getElementById("no-nodes").hidden = !(now.none && cards.size);
  const complaints = document.getElementById("complaints");
  complaints.replaceChildren(...now.complaints.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

function filter() {
  const word = find.value.trim().toLowerCase();
  for (const card of cards.values()) card.hidden = Boolean(word) && !card.dataset.name.toLowerCase().includes(word);
  find.closest(".finder").hidden = cards.size < 9 && !word;
  document.getElementById("active-empty").hidden = !known || places.active.children.length > 0;
  document.getElementById("over-section").hidden = places.over.children.length === 0;
}

for (const card of cards.values()) seen.observe(card);
find.addEventListener("input", filter);
answer(document.getElementById("main"));
filter();
listen(tell);
