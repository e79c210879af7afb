/* The desk's keys and clocks, in the browser.
 *
 * Every deed goes to the server as one event "desk" that names what the agent was looking at (case, version and the
 * suggestion shown): a key pressed on an old picture must not decide about a new one. Nothing is sent while the
 * connection is gone, since socket.io would keep it and deliver it later, to another picture.
 */
"use strict";
(() => {
  // A press this soon after the machine or the list changed the picture was meant for the one before.
  const SETTLE_MS = 350;
  let shown = "";
  let shownAt = 0;
  let hintTimer = 0;

  const verdict = () => document.getElementById("verdict");
  const search = () => document.getElementById("category-search");
  const connected = () => Boolean(window.socket && window.socket.connected && window.did_handshake);

  function hint(text) {
    const box = document.getElementById("desk-hint");
    if (!box) return;
    box.textContent = text;
    box.dataset.on = text ? "1" : "";
    clearTimeout(hintTimer);
    if (text) hintTimer = setTimeout(() => hint(""), 4000);
  }

  function picture() {
    const panel = verdict();
    return panel
      ? { case: panel.dataset.case || "", version: panel.dataset.version || "", shown: panel.dataset.shown || "" }
      : { case: "", version: "", shown: "" };
  }

  function send(deed, more) {
    if (!connected()) {
      hint("连接已断开，操作未发送");
      return false;
    }
    emitEvent("desk", Object.assign({ deed: deed }, picture(), more || {}));
    return true;
  }

  function decide(deed, more) {
    if (performance.now() - shownAt < SETTLE_MS) {
      hint("内容刚刚更新，请看清后再按一次");
      return;
    }
    // How long the suggestion stood there: Enter at once is a habit, not a judgement.
    send(deed, Object.assign({ looked: (performance.now() - shownAt) / 1000 }, more || {}));
  }

  function act(name) {
    if (name === "confirm") decide("confirm");
    else if (name === "reveal") send("reveal");
    else if (/^[1-5]$/.test(name)) decide("choose", { rank: Number(name) });
    else if (name === "search") search()?.focus();
  }

  function typing(target) {
    return target instanceof Element && target.closest("input, textarea, select, [contenteditable='true']") !== null;
  }

  function searchKey(event) {
    if (event.isComposing || event.keyCode === 229) return; // an input method is choosing characters
    if (event.key === "Escape") {
      event.preventDefault();
      send("search-close");
      event.target.value = "";
      event.target.blur();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      send("search-move", { by: event.key === "ArrowDown" ? 1 : -1 });
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (send("search-pick", { text: event.target.value, looked: (performance.now() - shownAt) / 1000 })) {
        event.target.value = "";
        event.target.blur();
      }
    }
  }

  document.addEventListener("keydown", (event) => {
    if (event.target instanceof Element && event.target.id === "category-search") return searchKey(event);
    if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
    const key = event.key;
    if (key === "Enter") {
      // A button or link that has the focus is what Enter presses, as everywhere else.
      if (event.target instanceof Element && event.target.closest("button, a, [role='button'], summary")) return;
      event.preventDefault();
      if (!event.repeat) act("confirm");
    } else if (/^[1-5]$/.test(key)) {
      event.preventDefault();
      if (!event.repeat) act(key);
    } else if (key === "/") {
      event.preventDefault();
      act("search");
    } else if (key === "j" || key === "ArrowDown") {
      event.preventDefault();
      send("move", { by: 1 });
    } else if (key === "k" || key === "ArrowUp") {
      event.preventDefault();
      send("move", { by: -1 });
    } else if (key === "Escape") {
      hint("");
    }
  });

  document.addEventListener("input", (event) => {
    if (event.target instanceof HTMLInputElement && event.target.id === "category-search")
      send("search", { text: event.target.value });
  });

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target.closest("[data-act], [data-call], [data-pick]") : null;
    if (!target) return;
    if (target.dataset.act) {
      act(target.dataset.act);
      target.blur?.();
    } else if (target.dataset.call) {
      send("select", { call: target.dataset.call });
    } else if (target.dataset.pick) {
      send("search-pick", { pick: target.dataset.pick, looked: (performance.now() - shownAt) / 1000 });
      const box = search();
      if (box) box.value = "";
    }
  });
  // The list of matches must not take the focus from the search box before the click arrives.
  document.addEventListener("mousedown", (event) => {
    if (event.target instanceof Element && event.target.closest("[data-pick]")) event.preventDefault();
  });

  const pad = (number) => String(number).padStart(2, "0");
  function clock(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const hours = Math.floor(whole / 3600);
    const rest = pad(Math.floor((whole % 3600) / 60)) + ":" + pad(whole % 60);
    return hours ? hours + ":" + rest : rest;
  }

  let skew = null; // the server's clock less ours, seconds
  function tick() {
    const desk = document.getElementById("desk");
    if (desk && skew === null) skew = Number(desk.dataset.now) - Date.now() / 1000;
    const now = Date.now() / 1000 + (skew || 0);
    for (const element of document.querySelectorAll("[data-since]")) {
      const until = Number(element.dataset.until) || now;
      const text = clock(until - Number(element.dataset.since));
      if (element.textContent !== text) element.textContent = text;
    }
    document.body.classList.toggle("desk-lost", desk !== null && window.did_handshake === true && !connected());
  }
  setInterval(tick, 250);

  new MutationObserver((changes) => {
    tick();
    for (const change of changes)
      if (change.attributeName === "aria-selected" && change.target.getAttribute("aria-selected") === "true")
        change.target.scrollIntoView({ block: "nearest" });
    const panel = verdict();
    const now = panel ? panel.dataset.case + "|" + panel.dataset.shown : "";
    if (now !== shown) {
      shown = now;
      shownAt = performance.now();
    }
    // New words are read at the bottom, unless the agent has scrolled up to read older ones.
    const words = document.getElementById("words");
    if (words && words.dataset.count !== words.dataset.seen) {
      const near = words.scrollHeight - words.scrollTop - words.clientHeight < 160;
      if (near || words.dataset.of !== words.dataset.seenOf) words.scrollTop = words.scrollHeight;
      words.dataset.seen = words.dataset.count;
      words.dataset.seenOf = words.dataset.of;
    }
  }).observe(document.documentElement, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: ["data-case", "data-shown", "data-since", "data-count", "aria-selected"],
  });
})();
