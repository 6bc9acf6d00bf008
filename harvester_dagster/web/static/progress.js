// Follows a run while it goes: what it says comes as Server-Sent Events, as text. When it is over, the part of the page
// that says what came of it is fetched.
const followed = document.querySelector("[data-run]");

function shown(seen) {
  const state = followed.querySelector("[data-state]"), said = followed.querySelector("[data-said]");
  state.textContent = seen.state;
  state.className = seen.over ? `state ${seen.state}` : "state";
  said.replaceChildren(...seen.said.map(([at, text]) => {
    const line = document.createElement("li"), time = document.createElement("time");
    time.textContent = at;
    line.append(time, ` ${text}`);
    return line;
  }));
}

async function cameOfIt() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.querySelector("[data-came]").replaceChildren(...fresh.querySelector("[data-came]").childNodes);
  document.title = fresh.title;
}

if (followed) {
  const events = new EventSource(followed.dataset.run);
  events.addEventListener("progress", (event) => {
    const seen = JSON.parse(event.data);
    shown(seen);
    if (!seen.over) return;
    events.close();
    cameOfIt().catch(() => location.reload());
  });
}
