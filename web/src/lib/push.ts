// A channel of Courant's Pusher server, by pusher-js. Where the page was is remembered
// while it is open: after a cut it gets what it missed, each message once, or is told
// to fetch the state again.

import Pusher from "pusher-js";
import type { Connection } from "./api";

export interface Listener {
  /** Fetch the state now; what happens from here on follows. */
  reset: () => void;
  event: (name: string, data: unknown) => void;
  connection: (state: Connection) => void;
}

const KEY = "courant";

// What pusher-js keeps to itself and resuming needs: its way to send, and its socket.
interface Inner {
  connection: { connection: { transport: { bind(name: string, heard: (frame: { data: string }) => void): void } } };
  send_event(name: string, data: unknown): boolean;
}

/** Subscribes to a channel; the answer ends it. */
export function listen(channel: string, listener: Listener): () => void {
  listener.connection("connecting");
  const secure = location.protocol === "https:";
  const port = Number(location.port) || (secure ? 443 : 80);
  const pusher = new Pusher(KEY, {
    cluster: "courant",
    wsHost: location.hostname,
    wsPort: port,
    wssPort: port,
    forceTLS: secure,
    enabledTransports: ["ws", "wss"],
    disableStats: true,
  });
  let position: string | undefined;
  pusher.connection.bind("state_change", ({ current }: { current: string }) => {
    if (current !== "connected") {
      if (current !== "initialized" && current !== "connecting") listener.connection("reconnecting");
      return;
    }
    const inner = pusher as unknown as Inner;
    inner.connection.connection.transport.bind("message", ({ data }) => {
      const frame = JSON.parse(data) as { channel?: string; position?: string };
      if (frame.channel === channel && frame.position) position = frame.position;
    });
    if (position) inner.send_event("courant:resume", { positions: { [channel]: position } });
  });
  const subscription = pusher.subscribe(channel);
  subscription.bind("pusher:subscription_succeeded", () => {
    listener.connection("live");
    if (!position) listener.reset();
  });
  subscription.bind("pusher:subscription_error", () => listener.connection("reconnecting"));
  subscription.bind_global((name: string, data: unknown) => {
    if (name === "courant:reset" || name === "courant:snapshot") listener.reset();
    else if (!name.startsWith("pusher:") && !name.startsWith("courant:")) listener.event(name, data);
  });
  return () => pusher.disconnect();
}
