// Checks what the schemas of Kubernetes cannot say of rendered manifests: node scripts/kubernetes.mjs FILES…
// Selectors find the pods of a deployment, its grace holds the service's own, and KEDA's objects fit their schema.
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1';
import { parseAllDocuments } from 'yaml';
import { readConfig } from '../dist/src/config.js';

const faults = [];
for (const file of process.argv.slice(2)) {
  const objects = parseAllDocuments(readFileSync(file, 'utf8')).map((document) => document.toJS());
  const say = (fault) => faults.push(`${file}: ${fault}`);
  const deployments = objects.filter(({ kind }) => kind === 'Deployment');
  if (deployments.length === 0) say('no deployment');
  for (const deployment of deployments) checkDeployment(deployment, say);
  checkSelectors(objects, deployments, say);
  checkScalers(objects, deployments, say);
}
if (process.argv.length === 2) faults.push('usage: node scripts/kubernetes.mjs FILES…');
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;

function checkDeployment({ metadata, spec }, say) {
  const { labels } = spec.template.metadata;
  const pod = spec.template.spec;
  const [container] = pod.containers;

  const environment = Object.fromEntries(container.env.map(({ name, value }) => [name, value]));
  // Throws when the service would not start with it.
  const { shutdownGraceMs, port } = readConfig(environment);
  // A worker gets no requests that proxies have to be told to send elsewhere.
  const needed = (container.lifecycle?.preStop.sleep.seconds ?? 0) + shutdownGraceMs / 1000;
  if (pod.terminationGracePeriodSeconds <= needed) {
    say(`terminationGracePeriodSeconds is at most the ${needed} s until the service has closed`);
  }
  const ports = container.ports.map(({ containerPort }) => containerPort);
  if (!ports.includes(port)) say(`the service listens on ${port}`);
  for (const selector of [
    spec.selector.matchLabels,
    ...pod.topologySpreadConstraints.map(({ labelSelector }) => labelSelector.matchLabels),
  ]) {
    if (!isDeepStrictEqual(selector, labels))
      say(`a selector of ${metadata.name} is not the labels of its pods`);
  }
}

function checkSelectors(objects, deployments, say) {
  const known = deployments.map(({ spec }) => spec.template.metadata.labels);
  for (const { kind, spec } of objects) {
    const selector = {
      Service: spec.selector,
      PodDisruptionBudget: spec.selector?.matchLabels,
      NetworkPolicy: spec.podSelector?.matchLabels,
    }[kind];
    if (kind === 'Deployment' || selector === undefined) continue;
    // An empty selector would find every pod of the namespace.
    if (!known.some((labels) => isDeepStrictEqual(selector, labels))) {
      say(`the selector of ${kind} is not the labels of the pods`);
    }
  }
}

function checkScalers(objects, deployments, say) {
  const scalers = objects.filter(({ kind }) => kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject');
  const targets = scalers.map(({ spec }) => spec.scaleTargetRef.name);
  if (new Set(targets).size < targets.length) say('two autoscalers would work against each other');
  for (const scaler of scalers) {
    const { name } = scaler.spec.scaleTargetRef;
    if (!deployments.some(({ metadata }) => metadata.name === name))
      say(`${scaler.kind} scales something else`);
    if (scaler.kind === 'ScaledObject') new ScaledObject(scaler).validate();
  }
}
