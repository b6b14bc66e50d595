// All tiles in a table: only the rows in sight exist, so fifty thousand scroll like fifty.
const ROW_PX = 30, PAPER_ROWS = 40;
const FIRST_COLUMNS = ["category", "split", "gain_db", "psnr_db", "bicubic_psnr_db", "ssim", "detail", "hallucination", "lr_consistency", "bicubic_lr_consistency", "uncertainty", "valid_fraction"];

function startTable() {
  const frame = $("table-frame"), table = $("table"), [head, body] = [table.tHead, table.tBodies[0]];
  let columns = FIRST_COLUMNS.filter((n) => COLUMNS.has(n));
  const sort = { name: COLUMNS.has("gain_db") ? "gain_db" : "tile", down: false };
  let order = new Int32Array(0);

  // Sorted once for each column: to filter is then only to leave out.
  const orders = new Map();
  function orderOf(name) {
    if (!orders.has(name)) {
      const column = COLUMNS.get(name), unknown = [], known = [];
      for (let i = 0; i < COUNT; i += 1) (column && (column.names ? !column.values[i] : Number.isNaN(column.values[i])) ? unknown : known).push(i);
      const values = column?.values, by = column ? (a, b) => (values[a] < values[b] ? -1 : values[a] > values[b] ? 1 : a - b) : (a, b) => ROW[a] - ROW[b] || COL[a] - COL[b];
      orders.set(name, [Int32Array.from(known).sort(by), unknown]);
    }
    return orders.get(name);
  }
  /** Unknown comes last, whichever way. */
  function arrange() {
    const [known, unknown] = orderOf(sort.name), last = known.length - 1;
    order = new Int32Array(keptCount);
    let k = 0;
    const take = (i) => { if (kept[i]) { order[k] = i; k += 1; } };
    for (let at = 0; at <= last; at += 1) take(known[sort.down ? last - at : at]);
    unknown.forEach(take);
  }
  function drawHead() {
    const line = make("tr", null, { "aria-rowindex": 1 });
    for (const name of ["tile", ...columns]) {
      const sorts = sort.name === name, cell = make("th", null, { scope: "col", "aria-sort": sorts ? (sort.down ? "descending" : "ascending") : "none" });
      const button = make("button", name === "tile" ? "tile" : titleOf(name), { type: "button" });
      button.append(make("span", sorts ? (sort.down ? " ▼" : " ▲") : "", { "aria-hidden": "true" }));
      button.addEventListener("click", () => {
        sort.down = sorts && !sort.down;
        sort.name = name;
        renew();
        [...head.querySelectorAll("button")][["tile", ...columns].indexOf(name)].focus();
      });
      cell.append(button);
      line.append(cell);
    }
    head.replaceChildren(line);
  }
  function drawRows() {
    const room = Math.ceil(frame.clientHeight / ROW_PX) + 2;
    const first = onPaper ? 0 : Math.max(0, Math.min(order.length - room, Math.floor(frame.scrollTop / ROW_PX)));
    const last = Math.min(order.length, first + (onPaper ? PAPER_ROWS : room));
    const lines = [space(first)];
    for (let k = first; k < last; k += 1) lines.push(lineOf(order[k], k));
    lines.push(space(onPaper ? 0 : order.length - last));
    body.replaceChildren(...lines);
    table.setAttribute("aria-rowcount", order.length + 1);
  }
  function space(rows) {
    const line = make("tr", null, { "aria-hidden": "true", class: "space" });
    line.style.height = `${rows * ROW_PX}px`;
    return line;
  }
  function lineOf(i, k) {
    const line = make("tr", null, { "aria-rowindex": k + 2 });
    line.dataset.at = i;
    if (i === state.chosen) { line.className = "chosen"; line.setAttribute("aria-current", "true"); }
    line.append(make("th", nameOf(i), { scope: "row" }));
    for (const name of columns) {
      const value = valueOf(name, i), cell = make("td", writeScore(name, value, false));
      if (COLUMNS.get(name).names) { cell.className = "name"; cell.title = value ?? ""; }
      else if (scoreOf(name).zero && value < 0) cell.className = "minus";
      line.append(cell);
    }
    return line;
  }
  function renew() {
    arrange();
    drawHead();
    drawRows();
    $("counted").textContent = filtered() ? `${keptCount.toLocaleString("en")} of ${counted(COUNT)}` : counted(COUNT);
    $("table-paper").textContent = order.length > PAPER_ROWS ? `The first ${PAPER_ROWS} of ${counted(order.length)}; all are in tiles.parquet.` : "";
    showClear();
  }
  function showClear() {
    const { range } = filter, sign = range && scoreOf(range.name).zero;
    $("clear").hidden = !filtered();
    const part = range && [Number.isFinite(range.low) && `from ${fixed(range.low, 3, sign)}`, Number.isFinite(range.high) && `below ${fixed(range.high, 3, sign)}`].filter(Boolean).join(" ");
    $("clear").textContent = range ? `Show all again (now ${scoreOf(range.name).label} ${part})` : "Show all again";
  }
  function reveal(k) {
    const top = k * ROW_PX, room = frame.clientHeight - head.offsetHeight - ROW_PX;
    if (top < frame.scrollTop) frame.scrollTop = top;
    else if (top > frame.scrollTop + room) frame.scrollTop = top - room;
  }

  frame.addEventListener("scroll", onceAFrame(drawRows));
  frame.addEventListener("keydown", (event) => {
    if (event.target !== frame) return;
    const page = Math.max(1, Math.floor(frame.clientHeight / ROW_PX) - 2), at = order.indexOf(state.chosen);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: order.length - 1 }[event.key];
    if (to === undefined || !order.length) return;
    event.preventDefault();
    const k = Math.min(order.length - 1, Math.max(0, to));
    reveal(k);
    choose(order[k]);
  });
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr[data-at]");
    if (line) choose(Number(line.dataset.at));
  });

  listChoices();
  $("find").addEventListener("input", onceAFrame(() => setFilter({ text: $("find").value })));
  $("losers").addEventListener("change", () => setFilter({ losers: $("losers").checked }));
  $("losers").parentElement.hidden = !COLUMNS.has("gain_db");
  $("clear").addEventListener("click", () => {
    $("find").value = "";
    $("losers").checked = false;
    for (const select of $("choices").querySelectorAll("select")) select.value = "";
    setFilter({ text: "", names: {}, losers: false, range: null });
    $("find").focus();
  });
  for (const name of COLUMNS.keys()) {
    const label = make("label", ` ${titleOf(name)}`), box = make("input", null, { type: "checkbox", value: name });
    box.checked = columns.includes(name);
    box.addEventListener("change", () => {
      columns = [...COLUMNS.keys()].filter((n) => $("picks").querySelector(`input[value="${CSS.escape(n)}"]`).checked);
      columns.sort((a, b) => (FIRST_COLUMNS.indexOf(a) + 99) % 99 - (FIRST_COLUMNS.indexOf(b) + 99) % 99);
      renew();
    });
    label.prepend(box);
    $("picks").append(label);
  }
  on("filter", () => { frame.scrollTop = 0; renew(); });
  on("chosen", drawRows);
  on("paper", drawRows);
  new ResizeObserver(onceAFrame(drawRows)).observe(frame);
  renew();
}

/** A choice for each column of a few names. */
function listChoices() {
  for (const name of NAMED) {
    const { names } = COLUMNS.get(name);
    if (names.length < 2 || names.length > 40) continue;
    const label = make("label", `${scoreOf(name).label} `), select = make("select", null, { "data-of": name });
    select.append(make("option", "all", { value: "" }), ...names.map((n, k) => make("option", n, { value: String(k + 1) })));
    select.addEventListener("change", () => {
      const chosen = { ...filter.names };
      delete chosen[name];
      if (select.value) chosen[name] = names[Number(select.value) - 1];
      setFilter({ names: chosen });
    });
    label.append(select);
    $("choices").append(label);
  }
}
