import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { test, type TestContext } from 'node:test';
import protobuf from 'protobufjs';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { json } from './http/service.js';
import { quarters } from './images/drawn.js';
import { RunningService } from './running-service.js';

/** What the test reads of OTLP's request (opentelemetry-proto, trace.proto). */
const request = protobuf
  .parse(
    `syntax = "proto3";
    message Request { repeated ResourceSpans resourceSpans = 1; }
    message ResourceSpans { Resource resource = 1; repeated ScopeSpans scopeSpans = 2; }
    message Resource { repeated KeyValue attributes = 1; }
    message ScopeSpans { repeated Span spans = 2; }
    message KeyValue { string key = 1; AnyValue value = 2; }
    message AnyValue { string stringValue = 1; int64 intValue = 3; }
    message Span {
      bytes traceId = 1; bytes spanId = 2; bytes parentSpanId = 4; string name = 5; int32 kind = 6;
      fixed64 startTimeUnixNano = 7; fixed64 endTimeUnixNano = 8; repeated KeyValue attributes = 9;
    }`,
  )
  .root.lookupType('Request');

const Attributes = Type.Array(
  Type.Object({
    key: Type.String(),
    value: Type.Object({ stringValue: Type.Optional(Type.String()), intValue: Type.Optional(Type.String()) }),
  }),
);
const Span = Type.Object({
  traceId: Type.String(),
  spanId: Type.String(),
  parentSpanId: Type.Optional(Type.String()),
  name: Type.String(),
  kind: Type.Integer(),
  startTimeUnixNano: Type.String(),
  endTimeUnixNano: Type.String(),
  attributes: Type.Optional(Attributes),
});
const BodySchema = Type.Object({
  resourceSpans: Type.Array(
    Type.Object({
      resource: Type.Object({ attributes: Attributes }),
      scopeSpans: Type.Array(Type.Object({ spans: Type.Array(Span) })),
    }),
  ),
});
const bodyCheck = Compile(BodySchema);

/** An endpoint of OTLP over HTTP that keeps what it gets. */
async function startCollector(t: TestContext) {
  const bodies: Static<typeof BodySchema>[] = [];
  const types: unknown[] = [];
  const server = createServer((incoming, answer) => {
    void buffer(incoming).then((bytes) => {
      types.push([
        incoming.method,
        incoming.url,
        incoming.headers['content-type'],
        incoming.headers['x-team'],
      ]);
      bodies.push(bodyCheck.Parse(request.toObject(request.decode(bytes), { bytes: String, longs: String })));
      answer.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const groups = () => bodies.flatMap(({ resourceSpans }) => resourceSpans);
  return {
    url: `http://127.0.0.1:${address.port}`,
    types,
    resources: () => groups().map(({ resource }) => resource.attributes),
    spans: () => groups().flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
  };
}

const base64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64');
const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const callerId = '00f067aa0ba902b7';
const stages = ['decode', 'queue', 'encode', 'mixup', 'caption', 'score'];

test('a request is a span in the trace of its caller, with a span of each stage below it', async (t) => {
  const collector = await startCollector(t);
  const service = await RunningService.start({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_HEADERS: 'x-team=captions',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
  });
  const traceparent = `00-${traceId}-${callerId}-01`;
  const body = await quarters().jpeg().toBuffer();
  const caption = await fetch(`${service.url}/v1/captions?avoidWords=secret`, {
    method: 'POST',
    headers: { traceparent, 'content-type': 'image/jpeg' },
    body,
  });
  assert.equal(caption.status, 200);
  const form = new FormData();
  form.append('image', new Blob([body]));
  form.append('texts', 'four colours');
  assert.equal((await fetch(`${service.url}/v1/scores`, { method: 'POST', body: form })).status, 200);
  await json(await fetch(`${service.url}/readyz`));
  service.child.kill('SIGTERM');
  assert.equal(await service.exited, 0);

  const isCollected = ['POST', '/v1/traces', 'application/x-protobuf', 'captions'];
  for (const each of collector.types) assert.deepEqual(each, isCollected);
  for (const attributes of collector.resources()) {
    const texts = attributes.map(({ key, value }) => `${key}=${value.stringValue ?? ''}`);
    assert.ok(texts.includes('service.name=pcm-caption'), String(texts));
    assert.ok(texts.includes('deployment.environment.name=test'), String(texts));
  }

  const spans = collector.spans();
  const requests = spans.filter(({ kind }) => kind === 2);
  assert.deepEqual(requests.map(({ name }) => name).sort(), ['POST /v1/captions', 'POST /v1/scores']);
  const captionSpan = requests.find(({ name }) => name === 'POST /v1/captions');
  const scoreSpan = requests.find(({ name }) => name === 'POST /v1/scores');
  assert.ok(captionSpan && scoreSpan);
  assert.deepEqual([captionSpan.traceId, captionSpan.parentSpanId], [base64(traceId), base64(callerId)]);
  assert.notEqual(scoreSpan.traceId, captionSpan.traceId);
  assert.doesNotMatch(JSON.stringify(spans), /secret|colours/);
  const status = captionSpan.attributes?.find(({ key }) => key === 'http.response.status_code');
  assert.equal(status?.value.intValue, '200');

  const childrenOf = ({ spanId }: Static<typeof Span>) =>
    spans
      .filter(({ parentSpanId }) => parentSpanId === spanId)
      .sort((a, b) => Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano)));
  const children = childrenOf(captionSpan);
  assert.deepEqual(
    children.map(({ name }) => name),
    stages,
  );
  for (const { startTimeUnixNano: start, endTimeUnixNano: end, traceId: id } of children) {
    assert.equal(id, captionSpan.traceId);
    assert.ok(BigInt(start) <= BigInt(end));
    assert.ok(BigInt(start) >= BigInt(captionSpan.startTimeUnixNano));
  }
  assert.deepEqual(
    childrenOf(scoreSpan).map(({ name }) => name),
    ['decode', 'queue', 'encode', 'score'],
  );
  // Without a trace of a caller, the log has that of the request.
  const hex = Buffer.from(scoreSpan.traceId, 'base64').toString('hex');
  assert.match(service.log, new RegExp(`"trace_id":"${hex}".*"/v1/scores".*"answered"`));
});

test('a collector that is not there is told in the log, and costs no answer', async () => {
  const service = await RunningService.start({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9',
    OTEL_EXPORTER_OTLP_TIMEOUT: '500',
  });
  const response = await service.caption(await quarters().jpeg().toBuffer());
  assert.equal(response.status, 200);
  service.child.kill('SIGTERM');
  assert.equal(await service.exited, 0);
  assert.match(service.log, /"level":40,.*"msg":"tracing: /);
});
