// A partner system with Google's client of gRPC-Web, in its text form and its binary one. What a browser has and Node has not is made of
// `node:https`.

import assert from "node:assert/strict";
import https from "node:https";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import grpcWeb from "grpc-web";
import { base, found, headers, message, tls } from "./partner.mjs";

globalThis.XMLHttpRequest = class {
  readyState = 0;
  status = 0;
  statusText = "";
  responseType = "";
  responseText = "";
  #head = {};
  #sent = {};
  #chunks = [];

  open(verb, url) {
    this.verb = verb;
    this.url = url;
    this.#change(1);
  }

  setRequestHeader(name, value) {
    this.#sent[name] = value;
  }

  send(body) {
    const sent = typeof body === "string" ? Buffer.from(body, "latin1") : Buffer.from(body ?? []);
    this.request = https.request(this.url, { ...tls, method: this.verb, headers: this.#sent }, (response) => {
      this.status = response.statusCode;
      this.statusText = response.statusMessage;
      this.#head = response.headers;
      this.#change(2);
      response.on("data", (chunk) => {
        this.#chunks.push(chunk);
        this.responseText += chunk.toString("latin1");
        this.#change(3);
      });
      response.on("end", () => this.#change(4));
    });
    this.request.on("error", () => this.#change(4));
    this.request.end(sent);
  }

  get response() {
    const all = Buffer.concat(this.#chunks);
    return this.responseType === "arraybuffer" ? new Uint8Array(all).buffer : this.responseText;
  }

  getResponseHeader(name) {
    return this.#head[name.toLowerCase()] ?? null;
  }

  getAllResponseHeaders() {
    return Object.entries(this.#head).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  }

  abort() {
    this.request?.destroy();
  }

  #change(state) {
    this.readyState = state;
    this.onreadystatechange?.();
  }
};

const descriptor = (path, kind, asked, answered) => {
  const [input, output] = [message(asked), message(answered)];
  return new grpcWeb.MethodDescriptor(
    path,
    kind,
    Object,
    Object,
    (request) => toBinary(input, create(input, request)),
    (bytes) => fromBinary(output, bytes),
  );
};
const { UNARY, SERVER_STREAMING } = grpcWeb.MethodType;
const find = descriptor("/test.v1.Records/Find", UNARY, "test.v1.FindRequest", "test.v1.Record");
const hidden = descriptor("/test.v1.Records/Hidden", UNARY, "test.v1.FindRequest", "test.v1.Record");
const list = descriptor("/test.v1.Records/List", SERVER_STREAMING, "test.v1.ListRequest", "test.v1.Record");

function unary(client, method, request) {
  return new Promise((resolve, reject) => {
    let metadata;
    const done = (error, answer) => (error ? reject(error) : resolve({ answer, metadata }));
    const call = client.rpcCall(base + method.name, request, headers, method, done);
    call.on("metadata", (received) => (metadata = received));
  });
}

function stream(client, method, request) {
  return new Promise((resolve, reject) => {
    const answers = [];
    const call = client.serverStreaming(base + method.name, request, headers, method);
    call.on("data", (answer) => answers.push(answer));
    call.on("error", reject);
    call.on("end", () => resolve(answers));
  });
}

const exchanges = [];
for (const format of ["text", "binary"]) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const { answer, metadata } = await unary(client, find, { id: 1n });
  assert.deepEqual([answer.id, answer.name.family, answer.note], [1n, "Archer", "checked"]);
  exchanges.push(metadata["drawbridge-exchange-id"]);
  const refused = await unary(client, hidden, { id: 1n }).then(() => assert.fail("it was answered"), (error) => error);
  assert.deepEqual([refused.code, refused.metadata["drawbridge-hop"]], [7, "consumer"]);
  assert.match(refused.message, /^NO_AGREEMENT: /);
  // This client reads streams in the text form alone.
  if (format === "text") {
    const answers = await stream(client, list, { count: 3000n });
    assert.deepEqual(answers.map((one) => one.id), Array.from({ length: 3000 }, (_, at) => BigInt(at + 1)));
  }
}
found({ exchanges });
