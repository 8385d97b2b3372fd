// The page of the nodes.
import { ask, listen, post, say } from "./page.js";
import { text } from "./jobs.js";

const FIELDS = ["host", "words", "tasks", "frames", "rate", "heard", "name", "about"];
const box = document.getElementById("nodes"), template = document.getElementById("node-template");
const cards = new Map([...box.children].map((card) => [card.dataset.key, card]));

listen((told) => {
  if (told.whole && told.read) told.gone = [...cards.keys()].filter((key) => !(key in told.cards));
  for (const key of told.gone) {
    cards.get(key)?.remove();
    cards.delete(key);
  }
  for (const [key, node] of Object.entries(told.cards)) {
    if (node.kind === "now") text(document.getElementById("sum-nodes"), node.nodes);
    if (node.kind !== "node") continue;
    let card = cards.get(key);
    if (!card) {
      card = template.content.firstElementChild.cloneNode(true);
      cards.set(key, card);
      box.append(card);
    }
    card.dataset.key = key;
    card.dataset.name = node.name;
    card.dataset.state = node.state;
    for (const field of FIELDS) text(card.querySelector(`[data-f=${field}]`), node[field]);
    card.querySelector(".acts").hidden = !node.alive;
    card.querySelector("[data-order=drain]").setAttribute("aria-label", `Let ${node.host} finish its frame and leave`);
    card.querySelector("[data-order=stop]").setAttribute("aria-label", `Let ${node.host} leave at once`);
  }
});

box.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-order]");
  if (!button) return;
  const card = button.closest("[data-name]"), host = card.querySelector("[data-f=host]").textContent;
  if (button.dataset.order === "stop" && !(await ask(`Let ${host} leave at once? Its frame is painted again by another machine.`, "Leave at once"))) return;
  try {
    say((await post(`/nodes/${encodeURIComponent(card.dataset.name)}/${button.dataset.order}`)).said.join("; "));
  } catch (error) {
    say(error.message, true);
  }
});
