// Keeps the parts of a page that are marked data-live as the server sees them now: every second, or as many seconds as
// the first one says. A part in which somebody chooses stays.
const parts = [...document.querySelectorAll("[data-live]")];
const parser = new DOMParser();
function chosenIn(part) {  // a table that was only scrolled is nothing that is chosen; a pressed button is
  const active = document.activeElement;
  return part.querySelector("button[data-asked]") !== null || part.contains(active) && !active.matches(".wide");
}
async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const fresh = parser.parseFromString(await answer.text(), "text/html").querySelectorAll("[data-live]");
    parts.forEach((part, place) => {
      const same = !fresh[place] || part.innerHTML === fresh[place].innerHTML;
      if (fresh[place]) part.dataset.live = fresh[place].dataset.live;
      if (!same && !chosenIn(part)) part.replaceChildren(...fresh[place].childNodes);
    });
  } catch { /* the server is away for a moment */ }
  soon();
}
function soon() { setTimeout(refresh, 1000 * (parts[0].dataset.live || 1)); }
if (parts.length) soon();

// An answer may take a while: say that it is coming, and ask only once.
document.addEventListener("submit", (event) => {
  const button = event.target.querySelector("button");
  if (!button || button.dataset.asked) return;
  button.dataset.asked = button.textContent;
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  said.className = "waits";
  said.textContent = event.target.dataset.waits || "Asking …";
  button.after(said);
  setTimeout(() => { button.disabled = true; });
});
addEventListener("pageshow", () => {  // back from the answer: it may be asked again
  document.querySelectorAll("button[data-asked]").forEach((button) => {
    button.disabled = false;
    delete button.dataset.asked;
  });
  document.querySelectorAll(".waits").forEach((said) => said.remove());
});

// A block that is to be copied gets a button for it where the browser has a clipboard to write to.
document.querySelectorAll("[data-copy]").forEach((block) => {
  if (!navigator.clipboard) return;
  const button = document.createElement("button");
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = "Copied";
  });
  block.after(button);
});
