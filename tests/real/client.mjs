// A client of the TypeScript SDK that a test leads. A line of JSON in is what to do; a line out is what came of it, or
// what the client heard meanwhile. Arguments: the folder of the packages, the SDK ("1" or "2"), the version of the
// protocol ("legacy", "auto" or a date), whether it can be asked ("able" or "plain"), and where the server is: its URL,
// or the command that starts it.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [packages, sdk, version, manners, ...where] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const hear = (what, params) => tell({ heard: what, params: params ?? null });
console.log = console.debug = console.info = console.error; // an SDK's remarks are no lines for the test

const ABLE = { sampling: {}, elicitation: { form: {} }, roots: {} };
const ANSWERS = {
  'sampling/createMessage': ({ messages }) => ({
    model: 'none', role: 'assistant', content: { type: 'text', text: `heard ${[messages[0].content].flat()[0].text}` },
  }),
  'elicitation/create': () => ({ action: 'accept', content: { name: 'Ann' } }),
  'roots/list': () => ({ roots: [{ uri: String(pathToFileURL(process.cwd())), name: 'here' }] }),
};
const NOTIFICATIONS = [
  'notifications/message', 'notifications/resources/updated', 'notifications/resources/list_changed',
  'notifications/tools/list_changed', 'notifications/prompts/list_changed',
];
const capabilities = manners === 'able' ? ABLE : {};
const name = { name: `typescript-${sdk}`, version: '1' };

function first() {
  const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { StdioClientTransport } = require('@modelcontextprotocol/sdk/client/stdio.js');
  const types = Object.values(require('@modelcontextprotocol/sdk/types.js'));
  const client = new Client(name, { capabilities });
  const schema = (method) => types.find((each) => each?.shape?.method?.value === method);
  return {
    client, StreamableHTTPClientTransport, StdioClientTransport,
    onRequest: (method, answer) => client.setRequestHandler(schema(method), answer),
    onNotification: (method, take) => client.setNotificationHandler(schema(method), take),
    callTool: (params, options) => client.callTool(params, undefined, options),
  };
}

function second() {
  const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
  const { StdioClientTransport } = require('@modelcontextprotocol/client/stdio');
  const mode = ['legacy', 'auto'].includes(version) ? version : { pin: version };
  const client = new Client(name, { capabilities, versionNegotiation: { mode } });
  return {
    client, StreamableHTTPClientTransport, StdioClientTransport,
    onRequest: (method, answer) => client.setRequestHandler(method, answer),
    onNotification: (method, take) => client.setNotificationHandler(method, take),
    callTool: (params, options) => client.callTool(params, options),
  };
}

let it; // the client of the session that is open
let breaks; // rejects what is under way when the connection breaks: the SDKs tell of that beside the calls that it hits

// Of what came in one read, both SDKs take an answer before the progress that was told ahead of it, which they then do
// not know any more. So they are given one message after the other.
function inTurn(transport) {
  const take = transport.onmessage;
  let taken = Promise.resolve();
  transport.onmessage = (...message) => {
    taken = taken.then(() => take(...message)).catch((error) => transport.onerror?.(error));
  };
}

const DO = {
  async open() {
    await it?.client.close().catch(() => {});
    it = sdk === '1' ? first() : second();
    for (const [method, answer] of Object.entries(manners === 'able' ? ANSWERS : {})) {
      it.onRequest(method, ({ params }) => {
        hear(method, params);
        return answer(params);
      });
    }
    for (const method of NOTIFICATIONS) it.onNotification(method, ({ params }) => hear(method, params));
    let broke;
    breaks = new Promise((_, reject) => { broke = reject; });
    breaks.catch(() => {});
    it.client.onerror = (error) => {
      broke(error);
      breaks = new Promise((_, reject) => { broke = reject; });
      breaks.catch(() => {});
    };
    const transport = where[0].startsWith('http')
      ? new it.StreamableHTTPClientTransport(new URL(where[0]))
      : new it.StdioClientTransport({ command: where[0], args: where.slice(1), env: process.env, stderr: 'inherit' });
    await it.client.connect(transport);
    inTurn(transport);
    const agreed = it.client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? null;
    return { version: agreed, session: transport.sessionId ?? null, capabilities: it.client.getServerCapabilities() };
  },
  callTool: (params) => Promise.race([it.callTool(params, { onprogress: (made) => hear('progress', made) }), breaks]),
  listen: async (filter) => (await it.client.listen(filter)).honoredFilter,
};

function said(error) {
  const status = error?.status ?? error?.data?.status ?? error?.code ?? null;
  return { message: String(error?.message ?? error), cause: String(error?.cause?.code ?? ''), code: status };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, what, params } = JSON.parse(line);
  const doing = (async () => (DO[what] ?? ((given) => it.client[what](given)))(params ?? undefined))();
  doing.then((result) => tell({ id, result: result ?? null }), (error) => tell({ id, error: said(error) }));
}
await it?.client.close().catch(() => {});
process.exit(0);
