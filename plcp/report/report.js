// Filters, tabs and the tooltip. Without it the page still shows every chart and every table.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function press(bar, button) {
  all("button", bar).forEach((b) => b.setAttribute("aria-pressed", b === button));
}

const gallery = document.querySelector("#products .bar");
if (gallery) {
  const search = gallery.querySelector("input");
  let stage = "";
  const show = () => {
    const wanted = search.value.trim().toLowerCase();
    all("#products .card").forEach((card) => {
      card.hidden = (stage && card.dataset.stage !== stage) || !card.dataset.name.includes(wanted);
    });
  };
  all("button", gallery).forEach((button) => button.addEventListener("click", () => {
    stage = button.dataset.stage;
    press(gallery, button);
    show();
  }));
  search.addEventListener("input", show);
}

const tabs = document.querySelector("#decisions .bar");
if (tabs) {
  const open = (button) => {
    press(tabs, button);
    all("#decisions .pane").forEach((pane) => { pane.hidden = pane.dataset.kind !== button.dataset.kind; });
  };
  all("button", tabs).forEach((button) => button.addEventListener("click", () => open(button)));
  open(tabs.querySelector("button"));
}

const tip = document.getElementById("tip");
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

function describe(svg, week) {
  const { first, start, past, ahead } = svg.dataset;
  const day = new Date(`${first}T00:00Z`);
  day.setUTCDate(day.getUTCDate() + 7 * week);
  const lines = [`week of ${day.toISOString().slice(0, 10)}`];
  const sold = past.split(",")[week];
  if (past && sold) lines.push(`${number.format(sold)} sold`);
  const forecast = ahead.split(";")[week - start];
  if (week >= start && forecast) {
    const [mean, low, middle, high] = forecast.split(",").map(Number);
    lines.push(`${number.format(mean)} expected`);
    if (high !== undefined) lines.push(`${number.format(middle)} in the middle case`, `${number.format(low)} to ${number.format(high)} in 8 cases of 10`);
  }
  return lines.length > 1 ? lines.join("\n") : "";
}

all("svg[data-first]").forEach((svg) => {
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    const text = describe(svg, Math.round((x - svg.dataset.left) / svg.dataset.step));
    tip.textContent = text;
    tip.style.opacity = text ? 1 : 0;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  });
  svg.addEventListener("pointerleave", () => { tip.style.opacity = 0; });
});
