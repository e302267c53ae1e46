  let way = "", writing = null;
  const ways = (found) => {
    way = found || "";
    if (writing) writing.abort();
    const words = {
      generate: ["How the text begins", "Write", "To be, or"], fill: ["A text with [MASK] or ___ where a word is missing", "Fill the gaps", "The [MASK] sat on the mat."],
      translate: ["A text to translate", "Translate", ""],
    }[way] || ["A text", "Ask the model", ""];
    at("asked").textContent = words[0];
    at("go").textContent = words[1];
    at("words").placeholder = words[2];
    at("words").required = way !== "generate";
    at("how").hidden = !way || way === "fill";
    at("long").hidden = at("warm").hidden = way !== "generate";
    at("wide").hidden = way !== "translate";
    if (way && way !== "fill") limits(model.name);
  };
  const limits = async (name) => {
    try {
      const facts = await (await fetch(`models/${encodeURIComponent(name)}/model`)).json();
      if (name !== model.name) return;
      at("length").max = facts.limits.tokens;
      at("length").value = Math.min(at("length").value || 128, facts.limits.tokens);
      at("beams").max = facts.limits.beams;
    } catch { /* the server refuses what is too much, and says so */ }
  };
  const events = async function* (reply) {
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      held += value;
      for (let end = held.indexOf("\n\n"); end >= 0; end = held.indexOf("\n\n")) {
        const lines = held.slice(0, end).split("\n");
        held = held.slice(end + 2);
        yield [lines[0].slice(7), JSON.parse(lines[1].slice(6))];
      }
    }
  };
  const facts = (data, more) => {
    at("facts").textContent = [...more, `${Math.round(data.milliseconds).toLocaleString("en")} ms`].join(", ");
  };
  const write = async () => {
    if (writing) writing.abort();
    const mine = writing = new AbortController(), name = encodeURIComponent(model.name), text = at("words").value;
    const number = (id) => at(id).value === "" ? undefined : Number(at(id).value);
    const body = {
      generate: () => ({ prompt: text, length: number("length"), temperature: number("temperature"), seed: Math.floor(Math.random() * 2 ** 31), stream: true }),
      fill: () => ({ text, top: 6 }), translate: () => ({ text, beams: number("beams") }),
    }[way]();
    const told = at("told");
    at("answer").hidden = at("near").hidden = at("wrong").hidden = true;
    at("busy").hidden = at("stop").hidden = false;
    at("facts").textContent = "";
    at("gaps").replaceChildren();
    try {
      const reply = await fetch(`models/${name}/${way}`, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal: mine.signal });
      if (!reply.ok) {
        let said;
        try { said = (await reply.json()).error; } catch { said = ""; }
        fail(said || `the server answered ${reply.status}`);
        return;
      }
      told.replaceChildren();
      at("wrote").hidden = false;
      if (way === "generate") {
        told.append(make("span", text, "given"));
        told.classList.add("writing");
        for await (const [kind, data] of events(reply)) {
          if (kind === "text") told.append(data.text);
          else if (kind === "error") { at("problem").textContent = data.error; at("wrong").hidden = false; }
          else {
            const [one] = data.records, rate = Math.round(1000 * one.tokens / Math.max(1, data.milliseconds));
            facts(data, [`${one.tokens} tokens`, one.ended ? "came to its end" : "as long as it may be", `${rate} tokens a second`]);
          }
        }
      } else if (way === "fill") filled(await reply.json());
      else {
        const data = await reply.json(), [one] = data.records;
        told.textContent = one.translation;
        facts(data, [`log-probability a token ${one.score.toFixed(2)}`, ...(one.ended ? [] : ["as long as it may be"])]);
      }
    } catch (error) {
      if (error.name === "AbortError") at("facts").textContent = "stopped";
      else fail("The server cannot be reached.");
    } finally {
      if (mine === writing) {
        writing = null;
        at("busy").hidden = at("stop").hidden = true;
        told.classList.remove("writing");
      }
    }
  };
  const filled = (data) => {
    const [one] = data.records, told = at("told");
    const parts = one.text.split(/\[MASK\]|_{3,}|…_+…/);
    if (parts.length === one.gaps.length + 1) parts.forEach((part, place) => {
      told.append(part);
      if (place < one.gaps.length) told.append(make("mark", one.gaps[place][0].word));
    });
    else told.textContent = one.filled;
    one.gaps.forEach((gap, place) => {
      const bars = make("ol", undefined, "bars");
      for (const word of gap) {
        const row = make("li"), bar = make("i");
        bar.style.setProperty("--p", word.probability);
        row.append(make("b", word.word || "␣"), make("span", percent(word.probability), "p"), bar);
        bars.append(row);
      }
      if (one.gaps.length > 1) at("gaps").append(make("p", `Gap ${place + 1}`, "gap"));
      else bars.style.marginTop = "18px";
      at("gaps").append(bars);
    });
    facts(data, []);
  };
  at("stop").addEventListener("click", () => { if (writing) writing.abort(); });
