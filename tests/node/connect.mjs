// A partner system with connect-node: calls of all four kinds, and refusals whose reason it can read.

import assert from "node:assert/strict";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { compressionGzip, createConnectTransport } from "@connectrpc/connect-node";
import { base, found, headers, message, registry, tls } from "./partner.mjs";

const service = registry.getService("grpc.testing.TestService");
const bytes = (size) => new Uint8Array(size);
const asked = (sizes) => ({ responseParameters: sizes.map((size) => ({ size })) });

async function calls(options) {
  const transport = createConnectTransport({ baseUrl: base, nodeOptions: tls, ...options });
  const client = createClient(service, transport);
  const exchanges = {};
  const call = (kind) => ({
    headers,
    timeoutMs: 20_000,
    onHeader: (head) => (exchanges[kind] = head.get("drawbridge-exchange-id")),
  });

  const one = await client.unaryCall({ responseSize: 5000, payload: { body: bytes(3000) } }, call("unary"));
  assert.equal(one.payload.body.length, 5000);

  const sizes = [];
  for await (const answer of client.streamingOutputCall(asked([31415, 9, 2653]), call("server_stream"))) {
    sizes.push(answer.payload.body.length);
  }
  assert.deepEqual(sizes, [31415, 9, 2653]);

  async function* requests() {
    for (const size of [27182, 8, 1828]) {
      yield { payload: { body: bytes(size) } };
    }
  }
  const total = await client.streamingInputCall(requests(), call("client_stream"));
  assert.equal(total.aggregatedPayloadSize, 29018);

  // HTTP/1.1 does not answer while it is still asked, for this client.
  if (options.httpVersion === "2") {
    let answered;
    async function* dialogue() {
      for (const size of [3, 6, 9]) {
        const heard = new Promise((resolve) => (answered = resolve));
        yield asked([size]);
        await heard;
      }
    }
    const heard = [];
    for await (const answer of client.fullDuplexCall(dialogue(), call("bidirectional"))) {
      heard.push(answer.payload.body.length);
      answered();
    }
    assert.deepEqual(heard, [3, 6, 9]);
  }
  return { exchanges, refused: await refusals(client) };
}

// What a refusal and a failure of the back end look like to the client.
async function refusals(client) {
  const refused = [];
  const other = { headers: { ...headers, "Drawbridge-Purpose": "curiosity" } };
  for (const call of [
    () => client.unaryCall({}, other),
    async () => {
      for await (const _ of client.streamingOutputCall(asked([1]), other)) {
        assert.fail("the call was answered");
      }
    },
  ]) {
    const error = await call().then(() => assert.fail("the call was answered"), ConnectError.from);
    assert.equal(error.code, Code.PermissionDenied, error.message);
    const [info] = error.findDetails(message("google.rpc.ErrorInfo"));
    assert.deepEqual([info.reason, info.domain, info.metadata.hop], ["WRONG_PURPOSE", "drawbridge", "consumer"]);
    const [request] = error.findDetails(message("google.rpc.RequestInfo"));
    assert.match(error.rawMessage, /^WRONG_PURPOSE: /);
    refused.push(request.requestId);
  }
  const status = { responseStatus: { code: 9, message: "as told: é 100 %" } };
  const failed = await client.unaryCall(status, { headers }).then(() => assert.fail("it was answered"), ConnectError.from);
  assert.deepEqual([failed.code, failed.rawMessage], [Code.FailedPrecondition, "as told: é 100 %"]);
  assert.equal(failed.metadata.get("drawbridge-hop"), "legacy");
  return refused;
}

const all = [];
for (const httpVersion of ["1.1", "2"]) {
  for (const useBinaryFormat of [true, false]) {
    all.push(await calls({ httpVersion, useBinaryFormat }));
    const packed = { sendCompression: compressionGzip, acceptCompression: [compressionGzip], compressMinBytes: 0 };
    all.push(await calls({ httpVersion, useBinaryFormat, ...packed }));
  }
}
found(all);
