//! The catalog as a whole: every kind is complete, and its names, verbs and subresources are those of the API.

use crate::builtin;
use schema::{Kind, Scope, SubresourceAction, Verb};
use std::collections::BTreeSet;

/// Group, plural, kind, scope, short names, categories, subresources: the facts of Kubernetes 1.36 discovery for the
/// kinds declared here. `-` is nothing.
const FACTS: &str = "
- bindings Binding N - - -
- configmaps ConfigMap N cm - -
- endpoints Endpoints N ep - -
- events Event N ev - -
- namespaces Namespace C ns - finalize,status
- nodes Node C no - proxy,status
- pods Pod N po all attach,binding,ephemeralcontainers,eviction,exec,log,portforward,proxy,resize,status
- podtemplates PodTemplate N - - -
- replicationcontrollers ReplicationController N rc all scale,status
- secrets Secret N - - -
- serviceaccounts ServiceAccount N sa - token
- services Service N svc all proxy,status
apiextensions.k8s.io customresourcedefinitions CustomResourceDefinition C crd,crds api-extensions status
apps controllerrevisions ControllerRevision N - - -
apps daemonsets DaemonSet N ds all status
apps deployments Deployment N deploy all scale,status
apps replicasets ReplicaSet N rs all scale,status
apps statefulsets StatefulSet N sts all scale,status
authentication.k8s.io selfsubjectreviews SelfSubjectReview C - - -
authentication.k8s.io tokenreviews TokenReview C - - -
authorization.k8s.io localsubjectaccessreviews LocalSubjectAccessReview N - - -
authorization.k8s.io selfsubjectaccessreviews SelfSubjectAccessReview C - - -
authorization.k8s.io selfsubjectrulesreviews SelfSubjectRulesReview C - - -
authorization.k8s.io subjectaccessreviews SubjectAccessReview C - - -
batch cronjobs CronJob N cj all status
batch jobs Job N - all status
certificates.k8s.io certificatesigningrequests CertificateSigningRequest C csr - approval,status
coordination.k8s.io leases Lease N - - -
discovery.k8s.io endpointslices EndpointSlice N - - -
node.k8s.io runtimeclasses RuntimeClass C - - -
rbac.authorization.k8s.io clusterrolebindings ClusterRoleBinding C - - -
rbac.authorization.k8s.io clusterroles ClusterRole C - - -
rbac.authorization.k8s.io rolebindings RoleBinding N - - -
rbac.authorization.k8s.io roles Role N - - -
admissionregistration.k8s.io mutatingadmissionpolicies MutatingAdmissionPolicy C - api-extensions -
admissionregistration.k8s.io mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding C - api-extensions -
admissionregistration.k8s.io mutatingwebhookconfigurations MutatingWebhookConfiguration C - api-extensions -
admissionregistration.k8s.io validatingadmissionpolicies ValidatingAdmissionPolicy C - api-extensions status
admissionregistration.k8s.io validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding C - api-extensions -
admissionregistration.k8s.io validatingwebhookconfigurations ValidatingWebhookConfiguration C - api-extensions -
apiregistration.k8s.io apiservices APIService C - api-extensions status
flowcontrol.apiserver.k8s.io flowschemas FlowSchema C - - status
flowcontrol.apiserver.k8s.io prioritylevelconfigurations PriorityLevelConfiguration C - - status
networking.k8s.io ingressclasses IngressClass C - - -
networking.k8s.io ingresses Ingress N ing - status
networking.k8s.io ipaddresses IPAddress C ip - -
networking.k8s.io networkpolicies NetworkPolicy N netpol - -
networking.k8s.io servicecidrs ServiceCIDR C - - status
resource.k8s.io deviceclasses DeviceClass C - - -
resource.k8s.io resourceclaims ResourceClaim N - - status
resource.k8s.io resourceclaimtemplates ResourceClaimTemplate N - - -
resource.k8s.io resourceslices ResourceSlice C - - -
- componentstatuses ComponentStatus C cs - -
- limitranges LimitRange N limits - -
- persistentvolumeclaims PersistentVolumeClaim N pvc - status
- persistentvolumes PersistentVolume C pv - status
- resourcequotas ResourceQuota N quota - status
autoscaling horizontalpodautoscalers HorizontalPodAutoscaler N hpa all status
policy poddisruptionbudgets PodDisruptionBudget N pdb - status
storage.k8s.io csidrivers CSIDriver C - - -
storage.k8s.io csinodes CSINode C - - -
storage.k8s.io csistoragecapacities CSIStorageCapacity N - - -
storage.k8s.io storageclasses StorageClass C sc - -
storage.k8s.io volumeattachments VolumeAttachment C - - status
storage.k8s.io volumeattributesclasses VolumeAttributesClass C vac - -
scheduling.k8s.io priorityclasses PriorityClass C pc - -";

