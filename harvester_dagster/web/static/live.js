// Keeps the part of a page that is marked data-live as the server sees it now.
const part = document.querySelector("[data-live]");
if (part) {
  const parser = new DOMParser();
  setInterval(async () => {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      const fresh = parser.parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
      if (fresh) part.replaceChildren(...fresh.childNodes);
    } catch { /* the server is away for a moment */ }
  }, 1000);
}
