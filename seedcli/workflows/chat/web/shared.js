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

// Pictures among what is dropped on, or pasted into, the page while this tab of it is looked at; `zoneOf`
// tells the element that they are for by the one that they fall on.
function takeDropped(zoneOf, use) {
  let over = null;
  const mark = (zone) => {
    over?.classList.remove("over");
    zone?.classList.add("over");
    over = zone;
  };
  const hear = (kind, carried, then) =>
    document.addEventListener(kind, (event) => {
      if (!element.checkVisibility() || !event[carried]?.types.includes("Files")) return;
      event.preventDefault();
      then(zoneOf(event.target), [...event[carried].files]);
    });
  hear("dragover", "dataTransfer", mark);
  hear("drop", "dataTransfer", (zone, files) => {
    mark(null);
    use(files, zone);
  });
  hear("paste", "clipboardData", (zone, files) => use(files, zone));
  document.addEventListener("dragleave", (event) => event.relatedTarget || mark(null));
}
