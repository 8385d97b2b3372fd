// A job's card: the same fields as in templates/cards.html, filled anew when something changes.
import { act } from "./page.js";

const FIELDS = ["words", "frames", "rate", "left", "who"];
const WORDS = { pause: "Pause", resume: "Resume", retry: "Try again", cancel: "Cancel", clean: "Clean up" };

export function fill(card, job) {
  card.dataset.key = `job:${job.name}`;
  card.dataset.name = job.name;
  card.dataset.state = job.state;
  card.dataset.order = job.order;
  card.dataset.priority = job.priority;
  card.dataset.latest = job.latest ?? "";
  for (const link of card.querySelectorAll("[data-href]")) link.href = `/films/${encodeURIComponent(job.name)}`;
  const name = card.querySelector("[data-f=name]");
  if (name) text(name, job.name);
  for (const field of FIELDS) text(card.querySelector(`[data-f=${field}]`), job[field]);
  const bar = card.querySelector("progress");
  bar.value = job.percent;
  bar.setAttribute("aria-label", `Frames done of ${job.name}`);
  const lines = card.querySelector("[data-f=lines]");
  if ([...lines.children].map((line) => line.textContent).join("\n") !== job.lines.join("\n"))
    lines.replaceChildren(...job.lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  for (const button of card.querySelectorAll("[data-act]")) {
    button.setAttribute("aria-label", `${WORDS[button.dataset.act]}: ${job.name}`);
    hide(button, !job.actions.includes(button.dataset.act));
  }
  const priority = card.querySelector(".priority");
  const input = priority.querySelector("input");
  priority.hidden = job.finished || job.state === "cancelled";
  input.setAttribute("aria-label", `Priority of ${job.name}`);
  if (document.activeElement !== input) input.value = job.priority;
}

/** Change a text only where it differs: selections and screen readers stay where they are. */
export function text(element, words) {
  if (element && element.textContent !== words) element.textContent = words;
}

/** Hide a button; who had the focus there gets it at the next one. */
function hide(button, hidden) {
  if (button.hidden === hidden) return;
  const focused = document.activeElement === button;
  button.hidden = hidden;
  if (hidden && focused) (button.parentElement.querySelector("button:not([hidden])") || button.closest("article")?.querySelector("h3 a"))?.focus();
}

export function answer(root) {
  root.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-act]");
    if (!button) return;
    const name = button.closest("[data-name]").dataset.name;
    button.disabled = true;
    await act(name, button.dataset.act);
    button.disabled = false;
  });
  root.addEventListener("change", (event) => {
    const input = event.target.closest(".priority input");
    if (input) act(input.closest("[data-name]").dataset.name, "priority", { priority: Math.round(Number(input.value)) || 0 });
  });
}
