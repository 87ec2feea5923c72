//! What a claim got: devices, who uses them, and what drivers say about them.

use super::{
    claim::{self, MAX_CONFIG, Requests},
    parts,
};
use crate::{
    at::At,
    rules::{IMMUTABLE, same},
    template,
};
use base::FieldErrors;
use schema::Context;
use std::collections::BTreeSet;
use value::Value;

const MAX_RESULTS: usize = 32;
const MAX_CONSUMERS: usize = 256;
const MAX_CONDITIONS: usize = 8;
const MAX_IPS: usize = 16;

/// A device among all of the cluster, or a share of it: `driver/pool/device[/share]`.
fn id(device: &Value) -> String {
    let part = |field: &str| device.str_at(&[field]).to_string();
    let whole = [part("driver"), part("pool"), part("device")].join("/");
    match device.at(&["shareID"]).as_str() {
        Some(share) => format!("{whole}/{share}"),
        None => whole,
    }
}

fn allocated(obj: &Value) -> BTreeSet<String> {
    obj.items_at(&["status", "allocation", "devices", "results"]).iter().map(id).collect()
}

/// What drivers said about devices that are given back goes with them.
pub fn forget_given_back(obj: &mut Value, old: &Value) {
    let (before, now) = (allocated(old), allocated(obj));
    if let Some(devices) = obj.array_at_mut(&["status", "devices"]) {
        devices.retain(|device| !before.contains(&id(device)) || now.contains(&id(device)));
        if devices.is_empty() {
            obj.remove(&["status", "devices"]);
        }
    }
}

pub fn validate(cx: &Context, obj: &Value, old: &Value, errors: &mut FieldErrors) {
    let root = At::root(obj);
    let status = root.get("status");
    let names = Requests::of(obj.at(&["spec"]));
    let (allocation, before) = (status.get("allocation"), old.at(&["status", "allocation"]));
    let results = |allocation: &Value| allocation.items_at(&["devices", "results"]).to_vec();
    if !results(before).iter().any(|result| result.at(&["adminAccess"]).as_bool() == Some(true)) {
        let devices = allocation.path.key("devices");
        let given = results(allocation.value);
        claim::admin_access(cx, obj, &given, &["adminAccess"], devices.key("results"), errors);
    }
    reserved(status, obj, old, errors);
    let devices = status.get("devices");
    let known = allocated(obj);
    for device in devices.items() {
        self::device(device, &known, errors);
    }
    devices.unique_by(errors, id);
    if !allocation.is_set() {
        return;
    }
    if before.is_null() {
        self::allocation(allocation, &names, errors);
    } else if !same(allocation.value, before) {
        allocation.invalid(errors, IMMUTABLE);
    }
}

fn reserved(status: At, obj: &Value, old: &Value, errors: &mut FieldErrors) {
    let reserved = status.get("reservedFor");
    if reserved.fits(errors, MAX_CONSUMERS) {
        for consumer in reserved.items() {
            for field in ["resource", "name", "uid"] {
                consumer.get(field).need(errors);
            }
        }
        reserved.unique_by(errors, |consumer| consumer.str_at(&["uid"]).into());
    }
    if reserved.is_empty() {
        return;
    }
    if !status.get("allocation").is_set() {
        return reserved.forbidden(errors, "may not be specified when `allocated` is not set");
    }
    let before = old.items_at(&["status", "reservedFor"]);
    let added = reserved.items().any(|consumer| !before.contains(consumer.value));
    if added && !obj.at(&["metadata", "deletionTimestamp"]).is_null() {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        reserved.forbidden(errors, detail);
    }
}

fn allocation(allocation: At, names: &Requests, errors: &mut FieldErrors) {
    let devices = allocation.get("devices");
    let (results, config) = (devices.get("results"), devices.get("config"));
    if results.fits(errors, MAX_RESULTS) {
        for result in results.items() {
            names.check(result.get("request"), errors);
            place(result, errors);
            parts::binding(result, errors);
            share(result.get("shareID"), errors);
        }
    }
    // Those of the class and those of the claim.
    if config.fits(errors, 2 * MAX_CONFIG) {
        for config in config.items() {
            config.get("source").one_of(errors, &["FromClaim", "FromClass"]);
            names.check_all(config.get("requests"), errors);
            parts::configuration(config, errors);
        }
    }
    if allocation.get("nodeSelector").is_set() {
        template::node_selector(allocation.get("nodeSelector"), errors);
    }
}

/// `driver`, `pool` and `device`.
fn place(at: At, errors: &mut FieldErrors) {
    at.get("driver").driver_name(errors);
    at.get("pool").pool_name(errors);
    at.get("device").dns_label(errors);
}

fn share(share: At, errors: &mut FieldErrors) {
    if !share.is_set() {
        return;
    }
    let text = share.str();
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let is_uuid = groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    if !is_uuid {
        let why = if text.len() == 36 {
            "invalid UUID format".into()
        } else {
            format!("invalid UUID length: {}", text.len())
        };
        share.invalid(errors, format!("error validating uid: {why}"));
    } else if text != text.to_lowercase() {
        let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
                      hexadecimal characters";
        share.invalid(errors, detail);
    }
}

fn device(device: At, known: &BTreeSet<String>, errors: &mut FieldErrors) {
    place(device, errors);
    share(device.get("shareID"), errors);
    let id = id(device.value);
    if !known.contains(&id) {
        device.invalid_as(errors, &id, "must be an allocated device in the claim");
    }
    let conditions = device.get("conditions");
    if conditions.len() > MAX_CONDITIONS {
        conditions.too_many(errors, MAX_CONDITIONS);
    }
    conditions.conditions(errors);
    if device.get("data").is_set() {
        parts::raw_object(device.get("data"), errors);
    }
    let network = device.get("networkData");
    for (field, max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if network.get(field).str().len() > max {
            errors.too_long(network.get(field).path, max);
        }
    }
    let ips = network.get("ips");
    if ips.fits(errors, MAX_IPS) {
        ips.items().for_each(|ip| ip.interface_address(errors));
        ips.unique_by(errors, parts::text);
    }
}
