// Keeps the parts of a page that are marked data-live as the server sees them now: every second, or as many seconds as
// the first one says. Node by node: what stays keeps its focus, its place, what is chosen, typed and opened in it.
const parts = [...document.querySelectorAll("[data-live]")];
const parser = new DOMParser();

// What a node is known by among its brothers, wherever it stands: a row by its heading, a form by what it does.
function keyOf(node) {
  const heading = [...node.children].find((child) => child.matches("th[scope=row], h2, h3"));
  const named = heading?.querySelector("a")?.getAttribute("href") ?? heading?.textContent;
  return `${node.nodeName} ${node.id || node.dataset.key || node.getAttribute("action") || named || ""}`;
}

function isAsked(node) { return node.matches("form") && node.querySelector("button[data-asked]") !== null; }

function takeAttributes(old, fresh) {
  const here = old === document.activeElement;
  const isOwn = (name) => name === "open" && old.matches("details") || name === "tabindex" && here;  // of whoever looks
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !isOwn(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value && !isOwn(name)) old.setAttribute(name, value);
}

// The children of before that there are now, too, by their keys; the others go.
function kept(old, fresh) {
  const wanted = new Map(), found = new Map();
  for (const child of fresh.children) wanted.set(keyOf(child), (wanted.get(keyOf(child)) ?? 0) + 1);
  for (const child of [...old.children]) {
    const key = keyOf(child), count = wanted.get(key) ?? 0;
    if (!count) { child.remove(); continue; }
    wanted.set(key, count - 1);
    found.set(key, [...(found.get(key) ?? []), child]);
  }
  return found;
}

function become(old, fresh) {
  // A form under a pointer or with the focus stays as it is: what it sends is what somebody has read.
  if (isAsked(old) || old.matches("form:hover, form:focus-within")) return;
  takeAttributes(old, fresh);
  const before = kept(old, fresh);
  let place = old.firstChild;
  const drop = () => { const gone = place; place = place.nextSibling; gone.remove(); };
  for (const child of [...fresh.childNodes]) {
    if (child.nodeType !== Node.ELEMENT_NODE) {
      if (place?.nodeType !== child.nodeType) { old.insertBefore(child, place); continue; }
      if (place.data !== child.data) place.data = child.data;
      place = place.nextSibling;
      continue;
    }
    while (place && place.nodeType !== Node.ELEMENT_NODE) drop();
    const same = before.get(keyOf(child))?.shift();
    if (!same) { old.insertBefore(child, place); continue; }
    if (same === place) place = place.nextSibling;
    else old.insertBefore(same, place);
    become(same, child);
  }
  while (place) drop();
}

// Where somebody was stays where they are; what is gone from under them leaves them at what it was part of.
function keepingFocus(work) {
  const active = document.activeElement, around = [];
  for (let node = active; node; node = node.parentElement) around.push(node);
  work();
  if (document.activeElement === active) return;
  const left = around.find((node) => node.isConnected);
  if (!left || left === document.body) return;
  if (left !== active) left.tabIndex = -1;
  left.focus({ preventScroll: true });
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const page = parser.parseFromString(await answer.text(), "text/html"), fresh = page.querySelectorAll("[data-live]");
    if (!answer.ok) return;
    if (fresh.length !== parts.length) return location.reload();  // another page stands here now
    keepingFocus(() => parts.forEach((part, place) => become(part, fresh[place])));
    document.title = page.title;
  } catch { /* the server is away for a moment */ }
}
async function goOn() {
  if (!document.hidden) await refresh();
  setTimeout(goOn, 1000 * (parts[0].dataset.live || 1));
}
if (parts.length) setTimeout(goOn, 1000 * (parts[0].dataset.live || 1));
document.addEventListener("visibilitychange", () => { if (parts.length && !document.hidden) refresh(); });

// An answer may take a while: say that it is coming, and ask only once.
document.addEventListener("submit", (event) => {
  const button = event.submitter ?? event.target.querySelector("button");
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

// Where the pages stand in one line, the one that is shown is in sight.
const here = document.querySelector("nav [aria-current]");
if (here) here.parentElement.scrollLeft = here.offsetLeft - 80;
