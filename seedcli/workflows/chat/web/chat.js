const find = (name) => element.querySelector(name);
const input = find(".input"), files = find(".files"), attached = find(".attached");
const send = find(".send"), stop = find(".stop"), draw = find(".draw input");
const forget = find(".forget"), transcript = find(".transcript");
let pictures = [];
let busy = false;
let givenBack = null;

function fit() {
  input.style.height = "auto";
  input.style.height = `${Math.min(input.scrollHeight, 180)}px`;
}

function showPictures() {
  attached.replaceChildren(
    ...pictures.map((picture, place) => {
      const item = document.createElement("li");
      const image = document.createElement("img");
      image.src = picture.url;
      image.alt = picture.name;
      const leave = document.createElement("button");
      leave.type = "button";
      leave.textContent = "×";
      leave.setAttribute("aria-label", `Leave out ${picture.name}`);
      leave.addEventListener("click", () => {
        pictures.splice(place, 1);
        showPictures();
        input.focus({ preventScroll: true });
      });
      item.append(image, leave);
      return item;
    }),
  );
}

async function attach(chosen) {
  const refused = [];
  for (const file of chosen) {
    const picture = await take(file);
    if (picture) pictures.push(picture);
    else refused.push(status.textContent);
  }
  if (refused.length) say(refused.join(" "));
  showPictures();
  input.focus({ preventScroll: true });
}

function submit() {
  const words = input.value;
  if (busy || !(words.trim() || pictures.length)) return;
  act({ do: "say", words, pictures: pictures.map((each) => each.path), draw: draw.checked });
  input.value = "";
  draw.checked = false;
  pictures = [];
  showPictures();
  fit();
}

send.addEventListener("click", submit);
stop.addEventListener("click", () => act({ do: "stop" }));
input.addEventListener("input", fit);
input.addEventListener("keydown", (event) => {
  // while a word is composed, as in Japanese, Enter ends the word
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});
find(".attach").addEventListener("click", () => files.click());
files.addEventListener("change", () => {
  const chosen = [...files.files];
  files.value = "";
  attach(chosen);
});
takeDropped(() => element, attach);
forget.addEventListener("click", () => {
  if (confirm("Forget all that was said in this tab? The transcript keeps it, if you download it first.")) {
    act({ do: "forget" });
    input.focus({ preventScroll: true });
  }
});

function copy(button) {
  const said = button.closest(".said");
  const words = [...said.querySelectorAll(".words")].map((each) => each.textContent).join("\n");
  navigator.clipboard.writeText(words).then(
    () => say("Copied."),
    () => say("This browser does not let the page copy; select the words instead."),
  );
}

function edit(said, open) {
  const form = said.querySelector("form.edit"), area = form.querySelector("textarea");
  form.hidden = !open;
  said.querySelector(".parts").hidden = open;
  said.querySelector(".buttons").hidden = open;
  area.value = area.defaultValue;
  (open ? area : said.querySelector('[data-do="edit"]')).focus();
  if (open) form.scrollIntoView({ block: "nearest" });
}

function sendEdited(form) {
  const words = form.querySelector("textarea").value;
  edit(form.closest(".said"), false);
  act({ do: "edit", turn: Number(form.dataset.turn), words, draw: draw.checked });
  input.focus({ preventScroll: true });
}

// The conversation is another component of the page.
const log = () => document.querySelector("#conversation");
document.addEventListener("click", (event) => {
  const button = event.target.closest("#conversation [data-do]");
  if (!button) return;
  const turn = Number(button.dataset.turn);
  switch (button.dataset.do) {
    case "copy": return copy(button);
    case "edit": return edit(button.closest(".said"), true);
    case "cancel": return edit(button.closest(".said"), false);
    case "again": return act({ do: "again", turn, draw: draw.checked });
    case "undo": return act({ do: "undo" });
    case "example": return act({ do: "example", number: Number(button.dataset.number) });
  }
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("#conversation form.edit")) return;
  event.preventDefault();
  sendEdited(event.target);
});
document.addEventListener("keydown", (event) => {
  const form = event.target.closest?.("#conversation form.edit");
  if (!form) return;
  if (event.key === "Escape") edit(form.closest(".said"), false);
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    sendEdited(form);
  }
});

// The newest words stay in sight, unless the person has scrolled up to read others.
let follows = true;
function follow() {
  const scroller = log()?.querySelector(".log");
  if (!scroller) return;
  if (!scroller.dataset.watched) {
    scroller.dataset.watched = "yes";
    scroller.addEventListener("scroll", () => {
      follows = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
    });
    scroller.addEventListener("load", () => follows && scroller.scrollTo(0, scroller.scrollHeight), true);
  }
  if (follows) scroller.scrollTo(0, scroller.scrollHeight);
}
new MutationObserver(follow).observe(document.body, { childList: true, subtree: true, characterData: true });

// Pictures and longer words take their room from the messages: all of the page stays in sight.
const header = document.querySelector("#header");
const room = new ResizeObserver(() => {
  document.body.style.setProperty("--beside", `${header.offsetHeight + element.offsetHeight}px`);
  follow();
});
room.observe(header);
room.observe(element);
document.addEventListener("click", (event) => {
  const advanced = event.target.closest("#advanced > button");
  if (advanced) setTimeout(() => advanced.parentElement.scrollIntoView({ block: "nearest" }));
});

watch("value", () => {
  const now = JSON.parse(props.value);
  if (!("busy" in now)) return; // what was sent, not what is shown
  busy = now.busy;
  count(busy);
  say(now.status);
  send.hidden = busy;
  stop.hidden = !busy;
  forget.hidden = busy || !now.said;
  transcript.hidden = busy || !now.transcript;
  if (now.transcript) transcript.href = now.transcript;
  draw.disabled = !now.constrained;
  if (now.back && now.back.number !== givenBack && !busy) {
    givenBack = now.back.number;
    if (!input.value.trim()) {
      input.value = now.back.words;
      pictures = now.back.pictures;
      draw.checked = now.back.draw;
      showPictures();
      fit();
    }
  }
});

setTimeout(() => {
  act({ do: "open" });
  if (matchMedia("(pointer: fine)").matches) input.focus({ preventScroll: true });
});
