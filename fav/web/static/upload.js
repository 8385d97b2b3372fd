// A file goes to the server in pieces. The server knows how far it is, so it goes on after whatever broke it off.
import { post, send } from "./page.js";

const PATIENCE = 8; // tries of one piece
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Send a file; its key. `moved` is told the share that is sent. An Error where it is refused. */
export async function upload(file, moved = () => {}, signal = undefined) {
  const about = { name: file.name, size: file.size, changed: Math.round(file.lastModified || 0) };
  const query = new URLSearchParams(about);
  let { offset, chunk } = await post("/uploads", about, { signal });
  for (let tries = 0; ; ) {
    moved(offset / file.size);
    try {
      const end = Math.min(offset + chunk, file.size);
      const told = await send("PUT", `/uploads?${query}&offset=${offset}`, file.slice(offset, end), { signal });
      offset = told.offset;
      tries = 0;
      if (told.key) return told.key;
    } catch (error) {
      if (error.status === 409 && error.fields.offset !== undefined) offset = error.fields.offset;
      else if (error.status && error.status < 500) throw error;
      if (error.name === "AbortError" || ++tries > PATIENCE) throw error;
      await pause(Math.min(500 * 2 ** tries, 15000));
    }
  }
}
