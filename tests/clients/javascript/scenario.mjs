// What programs written with the JavaScript client do, held against a cluster: node scenario.mjs KUBECONFIG OBJECTS.yaml
//
// Every entry of `scenarios` is one, in a namespace of its own. Those that run containers are passed over where no node is
// ready, and the last line says so.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { PassThrough, Readable, Writable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const PATIENCE = 90_000;
const IMAGE = 'ferry.local/toolbox:latest';
const [kubeconfig, objects, wanted = ''] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const any = k8s.KubernetesObjectApi.makeApiClient(config);

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until the answer is something. */
async function eventually(what, probe) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await pause(50)) {
    const answer = await probe();
    if (answer) return answer;
  }
  throw new Error(`never: ${what}`);
}

/** The call must fail in this way; the Status it was told. */
async function refused(code, reason, call) {
  const error = await call.then(
    () => assert.fail(`must fail with ${code} ${reason}`),
    (e) => e,
  );
  assert.ok(error.body !== undefined, error);
  const status = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
  assert.deepEqual([error.code, status.kind, status.reason], [code, 'Status', reason]);
  return status;
}

const configMap = (name, data, labels) => ({ metadata: { name, labels }, data });
const patchAs = (strategy) => k8s.setHeaderOptions('Content-Type', strategy);

/** Collects what is written. */
function sink() {
  const parts = [];
  const stream = new Writable({ write: (chunk, _, done) => (parts.push(Buffer.from(chunk)), done()) });
  return { stream, text: () => Buffer.concat(parts).toString() };
}