/// Kinds that are never stored.
const VIRTUAL: [&str; 7] = [
    "Binding",
    "LocalSubjectAccessReview",
    "SelfSubjectAccessReview",
    "SelfSubjectReview",
    "SelfSubjectRulesReview",
    "SubjectAccessReview",
    "TokenReview",
];

fn facts(kind: &Kind) -> String {
    let join = |mut names: Vec<&str>| {
        names.sort_unstable();
        if names.is_empty() { "-".to_string() } else { names.join(",") }
    };
    let group = if kind.group.is_empty() { "-" } else { kind.group.as_str() };
    let scope = if kind.scope == Scope::Cluster { "C" } else { "N" };
    let short = join(kind.short_names.iter().map(|n| n.as_str()).collect());
    let categories = join(kind.categories.iter().map(|n| n.as_str()).collect());
    let subresources = join(kind.subresources.iter().map(|s| s.name.as_str()).collect());
    format!("{group} {} {} {scope} {short} {categories} {subresources}", kind.plural, kind.kind)
}

#[test]
fn names_and_subresources_are_those_of_the_api() {
    let have: Vec<String> = builtin().iter().map(|kind| facts(kind)).collect();
    let want: Vec<&str> = FACTS.trim().lines().collect();
    pretty(&have, &want);
}

fn pretty(have: &[String], want: &[&str]) {
    let have: BTreeSet<&str> = have.iter().map(String::as_str).collect();
    let want: BTreeSet<&str> = want.iter().copied().collect();
    let missing: Vec<_> = want.difference(&have).collect();
    let extra: Vec<_> = have.difference(&want).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}\nnot in the facts {extra:#?}");
}

#[test]
fn every_kind_is_complete() {
    for kind in builtin().iter() {
        let name = &kind.kind;
        assert_eq!(kind.singular, name.to_lowercase(), "{name}");
        assert_eq!(kind.list_kind, format!("{name}List"), "{name}");
        assert!(kind.storage < kind.versions.len(), "{name}");
        assert!(kind.custom.is_none(), "{name}");
        for version in &kind.versions {
            assert!(version.served, "{name}");
            let node = version.schema.node();
            assert!(node.name.ends_with(&format!(".{name}")), "{name} has the schema of {}", node.name);
            assert!(node.field("metadata").is_some(), "{name}");
            assert!(!version.columns.is_empty(), "{name}");
        }
        let has_status = kind.subresource("status").is_some();
        assert!(has_status || !kind.policy.status_apart, "{name} keeps a status apart that nobody can write");
    }
}

#[test]
fn verbs_are_those_of_the_api() {
    for kind in builtin().iter() {
        let want = match kind.kind.as_str() {
            name if VIRTUAL.contains(&name) => vec![Verb::Create],
            "ComponentStatus" => vec![Verb::Get, Verb::List],
            "Namespace" => crate::declare::ALL.into_iter().filter(|v| *v != Verb::DeleteCollection).collect(),
            _ => crate::declare::ALL.to_vec(),
        };
        assert_eq!(kind.verbs, want, "{}", kind.kind);
    }
}

#[test]
fn paths_lead_into_the_schema() {
    for kind in builtin().iter() {
        let mut paths: Vec<&[value::Str]> = Vec::new();
        for subresource in &kind.subresources {
            match &subresource.action {
                SubresourceAction::Fields(fields) => paths.extend(fields.iter().map(Vec::as_slice)),
                SubresourceAction::Scale { replicas, status_replicas, selector } => {
                    paths.extend([replicas.as_slice(), status_replicas]);
                    paths.extend(selector.iter().map(Vec::as_slice));
                }
                SubresourceAction::Act | SubresourceAction::Server => {}
            }
        }
        paths.extend(kind.selectable.iter().map(|field| field.path.as_slice()));
        for path in paths {
            let mut schema = kind.versions[kind.storage].schema.clone();
            for step in path {
                let field = schema.node().field(step).unwrap_or_else(|| panic!("{}: no {step} in {path:?}", kind.kind));
                schema = schema.goto(field.node);
            }
        }
    }
}

#[test]
fn short_names_are_unique_in_a_group() {
    let mut seen = BTreeSet::new();
    for kind in builtin().iter() {
        for name in kind.short_names.iter().chain([&kind.plural]) {
            assert!(seen.insert((kind.group.clone(), name.clone())), "{name} twice");
        }
    }
}
