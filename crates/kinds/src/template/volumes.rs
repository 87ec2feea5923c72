//! Volumes and where containers mount them.

use super::env::{self, For};
use crate::at::At;
use base::FieldErrors;
use std::collections::{BTreeMap, BTreeSet};

/// The valid volumes of a pod by name; true for those that can be a block device.
pub type Volumes = BTreeMap<String, bool>;

/// Every volume source of the API.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Fields that a source cannot do without, where that is all there is to check.
const NEEDS: [(&str, &[&str]); 10] = [
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("csi", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("cephfs", &["monitors"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("vsphereVolume", &["volumePath"]),
];

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// All volumes; answers those that mounts may name.
pub fn validate(volumes: At, errors: &mut FieldErrors) -> Volumes {
    let mut valid = Volumes::new();
    for volume in volumes.items() {
        let before = errors.0.len();
        source(volume, errors);
        let name = volume.get("name");
        if name.need(errors) {
            name.dns_label(errors);
        }
        if valid.contains_key(name.str()) {
            name.duplicate(errors);
        }
        if errors.0.len() == before {
            let block = ["persistentVolumeClaim", "ephemeral"].iter().any(|s| volume.get(s).is_set());
            valid.insert(name.str().into(), block);
        }
    }
    valid
}

fn source(volume: At, errors: &mut FieldErrors) {
    let mut found = SOURCES.into_iter().filter(|s| volume.get(s).is_set());
    let Some(first) = found.next() else {
        return volume.required(errors, "must specify a volume type");
    };
    one_source(first, volume.get(first), errors);
    for other in found {
        volume.get(other).forbidden(errors, "may not specify more than 1 volume type");
    }
}

fn one_source(name: &str, source: At, errors: &mut FieldErrors) {
    match name {
        "emptyDir" => {
            let limit = source.get("sizeLimit");
            if limit.is_set() && crate::rules::quantity(limit.value).is_none_or(|q| q.is_negative()) {
                limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => host_path(source, errors),
        "secret" => keyed(source, "secretName", errors),
        "configMap" => keyed(source, "name", errors),
        "downwardAPI" => {
            mode(source.get("defaultMode"), errors);
            for item in source.get("items").items() {
                downward_item(item, item, errors);
            }
        }
        "projected" => projected(source, errors),
        "ephemeral" => {
            let template = source.get("volumeClaimTemplate");
            match template.is_set() {
                true => crate::core::claims::spec(template.get("spec"), errors),
                false => template.required(errors, ""),
            }
        }
        "image" => {
            source.get("reference").need(errors);
            source.get("pullPolicy").one_of_if_set(errors, &["Always", "IfNotPresent", "Never"]);
        }
        "gitRepo" => {
            source.get("repository").need(errors);
            relative_path(source.get("directory"), errors);
        }
        other => {
            for field in NEEDS.iter().filter(|(name, _)| *name == other).flat_map(|(_, fields)| *fields) {
                source.get(field).need(errors);
            }
        }
    }
}

/// A directory or file of the node.
pub fn host_path(source: At, errors: &mut FieldErrors) {
    if source.get("path").need(errors) {
        no_backsteps(source.get("path"), errors);
        source.get("type").one_of_if_set(errors, &HOST_PATH_TYPES);
    }
}

/// A Secret or ConfigMap whose keys become files.
fn keyed(source: At, name: &str, errors: &mut FieldErrors) {
    source.get(name).need(errors);
    mode(source.get("defaultMode"), errors);
    for item in source.get("items").items() {
        key_to_path(item, errors);
    }
}

fn key_to_path(item: At, errors: &mut FieldErrors) {
    item.get("key").need(errors);
    item.get("path").need(errors);
    local_path(item.get("path"), errors);
    mode(item.get("mode"), errors);
}

fn mode(mode: At, errors: &mut FieldErrors) {
    if mode.is_set() {
        mode.file_mode(errors);
    }
}

fn downward_item(item: At, place: At, errors: &mut FieldErrors) {
    // In a projected volume upstream reports the faults of an item at the whole source.
    let item = At { value: item.value, path: place.path };
    item.get("path").need(errors);
    local_path(item.get("path"), errors);
    let (field, resource) = (item.get("fieldRef"), item.get("resourceFieldRef"));
    if field.is_set() {
        env::field(field, For::Volume, errors);
        if resource.is_set() {
            item.invalid_as(errors, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
        }
    } else if resource.is_set() {
        env::resource_field(resource, For::Volume, errors);
    } else {
        item.required(errors, "one of fieldRef and resourceFieldRef is required");
    }
    mode(item.get("mode"), errors);
}

fn projected(volume: At, errors: &mut FieldErrors) {
    mode(volume.get("defaultMode"), errors);
    let mut paths = BTreeSet::new();
    let mut unique = |path: &str, culprit: &str, errors: &mut FieldErrors| {
        if !path.is_empty() && !paths.insert(path.to_string()) {
            volume.invalid_as(errors, culprit, "conflicting duplicate paths");
        }
    };
    for source in volume.get("sources").items() {
        for kind in ["secret", "configMap"] {
            let keys = source.get(kind);
            if keys.is_set() {
                keys.get("name").need(errors);
                for item in keys.get("items").items() {
                    key_to_path(item, errors);
                    unique(item.get("path").str(), keys.get("name").str(), errors);
                }
            }
        }
        let api = source.get("downwardAPI");
        for item in api.get("items").items() {
            downward_item(item, api, errors);
            unique(item.get("path").str(), item.get("path").str(), errors);
        }
        let token = source.get("serviceAccountToken");
        if token.is_set() {
            let seconds = token.get("expirationSeconds");
            if seconds.int() < 600 {
                seconds.invalid_int(errors, "may not specify a duration less than 10 minutes");
            }
            if seconds.int() > 1 << 32 {
                seconds.invalid_int(errors, "may not specify a duration larger than 2^32 seconds");
            }
            // Upstream names the volume's path, not the source's.
            let path = At { value: token.get("path").value, path: volume.path.key("path") };
            if path.need(errors) {
                local_path(path, errors);
            }
        }
        let members = source.value.as_object().into_iter().flat_map(|m| m.iter()).filter(|(_, v)| !v.is_null());
        if members.count() > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type per source");
        }
    }
}

/// `volumeMounts` of a container.
pub fn mounts(container: At, volumes: &Volumes, errors: &mut FieldErrors) {
    let (mounts, devices) = (container.get("volumeMounts"), container.get("volumeDevices"));
    let mut points = BTreeSet::new();
    for mount in mounts.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        name.need(errors);
        if !volumes.contains_key(name.str()) {
            name.not_found(errors);
        }
        path.need(errors);
        if !points.insert(path.str().to_string()) {
            path.invalid(errors, "must be unique");
        }
        if devices.items().any(|d| d.get("name").str() == name.str()) {
            name.invalid(errors, "must not already exist in volumeDevices");
        }
        if devices.items().any(|d| d.get("devicePath").str() == path.str()) {
            path.invalid(errors, "must not already exist as a path in volumeDevices");
        }
        // Upstream reports these four at the list, not at the mount.
        let (sub, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        relative_path(At { value: sub.value, path: mounts.path.key("subPath") }, errors);
        if !sub.is_empty() && !expression.is_empty() {
            expression.invalid(errors, "subPathExpr and subPath are mutually exclusive");
        }
        relative_path(At { value: expression.value, path: mounts.path.key("subPathExpr") }, errors);
        propagation(
            container,
            At { path: mounts.path.key("mountPropagation"), ..mount.get("mountPropagation") },
            errors,
        );
        recursive(mount, At { path: mounts.path.key("recursiveReadOnly"), ..mount.get("recursiveReadOnly") }, errors);
    }
}

fn propagation(container: At, mode: At, errors: &mut FieldErrors) {
    mode.one_of_if_set(errors, &["Bidirectional", "HostToContainer", "None"]);
    let privileged = container.value.at(&["securityContext", "privileged"]).as_bool() == Some(true);
    if mode.str() == "Bidirectional" && !privileged {
        mode.forbidden(errors, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursive(mount: At, mode: At, errors: &mut FieldErrors) {
    mode.one_of_if_set(errors, &["Disabled", "Enabled", "IfPossible"]);
    if ["Enabled", "IfPossible"].contains(&mode.str()) {
        if !mount.get("readOnly").flag() {
            mode.forbidden(errors, "may only be specified when readOnly is true");
        }
        if !["", "None"].contains(&mount.get("mountPropagation").str()) {
            mode.forbidden(errors, "may only be specified when mountPropagation is None or not specified");
        }
    }
}

/// `volumeDevices` of a container.
pub fn devices(container: At, volumes: &Volumes, errors: &mut FieldErrors) {
    let mut names = BTreeSet::new();
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        if name.need(errors) {
            match volumes.get(name.str()) {
                None => name.not_found(errors),
                Some(false) => name.invalid(
                    errors,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ),
                Some(true) => {}
            }
        }
        if !names.insert(name.str().to_string()) {
            name.invalid(errors, "must be unique");
        }
        if path.need(errors) {
            no_backsteps(path, errors);
        }
    }
}

/// A path below some directory: not absolute, no `..`.
pub fn relative_path(path: At, errors: &mut FieldErrors) {
    if path.str().starts_with('/') {
        path.invalid(errors, "must be a relative path");
    }
    no_backsteps(path, errors);
}

/// The same, and no name that the kubelet keeps for itself.
fn local_path(path: At, errors: &mut FieldErrors) {
    relative_path(path, errors);
    if path.str().starts_with("..") && !path.str().starts_with("../") {
        path.invalid(errors, "must not start with '..'");
    }
}

pub fn no_backsteps(path: At, errors: &mut FieldErrors) {
    if path.str().split('/').any(|part| part == "..") {
        path.invalid(errors, "must not contain '..'");
    }
}
