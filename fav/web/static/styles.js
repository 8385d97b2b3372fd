// The gallery: pictures come one after the other, as they are painted.
import { bitmap, get } from "./page.js";

for (const figure of document.querySelectorAll("#gallery figure")) {
  const style = figure.dataset.style, shot = figure.querySelector(".shot"), note = figure.querySelector("p");
  try {
    const got = await bitmap(`/api/style.jpg?${new URLSearchParams(style ? { style } : {})}`);
    const picture = Object.assign(document.createElement("img"), { src: URL.createObjectURL(got.blob), alt: style ? `The frame in the style ${style}` : "The frame itself" });
    shot.replaceChildren(picture);
    if (style) {
      const facts = await get(`/api/style.jpg?${new URLSearchParams({ style, facts: "" })}`);
      note.textContent = facts.style ? `learned from ${facts.style}` : "";
    }
  } catch (error) {
    note ? (note.textContent = error.message) : 0;
  }
  shot.classList.remove("waiting");
}
