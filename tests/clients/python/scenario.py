"""What programs written with the Python client do, held against a cluster: python scenario.py KUBECONFIG [part of a name]

Every function whose name begins with `check_` is one scenario in a namespace of its own. Those that run containers are
passed over where no node is ready, and the last line says so.
"""

import base64
import io
import json
import logging
import pathlib
import sys
import threading
import time
import traceback

import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import ADDED, DELETED, MODIFIED, SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.stream import portforward, stream

OBJECTS = pathlib.Path(__file__).parent.parent / "objects.yaml"
IMAGE = "ferry.local/toolbox:latest"
PATIENCE = 90


def eventually(what, probe):
    """Asks until the answer is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = probe()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def raw(path):
    """A document, as JSON."""
    api = client.ApiClient()
    answer = api.rest_client.request("GET", api.configuration.host + path, headers={"Accept": "application/json"})
    return json.loads(answer.read() if hasattr(answer, "read") else answer.data)


def refused(status, reason, call, *args, **kwargs):
    """The call must fail in this way; the Status it was told."""
    try:
        call(*args, **kwargs)
    except ApiException as e:
        body = json.loads(e.body)
        assert (e.status, body["reason"]) == (status, reason), (e.status, body)
        assert body["kind"] == "Status" and body["code"] == status, body
        return body
    raise AssertionError(f"{call.__name__} must fail with {status} {reason}")


def config_map(name, data=None, labels=None):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def pod(name, command, **spec):
    container = client.V1Container(name="main", image=IMAGE, command=["sh", "-c", command])
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=0, **spec),
    )


# One object, all verbs.


def check_verbs_of_one_object(ns):
    core = client.CoreV1Api()
    made = core.create_namespaced_config_map(ns, config_map("a", {"k": "1"}))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo is not None
    made.data["k"] = "2"
    replaced = core.replace_namespaced_config_map("a", ns, made)
    assert replaced.data == {"k": "2"} and replaced.metadata.resource_version != made.metadata.resource_version
    body = refused(409, "Conflict", core.replace_namespaced_config_map, "a", ns, made)
    assert body["details"]["name"] == "a", body
    refused(409, "AlreadyExists", core.create_namespaced_config_map, ns, config_map("a"))
    refused(404, "NotFound", core.read_namespaced_config_map, "b", ns)
    body = refused(422, "Invalid", core.create_namespaced_config_map, ns, config_map("Not_A_Name"))
    assert body["details"]["causes"][0]["field"] == "metadata.name", body
    tried = core.create_namespaced_config_map(ns, config_map("dry"), dry_run="All")
    assert tried.metadata.uid
    refused(404, "NotFound", core.read_namespaced_config_map, "dry", ns)
    # The generated types let no unknown field pass; the custom objects' methods take any tree to any group.
    wrong = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "b"}, "revision": 1, "dta": {"a": "b"}}
    create = client.CustomObjectsApi().create_namespaced_custom_object
    body = refused(400, "BadRequest", create, "apps", "v1", ns, "controllerrevisions", wrong, field_validation="Strict")
    assert 'unknown field "dta"' in body["message"], body
    answer = core.delete_namespaced_config_map("a", ns, body=client.V1DeleteOptions(preconditions={"uid": made.metadata.uid}))
    answer = client.ApiClient().sanitize_for_serialization(answer)
    assert answer["status"] == "Success" and answer["details"]["uid"] == made.metadata.uid, answer
    generated = core.create_namespaced_config_map(ns, {"metadata": {"generateName": "g-"}})
    assert generated.metadata.name.startswith("g-") and len(generated.metadata.name) == 7


def check_patches(ns):
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    core.create_namespaced_config_map(ns, config_map("a", {"k": "1", "l": "1"}))
    # A list is a JSON patch, anything else a strategic one unless it is said otherwise.
    out = core.patch_namespaced_config_map("a", ns, [{"op": "replace", "path": "/data/k", "value": "2"}])
    assert out.data == {"k": "2", "l": "1"}
    out = core.patch_namespaced_config_map("a", ns, {"data": {"l": None}})
    assert out.data == {"k": "2"}
    merge = "application/merge-patch+json"
    out = core.patch_namespaced_config_map("a", ns, {"data": {"m": "3"}}, _content_type=merge)
    assert out.data == {"k": "2", "m": "3"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    deployment = {"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}}
    apps.create_namespaced_deployment(ns, deployment)
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "s", "image": "y:1"}]}}}}
    out = apps.patch_namespaced_deployment("d", ns, sidecar)
    assert sorted(c.name for c in out.spec.template.spec.containers) == ["c", "s"]
    assert out.metadata.generation == 2
    out = apps.patch_namespaced_deployment("d", ns, sidecar, _content_type=merge)
    assert [c.name for c in out.spec.template.spec.containers] == ["s"]
    refused(422, "Invalid", core.patch_namespaced_config_map, "a", ns, [{"op": "remove", "path": "/data/none"}])


def check_apply_and_who_owns_what(ns):
    core = client.CoreV1Api()
    apply = "application/apply-patch+yaml"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}}
    made = core.patch_namespaced_config_map("a", ns, body, field_manager="one", _content_type=apply)
    assert [(m.manager, m.operation) for m in made.metadata.managed_fields] == [("one", "Apply")]
    assert made.metadata.managed_fields[0].fields_v1["f:data"] == {"f:k": {}}
    other = body | {"data": {"k": "2"}}
    told = refused(409, "Conflict", core.patch_namespaced_config_map, "a", ns, other, field_manager="two", _content_type=apply)
    assert 'conflict with "one": .data.k' in told["message"], told
    assert told["details"]["causes"][0]["reason"] == "FieldManagerConflict", told
    out = core.patch_namespaced_config_map("a", ns, other, field_manager="two", force=True, _content_type=apply)
    assert out.data == {"k": "2"} and {m.manager for m in out.metadata.managed_fields} == {"two"}
    out = core.patch_namespaced_config_map("a", ns, body | {"data": None}, field_manager="two", _content_type=apply)
    assert out.data is None


# Lists and watches.


def check_pages(ns):
    core = client.CoreV1Api()
    for i in range(7):
        core.create_namespaced_config_map(ns, config_map(f"p{i}", labels={"odd": str(i % 2)}))
    names, token, left = [], None, []
    while True:
        page = core.list_namespaced_config_map(ns, limit=3, _continue=token, field_selector="metadata.name!=kube-root-ca.crt")
        names += [i.metadata.name for i in page.items]
        left.append(page.metadata.remaining_item_count)
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"p{i}" for i in range(7)], names
    assert left[-1] is None, left
    plain = core.list_namespaced_config_map(ns, limit=3, label_selector="odd")
    # A count is told only where no selector hides some.
    assert plain.metadata.remaining_item_count is None and plain.metadata._continue, plain.metadata
    odd = core.list_namespaced_config_map(ns, label_selector="odd in (1),odd notin (0),!even")
    assert [i.metadata.name for i in odd.items] == ["p1", "p3", "p5"]
    many = ",".join(f"v{i}" for i in range(4000))
    assert len(core.list_namespaced_config_map(ns, label_selector=f"odd in (1,{many})").items) == 3
    exact = core.list_namespaced_config_map(ns, resource_version=odd.metadata.resource_version, resource_version_match="Exact")
    assert exact.metadata.resource_version == odd.metadata.resource_version
    refused(400, "BadRequest", core.list_namespaced_config_map, ns, label_selector="a==b==c")
    refused(400, "BadRequest", core.list_namespaced_config_map, ns, field_selector="nope=1")
    core.delete_collection_namespaced_config_map(ns, label_selector="odd=1")
    left = core.list_namespaced_config_map(ns, label_selector="odd")
    assert [i.metadata.name for i in left.items] == ["p0", "p2", "p4", "p6"]


def check_watch(ns):
    core = client.CoreV1Api()
    start = core.list_namespaced_config_map(ns).metadata.resource_version
    core.create_namespaced_config_map(ns, config_map("a", labels={"seen": "yes"}))
    core.patch_namespaced_config_map("a", ns, {"data": {"k": "v"}})
    core.patch_namespaced_config_map("a", ns, {"metadata": {"labels": {"seen": "no"}}})
    core.delete_namespaced_config_map("a", ns)

    def events(**options):
        w, seen = watch.Watch(), []
        # Only this name: every namespace is given a ConfigMap of its own.
        options |= {"field_selector": "metadata.name=a", "timeout_seconds": PATIENCE}
        for event in w.stream(core.list_namespaced_config_map, ns, **options):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                w.stop()
        return seen

    assert events(resource_version=start) == [("ADDED", "a"), ("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    # To a selector an object that no longer matches is gone.
    chosen = events(resource_version=start, label_selector="seen=yes")
    assert chosen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")], chosen
    # A watch ends by itself when its time is over.
    assert list(watch.Watch().stream(core.list_namespaced_config_map, ns, resource_version=start, timeout_seconds=1, label_selector="x")) == []


def check_initial_events_and_bookmarks(ns):
    core = client.CoreV1Api()
    core.create_namespaced_config_map(ns, config_map("a"))
    w, seen = watch.Watch(), []
    options = {"send_initial_events": True, "allow_watch_bookmarks": True, "resource_version_match": "NotOlderThan"}
    for event in w.stream(core.list_namespaced_config_map, ns, timeout_seconds=PATIENCE, **options):
        seen.append(event["type"])
        if event["type"] == "BOOKMARK":
            marks = event["raw_object"]["metadata"]["annotations"]
            assert marks == {"k8s.io/initial-events-end": "true"}, marks
            w.stop()
    assert seen[-1] == "BOOKMARK" and set(seen[:-1]) == {"ADDED"}, seen


def check_informer(ns):
    core = client.CoreV1Api()
    core.create_namespaced_config_map(ns, config_map("before"))
    informer, seen, lock = SharedInformer(core.list_namespaced_config_map, namespace=ns), [], threading.Lock()

    def note(kind):
        def handler(obj):
            with lock:
                seen.append((kind, obj.metadata.name))

        return handler

    for kind in (ADDED, MODIFIED, DELETED):
        informer.add_event_handler(kind, note(kind))
    informer.start()
    try:
        eventually("the list is in the cache", lambda: informer.cache.get_by_key(f"{ns}/before"))
        core.create_namespaced_config_map(ns, config_map("after", {"k": "1"}))
        core.patch_namespaced_config_map("after", ns, {"data": {"k": "2"}})
        held = eventually("the change is seen", lambda: (lambda o: o if o and o.data == {"k": "2"} else None)(informer.cache.get_by_key(f"{ns}/after")))
        assert held.metadata.name == "after"
        core.delete_namespaced_config_map("after", ns)
        eventually("it is gone", lambda: (DELETED, "after") in seen)
        assert informer.cache.get_by_key(f"{ns}/after") is None
        assert [e for e in seen if e[1] == "after"] == [(ADDED, "after"), (MODIFIED, "after"), (DELETED, "after")], seen
    finally:
        # It tears its own connection and then complains of that.
        logging.getLogger("kubernetes.informer").setLevel(logging.CRITICAL)
        informer.stop()


# Every kind.


def check_every_kind(ns):
    """Create from a manifest, read with the generated type (which refuses what is missing), patch, list, delete."""
    manifests = [m for m in yaml.safe_load_all(OBJECTS.read_text().replace("NAMESPACE", ns)) if m]
    api = client.ApiClient()
    wanted = dynamic.DynamicClient(api)
    made = []
    try:
        for m in manifests:
            (created,) = utils.create_from_dict(api, m, namespace=ns)
            made.append(m)
            assert created.metadata.name == m["metadata"]["name"] and created.kind == m["kind"], created
            assert created.api_version == m["apiVersion"], created
            resource = wanted.resources.get(api_version=m["apiVersion"], kind=m["kind"])
            where = {"namespace": ns} if resource.namespaced else {}
            label = {"metadata": {"labels": {"clients": "seen"}}}
            patched = resource.patch(name=m["metadata"]["name"], body=label, content_type="application/merge-patch+json", **where)
            assert patched.metadata.labels.clients == "seen", patched
            listed = resource.get(label_selector="clients=seen", **where)
            # The controller that mirrors Endpoints and EndpointSlices copies labels.
            names = [i.metadata.name for i in listed.items]
            assert m["metadata"]["name"] in names and (len(names) == 1 or "Endpoint" in m["kind"]), (m["kind"], names)
            assert listed.kind == m["kind"] + "List", listed.kind
    finally:
        for m in reversed(made):
            resource = wanted.resources.get(api_version=m["apiVersion"], kind=m["kind"])
            resource.delete(name=m["metadata"]["name"], namespace=ns if resource.namespaced else None)


def check_every_list_method(_):
    """Each generated `list_*` of all namespaces decodes what a cluster has of its own."""
    called = 0
    for name in sorted(dir(client)):
        # The type of events.k8s.io refuses what the legacy recorder wrote: it demands an eventTime.
        # And alpha and beta are off.
        served = name.endswith(("V1Api", "V2Api")) and name != "EventsV1Api"
        if not served:
            continue
        api = getattr(client, name)()
        for method in dir(api):
            takes_all = method.endswith("_for_all_namespaces") or not method.startswith("list_namespaced")
            if method.startswith("list_") and takes_all and not method.endswith("_with_http_info") and "custom_object" not in method and "cluster_custom" not in method:
                answer = getattr(api, method)()
                # Component statuses are computed, and have no revision.
                stored = method != "list_component_status"
                assert answer.items is not None and (answer.metadata.resource_version or not stored), (name, method)
                called += 1
    assert called > 45, called


# Kinds of one's own.


def definition(group):
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "colour": {"type": "string", "default": "blue"},
                    "when": {"x-kubernetes-int-or-string": True},
                },
                "x-kubernetes-validations": [{"rule": "self.size <= 10", "message": "too big"}],
            },
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.replicas"}},
        "selectableFields": [{"jsonPath": ".spec.colour"}],
    }
    names = {"plural": "parcels", "singular": "parcel", "kind": "Parcel", "shortNames": ["par"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"parcels.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def check_kinds_of_ones_own(ns):
    group = f"{ns}.example.com"
    extensions, custom = client.ApiextensionsV1Api(), client.CustomObjectsApi()
    extensions.create_custom_resource_definition(definition(group))
    try:

        def established():
            crd = extensions.read_custom_resource_definition(f"parcels.{group}")
            return any(c.type == "Established" and c.status == "True" for c in crd.status.conditions or [])

        eventually("it is established", established)
        parcel = {"apiVersion": f"{group}/v1", "kind": "Parcel", "metadata": {"name": "a"}, "spec": {"size": 2, "odd": 1, "when": "5%"}}
        made = custom.create_namespaced_custom_object(group, "v1", ns, "parcels", parcel)
        assert made["spec"] == {"size": 2, "colour": "blue", "when": "5%"}, made
        wrong = parcel | {"metadata": {"name": "b"}, "spec": {"size": 11}}
        body = refused(422, "Invalid", custom.create_namespaced_custom_object, group, "v1", ns, "parcels", wrong)
        assert "too big" in body["message"], body

        kind = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version=f"{group}/v1", kind="Parcel")
        assert kind.short_names == ["par"], kind
        seen = kind.get(namespace=ns, field_selector="spec.colour=blue")
        assert [i.metadata.name for i in seen.items] == ["a"]
        told = kind.status.patch(name="a", namespace=ns, body={"spec": {"size": 9}, "status": {"replicas": 3}}, content_type="application/merge-patch+json")
        assert (told.spec.size, told.status.replicas) == (2, 3), told
        scale = kind.scale.get(name="a", namespace=ns)
        assert (scale.kind, scale.spec.replicas, scale.status.replicas) == ("Scale", 2, 3), scale
        kind.scale.patch(name="a", namespace=ns, body={"spec": {"replicas": 4}}, content_type="application/merge-patch+json")
        assert kind.get(name="a", namespace=ns).spec.size == 4
        applied = kind.server_side_apply(body={"apiVersion": f"{group}/v1", "kind": "Parcel", "metadata": {"name": "c"}, "spec": {"size": 1}}, name="c", namespace=ns, field_manager="py")
        assert applied.metadata.managedFields[0].manager == "py", applied
        # Its watch, from a list that came before.
        since = kind.get(namespace=ns).metadata.resourceVersion
        kind.delete(name="c", namespace=ns)
        w = watch.Watch()
        for event in w.stream(custom.list_namespaced_custom_object, group, "v1", ns, "parcels", resource_version=since, timeout_seconds=PATIENCE):
            assert (event["type"], event["object"]["metadata"]["name"]) == ("DELETED", "c"), event
            w.stop()
        # A definition is published in both documents.
        paths = f"/apis/{group}/v1/namespaces/{{namespace}}/parcels/{{name}}/scale"
        eventually("it is in OpenAPI v2", lambda: paths in raw("/openapi/v2")["paths"])
        eventually("it is in OpenAPI v3", lambda: paths in raw(f"/openapi/v3/apis/{group}/v1")["paths"])
    finally:
        extensions.delete_custom_resource_definition(f"parcels.{group}")

    def gone():
        try:
            extensions.read_custom_resource_definition(f"parcels.{group}")
        except ApiException as e:
            return e.status == 404

    eventually("the definition is gone", gone)


# What else a client asks for.


def check_subresources(ns):
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}], "nodeSelector": {"no": "where"}}}
    body = {"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}}
    apps.create_namespaced_deployment(ns, body)
    scale = apps.read_namespaced_deployment_scale("d", ns)
    # The controller writes the status meanwhile: what was read is not insisted on.
    scale.spec.replicas, scale.metadata.resource_version = 1, None
    assert apps.replace_namespaced_deployment_scale("d", ns, scale).spec.replicas == 1
    made = eventually("its pod", lambda: core.list_namespaced_pod(ns, label_selector="a=b").items)
    assert made[0].metadata.owner_references[0].kind == "ReplicaSet"
    status = {"status": {"conditions": [{"type": "Mine", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}]}}
    out = core.patch_namespaced_pod_status(made[0].metadata.name, ns, status)
    assert "Mine" in [c.type for c in out.status.conditions]
    core.create_namespaced_pod_eviction(made[0].metadata.name, ns, client.V1Eviction(metadata=client.V1ObjectMeta(name=made[0].metadata.name)))
    apps.delete_namespaced_deployment("d", ns, propagation_policy="Foreground")
    eventually("all of it is gone", lambda: not core.list_namespaced_pod(ns, label_selector="a=b").items)
    core.create_namespaced_service_account(ns, {"metadata": {"name": "s"}})
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("s", ns, request).status.token
    review = client.AuthenticationV1Api().create_token_review(client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token)))
    assert review.status.authenticated and review.status.user.username == f"system:serviceaccount:{ns}:s", review


def check_who_may(ns):
    rights, core = client.RbacAuthorizationV1Api(), client.CoreV1Api()
    core.create_namespaced_service_account(ns, {"metadata": {"name": "s"}})
    rights.create_namespaced_role(ns, {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]})
    subject = {"kind": "ServiceAccount", "name": "s", "namespace": ns}
    rights.create_namespaced_role_binding(ns, {"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}, "subjects": [subject]})
    token = core.create_namespaced_service_account_token("s", ns, {"spec": {"expirationSeconds": 600}}).status.token
    limited = client.Configuration.get_default_copy()
    limited.cert_file = limited.key_file = None
    limited.api_key = {"authorization": "Bearer " + token}
    api = client.ApiClient(limited)
    theirs = client.CoreV1Api(api)
    eventually("the index has the binding", lambda: may(api, ns))
    assert theirs.list_namespaced_config_map(ns).items is not None
    body = refused(403, "Forbidden", theirs.list_namespaced_secret, ns)
    assert f'User "system:serviceaccount:{ns}:s" cannot list resource "secrets"' in body["message"], body
    limited.api_key = {"authorization": "Bearer nonsense"}
    refused(401, "Unauthorized", client.CoreV1Api(client.ApiClient(limited)).list_namespaced_config_map, ns)


def may(api, ns):
    attributes = client.V1ResourceAttributes(namespace=ns, verb="list", resource="configmaps")
    asked = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    return client.AuthorizationV1Api(api).create_self_subject_access_review(asked).status.allowed


def check_documents(_):
    assert client.VersionApi().get_code().git_version.startswith("v1.36."), client.VersionApi().get_code()
    groups = {g.name: g.preferred_version.version for g in client.ApisApi().get_api_versions().groups}
    assert groups["apps"] == "v1" and groups["autoscaling"] == "v2", groups
    names = {r.name for r in client.CoreV1Api().get_api_resources().resources}
    assert {"pods", "pods/log", "pods/exec", "namespaces/finalize"} <= names, names
    assert client.WellKnownApi().get_service_account_issuer_open_id_configuration()
    found = dynamic.DynamicClient(client.ApiClient()).resources.search(kind="Event")
    assert {r.group_version for r in found} >= {"v1", "events.k8s.io/v1"}, found


def check_finalizers_and_owners(ns):
    core = client.CoreV1Api()
    owner = core.create_namespaced_config_map(ns, {"metadata": {"name": "owner", "finalizers": ["example.com/wait"]}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid, "blockOwnerDeletion": True}
    core.create_namespaced_config_map(ns, {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    core.delete_namespaced_config_map("owner", ns)
    left = core.read_namespaced_config_map("owner", ns)
    assert left.metadata.deletion_timestamp and left.metadata.deletion_grace_period_seconds == 0
    core.patch_namespaced_config_map("owner", ns, [{"op": "remove", "path": "/metadata/finalizers"}])
    refused(404, "NotFound", core.read_namespaced_config_map, "owner", ns)
    eventually("the owned went along", lambda: [i.metadata.name for i in core.list_namespaced_config_map(ns).items if i.metadata.name == "owned"] == [])


def check_leader_election(ns):
    led = threading.Event()
    lock = ConfigMapLock("leader", ns, "me")
    chosen = electionconfig.Config(lock, lease_duration=5, renew_deadline=3, retry_period=1, onstarted_leading=led.set, onstopped_leading=None)
    threading.Thread(target=leaderelection.LeaderElection(chosen).run, daemon=True).start()
    assert led.wait(PATIENCE), "never led"
    held = client.CoreV1Api().read_namespaced_config_map("leader", ns)
    assert json.loads(held.metadata.annotations["control-plane.alpha.kubernetes.io/leader"])["holderIdentity"] == "me", held


# With containers.


def check_containers_logs_exec_attach_portforward(ns):
    core = client.CoreV1Api()
    script = "echo first; echo second; exec httpd -p 8080"
    core.create_namespaced_pod(ns, pod("p", script))
    eventually("it runs", lambda: core.read_namespaced_pod("p", ns).status.phase == "Running")

    # This release of the client answers with the text of the bytes, quotes included.
    def log(**options):
        return core.read_namespaced_pod_log("p", ns, _preload_content=False, **options).data.decode()

    eventually("it listens", lambda: "listening" in log())
    assert log(limit_bytes=5) == "first" and log().startswith("first\nsecond\n"), log()
    w = watch.Watch()
    for line in w.stream(core.read_namespaced_pod_log, "p", ns):
        assert line == "first", line
        w.stop()
        break
    run = ["sh", "-c", "echo out; echo err >&2; cat; exit 3"]
    s = stream(core.connect_get_namespaced_pod_exec, "p", ns, command=run, stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
    s.write_stdin("typed\n")
    out = err = ""
    end = time.monotonic() + PATIENCE
    while "typed" not in out and time.monotonic() < end:
        s.update(timeout=1)
        out += s.read_stdout(timeout=0) if s.peek_stdout() else ""
        err += s.read_stderr(timeout=0) if s.peek_stderr() else ""
    s.close()
    assert out == "out\ntyped\n" and err == "err\n", (out, err)
    s = stream(core.connect_get_namespaced_pod_exec, "p", ns, command=["sh", "-c", "exit 7"], stdout=True, _preload_content=False)
    s.run_forever(timeout=PATIENCE)
    assert s.returncode == 7, s.returncode
    assert stream(core.connect_get_namespaced_pod_exec, "p", ns, command=["echo", "a b"], stdout=True, stderr=True) == "a b\n"
    ports = portforward(core.connect_get_namespaced_pod_portforward, "p", ns, ports="8080")
    socket = ports.socket(8080)
    socket.sendall(b"GET /hostname HTTP/1.0\r\nHost: p\r\n\r\n")
    data = io.BytesIO()
    while chunk := socket.recv(1024):
        data.write(chunk)
    socket.close()
    assert data.getvalue().startswith(b"HTTP/1.") and data.getvalue().endswith(b"\r\n\r\np\n"), data.getvalue()
    assert ports.error(8080) is None, ports.error(8080)
    answer = core.connect_get_namespaced_pod_proxy_with_path("p:8080", ns, "hostname", _preload_content=False)
    assert answer.data == b"p\n", answer.data
    core.delete_namespaced_pod("p", ns)
    eventually("it is gone", lambda: not core.list_namespaced_pod(ns).items)


def main():
    config.load_kube_config(sys.argv[1])
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    core = client.CoreV1Api()
    ready = any(c.type == "Ready" and c.status == "True" for n in core.list_node().items for c in n.status.conditions or [])
    failed, passed_over = [], []
    for number, (name, scenario) in enumerate([(n, f) for n, f in globals().items() if n.startswith("check_") and wanted in n]):
        if "containers" in name and not ready:
            passed_over.append(name)
            continue
        ns = f"py-{number}-{base64.b32encode(str(time.time_ns()).encode()).decode().lower().strip('=')[-8:]}"
        core.create_namespace({"metadata": {"name": ns}})
        # Pods need a ServiceAccount, and a controller makes it.
        eventually("its ServiceAccount", lambda: core.list_namespaced_service_account(ns).items)
        start = time.monotonic()
        try:
            scenario(ns)
            print(f"ok      {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception:  # noqa: BLE001, whatever it was, the others are to run
            traceback.print_exc()
            failed.append(name)
            print(f"FAILED  {name}", flush=True)
        finally:
            core.delete_namespace(ns)
    if passed_over:
        print(f"no node is ready, so nothing was shown by: {', '.join(passed_over)}")
    if failed:
        sys.exit(f"{len(failed)} failed: {', '.join(failed)}")


main()
