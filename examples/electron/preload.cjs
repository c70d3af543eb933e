// The page can hear the state, and pause; nothing else. (A sandboxed preload script is CommonJS.)
const { contextBridge, ipcRenderer } = require("electron");

contextBridge.exposeInMainWorld("fedflat", {
  state: () => ipcRenderer.invoke("state"),
  onState(listener) {
    ipcRenderer.on("state", (_event, state) => listener(state));
  },
  pause: (paused) => ipcRenderer.invoke("pause", paused),
});
