// The tool on Restate: a journaled step of a handler, called with an idempotency key; `plain` is the handler alone.
import * as http2 from "node:http2";
import * as restate from "@restatedev/restate-sdk";

const service = restate.service({
  name: "tools",
  handlers: {
    add: async (context, { a, b }) => context.run("add", () => a + b),
    plain: async (_context, { a, b }) => a + b,
  },
});

const handler = restate.createEndpointHandler({ services: [service] });
http2.createServer(handler).listen(Number(process.env.PORT), "127.0.0.1", () => console.log("READY"));
