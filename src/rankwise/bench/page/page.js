// SPDX-License-Identifier: Apache-2.0
// Makes the page's table one to choose from and to sort, and keeps the plot beside it.
//
// What is shown is in the address after "#" and nowhere else: a control changes the address, and a changed address is
// rendered. So every link keeps its view, and the back button works.
"use strict";

const AXES = {
  parameters: "trainable parameters",
  step_time: "step time (multiple of LoRA's)",
  memory: "peak memory (multiple of LoRA's)",
  bytes: "adapter on disk (bytes)",
};
const SCORES = ["quality", "retention"];

const { questions, rows } = JSON.parse(document.getElementById("data").textContent);
const table = document.getElementById("results");
const controls = document.getElementById("controls");

/** The distinct values of a list, in the order of their first appearance. */
const distinct = (values) => [...new Set(values)];

/** The budgets that a task has results of. */
const budgets = (task) => distinct(rows.filter((row) => row.task === task).map((row) => row.budget));

/** The question of a task. */
const asked = (task) => questions.find((question) => question.task === task);

/** The value if it is allowed, else the first that is. */
const among = (value, allowed) => (allowed.includes(value) ? value : allowed[0]);

/** The order in which a column's best comes first. */
function natural(column, task) {
  const falling = SCORES.includes(column) ? asked(task).higher_is_better : column === "seeds";
  return falling ? "desc" : "asc";
}

/** What the address asks for; what it leaves out, or asks for and is not there, is the first choice. */
function view() {
  const wish = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const task = among(wish.task, questions.map((question) => question.task).filter((name) => budgets(name).length));
  const budget = among(wish.budget, budgets(task));
  const x = among(wish.x, Object.keys(AXES));
  const columns = [...table.querySelectorAll("thead th")].map((th) => th.dataset.column);
  const sort = columns.includes(wish.sort) ? wish.sort : "quality";
  const order = ["asc", "desc"].includes(wish.order) ? wish.order : natural(sort, task);
  return { task, budget, x, sort, order };
}

/** Go to a view that differs in some respects; a sorted column keeps its best first, or last, on the other task. */
function go(changes) {
  const now = view();
  const next = { ...now, ...changes };
  if (!changes.order && now.order === natural(now.sort, now.task)) next.order = natural(next.sort, next.task);
  else if (!changes.order) next.order = natural(next.sort, next.task) === "asc" ? "desc" : "asc";
  location.hash = new URLSearchParams(next).toString();
}

/** Rows in order: numbers first, then rows where the column is empty, then rows with a reason instead of a number. */
function sorted(list, { sort, order, task }) {
  const sign = order === "asc" ? 1 : -1;
  const goodness = asked(task).higher_is_better ? -1 : 1;
  const last = (row) => (row.reason ? 2 : row[sort] === null ? 1 : 0);
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en") : a - b);
  return list.toSorted(
    (a, b) =>
      last(a) - last(b) ||
      (last(a) ? 0 : sign * compare(a[sort], b[sort])) ||
      goodness * (a.quality - b.quality) ||
      compare(a.method, b.method),
  );
}

/** Fill a select with pairs of value and text. */
function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === chosen)));
}

/** Show the view in the controls and in the line below them. */
function renderControls({ task, budget, x }) {
  const tasks = questions.filter((question) => budgets(question.task).length);
  const size = (name) => rows.find((row) => row.task === task && row.budget === name).budget_parameters;
  const word = (name) => `${name} (${size(name).toLocaleString("en")} parameters)`;
  fill(controls.elements.task, tasks.map((question) => [question.task, question.task]), task);
  fill(controls.elements.budget, budgets(task).map((name) => [name, word(name)]), budget);
  fill(controls.elements.x, Object.entries(AXES), x);
  const { description, retention } = asked(task);
  document.getElementById("question").textContent = `${description} Retention: ${retention}.`;
}

/** Leave only the view's rows in the table, in its order, and say the order in the headers. */
function renderTable({ sort, order }, shown) {
  table.classList.add("chosen");
  table.tBodies[0].replaceChildren(...shown.map((row) => row.line));
  for (const th of table.querySelectorAll("thead th")) {
    if (th.dataset.column !== sort) th.removeAttribute("aria-sort");
    else th.setAttribute("aria-sort", order === "asc" ? "ascending" : "descending");
  }
}

/** Mark a row in plot and table and read it out below the plot; without a row, unmark all. */
function mark(row) {
  for (const element of document.querySelectorAll(".active")) element.classList.remove("active");
  if (!row) return;
  row.line.classList.add("active");
  row.marker?.classList.add("active");
  const silent = ["task", "budget", "settings"];
  const cells = [...row.line.querySelectorAll("td")].filter((cell) => !silent.includes(cell.dataset.column));
  const title = (cell) => table.querySelector(`thead [data-column=${cell.dataset.column}]`)?.textContent.toLowerCase();
  const words = cells.map((cell) => `${title(cell) ?? ""} ${cell.textContent}`.trim());
  document.getElementById("reading").textContent = `${row.method}: ${words.join(", ")}`;
}

/** Show what the address asks for. */
function render() {
  const now = view();
  const shown = sorted(rows.filter((row) => row.task === now.task && row.budget === now.budget), now);
  renderControls(now);
  renderTable(now, shown);
  document.getElementById("reading").textContent = "";
  for (const row of rows) row.marker = null;
  drawPlot(shown, now.x, AXES[now.x], asked(now.task));
  mark(null);
}

/** Turn a header into a button that sorts by its column, and the other way round when it already does. */
function makeSortable(th) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...th.childNodes);
  button.addEventListener("click", () => {
    const { sort, order, task } = view();
    const column = th.dataset.column;
    go({ sort: column, order: sort !== column ? natural(column, task) : order === "asc" ? "desc" : "asc" });
  });
  th.append(button);
}

/** Read out the row whose mark or line the keyboard, or a pointer that is itself moving and not the page, is on. */
function listen() {
  const byLine = (event) => rows.find((row) => row.line === event.target.closest("tr"));
  const byMarker = (event) => rows.find((row) => row.marker && row.marker === event.target.closest(".marker"));
  table.tBodies[0].addEventListener("pointermove", (event) => mark(byLine(event)));
  table.addEventListener("pointerleave", () => mark(null));
  const plot = document.getElementById("plot");
  for (const kind of ["pointermove", "focusin"]) plot.addEventListener(kind, (event) => mark(byMarker(event)));
}

function start() {
  for (const line of table.querySelectorAll("tbody tr")) rows[line.dataset.row].line = line;
  for (const id of ["controls", "question", "plot"]) document.getElementById(id).hidden = false;
  table.querySelectorAll("thead th").forEach(makeSortable);
  controls.addEventListener("change", (event) => go({ [event.target.name]: event.target.value }));
  addEventListener("hashchange", render);
  addEventListener("resize", () => plotFits() || render());
  listen();
  render();
}

if (table) start();
