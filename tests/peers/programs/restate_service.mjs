// The tool on Restate: a durable step of a handler, called with an idempotency key.
import * as fs from "node:fs";
import * as http2 from "node:http2";
import * as restate from "@restatedev/restate-sdk";

const TAKES_MS = 1000;

async function charge({ key, amount }) {
  fs.appendFileSync(process.env.EFFECTS, `${key} ${amount} ${process.pid} ${(Date.now() / 1000).toFixed(4)}\n`);
  await new Promise((resolve) => setTimeout(resolve, TAKES_MS));
  return `charged ${key} ${amount}`;
}

const attempts = Number(process.env.ATTEMPTS); // 0 is the default: retried
const options = attempts ? { retryPolicy: { maxAttempts: attempts, onMaxAttempts: "kill" } } : {};
const service = restate.service({
  name: "tools",
  handlers: { charge: async (context, call) => context.run("charge", () => charge(call)) },
  options,
});

const handler = restate.createEndpointHandler({ services: [service] });
http2.createServer(handler).listen(Number(process.env.PORT), "127.0.0.1", () => console.log("READY"));
