//! Kinds of the whole cluster: namespaces, priorities, flows, certificates, runtime classes, and who may do what.

use crate::{
    operations::{Operations, has, merge, version_of},
    scene::{Scene, object, refused, scenarios},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::{
    authorization::v1::{LocalSubjectAccessReview, SubjectAccessReview},
    certificates::v1::CertificateSigningRequest,
    core::v1::{Namespace, ServiceAccount},
    flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration},
    node::v1::RuntimeClass,
    scheduling::v1::PriorityClass,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use testkit::{Value, json};

scenarios! {
    "[sig-api-machinery] Namespaces [Serial] should patch a Namespace [Conformance]"
        => a_namespace_is_patched,
    "[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace [Conformance]"
        => a_namespace_is_updated,
    "[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status [Conformance]"
        => the_status_of_a_namespace,
    "[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace [Conformance]"
        => a_namespace_gets_a_finalizer,
    "[sig-api-machinery] API priority and fairness should support FlowSchema API operations [Conformance]"
        => flow_schemas,
    "[sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations [Conformance]"
        => priority_levels,
    "[sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods [Conformance]"
        => priority_classes,
    "[sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]"
        => runtime_classes,
    "[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]"
        => certificates,
    "[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]"
        => reviews,
}

async fn a_namespace_is_patched(scene: Scene) {
    let namespaces = scene.all::<Namespace>();
    let made = scene.namespace("patched").await;
    let name = made.name_any();
    let patch = Patch::Strategic(json!({"metadata": {"labels": {"testLabel": "testValue"}}}));
    let patched = namespaces.patch(&name, &PatchParams::default(), &patch).await.expect("patched");
    assert!(version_of(&patched) > version_of(&made));
    assert_eq!(namespaces.get(&name).await.expect("read").labels()["testLabel"], "testValue");
}

async fn a_namespace_is_updated(scene: Scene) {
    let name = &scene.namespace;
    let namespaces = scene.all::<Namespace>();
    let updated = replace(&namespaces, "", name, |namespace| {
        namespace["metadata"]["labels"][name] = "updated".into();
    });
    let updated = updated.await;
    assert_eq!((updated.labels()[name].as_str(), &updated.labels()["kubernetes.io/metadata.name"]), ("updated", name));
}

async fn the_status_of_a_namespace(scene: Scene) {
    let (namespaces, name) = (scene.all::<Namespace>(), &scene.namespace);
    let read = namespaces.get_status(name).await.expect("its status");
    assert_eq!(read.status.and_then(|status| status.phase).as_deref(), Some("Active"));
    let condition =
        |kind: &str, message: &str| json!({"type": kind, "status": "True", "reason": "Spec", "message": message});
    let first = condition("StatusPatch", "by a patch");
    let patch = json!({"metadata": {"annotations": {"patched": name}}, "status": {"conditions": [first]}});
    let patched = namespaces.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patched");
    has(&patched, &patch);
    let second = condition("StatusUpdate", "by an update");
    let updated = replace(&namespaces, "status", name, |namespace| {
        namespace["status"]["conditions"].as_array_mut().expect("conditions").push(second.clone());
    });
    has(&updated.await, &json!({"status": {"phase": "Active", "conditions": [first, second]}}));
}

/// Those of a namespace's spec have a path of their own, and no other writes them.
async fn a_namespace_gets_a_finalizer(scene: Scene) {
    const OWN: &str = "e2e.example.com/fakeFinalizer";
    let namespaces = scene.all::<Namespace>();
    let name = scene.namespace("finalized").await.name_any();
    let finalizers =
        |namespace: &Namespace| namespace.spec.clone().and_then(|spec| spec.finalizers).unwrap_or_default();
    let set = async |path: &str, wanted: &[&str]| {
        let with = |namespace: &mut Value| namespace["spec"]["finalizers"] = json!(wanted);
        finalizers(&replace(&namespaces, path, &name, with).await)
    };
    assert_eq!(set("finalize", &["kubernetes", OWN]).await, ["kubernetes", OWN]);
    assert_eq!(finalizers(&namespaces.get(&name).await.expect("read")), ["kubernetes", OWN]);
    assert_eq!(set("", &["kubernetes"]).await, ["kubernetes", OWN]);
    assert_eq!(set("finalize", &["kubernetes"]).await, ["kubernetes"]);
}

async fn flow_schemas(scene: Scene) {
    let spec = json!({
        "matchingPrecedence": 10000,
        "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }],
    });
    Operations::<FlowSchema>::cluster(&scene, |_| json!({"spec": spec}))
        .changing(json!({"spec": {"matchingPrecedence": 9999}}), json!({"spec": {"matchingPrecedence": 9000}}))
        .with_status(failed("PatchStatusFailed"), failed("StatusUpdateFailed"))
        .all()
        .await;
}

async fn priority_levels(scene: Scene) {
    let shares = |n: i64| json!({"spec": {"limited": {"nominalConcurrencyShares": n}}});
    Operations::<PriorityLevelConfiguration>::cluster(&scene, |_| {
        let limited = json!({"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}});
        json!({"spec": {"type": "Limited", "limited": limited}})
    })
    .changing(shares(4), shares(6))
    .with_status(failed("PatchStatusFailed"), failed("StatusUpdateFailed"))
    .all()
    .await;
}

fn failed(kind: &str) -> Value {
    json!({"conditions": [{"type": kind, "status": "False", "reason": "Spec", "message": "set by a test",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
}

/// All of them change but for the value.
async fn priority_classes(scene: Scene) {
    let description = |text: &str| json!({"description": text});
    let made = Operations::<PriorityClass>::cluster(&scene, |n| json!({"value": n + 1}));
    let made = made.changing(description("patched"), description("updated"));
    made.all().await;

    let classes = scene.all::<PriorityClass>();
    let class = made.create(0).await;
    let name = class.name_any();
    let patch = |patch: Value| {
        let (classes, name) = (classes.clone(), name.clone());
        async move { classes.patch(&name, &PatchParams::default(), &Patch::Strategic(patch)).await }
    };
    let said = refused(patch(json!({"value": 10})).await, 422, "Invalid");
    assert!(said.contains("may not be changed in an update"), "{said}");
    let other = PriorityClass { value: Some(10), ..class.clone() };
    refused(classes.replace(&name, &PostParams::default(), &other).await, 422, "Invalid");
    let patched = patch(description("by a patch")).await.expect("patched");
    let updated = PriorityClass { description: Some("by an update".into()), ..patched };
    classes.replace(&name, &PostParams::default(), &updated).await.expect("updated");
    let live = classes.get(&name).await.expect("read");
    assert_eq!((live.value, live.description.as_deref()), (Some(1), Some("by an update")));
    assert!(version_of(&live) > version_of(&class));
}

async fn runtime_classes(scene: Scene) {
    let cost = |cpu: &str| json!({"scheduling": {"nodeSelector": {"cost": cpu}}});
    Operations::<RuntimeClass>::cluster(&scene, |n| json!({"handler": format!("handler{n}")}))
        .changing(cost("little"), cost("more"))
        .all()
        .await;
}

async fn certificates(scene: Scene) {
    let asked = pki::CertificateRequest::new("e2e.example.com", None, &["e2e.example.com".into()]).expect("a request");
    let signer = format!("example.com/{}", scene.namespace);
    let made = Operations::<CertificateSigningRequest>::cluster(&scene, |_| {
        json!({"spec": {
            "request": STANDARD.encode(&asked.request_pem), "signerName": signer, "expirationSeconds": 3600,
            "usages": ["digital signature", "key encipherment", "server auth"],
        }})
    });
    let made = made.selecting(format!("spec.signerName={signer}"));
    made.discovery(&["approval", "status"]).await;
    made.lifecycle().await;

    let requests = scene.all::<CertificateSigningRequest>();
    let created = made.create(0).await;
    let name = created.name_any();
    for path in ["approval", "status"] {
        let url = format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}/{path}");
        let read = scene.admin.get(&url).await.expect(200);
        assert_eq!(
            (&read["kind"], &read["apiVersion"]),
            (&json!("CertificateSigningRequest"), &json!("certificates.k8s.io/v1"))
        );
        assert_eq!(read["metadata"]["uid"].as_str(), created.uid().as_deref());
    }
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Spec", "message": "set by a test"});
    let kinds = |request: &CertificateSigningRequest| {
        let conditions = request.status.clone().and_then(|status| status.conditions).unwrap_or_default();
        conditions.into_iter().map(|condition| condition.type_).collect::<Vec<_>>()
    };
    let push = |kind: &'static str| {
        move |request: &mut Value| {
            request["status"]["conditions"].as_array_mut().expect("conditions").push(condition(kind))
        }
    };
    let patch = |path: &'static str, patch: Value| {
        let (requests, name) = (requests.clone(), name.clone());
        async move {
            let patched = requests.patch_subresource(path, &name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            let patched = patched.unwrap_or_else(|error| panic!("{path}: {error}"));
            has(&patched, &patch);
            patched
        }
    };
    let noted = |key: &str, status: Value| json!({"metadata": {"annotations": {key: "true"}}, "status": status});

    let patched =
        patch("approval", noted("patchedapproval", json!({"conditions": [condition("ApprovalPatch")]}))).await;
    assert_eq!(kinds(&patched), ["ApprovalPatch"]);
    let updated = replace(&requests, "approval", &name, push("Approved")).await;
    assert_eq!(kinds(&updated), ["ApprovalPatch", "Approved"]);
    let certificate = STANDARD.encode(scene.cluster.pki.ca.cert_pem());
    patch("status", noted("patchedstatus", json!({"certificate": certificate}))).await;
    let updated = replace(&requests, "status", &name, push("StatusUpdate")).await;
    assert_eq!(kinds(&updated), ["ApprovalPatch", "Approved", "StatusUpdate"]);
    // Whoever signs has no say in what was approved.
    let emptied = object(json!({"metadata": {"name": name}, "spec": updated.spec, "status": {}}));
    let said = refused(requests.replace_status(&name, &PostParams::default(), &emptied).await, 422, "Invalid");
    assert!(said.contains("updates may not remove a condition of type \"Approved\""), "{said}");
}

/// What a review says of somebody is what happens to them.
async fn reviews(scene: Scene) {
    let accounts = scene.api::<ServiceAccount>();
    let account = object(json!({"metadata": {"name": "e2e"}}));
    let account = accounts.create(&PostParams::default(), &account).await.expect("an account");
    let (namespace, uid) = (&scene.namespace, account.uid().expect("a uid"));
    let user = format!("system:serviceaccount:{namespace}:e2e");
    let groups = [
        "system:authenticated".to_string(),
        "system:serviceaccounts".into(),
        format!("system:serviceaccounts:{namespace}"),
    ];
    let mut impersonated = scene.admin.with("Impersonate-User", &user).with("Impersonate-Uid", &uid);
    for group in &groups {
        impersonated = impersonated.with("Impersonate-Group", group);
    }
    let maps = scene.path("api/v1", "configmaps");
    let asked = json!({"user": user, "groups": groups, "uid": uid,
        "resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": namespace, "version": "v1"}});
    let reviewed = async || {
        let review: SubjectAccessReview = object(json!({"spec": asked}));
        let review = scene.all().create(&PostParams::default(), &review).await.expect("a review");
        let review = review.status.expect("a status");
        let local: LocalSubjectAccessReview = object(json!({"metadata": {"namespace": namespace}, "spec": asked}));
        let local: LocalSubjectAccessReview =
            scene.api().create(&PostParams::default(), &local).await.expect("a review");
        assert_eq!(local.status.expect("a status").allowed, review.allowed);
        review.allowed
    };
    assert!(!reviewed().await);
    impersonated.get(&maps).await.refused(403, "Forbidden");

    // And of what becomes allowed.
    let binding = json!({"metadata": {"name": "reads"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "e2e", "namespace": namespace}]});
    scene.admin.create(&scene.path("apis/rbac.authorization.k8s.io/v1", "rolebindings"), &binding).await;
    assert!(reviewed().await);
    impersonated.get(&maps).await.expect(200);
}

/// An update of an object, or of its subresource where `path` is not empty, as often as others come between.
async fn replace<K: crate::operations::Kind>(api: &Api<K>, path: &str, name: &str, with: impl Fn(&mut Value)) -> K {
    loop {
        let mut value = json!(api.get(name).await.expect("read"));
        merge(&mut value, &json!({"metadata": {"managedFields": null}}));
        with(&mut value);
        let changed: K = object(value);
        let answer = match path {
            "" => api.replace(name, &PostParams::default(), &changed).await,
            path => api.replace_subresource(path, name, &PostParams::default(), &changed).await,
        };
        match answer {
            Err(kube::Error::Api(status)) if status.reason == "Conflict" => {}
            answer => return answer.expect("updated"),
        }
    }
}
