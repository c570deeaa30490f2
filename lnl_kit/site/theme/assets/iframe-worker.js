// Browsers give pages opened as a file no workers; the search of the theme asks for one. This runs its script in
// a hidden frame and passes messages on. (The theme's own stand-in would be fetched from a server.)
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = (this.frame = document.createElement("iframe"));
      frame.hidden = true;
      frame.title = "search";
      document.body.append(frame);
      const own = frame.contentWindow;
      this.ready = new Promise((done) => {
        own.postMessage = (data) => {
          const message = new MessageEvent("message", { data });
          this.dispatchEvent(message);
          this.onmessage?.(message);
        };
        const script = (source) => new Promise((loaded) => {
          const element = own.document.createElement("script");
          element.onload = loaded;
          element.src = source;
          own.document.body.append(element);
        });
        own.importScripts = (...sources) =>
          sources.reduce((before, source) => before.then(() => script(source)), Promise.resolve());
        script(new URL(address, location)).then(done);
      });
    }

    async postMessage(data) {
      await this.ready;
      const own = this.frame.contentWindow;
      own.dispatchEvent(new own.MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