const scenarios = {
  async 'verbs of one object'(namespace) {
    const made = await core.createNamespacedConfigMap({ namespace, body: configMap('a', { k: '1' }) });
    assert.ok(made.metadata.uid && made.metadata.creationTimestamp instanceof Date);
    made.data.k = '2';
    const replaced = await core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made });
    assert.deepEqual(replaced.data, { k: '2' });
    await refused(409, 'Conflict', core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made }));
    await refused(409, 'AlreadyExists', core.createNamespacedConfigMap({ namespace, body: configMap('a') }));
    await refused(404, 'NotFound', core.readNamespacedConfigMap({ name: 'b', namespace }));
    const told = await refused(422, 'Invalid', core.createNamespacedConfigMap({ namespace, body: configMap('Not_A_Name') }));
    assert.equal(told.details.causes[0].field, 'metadata.name');
    await core.createNamespacedConfigMap({ namespace, body: configMap('dry'), dryRun: 'All' });
    await refused(404, 'NotFound', core.readNamespacedConfigMap({ name: 'dry', namespace }));
    const answer = await core.deleteNamespacedConfigMap({ name: 'a', namespace, body: { preconditions: { uid: made.metadata.uid } } });
    assert.deepEqual([answer.status, answer.details.uid], ['Success', made.metadata.uid]);
    // Bytes stay bytes.
    const binary = await core.createNamespacedSecret({ namespace, body: { metadata: { name: 's' }, data: { b: '/wD+' }, stringData: { t: 'ü' } } });
    assert.deepEqual(binary.data, { b: '/wD+', t: 'w7w=' });
  },

  async 'all patches'(namespace) {
    await core.createNamespacedConfigMap({ namespace, body: configMap('a', { k: '1', l: '1' }) });
    const patch = (body, strategy, more = {}) =>
      core.patchNamespacedConfigMap({ name: 'a', namespace, body, ...more }, patchAs(strategy));
    const S = k8s.PatchStrategy;
    assert.deepEqual((await patch([{ op: 'replace', path: '/data/k', value: '2' }], S.JsonPatch)).data, { k: '2', l: '1' });
    assert.deepEqual((await patch({ data: { l: null } }, S.MergePatch)).data, { k: '2' });
    assert.deepEqual((await patch({ data: { m: '3' } }, S.StrategicMergePatch)).data, { k: '2', m: '3' });
    await refused(422, 'Invalid', patch([{ op: 'remove', path: '/data/none' }], S.JsonPatch));
    const whole = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { k: '9' } };
    const told = await refused(409, 'Conflict', patch(whole, S.ServerSideApply, { fieldManager: 'one' }));
    assert.match(told.message, /conflict with "[^"]+".*: \.data\.k/);
    const applied = await patch(whole, S.ServerSideApply, { fieldManager: 'one', force: true });
    assert.equal(applied.data.k, '9');
    const owner = applied.metadata.managedFields.find((m) => m.manager === 'one');
    assert.deepEqual([owner.operation, owner.fieldsV1['f:data']], ['Apply', { 'f:k': {} }]);
  },

  async 'pages and selectors'(namespace) {
    for (const i of [0, 1, 2, 3, 4]) {
      await core.createNamespacedConfigMap({ namespace, body: configMap(`p${i}`, undefined, { odd: `${i % 2}` }) });
    }
    const names = [];
    let _continue;
    do {
      const page = await core.listNamespacedConfigMap({ namespace, limit: 2, labelSelector: 'odd', _continue });
      assert.ok(page.items.length <= 2);
      names.push(...page.items.map((i) => i.metadata.name));
      _continue = page.metadata._continue;
    } while (_continue);
    assert.deepEqual(names, ['p0', 'p1', 'p2', 'p3', 'p4']);
    const odd = await core.listNamespacedConfigMap({ namespace, labelSelector: 'odd in (1),!even' });
    assert.deepEqual(odd.items.map((i) => i.metadata.name), ['p1', 'p3']);
    const one = await core.listNamespacedConfigMap({ namespace, fieldSelector: 'metadata.name=p4' });
    assert.equal(one.items.length, 1);
    await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'odd=1' });
    const left = await core.listNamespacedConfigMap({ namespace, labelSelector: 'odd' });
    assert.deepEqual(left.items.map((i) => i.metadata.name), ['p0', 'p2', 'p4']);
    await refused(400, 'BadRequest', core.listNamespacedConfigMap({ namespace, labelSelector: 'a==b==c' }));
  },

  async 'watch and informer'(namespace) {
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const informer = k8s.makeInformer(config, path, () => core.listNamespacedConfigMap({ namespace }));
    const seen = [];
    for (const verb of ['add', 'update', 'delete']) informer.on(verb, (o) => seen.push([verb, o.metadata.name]));
    let stopping = false;
    informer.on('error', (e) => assert.ok(stopping, e));
    await core.createNamespacedConfigMap({ namespace, body: configMap('before') });
    await informer.start();
    assert.ok(informer.get('before', namespace), 'the list is in the cache');
    await core.createNamespacedConfigMap({ namespace, body: configMap('a') });
    await core.patchNamespacedConfigMap({ name: 'a', namespace, body: { data: { k: '1' } } }, patchAs(k8s.PatchStrategy.MergePatch));
    await eventually('the change is in the cache', () => informer.get('a', namespace)?.data?.k === '1');
    await core.deleteNamespacedConfigMap({ name: 'a', namespace });
    await eventually('it is gone', () => seen.some(([verb, name]) => verb === 'delete' && name === 'a'));
    assert.deepEqual(seen.filter(([, name]) => name === 'a').map(([verb]) => verb), ['add', 'update', 'delete']);
    stopping = true;
    await informer.stop();
    // A watch that asks for what is there first, and for the sign that it was all.
    const events = [];
    const done = new Promise((resolve, reject) => {
      const query = { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan', allowWatchBookmarks: true, timeoutSeconds: 90 };
      const end = (type, object) => {
        events.push(type);
        if (type === 'BOOKMARK') resolve(object);
      };
      new k8s.Watch(config).watch(path, query, end, (e) => (e ? reject(e) : resolve())).then((c) => done.then(() => c.abort()));
    });
    assert.deepEqual((await done).metadata.annotations, { 'k8s.io/initial-events-end': 'true' });
    assert.deepEqual([...new Set(events)], ['ADDED', 'BOOKMARK']);
  },

  async 'every kind'(namespace) {
    const manifests = k8s.loadAllYaml(readFileSync(objects, 'utf8').replaceAll('NAMESPACE', namespace));
    const made = [];
    try {
      for (const m of manifests.filter(Boolean)) {
        // js-yaml reads timestamps as strings only where they are quoted, as they are in the file.
        const object = await any.resource(m.apiVersion, m.kind).then((r) => (r.namespaced ? { ...m, metadata: { ...m.metadata, namespace } } : m));
        const created = await any.create(object);
        made.push(object);
        assert.deepEqual([created.kind, created.apiVersion, created.metadata.name], [m.kind, m.apiVersion, m.metadata.name]);
        const labelled = { apiVersion: m.apiVersion, kind: m.kind, metadata: { ...object.metadata, labels: { clients: 'seen' } } };
        const patched = await any.patch(labelled, undefined, undefined, undefined, undefined, k8s.PatchStrategy.MergePatch);
        assert.equal(patched.metadata.labels.clients, 'seen');
        const read = await any.read(object);
        assert.equal(read.metadata.uid, created.metadata.uid);
        const list = await any.list(m.apiVersion, m.kind, object.metadata.namespace, undefined, undefined, undefined, undefined, 'clients=seen');
        assert.ok(list.items.some((i) => i.metadata.uid === created.metadata.uid), m.kind);
        // What was read goes back as it is: nothing that the types drop or change may matter.
        const unchanged = await eventually(`${m.kind} is replaced by itself`, async () => {
          const now = await any.read(object);
          return any.replace(now).then((after) => [now, after], (e) => assert.equal(e.code, 409, `${m.kind}: ${e}`));
        });
        assert.deepEqual(unchanged[0].spec, unchanged[1].spec);
      }
    } finally {
      for (const object of made.reverse()) await any.delete(object);
    }
  },

  async 'every list method'() {
    let called = 0;
    for (const [name, type] of Object.entries(k8s)) {
      if (!/V\dApi$/.test(name) || name.startsWith('Object')) continue;
      const api = config.makeApiClient(type);
      for (const method of Object.getOwnPropertyNames(type.prototype)) {
        const takesAll = /^list.*ForAllNamespaces$/.test(method) || /^list(?!Namespaced)/.test(method);
        if (!takesAll || /WithHttpInfo|CustomObject/.test(method)) continue;
        const answer = await api[method]().catch((e) => assert.fail(`${name}.${method}: ${e}`));
        // Component statuses are computed, and have no revision.
        const stored = method !== 'listComponentStatus';
        assert.ok(answer.items && (answer.metadata.resourceVersion || !stored), `${name}.${method}`);
        called += 1;
      }
    }
    assert.ok(called > 45, `${called}`);
  },

  async 'kinds of ones own'(namespace) {
    const group = `${namespace}.example.com`;
    const spec = { type: 'object', properties: { size: { type: 'integer', maximum: 10 }, colour: { type: 'string', _default: 'blue' } } };
    const openAPIV3Schema = { type: 'object', properties: { spec, status: { type: 'object', x_kubernetes_preserve_unknown_fields: true } } };
    const version = { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema }, subresources: { status: {} } };
    const names = { plural: 'parcels', kind: 'Parcel' };
    const crds = config.makeApiClient(k8s.ApiextensionsV1Api);
    const custom = config.makeApiClient(k8s.CustomObjectsApi);
    const name = `parcels.${group}`;
    const made = await crds.createCustomResourceDefinition({ body: { metadata: { name }, spec: { group, scope: 'Namespaced', names, versions: [version] } } });
    assert.equal(made.spec.versions[0].schema.openAPIV3Schema.properties.status.x_kubernetes_preserve_unknown_fields, true);
    await eventually('established', async () => {
      const crd = await crds.readCustomResourceDefinition({ name });
      return crd.status.conditions?.some((c) => c.type === 'Established' && c.status === 'True');
    });
    const where = { group, version: 'v1', namespace, plural: 'parcels' };
    const body = { apiVersion: `${group}/v1`, kind: 'Parcel', metadata: { name: 'a' }, spec: { size: 2, odd: 1 } };
    const parcel = await custom.createNamespacedCustomObject({ ...where, body });
    assert.deepEqual(parcel.spec, { size: 2, colour: 'blue' });
    await refused(422, 'Invalid', custom.createNamespacedCustomObject({ ...where, body: { ...body, metadata: { name: 'b' }, spec: { size: 11 } } }));
    const status = { status: { anything: [1, { goes: null }] } };
    const merge = patchAs(k8s.PatchStrategy.MergePatch);
    const told = await custom.patchNamespacedCustomObjectStatus({ ...where, name: 'a', body: status }, merge);
    assert.deepEqual(told.status.anything[0], 1);
    parcel.spec.size = 3;
    await refused(409, 'Conflict', custom.replaceNamespacedCustomObject({ ...where, name: 'a', body: parcel }));
    const listed = await any.list(`${group}/v1`, 'Parcel', namespace);
    assert.equal(listed.items[0].metadata.name, 'a');
    await custom.deleteNamespacedCustomObject({ ...where, name: 'a' });
    await crds.deleteCustomResourceDefinition({ name });
    await eventually('gone', () => crds.readCustomResourceDefinition({ name }).then(() => false, (e) => e.code === 404));
  },

  async 'scale, tokens and reviews'(namespace) {
    const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'x:1' }], nodeSelector: { no: 'where' } } };
    const body = { metadata: { name: 'd' }, spec: { replicas: 0, selector: { matchLabels: { a: 'b' } }, template } };
    await apps.createNamespacedDeployment({ namespace, body });
    const scaled = await apps.patchNamespacedDeploymentScale({ name: 'd', namespace, body: { spec: { replicas: 1 } } }, patchAs(k8s.PatchStrategy.MergePatch));
    assert.deepEqual([scaled.kind, scaled.spec.replicas], ['Scale', 1]);
    await eventually('its pod', async () => (await core.listNamespacedPod({ namespace })).items.length === 1);
    await apps.deleteNamespacedDeployment({ name: 'd', namespace, propagationPolicy: 'Foreground' });
    await eventually('all of it is gone', async () => (await core.listNamespacedPod({ namespace })).items.length === 0);
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: [], expirationSeconds: 600 } };
    const { status } = await core.createNamespacedServiceAccountToken({ name: 'default', namespace, body: request });
    assert.ok(status.expirationTimestamp instanceof Date);
    const reviews = config.makeApiClient(k8s.AuthenticationV1Api);
    const review = await reviews.createTokenReview({ body: { spec: { token: status.token } } });
    assert.equal(review.status.user.username, `system:serviceaccount:${namespace}:default`);
    const theirs = new k8s.KubeConfig();
    const { name, server, caData, caFile } = config.getCurrentCluster();
    theirs.loadFromClusterAndUser({ name, server, caData, caFile }, { name: 'u', token: status.token });
    await refused(403, 'Forbidden', theirs.makeApiClient(k8s.CoreV1Api).listNamespacedSecret({ namespace }));
    const may = { spec: { resourceAttributes: { namespace, verb: 'list', resource: 'secrets' } } };
    const asked = await theirs.makeApiClient(k8s.AuthorizationV1Api).createSelfSubjectAccessReview({ body: may });
    assert.equal(asked.status.allowed, false);
    assert.equal(await new k8s.Health(config).readyz({}), true);
  },

  async 'containers: logs, exec, attach, and ports'(namespace) {
    const script = 'echo first; httpd -p 8080 & while read line; do echo got $line; done; wait';
    const container = { name: 'main', image: IMAGE, command: ['sh', '-c', script], stdin: true };
    await core.createNamespacedPod({ namespace, body: { metadata: { name: 'p' }, spec: { terminationGracePeriodSeconds: 0, containers: [container] } } });
    await eventually('it runs', async () => (await core.readNamespacedPod({ name: 'p', namespace })).status.phase === 'Running');
    await eventually('it wrote', async () => (await core.readNamespacedPodLog({ name: 'p', namespace })).includes('first'));
    const followed = sink();
    const log = await new k8s.Log(config).log(namespace, 'p', 'main', followed.stream, { follow: true });
    await eventually('the log is followed', () => followed.text().includes('first'));
    const attached = sink();
    const typed = new PassThrough();
    const socket = await new k8s.Attach(config).attach(namespace, 'p', 'main', attached.stream, null, typed, false);
    typed.write('word\n');
    await eventually('attached', () => attached.text().includes('got word'));
    await eventually('and logged', () => followed.text().includes('got word'));
    socket.close();
    log.abort();
    const exec = async (command, input) => {
      const [out, err] = [sink(), sink()];
      const status = await new Promise((resolve, reject) => {
        const stdin = input === undefined ? null : Readable.from([Buffer.from(input)]);
        new k8s.Exec(config).exec(namespace, 'p', 'main', command, out.stream, err.stream, stdin, false, resolve).catch(reject);
      });
      return { status, out: out.text(), err: err.text() };
    };
    const plain = await exec(['sh', '-c', 'echo out; echo err >&2']);
    assert.deepEqual([plain.status.status, plain.out, plain.err], ['Success', 'out\n', 'err\n']);
    const failed = await exec(['sh', '-c', 'exit 7']);
    assert.deepEqual([failed.status.reason, failed.status.details.causes[0].message], ['NonZeroExitCode', '7']);
    const read = await exec(['head', '-n', '1'], 'typed in\n');
    assert.equal(read.out, 'typed in\n');
    const forward = new k8s.PortForward(config);
    const server = net.createServer((s) => forward.portForward(namespace, 'p', [8080], s, null, s));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const answer = await fetch(`http://127.0.0.1:${server.address().port}/hostname`, { headers: { connection: 'close' } });
    assert.equal(await answer.text(), 'p\n');
    server.close();
    await core.deleteNamespacedPod({ name: 'p', namespace });
    await eventually('it is gone', async () => (await core.listNamespacedPod({ namespace })).items.length === 0);
  },
};

const nodes = await core.listNode();
const ready = nodes.items.some((n) => n.status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'));
const [failed, passedOver] = [[], []];
let number = 0;
for (const [name, scenario] of Object.entries(scenarios).filter(([name]) => name.includes(wanted))) {
  if (name.startsWith('containers') && !ready) {
    passedOver.push(name);
    continue;
  }
  const namespace = `js-${number++}-${Math.random().toString(36).slice(2, 10)}`;
  await core.createNamespace({ body: { metadata: { name: namespace } } });
  // Pods need it, and a controller makes it.
  await eventually('its ServiceAccount', () => core.readNamespacedServiceAccount({ name: 'default', namespace }).catch(() => false));
  const start = Date.now();
  try {
    await scenario(namespace);
    console.log(`ok      ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  } catch (e) {
    console.log(e);
    console.log(`FAILED  ${name}`);
    failed.push(name);
  } finally {
    await core.deleteNamespace({ name: namespace });
  }
}
if (passedOver.length) console.log(`no node is ready, so nothing was shown by: ${passedOver.join(', ')}`);
if (failed.length) console.log(`${failed.length} failed: ${failed.join(', ')}`);
process.exit(failed.length ? 1 : 0);
