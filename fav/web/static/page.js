// What all pages share: requests with the page's own token, words for the reader, and the stream of changes.
const csrf = document.querySelector("meta[name=csrf]").content;
const toast = document.getElementById("toast");
let timer;

/** Tell something, to eyes and to screen readers. */
export function say(words, bad = false) {
  toast.textContent = words;
  toast.classList.toggle("bad", bad);
  toast.classList.add("shown");
  clearTimeout(timer);
  timer = setTimeout(() => toast.classList.remove("shown"), bad ? 12000 : 5000);
}

/** Send a request; the answer's JSON. An Error in words that a user reads, with `status` and `fields`, where it is refused. */
export async function send(method, address, body, options = {}) {
  const headers = { "X-Fav-CSRF": csrf, Accept: "application/json" };
  if (body !== undefined && !(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(address, { method, headers, body, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw Object.assign(new Error("the server does not answer; is fav web still running?"), { status: 0, fields: {} });
  }
  return await read(answer);
}

async function read(answer) {
  const json = (answer.headers.get("Content-Type") || "").includes("json");
  const fields = json ? await answer.json() : { error: (await answer.text()).slice(0, 500) };
  if (!answer.ok) throw Object.assign(new Error(fields.error || answer.statusText), { status: answer.status, fields });
  return fields;
}

export const get = (address, options) => send("GET", address, undefined, options);
export const post = (address, body = {}, options) => send("POST", address, body, options);

/** A picture as a bitmap, with the headers of its answer. */
export async function bitmap(address, options = {}) {
  const answer = await fetch(address, { headers: { Accept: "image/jpeg" }, ...options });
  if (!answer.ok) await read(answer);
  const blob = await answer.blob();
  return { image: await createImageBitmap(blob), blob, headers: answer.headers };
}

/** Call `heard` with each event: `{whole, cards, gone, trouble, read}`. A page that nobody sees does not listen: browsers allow
 *  few connections to one server, for all tabs together. */
export function listen(heard) {
  const trouble = document.getElementById("trouble");
  let source = null, quiet;
  const tell = (words) => {
    if (trouble.textContent !== words) trouble.textContent = words;
    trouble.hidden = !words;
  };
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource("/events");
    source.onmessage = (event) => {
      clearTimeout(quiet);
      const told = JSON.parse(event.data);
      tell(told.trouble ? `The shared directory cannot be read just now: ${told.trouble}` : "");
      heard(told);
    };
    source.onerror = () => {
      clearTimeout(quiet);
      quiet = setTimeout(() => tell("The server does not answer. The page goes on by itself when it does."), 4000);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => { close(); open(); }, 5000);
    };
  };
  const close = () => {
    clearTimeout(quiet);
    source?.close();
    source = null;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}

/** Ask before something that cannot be undone; whether the user agrees. */
export function ask(question, word) {
  const dialog = document.createElement("dialog");
  const text = Object.assign(document.createElement("p"), { textContent: question, id: "question" });
  const row = Object.assign(document.createElement("div"), { className: "row" });
  const no = Object.assign(document.createElement("button"), { textContent: "No, keep it", type: "button" });
  const yes = Object.assign(document.createElement("button"), { textContent: word, type: "button", className: "danger" });
  dialog.setAttribute("aria-labelledby", "question");
  row.append(no, yes);
  dialog.append(text, row);
  document.body.append(dialog);
  return new Promise((resolve) => {
    no.onclick = () => dialog.close("");
    yes.onclick = () => dialog.close("yes");
    dialog.onclose = () => { resolve(dialog.returnValue === "yes"); dialog.remove(); };
    dialog.showModal();
    no.focus();
  });
}

/** Do what a button of a job says. */
export async function act(name, action, body = {}) {
  if (action === "clean" && !(await ask(`Remove the frames of ${name}? The film stays.`, "Clean up"))) return false;
  if (action === "cancel" && !(await ask(`Cancel ${name}? Its frames stay, and it can be continued.`, "Cancel the film"))) return false;
  try {
    const told = await post(`/jobs/${encodeURIComponent(name)}/${action}`, body);
    say(told.said.join("; ") || "done");
    return true;
  } catch (error) {
    say(error.message, true);
    return false;
  }
}
