// Pressing a word lights up the part of the picture that the model looked at as it said the word.
(() => {
  // matplotlib's "inferno" at even steps, with more and more of it over the picture: dark and faint, then warm.
  const HEAT = [
    [0, 0, 8, 0.62], [60, 12, 90, 0.56], [150, 38, 103, 0.5], [225, 90, 45, 0.46], [251, 165, 10, 0.46], [252, 235, 120, 0.5],
  ];
  const BEND = 0.7;
  let playing = 0;

  function heat(strength) {
    const at = Math.min(1, Math.max(0, strength)) * (HEAT.length - 1);
    const low = Math.min(HEAT.length - 2, Math.floor(at));
    return HEAT[low].map((value, channel) => value + (HEAT[low + 1][channel] - value) * (at - low));
  }

  // Bilinear between the regions' centres, so that the grid itself is not seen.
  function drawn(canvas, look, rows, columns, strongest) {
    const image = canvas.parentElement.querySelector("img");
    const width = (canvas.width = Math.min(320, image.clientWidth || 320));
    const height = (canvas.height = Math.max(1, Math.round((width * image.naturalHeight) / image.naturalWidth)));
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    const clamp = (value, most) => Math.min(most, Math.max(0, value));
    for (let y = 0; y < height; y++) {
      const row = clamp(((y + 0.5) / height) * rows - 0.5, rows - 1);
      const top = Math.floor(row), bottom = Math.min(rows - 1, top + 1), down = row - top;
      for (let x = 0; x < width; x++) {
        const column = clamp(((x + 0.5) / width) * columns - 0.5, columns - 1);
        const left = Math.floor(column), right = Math.min(columns - 1, left + 1), across = column - left;
        const above = look[top * columns + left] * (1 - across) + look[top * columns + right] * across;
        const below = look[bottom * columns + left] * (1 - across) + look[bottom * columns + right] * across;
        const colour = heat(Math.pow((above * (1 - down) + below * down) / strongest, BEND));
        const at = 4 * (y * width + x);
        pixels.data[at] = colour[0];
        pixels.data[at + 1] = colour[1];
        pixels.data[at + 2] = colour[2];
        pixels.data[at + 3] = 255 * colour[3];
      }
    }
    context.putImageData(pixels, 0, 0);
  }

  function release(result) {
    result.querySelectorAll(".cl-word[aria-pressed=true]").forEach((word) => word.setAttribute("aria-pressed", "false"));
    result.querySelector(".cl-stage").classList.remove("cl-lit");
    const status = result.querySelector(".cl-status");
    status.textContent = status.dataset.hint;
  }

  function press(word) {
    const result = word.closest(".cl-result");
    const caption = word.closest(".cl-caption");
    release(result);
    word.setAttribute("aria-pressed", "true");
    const { rows, columns, strongest } = caption.dataset;
    // A caption that never looked anywhere in particular stays dim.
    const scale = Math.max(Number(strongest), 2 / (rows * columns));
    drawn(result.querySelector("canvas"), JSON.parse(word.dataset.look), Number(rows), Number(columns), scale);
    result.querySelector(".cl-stage").classList.add("cl-lit");
    const model = word.closest(".cl-card").getAttribute("aria-label");
    result.querySelector(".cl-status").textContent = `${model} said “${word.textContent}” looking ${word.dataset.where}.`;
  }

  async function play(button) {
    const turn = ++playing;
    const words = button.closest(".cl-card").querySelectorAll(":scope > .cl-caption .cl-word");
    for (const word of words) {
      if (turn !== playing || !word.isConnected) return;
      press(word);
      await new Promise((done) => setTimeout(done, 650));
    }
    if (turn === playing && button.isConnected) release(button.closest(".cl-result"));
  }

  document.addEventListener("click", (event) => {
    const word = event.target.closest(".cl-word");
    const button = event.target.closest(".cl-play");
    if (button) return void play(button);
    if (!word) return;
    playing++;
    if (word.getAttribute("aria-pressed") === "true") release(word.closest(".cl-result"));
    else press(word);
  });
})();
