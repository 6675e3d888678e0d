const files = element.querySelector(".files");
let slot = "first";

async function look(where, chosen) {
  if (!chosen.length) return;
  const picture = await take(chosen[0]);
  if (picture) act({ do: "look", slot: where, path: picture.path });
}

for (const button of element.querySelectorAll(".slot")) {
  button.addEventListener("click", () => {
    slot = button.dataset.slot;
    files.click();
  });
}
takeDropped(
  (target) => target.closest?.("#tokens .slot") ?? element.querySelector(".slot"),
  (chosen, button) => button.disabled || look(button.dataset.slot, chosen),
);
files.addEventListener("change", () => {
  const chosen = [...files.files];
  files.value = "";
  look(slot, chosen);
});

// What is seen of the pictures is another component of the page.
const board = () => document.querySelector("#board");
const on = (selector, event) => event.target.closest?.(`#board ${selector}`);

function place() {
  return board().querySelector(".change .place");
}
document.addEventListener("click", (event) => {
  const tile = on("[data-place]", event);
  const button = on("[data-do]", event);
  if (tile) {
    place().value = Number(tile.dataset.place) + 1;
    const code = board().querySelector(".change .code");
    code.value = tile.dataset.code;
    code.focus({ preventScroll: true });
    code.select();
    showForm();
  } else if (button) {
    const code = board().querySelector(".change .code");
    switch (button.dataset.do) {
      case "other":
        code.value = Math.floor(Math.random() * (Number(code.max) + 1));
        return change();
      case "own": return act({ do: "change", place: 0, code: null });
      case "keep": return act({ do: "keep", number: Number(button.dataset.number) });
      case "example": return act({ do: "example", number: Number(button.dataset.number) });
      case "leave": return act({ do: "leave", slot: button.dataset.slot });
    }
  }
});
// In the middle of the screen, with what it draws beneath.
function showForm() {
  board().querySelector(".change").scrollIntoView({ block: "center" });
}
function change() {
  const form = board().querySelector(".change");
  if (!form.reportValidity()) return;
  showForm();
  act({ do: "change", place: Number(place().value) - 1, code: Number(form.querySelector(".code").value) });
}
document.addEventListener("submit", (event) => {
  if (!on("form.change", event)) return;
  event.preventDefault();
  change();
});
document.addEventListener("input", (event) => {
  const slider = on("input[type=range]", event);
  if (slider) board().querySelector(".keep output").textContent = slider.value;
});
document.addEventListener("change", (event) => {
  const slider = on("input[type=range]", event);
  if (slider) act({ do: "keep", number: Number(slider.value) });
});

watch("value", () => {
  const now = JSON.parse(props.value);
  if (!("busy" in now)) return;
  count(now.busy);
  say(now.status);
  element.classList.toggle("has-first", now.first);
  board()?.classList.toggle("working", now.busy);
  for (const button of element.querySelectorAll(".slot")) {
    button.disabled = now.busy;
    if (button.dataset.slot === "second") button.hidden = !now.first;
  }
});

setTimeout(() => act({ do: "open" }));
