// Checks what the schemas of Kubernetes cannot say of rendered manifests: node scripts/kubernetes.mjs FILES…
// Selectors find the pods of the deployment, its grace holds the service's own, and KEDA's objects fit their schema.
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
  if (deployments.length !== 1) say(`${deployments.length} deployments`);
  for (const deployment of deployments) checkDeployment(deployment, objects, say);
}
if (process.argv.length === 2) faults.push('usage: node scripts/kubernetes.mjs FILES…');
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;

function checkDeployment({ metadata, spec }, objects, say) {
  const { labels } = spec.template.metadata;
  const pod = spec.template.spec;
  const [container] = pod.containers;

  const environment = Object.fromEntries(container.env.map(({ name, value }) => [name, value]));
  // Throws when the service would not start with it.
  const { shutdownGraceMs, port } = readConfig(environment);
  const needed = container.lifecycle.preStop.sleep.seconds + shutdownGraceMs / 1000;
  if (pod.terminationGracePeriodSeconds <= needed) {
    say(`terminationGracePeriodSeconds is at most the ${needed} s until the service has closed`);
  }
  const ports = container.ports.map(({ containerPort }) => containerPort);
  if (!ports.includes(port)) say(`the service listens on ${port}`);

  const selectors = [
    ['Deployment', spec.selector.matchLabels],
    ...pod.topologySpreadConstraints.map(({ labelSelector }) => ['topology', labelSelector.matchLabels]),
    ...objects.flatMap(({ kind, spec: { selector, podSelector } }) => {
      if (kind === 'Service') return [[kind, selector]];
      if (kind === 'PodDisruptionBudget') return [[kind, selector.matchLabels]];
      if (kind === 'NetworkPolicy') return [[kind, podSelector.matchLabels]];
      return [];
    }),
  ];
  for (const [kind, selector] of selectors) {
    // An empty selector would find every pod of the namespace.
    if (!isDeepStrictEqual(selector, labels)) say(`the selector of ${kind} is not the labels of the pods`);
  }

  const scalers = objects.filter(({ kind }) => kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject');
  if (scalers.length > 1) say('two autoscalers would work against each other');
  for (const scaler of scalers) {
    if (scaler.spec.scaleTargetRef.name !== metadata.name) say(`${scaler.kind} scales something else`);
    if (scaler.kind === 'ScaledObject') new ScaledObject(scaler).validate();
  }
}
