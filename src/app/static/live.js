// The camera, captioned as fast as the model can: while it captions one frame, all others are dropped.
(() => {
  const SIDE = 384, ANNOUNCE = 4000, RECENT = 5000, PAUSE = 250;
  let running = null, starting = false;

  const part = (name) => document.querySelector(`.cl-live [data-part=${name}]`);

  function say(text, problem = false) {
    part("problem").hidden = !problem;
    part(problem ? "problem" : "caption").textContent = text;
  }

  function frame(video, canvas) {
    const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
  }

  const REFUSED = {
    NotAllowedError: "The camera was not allowed: allow it in the browser's address bar.",
    NotFoundError: "No camera was found.",
    NotReadableError: "The camera cannot be read: another program may be using it.",
  };

  async function begin() {
    if (!navigator.mediaDevices) {
      return say("The browser gives the camera only to pages at localhost or https://. Open the page there, or send a photograph under Caption.", true);
    }
    if (starting) return; // a second camera would never be stopped
    starting = true;
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    } catch (error) {
      return say(REFUSED[error.name] ?? `The camera cannot be used (${error.name}).`, true);
    } finally {
      starting = false;
    }
    const video = part("video");
    const own = (running = { stream, shown: 0, times: [] });
    video.srcObject = stream;
    await video.play();
    part("toggle").textContent = "Stop the camera";
    document.querySelector(".cl-live").classList.add("cl-on");
    part("problem").hidden = true;
    const count = () => {
      own.shown++;
      if (running === own && video.requestVideoFrameCallback) video.requestVideoFrameCallback(count);
    };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(count);
    watch(own, video);
  }

  function end() {
    if (!running) return;
    running.stream.getTracks().forEach((track) => track.stop());
    running = null;
    part("video").srcObject = null;
    part("toggle").textContent = "Start the camera";
    document.querySelector(".cl-live").classList.remove("cl-on");
    part("rate").textContent = "";
  }

  async function watch(own, video) {
    const canvas = document.createElement("canvas");
    let sent = 0, announced = 0, first = performance.now();
    while (running === own) {
      if (!part("video") || document.hidden || !video.videoWidth || !video.offsetParent) {
        await new Promise((done) => setTimeout(done, PAUSE));
        continue;
      }
      let answer, response;
      try {
        response = await fetch("live", { method: "POST", body: await frame(video, canvas), headers: { "Content-Type": "image/jpeg" } });
        answer = await response.json();
      } catch {
        say("The page does not answer. It goes on when it does.", true);
        await new Promise((done) => setTimeout(done, 4 * PAUSE));
        continue;
      }
      if (running !== own) return;
      sent++;
      if (!response.ok) {
        if (response.status !== 503) say(answer.detail, true);
        await new Promise((done) => setTimeout(done, PAUSE));
        continue;
      }
      part("problem").hidden = true;
      const now = performance.now();
      own.times = [...own.times.filter((time) => now - time < RECENT), now];
      const rate = own.times.length / (Math.min(RECENT, Math.max(now - first, 500)) / 1000);
      const dropped = own.shown > sent ? `, ${own.shown - sent} of ${own.shown} camera frames dropped` : "";
      part("rate").textContent = `${rate.toFixed(1)} captions a second · ${answer.name} ${Math.round(answer.seconds * 1000)} ms${dropped}`;
      part("caption").textContent = answer.caption;
      if (now - announced > ANNOUNCE && part("spoken").textContent !== answer.caption) {
        part("spoken").textContent = answer.caption;
        announced = now;
      }
    }
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest(".cl-live [data-part=toggle]")) running ? end() : begin();
  });
})();
