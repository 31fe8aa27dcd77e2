// A click on a kernel shows its nodes in both graphs; one on a node, its kernels.
const lit = (element) => element.dataset.o.split(" ").filter(Boolean);
function show(places, scroll) {
  for (const element of document.querySelectorAll("[data-o]")) {
    element.classList.toggle("lit", lit(element).some((place) => places.has(place)));
  }
  for (const pane of scroll ? document.querySelectorAll(".pane") : []) {
    const first = pane.querySelector("g.lit");
    if (first) first.scrollIntoView({ block: "center", inline: "center" });
  }
}
for (const element of document.querySelectorAll("[data-o]")) {
  element.addEventListener("click", () => show(new Set(lit(element)), element.classList.contains("kernel")));
}
// A graph that is wider than its pane begins with its first node.
for (const pane of document.querySelectorAll(".pane")) {
  const first = pane.querySelector("g[data-o]");
  if (first) {
    const [node, place] = [first.getBoundingClientRect(), pane.getBoundingClientRect()];
    pane.scrollLeft += node.left + node.width / 2 - place.left - place.width / 2;
  }
}
