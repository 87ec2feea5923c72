//! What a volume is: the spec of a PersistentVolume, which a VolumeAttachment may hold inline.

use super::claims;
use crate::{at::At, rules::quantity, template};
use base::{FieldErrors, names, status::Problem};
use value::Value;

/// Every source of the API, in the order in which upstream looks at them.
const SOURCES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
];

/// Fields that a source cannot do without, where that is all that is checked of it.
const NEEDS: [(&str, &[&str]); 15] = [
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("rbd", &["monitors", "image"]),
    ("quobyte", &["registry", "volume"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("storageos", &["volumeName", "volumeNamespace"]),
];

/// The members of a spec that say where the volume is.
pub fn sources() -> impl Iterator<Item = &'static str> {
    SOURCES.into_iter().chain(["csi"])
}

/// A `PersistentVolumeSpec` of the volume `name`, or one that stands `inline` in an attachment.
pub fn spec(spec: At, name: &str, inline: bool, errors: &mut FieldErrors) {
    let csi = spec.get("csi");
    if inline {
        not_inline(spec, errors);
        if !csi.is_set() {
            csi.required(errors, "has to be specified in the context of inline volumes");
        }
    }
    let modes = spec.get("accessModes");
    modes.need(errors);
    claims::access_modes(modes, errors);
    let reclaim = spec.get("persistentVolumeReclaimPolicy");
    if !inline {
        capacity(spec.get("capacity"), errors);
        if !reclaim.is_empty() {
            reclaim.one_of(errors, &["Delete", "Recycle", "Retain"]);
        }
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.is_set() && !inline {
        let required = affinity.get("required");
        match required.is_set() {
            true => template::node_selector(required, errors),
            false => required.required(errors, "must specify required node constraints"),
        }
    }
    source(spec, name, errors);
    let path = spec.value.str_at(&["hostPath", "path"]);
    let root = !path.is_empty() && path.split('/').all(|part| part.is_empty() || part == ".");
    if reclaim.str() == "Recycle" && root {
        reclaim.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    if !inline {
        claims::class(spec.get("storageClassName"), errors);
        spec.get("volumeMode").one_of_if_set(errors, &claims::VOLUME_MODES);
    }
    let class = spec.get("volumeAttributesClassName");
    if class.is_set() {
        if class.is_empty() {
            class.required(errors, "an empty string is disallowed");
        }
        claims::class(class, errors);
        if !csi.is_set() {
            csi.required(errors, "has to be specified when using volumeAttributesClassName");
        }
    }
}

/// What belongs to a volume that is an object, and not to one that stands inline.
fn not_inline(spec: At, errors: &mut FieldErrors) {
    for field in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
        if !spec.get(field).is_empty() {
            spec.get(field).forbidden(errors, "may not be specified in the context of inline volumes");
        }
    }
    let (reclaim, mode) = (spec.get("persistentVolumeReclaimPolicy"), spec.get("volumeMode"));
    if !["", "Retain"].contains(&reclaim.str()) {
        reclaim.forbidden(errors, "may only be Retain in the context of inline volumes");
    }
    if !["", "Filesystem"].contains(&mode.str()) {
        mode.forbidden(errors, "may not specify volumeMode other than Filesystem in the context of inline volumes");
    }
}

fn capacity(capacity: At, errors: &mut FieldErrors) {
    capacity.need(errors);
    if capacity.len() != 1 || !capacity.entry("storage").is_set() {
        let shown = if capacity.is_set() { capacity.value.to_string() } else { "null".into() };
        errors.add(Problem::NotSupported, capacity.path, Some(shown), "supported values: \"storage\"");
    }
    for (_, amount) in capacity.entries() {
        claims::basic(amount, errors);
        match quantity(amount.value) {
            Some(size) if size.is_zero() || size.is_negative() => amount.invalid(errors, "must be greater than zero"),
            Some(_) => {}
            None => amount.invalid(errors, "must be a valid resource quantity"),
        }
    }
}

fn source(spec: At, name: &str, errors: &mut FieldErrors) {
    let mut found = sources().filter(|source| spec.value.get(source).is_some_and(|v| !v.is_null()));
    let Some(first) = found.next() else {
        return spec.required(errors, "must specify a volume type");
    };
    one_source(spec, first, name, errors);
    for other in found {
        spec.get(other).forbidden(errors, "may not specify more than 1 volume type");
    }
}

fn one_source(spec: At, kind: &str, volume: &str, errors: &mut FieldErrors) {
    let source = spec.get(kind);
    match kind {
        "hostPath" => template::host_path(source, errors),
        "local" => {
            if source.get("path").need(errors) {
                template::no_backsteps(source.get("path"), errors);
            }
            if !spec.get("nodeAffinity").is_set() {
                spec.get("nodeAffinity").required(errors, "Local volume requires node affinity");
            }
        }
        "nfs" => {
            source.get("server").need(errors);
            source.get("path").need(errors);
            if !source.get("path").str().starts_with('/') {
                source.get("path").invalid(errors, "must be an absolute path");
            }
        }
        "iscsi" => iscsi(source, volume, errors),
        "fc" => {
            let (targets, lun, wwids) = (source.get("targetWWNs"), source.get("lun"), source.get("wwids"));
            match (targets.is_empty(), wwids.is_empty()) {
                (true, true) => targets.required(errors, "must specify either targetWWNs or wwids, but not both"),
                (false, false) => {
                    let both = "targetWWNs and wwids can not be specified simultaneously";
                    errors.invalid_raw(targets.path, targets.value, both);
                }
                (false, true) if !lun.is_set() => lun.required(errors, "lun is required if targetWWNs is specified"),
                (false, true) => lun.range(errors, 0, 255),
                (true, false) => {}
            }
        }
        "csi" => csi(source, errors),
        other => {
            for field in NEEDS.iter().filter(|(name, _)| *name == other).flat_map(|(_, fields)| *fields) {
                source.get(field).need(errors);
            }
        }
    }
}

fn csi(source: At, errors: &mut FieldErrors) {
    let driver = source.get("driver");
    if driver.need(errors) {
        if driver.str().len() > 63 {
            errors.too_long(driver.path, 63);
        }
        driver.shape(errors, names::subdomain(&driver.str().to_lowercase()));
    }
    source.get("volumeHandle").need(errors);
    let secrets =
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
    for secret in secrets.into_iter().filter(|secret| source.value.get(secret).is_some_and(|s| !s.is_null())) {
        let secret = source.get(secret);
        let (name, namespace) = (secret.get("name"), secret.get("namespace"));
        if name.need(errors) {
            name.dns_subdomain(errors);
        }
        if namespace.need(errors) {
            namespace.dns_label(errors);
        }
    }
}

fn iscsi(source: At, volume: &str, errors: &mut FieldErrors) {
    let (portal, iqn, initiator) = (source.get("targetPortal"), source.get("iqn"), source.get("initiatorName"));
    portal.need(errors);
    if initiator.is_set() && volume.len() + 1 + portal.str().len() > 64 {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                      iscsi.initiatorName is specified.";
        At { value: portal.value, path: source.path.key("targetportal") }.invalid(errors, detail);
    }
    let known = |name: &str| ["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix));
    if iqn.need(errors) && !known(iqn.str()) {
        iqn.invalid(errors, "must be valid format");
    }
    source.get("lun").range(errors, 0, 255);
    let secret = source.get("secretRef");
    let asks = source.get("chapAuthDiscovery").flag() || source.get("chapAuthSession").flag();
    if asks && !secret.is_set() {
        secret.required(errors, "");
    }
    if secret.is_set() {
        secret.get("name").need(errors);
    }
    if initiator.is_set() && !known(initiator.str()) {
        At { value: initiator.value, path: source.path.key("initiatorname") }.invalid(errors, "must be valid format");
    }
}

/// Warnings about sources that no longer work.
pub fn warnings(spec: &Value, warnings: &mut Vec<String>) {
    for (source, shown, text) in [
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if !spec.at(&[source]).is_null() {
            warnings.push(format!("spec.{shown}: {text}"));
        }
    }
}
