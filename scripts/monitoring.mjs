// Checks what docker/ asks of the metrics (dashboard, rules, autoscaling) against a running service:
//   .ci/with-service node scripts/monitoring.mjs
// Every metric of the service is in docs/observability.md. Every metric named is one of its /metrics, or recorded by a rule;
// and a Prometheus that scrapes it with the configuration shipped has an answer for each of the expressions.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parser } from '@prometheus-io/lezer-promql';
import { parse } from 'yaml';

const { SERVICE_URL, API_KEY, PHOTO, PHOTOS } = process.env;
const folder = fileURLToPath(new URL('../docker/', import.meta.url));
const read = (name) => readFileSync(join(folder, name), 'utf8');
const rules = parse(read('monitoring/rules.yml')).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(read('monitoring/grafana/dashboards/pcm-caption.json'));
const { triggers } = parse(read('kubernetes/overlays/keda/scaled-object.yaml')).spec;
const config = parse(read('monitoring/prometheus.yml'));
const [{ job_name: job }] = config.scrape_configs;

/** Names of samples. */
const exposed = new Set();
const faults = [];
const page = readFileSync(join(folder, '../docs/observability.md'), 'utf8');
const exposition = await (await globalThis.fetch(`${SERVICE_URL}/metrics`)).text();
for (const [, family, type] of exposition.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
  const suffixes = type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
  for (const suffix of suffixes) exposed.add(family + suffix);
  if (!page.includes(`\`${family}\``)) faults.push(`docs/observability.md: no ${family}`);
}

const expressions = [
  ...triggers.map(({ metadata }) => ({ where: 'autoscaling', expr: metadata.query })),
  ...rules.map(({ record, alert, expr }) => ({ where: `rule ${record ?? alert}`, expr, isAlert: !record })),
  ...dashboard.panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }) => ({
      where: `panel ${title}`,
      expr: expr.replaceAll('$job', job).replaceAll('$__rate_interval', '10s'),
    })),
  ),
];
/** Made by Prometheus itself, and by the rules. */
const derived = new Set(['up', ...rules.map(({ record }) => record)]);
for (const { where, expr } of expressions) {
  for (const name of metricsOf(expr)) {
    if (!exposed.has(name) && !derived.has(name)) faults.push(`${where}: the service has no ${name}`);
  }
}
for (const { name, query } of dashboard.templating.list) {
  const metric = /^label_values\((\w+), \w+\)$/.exec(query.query)?.[1];
  if (metric !== undefined && !exposed.has(metric))
    faults.push(`variable ${name}: the service has no ${metric}`);
}
if (faults.length === 0) await withPrometheus(evaluateAll);
if (faults.length === 0) {
  process.stdout.write(
    `${expressions.length} expressions of rules, panels and autoscaling have their metrics\n`,
  );
} else {
  process.stderr.write(`docker/ does not fit the service:\n${faults.join('\n')}\n`);
  process.exitCode = 1;
}

function metricsOf(expr) {
  const names = new Set();
  parser.parse(expr).iterate({
    enter(node) {
      if (node.type.isError) faults.push(`not PromQL: ${expr}`);
      if (node.name === 'Identifier') names.add(expr.slice(node.from, node.to));
    },
  });
  return names;
}

/** Runs a Prometheus with the shipped configuration, but for where the service is and a scrape every second. */
async function withPrometheus(use) {
  const temporary = mkdtempSync(join(tmpdir(), 'prometheus-'));
  const { host } = new URL(SERVICE_URL);
  const global = { scrape_interval: '1s', evaluation_interval: '1s' };
  const scrape_configs = [{ job_name: job, static_configs: [{ targets: [host] }] }];
  // YAML reads JSON.
  writeFileSync(join(temporary, 'prometheus.yml'), JSON.stringify({ ...config, global, scrape_configs }));
  copyFileSync(join(folder, 'monitoring/rules.yml'), join(temporary, 'rules.yml'));
  const address = `127.0.0.1:${await freePort()}`;
  const prometheus = spawn(
    'prometheus',
    [
      `--config.file=${join(temporary, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(temporary, 'data')}`,
      `--web.listen-address=${address}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const ended = once(prometheus, 'exit');
  try {
    await Promise.race([ended.then(() => Promise.reject(new Error('prometheus ended'))), use(address)]);
  } finally {
    prometheus.kill();
    await ended.catch(() => undefined);
    rmSync(temporary, { recursive: true });
  }
}

async function evaluateAll(address) {
  const photos = readdirSync(PHOTOS).map((name) => join(PHOTOS, name));
  let empty = [];
  // Rates need samples of two moments, and rules read rules.
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(1000)) {
    // One that the model has not seen, and one that the cache has.
    await caption(photos.pop());
    await caption(PHOTO);
    const results = await Promise.all(expressions.map((entry) => evaluate(address, entry)));
    empty = results.filter(({ series, isAlert }) => series === 0 && !isAlert);
    if (results.every(({ series }) => series !== undefined) && empty.length === 0) {
      await checkRules(address);
      return;
    }
  }
  for (const { where } of empty) faults.push(`${where}: Prometheus has no value`);
  if (empty.length === 0) faults.push('Prometheus does not answer');
}

/** What Prometheus itself says of the rules: each was evaluated, and no alert fires while nothing is wrong. */
async function checkRules(address) {
  const { data } = await (await globalThis.fetch(`http://${address}/api/v1/rules`)).json();
  const evaluated = data.groups.flatMap((group) => group.rules);
  if (evaluated.length !== rules.length)
    faults.push(`${evaluated.length} of ${rules.length} rules are there`);
  for (const { name, health, lastError, state } of evaluated) {
    if (health !== 'ok') faults.push(`rule ${name}: ${health} ${lastError ?? ''}`);
    if (state !== undefined && state !== 'inactive') faults.push(`alert ${name} is ${state}`);
  }
}

async function evaluate(address, entry) {
  const url = new URL(`http://${address}/api/v1/query`);
  url.searchParams.set('query', entry.expr);
  const response = await globalThis.fetch(url).catch(() => undefined);
  if (response === undefined || response.status === 503) return { ...entry, series: undefined };
  const { status, error, data } = await response.json();
  if (status !== 'success') throw new Error(`${entry.where}: ${error}`);
  return { ...entry, series: data.result.length };
}

async function caption(photo) {
  const response = await globalThis.fetch(`${SERVICE_URL}/v1/captions`, {
    method: 'POST',
    headers: { 'content-type': 'image/jpeg', authorization: `Bearer ${API_KEY}` },
    body: readFileSync(photo),
  });
  if (!response.ok) throw new Error(`a caption is answered with ${response.status}`);
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}
