"""An operator written with Kopf, held against a cluster: python scenario.py KUBECONFIG

It keeps a ConfigMap for every Lamp and reports in the Lamp's status; the operator and the program that uses it are this file. It
is ended and started again in the middle, as operators are.
"""

import os
import sys
import time

import kopf
import kopf.testing
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

GROUP, VERSION, PLURAL = "operator.example.com", "v1", "lamps"
NAMESPACE = f"operator-{os.getpid()}"
PATIENCE = 60
# Kopf's runner catches what is printed while it runs.
OUT = sys.stdout

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{PLURAL}.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "Lamp", "plural": PLURAL, "singular": "lamp"},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"watts": {"type": "integer"}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


@kopf.on.login()
def login(**arguments):
    return kopf.login_with_kubeconfig(**arguments)


@kopf.on.create(GROUP, VERSION, PLURAL)
def created(spec, name, namespace, patch, **_):
    child = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"watts": str(spec["watts"])}}
    kopf.adopt(child)
    client.CoreV1Api().create_namespaced_config_map(namespace, child)
    patch.status["shines"] = spec["watts"]


@kopf.on.field(GROUP, VERSION, PLURAL, field="spec.watts")
def changed(old, new, name, namespace, patch, **_):
    if old is not None:
        client.CoreV1Api().patch_namespaced_config_map(name, namespace, {"data": {"watts": str(new)}})
        patch.status["shines"] = new


@kopf.on.delete(GROUP, VERSION, PLURAL)
def deleted(name, namespace, **_):
    child = {"metadata": {"name": f"{name}-was-here"}}
    client.CoreV1Api().create_namespaced_config_map(namespace, child)


@kopf.on.event("", "v1", "configmaps", labels={"watched": "yes"})
def seen(event, name, namespace, **_):
    if event["type"] not in (None, "DELETED"):
        body = {"metadata": {"annotations": {"seen": "yes"}}}
        client.CoreV1Api().patch_namespaced_config_map(name, namespace, body)


def eventually(what, probe):
    """Asks until the answer is something; what is not there yet is nothing."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            answer = probe()
        except ApiException as e:
            if e.status != 404:
                raise
            answer = None
        if answer:
            print(f"ok      {what}", file=OUT, flush=True)
            return answer
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def gone(read, *args):
    """Whether reading fails with 404."""
    try:
        read(*args)
    except ApiException as e:
        return e.status == 404
    return False


def running():
    return kopf.testing.KopfRunner(["run", "--namespace", NAMESPACE, "--standalone", __file__], timeout=PATIENCE)


def main():
    config.load_kube_config(sys.argv[1])
    os.environ["KUBECONFIG"] = sys.argv[1]
    core, custom = client.CoreV1Api(), client.CustomObjectsApi()
    definitions = client.ApiextensionsV1Api()
    definitions.create_custom_resource_definition(DEFINITION)
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    where = (GROUP, VERSION, NAMESPACE, PLURAL)

    def lamp(name):
        return custom.get_namespaced_custom_object(*where, name)

    def make(name, watts):
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Lamp", "metadata": {"name": name}, "spec": {"watts": watts}}
        custom.create_namespaced_custom_object(*where, body)

    def shines(name, watts):
        return lambda: lamp(name).get("status", {}).get("shines") == watts

    try:
        eventually("the definition is served", lambda: custom.list_namespaced_custom_object(*where))
        with running() as operator:
            make("desk", 10)
            eventually("a new object is handled and its status told", shines("desk", 10))
            child = core.read_namespaced_config_map("desk", NAMESPACE)
            owner = child.metadata.owner_references[0]
            assert (owner.kind, owner.uid, owner.controller) == ("Lamp", lamp("desk")["metadata"]["uid"], True), owner
            assert lamp("desk")["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
            custom.patch_namespaced_custom_object(*where, "desk", {"spec": {"watts": 25}})
            eventually("a changed field is handled", shines("desk", 25))
            watched = {"metadata": {"name": "watched", "labels": {"watched": "yes"}}}
            core.create_namespaced_config_map(NAMESPACE, watched)
            eventually(
                "events of a built-in kind come by label",
                lambda: (core.read_namespaced_config_map("watched", NAMESPACE).metadata.annotations or {}).get("seen"),
            )
        assert operator.exception is None and operator.exit_code == 0, operator.output
        make("floor", 60)
        custom.delete_namespaced_custom_object(*where, "desk")
        assert lamp("desk")["metadata"]["deletionTimestamp"], "the finalizer holds it while nobody handles it"
        with running() as operator:
            eventually("what came meanwhile is handled", shines("floor", 60))
            eventually("a deletion is handled", lambda: core.read_namespaced_config_map("desk-was-here", NAMESPACE))
            eventually("the object goes", lambda: gone(lamp, "desk"))
            eventually("its child goes", lambda: gone(core.read_namespaced_config_map, "desk", NAMESPACE))
            custom.delete_namespaced_custom_object(*where, "floor")
            eventually("the other goes", lambda: gone(lamp, "floor"))
        assert operator.exception is None and operator.exit_code == 0, operator.output
    finally:
        core.delete_namespace(NAMESPACE)
        definitions.delete_custom_resource_definition(DEFINITION["metadata"]["name"])


# Kopf loads this file once more, for its handlers.
if __name__ == "__main__":
    main()
