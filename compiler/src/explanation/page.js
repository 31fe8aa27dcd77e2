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
