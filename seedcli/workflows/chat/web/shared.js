// What both tabs of the page share. `element`, `trigger`, `props`, `server`, `upload` and `watch`
// are what gradio hands to the script of a component.

// A tab of the browser keeps its name when it is loaded anew, and has it alone.
function tabName() {
  let name = sessionStorage.getItem("seed-tab");
  if (!name) {
    name = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    sessionStorage.setItem("seed-tab", name);
  }
  return name;
}

let sent = 0;
function act(action) {
  sent += 1; // two equal actions in a row are two values all the same
  props.value = JSON.stringify({ ...action, tab: tabName(), sent });
  trigger("submit");
}

const status = element.querySelector(".status .text");
const seconds = element.querySelector(".status .seconds");
let since = null;
function say(text) {
  if (status.textContent !== text) status.textContent = text;
}
function count(busy) {
  if (!busy) since = null;
  else if (since === null) since = Date.now();
}
setInterval(() => {
  const passed = since === null ? 0 : Math.floor((Date.now() - since) / 1000);
  seconds.textContent = passed < 1 ? "" : `… ${passed} s`;
}, 250);

// File -> {path, url, name}, or null where it is no picture, which is said then.
async function take(file) {
  say(`Reading ${file.name}`);
  let place;
  try {
    place = await upload(file);
  } catch (error) {
    say(`${file.name} could not be read. Is the terminal with seed chat still open?`);
    return null;
  }
  const reason = await server.check(place.path);
  say(reason || "");
  return reason ? null : { path: place.path, url: place.url, name: file.name };
}

// Pictures among what is dropped on, or pasted into, an element.
function takeDropped(target, use) {
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("over");
  });
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    target.classList.remove("over");
    use([...event.dataTransfer.files]);
  });
  target.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    use(files);
  });
}
